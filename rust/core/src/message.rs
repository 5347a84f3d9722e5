//! One DNS message from wire bytes: whole, or refused with the kind of its first fault.

use crate::name;
use crate::rdata;
use crate::rdtype;
use crate::report::{Malformed, Skip};

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
/// Owners are nearly always pointers to one of the last few names: remember that many.
const POINTER_CACHE: usize = 8;

/// A piece of [`Message`]'s arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

impl Section {
    pub const ALL: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];

    pub fn name(self) -> &'static str {
        ["answer", "authority", "additional"][self as usize]
    }
}

/// Rdata in the shape that costs least: an IPv4 address, a name of this message, or other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rdata {
    A(u32),
    /// Index of a name in the message.
    Name(u32),
    /// Canonical bytes: names inside are decompressed and in lower case.
    Bytes(Span),
    /// Presentation form as a text source gave it, of a type that is not taken apart.
    Text(Span),
}

#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub section: Section,
    /// Index of a name in the message.
    pub owner: u32,
    pub rdtype: u16,
    /// Seconds, as received: RFC 2181 §8 reads one with the top bit set as 0, we keep the number.
    pub ttl: u32,
    pub rdata: Rdata,
}

/// A decoded response. Reused from message to message, so that nothing is allocated on the way.
#[derive(Default)]
pub struct Message {
    arena: Vec<u8>,
    names: Vec<Span>,
    pub records: Vec<Record>,
    /// Name index and qtype of the first question.
    pub question: Option<(u32, u16)>,
    /// RCODE, with the upper bits of EDNS (RFC 6891 §6.1.3) where there is an OPT record.
    pub rcode: u16,
    pub truncated: bool,
    /// Records of other classes than IN, which are left out.
    pub n_other_class: u32,
    /// Bytes behind the last record.
    pub n_trailing: u32,
    pub n_questions: u16,
    cache: [(u32, u32); POINTER_CACHE],
    n_cached: usize,
}

/// What a message is when it is not a decoded response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Skip(Skip),
    Malformed(Malformed),
}

impl From<Malformed> for Refused {
    fn from(kind: Malformed) -> Self {
        Refused::Malformed(kind)
    }
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl Message {
    /// The bytes of a name (lower-case wire form) by its index.
    pub fn name(&self, index: u32) -> &[u8] {
        self.bytes(self.names[index as usize])
    }

    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.arena[span.start as usize..(span.start + span.len) as usize]
    }

    /// All bytes that spans refer to.
    pub fn arena(&self) -> &[u8] {
        &self.arena
    }

    pub fn name_span(&self, index: u32) -> Span {
        self.names[index as usize]
    }

    pub fn n_names(&self) -> usize {
        self.names.len()
    }

    pub fn clear(&mut self) {
        self.arena.clear();
        self.names.clear();
        self.records.clear();
        self.question = None;
        self.rcode = 0;
        self.truncated = false;
        self.n_other_class = 0;
        self.n_trailing = 0;
        self.n_questions = 0;
        self.n_cached = 0;
    }

    /// Add a name given as text: for sources that are not wire format.
    ///
    /// # Errors
    /// [`Malformed::BadField`] when the text is no domain name.
    pub fn add_name(&mut self, text: &str) -> Result<u32, Malformed> {
        let start = self.arena.len();
        name::parse(text, &mut self.arena)?;
        Ok(self.close_name(start))
    }

    /// Add a name in lower-case wire form, as [`Message::name`] gives it.
    pub fn add_wire_name(&mut self, wire: &[u8]) -> u32 {
        let start = self.arena.len();
        self.arena.extend_from_slice(wire);
        self.close_name(start)
    }

    /// Add canonical rdata bytes: for sources that are not wire format.
    pub fn add_bytes(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        self.close_bytes(start)
    }

    /// Read one response.
    ///
    /// # Errors
    /// [`Refused::Skip`] for queries and other opcodes, [`Refused::Malformed`] for the first fault
    /// found; the content is then meaningless.
    pub fn parse(&mut self, wire: &[u8]) -> Result<(), Refused> {
        self.clear();
        if wire.len() < HEADER {
            return Err(Malformed::ShortHeader.into());
        }
        let field = |at| be16(wire, at).unwrap_or_default();
        let flags = field(2);
        if flags & FLAG_RESPONSE == 0 {
            return Err(Refused::Skip(Skip::Query));
        }
        if flags >> 11 & 0xF != 0 {
            return Err(Refused::Skip(Skip::Opcode));
        }
        self.rcode = flags & 0xF;
        self.truncated = flags & FLAG_TRUNCATED != 0;
        self.n_questions = field(4);
        let mut at = HEADER;
        for index in 0..self.n_questions {
            at = self.read_question(wire, at, index == 0)?;
        }
        for section in Section::ALL {
            for _ in 0..field(6 + 2 * section as usize) {
                at = self.read_record(wire, at, section)?;
            }
        }
        self.n_trailing = (wire.len() - at) as u32;
        Ok(())
    }

    fn read_question(&mut self, wire: &[u8], at: usize, keep: bool) -> Result<usize, Malformed> {
        let (qname, at) = self.read_name(wire, at)?;
        let qtype = be16(wire, at).ok_or(Malformed::ShortMessage)?;
        be16(wire, at + 2).ok_or(Malformed::ShortMessage)?;
        if keep {
            self.question = Some((qname, qtype));
        }
        Ok(at + 4)
    }

