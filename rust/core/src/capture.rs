//! A captured packet, whichever file it came in: to the responses in it, or into the books.

use crate::link::{self, Found, LinkType, PartKind};
use crate::pieces::{Piece, seen};
use crate::report::Skip;
use crate::source::{Desk, Sink};

/// One packet of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub link: LinkType,
    pub frame: &'a [u8],
    /// The capture has fewer bytes than the packet had.
    pub cut: bool,
    pub ts_us: i64,
    /// Offset of its record in the file.
    pub place: u64,
}

impl<S: Sink> Desk<'_, S> {
    pub fn packet(&mut self, packet: &Packet<'_>) {
        let Packet { link, frame, cut, ts_us, place } = *packet;
        if !self.in_time(ts_us, place) || self.sink.packet(packet, &mut self.report) {
            return;
        }
        match link::find(link, frame, cut, &self.options.ports) {
            Ok(Found::Datagram(ends, payload)) => self.wire(payload, &seen(ends, ts_us, self), place),
            Ok(Found::Part(part)) => {
                let kind = match part.kind {
                    PartKind::Fragment { .. } => Skip::IpFragment,
                    PartKind::Segment { .. } => Skip::TcpSegment,
                };
                self.report.skip(kind, place);
                self.piece(Piece { place, ts_us, part });
            }
            Err(refused) => self.refuse(refused, place),
        }
    }
}
