//! Classic pcap files (µs and ns, either byte order).

use crate::capture::Packet;
use crate::chunks::{Broken, Framing, Records};
use crate::link::LinkType;
use crate::report::Malformed;
use crate::source::{Desk, Sink};

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// libpcap's own limit for one packet (MAXIMUM_SNAPLEN).
pub const MAX_PACKET: usize = 262_144;

/// Does the file begin like a classic pcap file?
pub fn is_pcap(head: &[u8]) -> bool {
    order_of(head).is_some()
}

fn order_of(head: &[u8]) -> Option<(bool, bool)> {
    Some(match head.get(..4)? {
        [0xD4, 0xC3, 0xB2, 0xA1] => (false, false),
        [0x4D, 0x3C, 0xB2, 0xA1] => (false, true),
        [0xA1, 0xB2, 0xC3, 0xD4] => (true, false),
        [0xA1, 0xB2, 0x3C, 0x4D] => (true, true),
        _ => return None,
    })
}

/// A number of 32 bits, 0 where there are fewer bytes.
pub(crate) fn word(big_endian: bool, bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

/// A pcap file: what its header says.
#[derive(Clone, Copy, Debug)]
pub struct Pcap {
    big_endian: bool,
    nanoseconds: bool,
    link: LinkType,
    /// The header itself was passed.
    begun: bool,
}

impl Pcap {
    /// # Errors
    /// A sentence when `head` does not begin a pcap file of a link layer that is understood.
    pub fn new(head: &[u8]) -> Result<Self, String> {
        let (big_endian, nanoseconds) = order_of(head).ok_or("this is no pcap file")?;
        if head.len() < FILE_HEADER {
            return Err("the pcap file ends inside its header".to_owned());
        }
        let number = word(big_endian, head, 20) & 0xFFFF; // the upper bits are about the FCS
        let link = LinkType::from_number(number)
            .ok_or_else(|| format!("link layer {number} of this capture is not understood"))?;
        Ok(Pcap { big_endian, nanoseconds, link, begun: false })
    }

    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        word(self.big_endian, bytes, at)
    }

    fn time_us(&self, record: &[u8]) -> i64 {
        let fraction = i64::from(self.word(record, 4));
        i64::from(self.word(record, 0)) * 1_000_000 + if self.nanoseconds { fraction / 1000 } else { fraction }
    }

    fn header(&self) -> usize {
        if self.begun { 0 } else { FILE_HEADER }
    }
}

impl Framing for Pcap {
    fn cut(&mut self, bytes: &[u8], _last: bool) -> Result<usize, Broken> {
        let mut at = self.header();
        if bytes.len() < at {
            return Ok(0);
        }
        self.begun = true;
        while let Some(record) = bytes.get(at..at + RECORD_HEADER) {
            let captured = self.word(record, 8) as usize;
            if captured > MAX_PACKET {
                return Err(Broken { kind: Malformed::RecordLength, at });
            }
            if bytes.len() < at + RECORD_HEADER + captured {
                break;
            }
            at += RECORD_HEADER + captured;
        }
        Ok(at)
    }
}

impl<S: Sink> Records<S> for Pcap {
    fn read(&mut self, bytes: &[u8], place: u64, desk: &mut Desk<'_, S>) {
        let mut at = self.header();
        self.begun = true;
        while let Some(record) = bytes.get(at..at + RECORD_HEADER) {
            let captured = self.word(record, 8) as usize;
            let Some(frame) = bytes.get(at + RECORD_HEADER..at + RECORD_HEADER + captured) else { break };
            let cut = captured < self.word(record, 12) as usize;
            desk.packet(&Packet { link: self.link, frame, cut, ts_us: self.time_us(record), place: place + at as u64 });
            at += RECORD_HEADER + captured;
        }
    }
}
