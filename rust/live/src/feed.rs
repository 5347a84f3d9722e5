//! Bytes of a growing log, or of a packet socket, as they come.

use unflux_core::chunks::Records;
use unflux_core::dnscollector::DnsCollector;
use unflux_core::dnsmonster::DnsMonster;
use unflux_core::eve::Eve;
use unflux_core::formats::Format;
use unflux_core::pcap::Pcap;
use unflux_core::pieces::{Assembler, Pieces};
use unflux_core::reduce::Reducer;
use unflux_core::report::Malformed;
use unflux_core::text::Lines;
use unflux_core::zeek::Zeek;

use crate::Shared;

/// How a format stands at the place that was read last.
enum State {
    Fresh,
    Pcap(Pcap),
    Zeek(Lines<Zeek>),
    Eve(Lines<Eve>),
    DnsCollector(Lines<DnsCollector>),
    DnsMonster(Lines<DnsMonster>),
}

pub struct Feed {
    format: Format,
    state: State,
    /// The beginning of a record whose end has not come.
    rest: Vec<u8>,
    place: u64,
    pieces: Pieces,
}

impl Feed {
    pub fn new(format: Format) -> Self {
        Feed { format, state: State::Fresh, rest: Vec::new(), place: 0, pieces: Pieces::Here(Assembler::default()) }
    }

    fn begin(&mut self) -> Result<(), String> {
        self.state = match self.format {
            Format::Pcap => State::Pcap(Pcap::new(&self.rest)?),
            Format::Zeek => State::Zeek(Lines::new(Zeek::default())),
            Format::Eve => State::Eve(Lines::new(Eve::default())),
            Format::DnsCollector => State::DnsCollector(Lines::new(DnsCollector)),
            Format::DnsMonster => State::DnsMonster(Lines::new(DnsMonster)),
            other => return Err(format!("{} cannot be followed while it grows", other.name())),
        };
        Ok(())
    }

    pub(crate) fn take(&mut self, shared: &Shared, bytes: &[u8], last: bool) -> Result<(), String> {
        self.rest.extend_from_slice(bytes);
        if self.rest.is_empty() {
            return Ok(());
        }
        if matches!(self.state, State::Fresh) {
            let begun = self.begin();
            if begun.is_err() {
                self.rest.clear();
            }
            begun?;
        }
        let mut state = std::mem::replace(&mut self.state, State::Fresh);
        let outcome = match &mut state {
            State::Fresh => Ok(()),
            State::Pcap(framing) => self.advance(shared, framing, last),
            State::Zeek(framing) => self.advance(shared, framing, last),
            State::Eve(framing) => self.advance(shared, framing, last),
            State::DnsCollector(framing) => self.advance(shared, framing, last),
            State::DnsMonster(framing) => self.advance(shared, framing, last),
        };
        if last || outcome.is_err() {
            self.rest.clear();
            self.place = 0;
        } else {
            self.state = state;
        }
        outcome
    }

    fn advance<F: Records<Reducer>>(&mut self, shared: &Shared, framing: &mut F, last: bool) -> Result<(), String> {
        loop {
            let mut before = framing.clone();
            let (length, broken) = match framing.cut(&self.rest, last) {
                Ok(length) => (length, None),
                Err(broken) => (broken.at, Some(broken.kind)),
            };
            let place = before.place(self.place);
            if length > 0 {
                let pieces = std::mem::take(&mut self.pieces);
                self.pieces = shared.reduce(0, &mut before, &self.rest[..length], place, pieces);
                self.rest.drain(..length);
                self.place += length as u64;
            }
            if let Some(kind) = broken {
                shared.young(0).report.malformed(kind, framing.place(self.place));
                return Err(format!("the record at byte {} cannot be true ({})", self.place, kind.name()));
            }
            if length == 0 {
                if last && let Some(kind) = framing.rest(&self.rest).filter(|_| !self.rest.is_empty()) {
                    self.cut_short(shared, kind, framing.place(self.place));
                }
                return Ok(());
            }
        }
    }

    fn cut_short(&self, shared: &Shared, kind: Malformed, place: u64) {
        shared.young(0).report.malformed(kind, place);
    }
}
