//! pcapng files (draft-ietf-opsawg-pcapng): sections of either byte order, several interfaces, each
//! with its own link layer, resolution and offset of time.

use std::sync::Arc;

use crate::capture::Packet;
use crate::chunks::{Broken, Framing, Records};
use crate::link::LinkType;
use crate::pcap::{MAX_PACKET, word};
use crate::report::{Malformed, Skip};
use crate::source::{Desk, Sink};

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
/// Obsolete, but `tcpdump` of old wrote it.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
/// Type, length, and length again.
const AROUND: usize = 12;
/// A block may carry comments, decryption secrets or name tables; nothing honest is longer.
const MAX_BLOCK: usize = 16 << 20;
const MAX_INTERFACES: usize = 65_536;
const TSRESOL: u16 = 9;
const TSOFFSET: u16 = 14;

/// Does the file begin like pcapng?
pub fn is_pcapng(head: &[u8]) -> bool {
    head.starts_with(&SECTION.to_be_bytes()) && section_order(head).is_some()
}

/// Whether a section header block is big-endian; `None` when it is none.
fn section_order(block: &[u8]) -> Option<bool> {
    [false, true].into_iter().find(|big_endian| word(*big_endian, block, 8) == BYTE_ORDER_MAGIC)
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Option<LinkType>,
    snaplen: u32,
    /// Units of time per second.
    resolution: u64,
    offset_s: i64,
}

impl Interface {
    /// From the body of an interface description block.
    fn parse(big_endian: bool, body: &[u8]) -> Option<Self> {
        let head = word(big_endian, body, 0);
        let number = if big_endian { head >> 16 } else { head & 0xFFFF };
        body.get(..8)?;
        let mut interface = Interface {
            link: LinkType::from_number(number),
            snaplen: word(big_endian, body, 4),
            resolution: 1_000_000,
            offset_s: 0,
        };
        for (code, value) in (Options { big_endian, rest: &body[8..] }) {
            match (code, value) {
                (TSRESOL, [exponent]) => interface.resolution = resolution(*exponent)?,
                (TSOFFSET, value) if value.len() == 8 => {
                    let (one, other) = (word(big_endian, value, 0), word(big_endian, value, 4));
                    let (high, low) = if big_endian { (one, other) } else { (other, one) };
                    interface.offset_s = (u64::from(high) << 32 | u64::from(low)) as i64;
                }
                _ => {}
            }
        }
        Some(interface)
    }

    fn time_us(&self, units: u64) -> Option<i64> {
        let whole = i64::try_from(units / self.resolution).ok()?;
        let fraction = u128::from(units % self.resolution) * 1_000_000 / u128::from(self.resolution);
        let seconds = whole.checked_add(self.offset_s)?;
        crate::text::in_calendar(seconds.checked_mul(1_000_000)?.checked_add(fraction as i64)?)
    }
}

/// Units per second: a power of 10, or of 2 with the top bit set.
fn resolution(exponent: u8) -> Option<u64> {
    let base = if exponent & 0x80 == 0 { 10u64 } else { 2 };
    base.checked_pow(u32::from(exponent & 0x7F))
}

/// Options at the end of a block: (code, value).
struct Options<'a> {
    big_endian: bool,
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = word(self.big_endian, self.rest.get(..4)?, 0);
        let (code, length) = if self.big_endian { (head >> 16, head & 0xFFFF) } else { (head & 0xFFFF, head >> 16) };
        if code == 0 {
            return None;
        }
        let value = self.rest.get(4..4 + length as usize)?;
        self.rest = self.rest.get(4 + (length as usize).next_multiple_of(4)..).unwrap_or_default();
        Some((code as u16, value))
    }
}

/// A pcapng file at some place: byte order and interfaces of the section there.
#[derive(Clone, Debug, Default)]
pub struct Pcapng {
    big_endian: bool,
    interfaces: Arc<Vec<Option<Interface>>>,
}

