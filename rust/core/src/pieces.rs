//! IP fragments and TCP segments, put together with bounded memory.

use crate::fragments::Fragments;
use crate::link::{self, Ends, Found, Part, PartKind};
use crate::report::Skip;
use crate::source::{Desk, Seen, Sink};
use crate::streams::Streams;

/// A [`Part`] with its place in the input and the time it was captured.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    pub place: u64,
    pub ts_us: i64,
    pub part: Part<'a>,
}

impl Piece<'_> {
    pub fn into_owned(self) -> Piece<'static> {
        let Part { ends, kind, bytes } = self.part;
        let part = Part { ends, kind, bytes: bytes.into_owned().into() };
        Piece { place: self.place, ts_us: self.ts_us, part }
    }
}

/// What a [`Desk`] does with pieces: put them together, or keep them for who sees all of them.
#[derive(Debug)]
pub enum Pieces {
    Here(Assembler),
    Later(Vec<Piece<'static>>),
}

impl Default for Pieces {
    fn default() -> Self {
        Pieces::Later(Vec::new())
    }
}

impl Pieces {
    /// The pieces kept so far, which are then forgotten here.
    pub fn take_kept(&mut self) -> Vec<Piece<'static>> {
        match self {
            Pieces::Here(_) => Vec::new(),
            Pieces::Later(kept) => std::mem::take(kept),
        }
    }
}

/// Everything that is still incomplete.
#[derive(Debug, Default)]
pub struct Assembler {
    fragments: Fragments,
    streams: Streams,
}

impl Assembler {
    pub fn take<S: Sink>(&mut self, piece: Piece<'_>, desk: &mut Desk<'_, S>) {
        let Piece { place, ts_us, part } = piece;
        match part.kind {
            PartKind::Fragment { .. } => {
                if let Some((ends, protocol, body)) = self.fragments.take(&part, ts_us, place, &mut desk.report) {
                    self.packet(ends, protocol, &body, ts_us, place, desk);
                }
            }
            PartKind::Segment { .. } => self.streams.take(&part, ts_us, place, desk),
        }
    }

    /// A whole IP packet, from fragments: one more item.
    fn packet<S: Sink>(
        &mut self,
        ends: Ends,
        protocol: u8,
        body: &[u8],
        ts_us: i64,
        place: u64,
        desk: &mut Desk<'_, S>,
    ) {
        desk.report.assembled += 1;
        match link::find_in_body(ends, protocol, body, &desk.options.ports) {
            Ok(Found::Datagram(ends, payload)) => desk.wire(payload, &seen(ends, ts_us, desk), place),
            Ok(Found::Part(part)) => match part.kind {
                PartKind::Segment { .. } => {
                    desk.report.skip(Skip::TcpSegment, place);
                    self.streams.take(&part, ts_us, place, desk);
                }
                // A tunnel inside that was cut once more: nobody does that on purpose.
                PartKind::Fragment { .. } => desk.report.skip(Skip::IpFragment, place),
            },
            Err(refused) => desk.refuse(refused, place),
        }
    }

    /// The input is over: enter what never became whole.
    pub fn finish<S: Sink>(&mut self, desk: &mut Desk<'_, S>) {
        self.fragments.finish(&mut desk.report);
        self.streams.finish(desk);
    }
}

/// A response comes from the server.
pub fn seen<'a, S>(ends: Ends, ts_us: i64, desk: &Desk<'_, S>) -> Seen<'a> {
    Seen { ts_us, client: ends.destination, server: ends.source, vantage: desk.options.vantage, sensor: None }
}