    fn read_record(&mut self, wire: &[u8], at: usize, section: Section) -> Result<usize, Malformed> {
        let (owner, at) = self.read_name(wire, at)?;
        let fixed: &[u8; 10] =
            wire.get(at..at + 10).and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed::ShortMessage)?;
        let rdtype = u16::from_be_bytes([fixed[0], fixed[1]]);
        let class = u16::from_be_bytes([fixed[2], fixed[3]]);
        let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let start = at + 10;
        let end = start + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        if end > wire.len() {
            return Err(Malformed::ShortMessage);
        }
        if rdtype == rdtype::OPT {
            self.rcode |= (ttl >> 24 << 4) as u16;
        } else if class & 0x7FFF != CLASS_IN {
            self.n_other_class += 1; // the top bit is the cache-flush bit of mDNS (RFC 6762 §10.2)
        } else {
            let rdata = self.read_rdata(wire, rdtype, start, end)?;
            self.records.push(Record { section, owner, rdtype, ttl, rdata });
        }
        Ok(end)
    }

    fn read_rdata(&mut self, wire: &[u8], rdtype: u16, start: usize, end: usize) -> Result<Rdata, Malformed> {
        if rdtype == rdtype::A {
            let address = be32(&wire[..end], start).filter(|_| end - start == 4);
            return address.map(Rdata::A).ok_or(Malformed::RdataLength);
        }
        if rdtype::is_name_type(rdtype) {
            let (index, next) = self.read_name(&wire[..end], start).map_err(|kind| match kind {
                Malformed::ShortMessage => Malformed::NameOverrun,
                other => other,
            })?;
            return if next == end { Ok(Rdata::Name(index)) } else { Err(Malformed::RdataLength) };
        }
        let from = self.arena.len();
        rdata::canonical(wire, rdtype, start, end, &mut self.arena)?;
        Ok(Rdata::Bytes(self.close_bytes(from)))
    }

    /// Read a name, or find it again when it is a pointer that was followed before.
    fn read_name(&mut self, wire: &[u8], at: usize) -> Result<(u32, usize), Malformed> {
        let pointer = be16(wire, at).filter(|value| *value >= 0xC000).map(|value| u32::from(value & 0x3FFF));
        if let Some(target) = pointer {
            let cached = &self.cache[..self.n_cached.min(POINTER_CACHE)];
            if let Some((_, index)) = cached.iter().find(|(offset, _)| *offset == target) {
                return Ok((*index, at + 2));
            }
        }
        let start = self.arena.len();
        let next = name::read(wire, at, &mut self.arena)?;
        let index = self.close_name(start);
        self.cache[self.n_cached % POINTER_CACHE] = (pointer.unwrap_or(at as u32), index);
        self.n_cached += 1;
        Ok((index, next))
    }

    fn close_name(&mut self, start: usize) -> u32 {
        let span = self.close_bytes(start);
        self.names.push(span);
        self.names.len() as u32 - 1
    }

    fn close_bytes(&self, start: usize) -> Span {
        Span { start: start as u32, len: (self.arena.len() - start) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `www.a. A`, answered with two addresses, an NS in the authority section and EDNS.
    const RESPONSE: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x02\0\x01\0\x01\x03WWW\x01a\0\0\x01\0\x01\
        \xC0\x0C\0\x01\0\x01\0\0\0\x05\0\x04\xC6\x12\0\x01\
        \xC0\x0C\0\x01\0\x01\0\0\0\x05\0\x04\xC6\x12\0\x02\
        \xC0\x10\0\x02\0\x01\0\0\x0E\x10\0\x05\x02ns\xC0\x10\
        \0\0\x29\x04\xD0\x01\0\0\0\0\0";

    #[test]
    fn a_response_is_read_whole() {
        let mut message = Message::default();
        message.parse(RESPONSE).unwrap();
        assert_eq!(message.rcode, 16);
        assert_eq!(message.name(message.question.unwrap().0), b"\x03www\x01a\0");
        let [first, second, third] = message.records[..] else { panic!("three records, OPT left out") };
        assert_eq!((first.rdata, first.ttl), (Rdata::A(0xC612_0001), 5));
        assert_eq!(second.rdata, Rdata::A(0xC612_0002));
        assert_eq!(first.owner, message.question.unwrap().0);
        assert_eq!(third.section, Section::Authority);
        let Rdata::Name(target) = third.rdata else { panic!("NS rdata is a name") };
        assert_eq!(message.name(target), b"\x02ns\x01a\0");
        assert_eq!(message.name(third.owner), b"\x01a\0");
    }

    #[test]
    fn every_cut_is_malformed_and_never_partly_taken() {
        for end in 0..RESPONSE.len() {
            let result = Message::default().parse(&RESPONSE[..end]);
            assert!(matches!(result, Err(Refused::Malformed(_))), "cut at {end}");
        }
    }

    #[test]
    fn queries_and_other_opcodes_are_skipped() {
        let mut message = Message::default();
        assert_eq!(message.parse(&[0; 12]), Err(Refused::Skip(Skip::Query)));
        assert_eq!(message.parse(b"\0\0\xA8\0\0\0\0\0\0\0\0\0"), Err(Refused::Skip(Skip::Opcode)));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(mut wire in prop::collection::vec(any::<u8>(), 0..600)) {
            if wire.len() > 2 { wire[2] = 0x80; }
            let _ = Message::default().parse(&wire);
        }

        #[test]
        fn damaged_responses_parse_or_are_refused(place in 0usize..RESPONSE.len(), value in any::<u8>()) {
            let mut wire = RESPONSE.to_vec();
            wire[place] = value;
            let mut message = Message::default();
            if message.parse(&wire).is_ok() {
                for record in &message.records {
                    prop_assert!(!message.name(record.owner).is_empty());
                }
            }
        }
    }
}