impl Pcapng {
    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        word(self.big_endian, bytes, at)
    }

    /// The block at `at`, as (type, whole block); `None` when it is not all there.
    fn block<'a>(&self, bytes: &'a [u8], at: usize) -> Result<Option<(u32, &'a [u8])>, Broken> {
        let broken = |kind| Broken { kind, at };
        let Some(head) = bytes.get(at..at + AROUND) else { return Ok(None) };
        let kind = self.word(head, 0); // that of a section reads the same in both orders
        let big_endian = match kind {
            SECTION => section_order(head).ok_or_else(|| broken(Malformed::Block))?,
            _ => self.big_endian,
        };
        let length = word(big_endian, head, 4) as usize;
        if !(AROUND..=MAX_BLOCK).contains(&length) || !length.is_multiple_of(4) {
            return Err(broken(Malformed::RecordLength));
        }
        let Some(block) = bytes.get(at..at + length) else { return Ok(None) };
        if word(big_endian, block, length - 4) as usize != length {
            return Err(broken(Malformed::Block));
        }
        Ok(Some((kind, block)))
    }

    /// Remember what later blocks need of this one.
    fn learn(&mut self, kind: u32, block: &[u8]) {
        match kind {
            SECTION => {
                self.big_endian = section_order(block).unwrap_or(self.big_endian);
                self.interfaces = Arc::default();
            }
            INTERFACE if self.interfaces.len() < MAX_INTERFACES => {
                let body = &block[8..block.len() - 4];
                Arc::make_mut(&mut self.interfaces).push(Interface::parse(self.big_endian, body));
            }
            _ => {}
        }
    }

    /// The packet of a block; `None` for blocks of other kinds.
    fn packet<'a>(&self, kind: u32, block: &'a [u8], place: u64) -> Option<Result<Packet<'a>, Fault>> {
        let body = &block[8..block.len() - 4];
        let field = |at| self.word(body, at);
        let (interface, units, captured, original, data) = match kind {
            ENHANCED_PACKET => (field(0), Some(self.units(body)), field(12), field(16), body.get(20..)),
            PACKET => {
                let number = if self.big_endian { field(0) >> 16 } else { field(0) & 0xFFFF };
                (number, Some(self.units(body)), field(12), field(16), body.get(20..))
            }
            SIMPLE_PACKET => {
                let snaplen = self.interfaces.first().and_then(|one| one.map(|one| one.snaplen)).unwrap_or(0);
                let captured = if snaplen == 0 { field(0) } else { field(0).min(snaplen) };
                (0, None, captured, field(0), body.get(4..))
            }
            _ => return None,
        };
        Some(self.packet_of(interface, units, captured as usize, original as usize, data, place))
    }

    fn units(&self, body: &[u8]) -> u64 {
        u64::from(self.word(body, 4)) << 32 | u64::from(self.word(body, 8))
    }

    fn packet_of<'a>(
        &self,
        interface: u32,
        units: Option<u64>,
        captured: usize,
        original: usize,
        data: Option<&'a [u8]>,
        place: u64,
    ) -> Result<Packet<'a>, Fault> {
        let interface = self.interfaces.get(interface as usize).copied().flatten();
        let interface = interface.ok_or(Fault::Malformed(Malformed::Interface))?;
        let frame = data.and_then(|data| data.get(..captured)).filter(|_| captured <= MAX_PACKET);
        let frame = frame.ok_or(Fault::Malformed(Malformed::Block))?;
        let link = interface.link.ok_or(Fault::Skip(Skip::LinkLayer))?;
        // A simple packet block has no time at all: it cannot be put in any hour.
        let units = units.ok_or(Fault::Skip(Skip::NoTime))?;
        let ts_us = interface.time_us(units).ok_or(Fault::Malformed(Malformed::BadField))?;
        Ok(Packet { link, frame, cut: captured < original, ts_us, place })
    }
}

enum Fault {
    Skip(Skip),
    Malformed(Malformed),
}

impl Framing for Pcapng {
    fn cut(&mut self, bytes: &[u8], _last: bool) -> Result<usize, Broken> {
        let mut at = 0;
        while let Some((kind, block)) = self.block(bytes, at)? {
            self.learn(kind, block);
            at += block.len();
        }
        Ok(at)
    }
}

impl<S: Sink> Records<S> for Pcapng {
    fn read(&mut self, bytes: &[u8], place: u64, desk: &mut Desk<'_, S>) {
        let mut at = 0;
        while let Ok(Some((kind, block))) = self.block(bytes, at) {
            self.learn(kind, block);
            match self.packet(kind, block, place + at as u64) {
                None => {}
                Some(Ok(packet)) => desk.packet(&packet),
                Some(Err(Fault::Skip(kind))) => desk.report.skip(kind, place + at as u64),
                Some(Err(Fault::Malformed(kind))) => desk.malformed(kind, place + at as u64),
            }
            at += block.len();
        }
    }
}
