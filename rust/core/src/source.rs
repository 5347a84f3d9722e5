//! What every source of single responses shares: how it is asked, what it hands over, and to whom.

use crate::capture::Packet;
use crate::link::{Address, UNKNOWN_ADDRESS};
use crate::message::{Message, Refused};
use crate::pieces::{Piece, Pieces};
use crate::reduce::{Reducer, Vantage};
use crate::report::{Malformed, Report, Skip};

/// What to take out of an input.
#[derive(Clone, Debug)]
pub struct Options {
    /// UDP and TCP ports on which captures are searched for DNS.
    pub ports: Vec<u16>,
    /// For inputs that do not tell it themselves.
    pub vantage: Vantage,
    /// Only what has `since <= time < until`, microseconds since the epoch.
    pub since_us: i64,
    pub until_us: i64,
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { ports: vec![53], vantage: Vantage::Unknown, since_us: i64::MIN, until_us: i64::MAX, threads: 1 }
    }
}

impl Options {
    pub fn takes(&self, ts_us: i64) -> bool {
        (self.since_us..self.until_us).contains(&ts_us)
    }
}

/// When, where and between whom a response was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub ts_us: i64,
    pub client: Address,
    pub server: Address,
    pub vantage: Vantage,
    /// Who saw it, where the input says so (dnstap's identity).
    pub sensor: Option<&'a str>,
}

/// Who wants the responses of an input.
pub trait Sink {
    fn response(&mut self, message: &Message, seen: &Seen<'_>);

    /// Take a captured packet whole, and enter it into the books; false: search it for responses.
    fn packet(&mut self, _packet: &Packet<'_>, _report: &mut Report) -> bool {
        false
    }
}

impl Sink for Reducer {
    fn response(&mut self, message: &Message, seen: &Seen<'_>) {
        let client = Some(seen.client).filter(|client| *client != UNKNOWN_ADDRESS);
        self.add(message, seen.ts_us, client, seen.vantage);
    }
}

/// Where one thread works: the records it reads go through here, to `sink` or into the books.
pub struct Desk<'a, S> {
    pub options: &'a Options,
    pub sink: &'a mut S,
    pub report: Report,
    pub message: Message,
    pub pieces: Pieces,
}

impl<'a, S> Desk<'a, S> {
    pub fn new(options: &'a Options, sink: &'a mut S, pieces: Pieces) -> Self {
        Desk { options, sink, report: Report::default(), message: Message::default(), pieces }
    }
}

impl<S: Sink> Desk<'_, S> {
    /// Take in a DNS message as it was on the wire, and enter what became of it at `place`.
    pub fn wire(&mut self, wire: &[u8], seen: &Seen<'_>, place: u64) {
        match self.message.parse(wire) {
            Ok(()) => self.deliver(seen, place),
            Err(refused) => self.refuse(refused, place),
        }
    }

    /// Hand over the message that was parsed last, and enter it with what is odd about it.
    pub fn deliver(&mut self, seen: &Seen<'_>, place: u64) {
        let Desk { sink, report, message, .. } = self;
        sink.response(message, seen);
        report.decoded(seen.ts_us, message.records.len() as u64);
        if message.n_other_class > 0 {
            report.left_out("class_not_in", u64::from(message.n_other_class), place);
        }
        if message.n_trailing > 0 {
            report.oddity("bytes_after_message", place);
        }
        if message.n_questions != 1 {
            report.oddity("question_count_not_1", place);
        }
        if message.truncated {
            report.oddity("truncated_response", place);
        }
        if message.records.iter().any(|record| record.ttl > i32::MAX as u32) {
            report.oddity("ttl_top_bit_set", place);
        }
    }

    pub fn refuse(&mut self, refused: Refused, place: u64) {
        match refused {
            Refused::Skip(kind) => self.report.skip(kind, place),
            Refused::Malformed(kind) => self.report.malformed(kind, place),
        }
    }

    /// A part of something larger: put it together here, or leave it to who sees all of them.
    pub fn piece(&mut self, piece: Piece<'_>) {
        match std::mem::take(&mut self.pieces) {
            Pieces::Later(mut kept) => {
                kept.push(piece.into_owned());
                self.pieces = Pieces::Later(kept);
            }
            Pieces::Here(mut assembler) => {
                assembler.take(piece, self);
                self.pieces = Pieces::Here(assembler);
            }
        }
    }

    /// Nothing more comes: enter what could not be put together.
    pub fn finish(&mut self) {
        if let Pieces::Here(mut assembler) = std::mem::take(&mut self.pieces) {
            assembler.finish(self);
        }
    }

    /// Is it within the time asked for? Enters it as skipped if not.
    pub fn in_time(&mut self, ts_us: i64, place: u64) -> bool {
        let inside = self.options.takes(ts_us);
        if !inside {
            self.report.skip(Skip::OutsideTime, place);
        }
        inside
    }

    pub fn malformed(&mut self, kind: Malformed, place: u64) {
        self.report.malformed(kind, place);
    }
}
