//! Responses back into bytes: packets, dnstap frames, Zeek's log. For the lab, and for converting.

use std::fmt::Write as _;

use crate::link::{Address, UNKNOWN_ADDRESS};
use crate::message::{Message, Rdata, Record, Section};
use crate::name;
use crate::rdata;
use crate::rdtype::{self, rcode_text, rdtype_text};
use crate::reduce::Vantage;
use crate::source::{Seen, Sink};
use crate::text;

/// Largest payload of a UDP datagram; a message that does not fit is cut and marked (TC).
const MAX_PAYLOAD: usize = 65_507;
const POINTER_LIMIT: usize = 0x3FFF;

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Records of a classic pcap file (µs, little-endian, Ethernet), without its header.
    Pcap,
    /// Data frames of a Frame Streams file, without its control frames: as a resolver logs them.
    Dnstap,
    /// The same as an authoritative server logs what it answers.
    DnstapServer,
    /// Rows of Zeek's tab-separated log, without its header.
    Zeek,
}

impl Form {
    pub fn from_name(name: &str) -> Option<Self> {
        [("pcap", Form::Pcap), ("dnstap", Form::Dnstap), ("dnstap_server", Form::DnstapServer), ("zeek", Form::Zeek)]
            .into_iter()
            .find_map(|(known, form)| (known == name).then_some(form))
    }
}

/// Appends every response to `out`.
pub struct Composer {
    form: Form,
    pub out: Vec<u8>,
    wire: Vec<u8>,
    /// Where names (lower-case wire form, by offset) stand in the message: for compression.
    offsets: Vec<(usize, usize)>,
    frame: Vec<u8>,
}

impl Composer {
    pub fn new(form: Form) -> Self {
        Composer { form, out: Vec::new(), wire: Vec::new(), offsets: Vec::new(), frame: Vec::new() }
    }
}

impl Sink for Composer {
    fn response(&mut self, message: &Message, seen: &Seen<'_>) {
        match self.form {
            Form::Zeek => zeek_row(message, seen, &mut self.out),
            Form::Pcap => {
                self.compose(message, seen);
                self.pcap_record(seen);
            }
            Form::Dnstap | Form::DnstapServer => {
                self.compose(message, seen);
                self.dnstap_frame(seen);
            }
        }
    }
}

/// Numbers that a client would draw: transaction id and port, from what the response is.
fn drawn(seen: &Seen<'_>) -> u64 {
    let mut value = seen.ts_us as u64;
    for byte in seen.client {
        value = (value ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }
    value ^ value >> 29
}

fn client_port(seen: &Seen<'_>) -> u16 {
    1024 + (drawn(seen) >> 16) as u16 % 60_000
}

impl Composer {
    /// The DNS message, with names compressed (RFC 1035 §4.1.4).
    fn compose(&mut self, message: &Message, seen: &Seen<'_>) {
        self.wire.clear();
        self.offsets.clear();
        let has = |section| message.records.iter().any(|record| record.section == section);
        let referral = !has(Section::Answer) && message.records.iter().any(|record| record.rdtype == rdtype::NS);
        let authoritative = seen.vantage == Vantage::Upstream && !referral;
        let flags = 0x8000
            | u16::from(authoritative) << 10
            | u16::from(message.truncated) << 9
            | if seen.vantage == Vantage::Upstream { 0 } else { 0x0180 }
            | message.rcode & 0xF;
        let count = |section| message.records.iter().filter(|record| record.section == section).count() as u16;
        let counts = Section::ALL.map(count);
        let header =
            [drawn(seen) as u16, flags, u16::from(message.question.is_some()), counts[0], counts[1], counts[2]];
        self.wire.extend(header.iter().flat_map(|field| field.to_be_bytes()));
        if let Some((qname, qtype)) = message.question {
            self.name(message.name(qname));
            self.wire.extend(qtype.to_be_bytes());
            self.wire.extend(1u16.to_be_bytes());
        }
        for record in &message.records {
            self.record(message, record);
        }
        if self.wire.len() > MAX_PAYLOAD {
            self.cut_to_question(message);
        }
    }

    fn cut_to_question(&mut self, message: &Message) {
        let question = message.question.map_or(0, |(qname, _)| message.name(qname).len() + 4);
        self.wire.truncate(12 + question);
        self.wire[2] |= 2; // TC
        self.wire[6..12].fill(0);
    }

    fn record(&mut self, message: &Message, record: &Record) {
        self.name(message.name(record.owner));
        self.wire.extend(record.rdtype.to_be_bytes());
        self.wire.extend(1u16.to_be_bytes());
        self.wire.extend(record.ttl.to_be_bytes());
        let at = self.wire.len();
        self.wire.extend([0, 0]);
        match record.rdata {
            Rdata::A(address) => self.wire.extend(address.to_be_bytes()),
            Rdata::Name(index) => self.name(message.name(index)),
            Rdata::Bytes(span) | Rdata::Text(span) => self.wire.extend(message.bytes(span)),
        }
        let length = (self.wire.len() - at - 2) as u16;
        self.wire[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// A name, as a pointer from where it stood before.
    fn name(&mut self, wire: &[u8]) {
        let mut rest = wire;
        while let [length, ..] = *rest {
            if length == 0 {
                break;
            }
            if let Some(at) = self.known(rest) {
                self.wire.extend((0xC000 | at as u16).to_be_bytes());
                return;
            }
            if self.wire.len() <= POINTER_LIMIT {
                self.offsets.push((self.wire.len(), rest.len()));
            }
            let (label, tail) = rest.split_at((1 + usize::from(length)).min(rest.len()));
            self.wire.extend(label);
            rest = tail;
        }
        self.wire.push(0);
    }

    fn known(&self, name: &[u8]) -> Option<usize> {
        self.offsets.iter().find(|(at, length)| *length == name.len() && self.stands_at(*at, name)).map(|(at, _)| *at)
    }

    /// Follows pointers: they always lead backwards here.
    fn stands_at(&self, mut at: usize, name: &[u8]) -> bool {
        let mut rest = name;
        loop {
            let byte = self.wire[at];
            if byte & 0xC0 == 0xC0 {
                at = usize::from(u16::from_be_bytes([byte, self.wire[at + 1]]) & 0x3FFF);
                continue;
            }
            let label = &self.wire[at..=at + usize::from(byte)];
            match rest.strip_prefix(label) {
                Some(_) if byte == 0 => return true,
                Some(tail) => rest = tail,
                None => return false,
            }
            at += label.len();
        }
    }

    fn pcap_record(&mut self, seen: &Seen<'_>) {
        self.frame.clear();
        packet(&self.wire, seen, &mut self.frame);
        let (seconds, micros) = (seen.ts_us.div_euclid(1_000_000), seen.ts_us.rem_euclid(1_000_000));
        for field in [seconds as u32, micros as u32, self.frame.len() as u32, self.frame.len() as u32] {
            self.out.extend(field.to_le_bytes());
        }
        self.out.extend(&self.frame);
    }

    /// One dnstap message; form and vantage say of which kind.
    fn dnstap_frame(&mut self, seen: &Seen<'_>) {
        let kind = match (self.form, seen.vantage) {
            (Form::DnstapServer, _) => 2, // AUTH_RESPONSE
            (_, Vantage::Upstream) => 4,  // RESOLVER_RESPONSE
            _ => 6,                       // CLIENT_RESPONSE
        };
        let v4 = text::is_ipv4(&seen.client);
        self.frame.clear();
        let message = &mut self.frame;
        for (field, value) in [(1, kind), (2, if v4 { 1 } else { 2 }), (3, 1)] {
            number(message, field, value);
        }
        for (field, address) in [(4, &seen.client), (5, &seen.server)] {
            if *address != UNKNOWN_ADDRESS {
                bytes(message, field, short(address));
            }
        }
        number(message, 6, u64::from(client_port(seen)));
        number(message, 7, 53);
        number(message, 12, seen.ts_us.div_euclid(1_000_000) as u64);
        message.push(13 << 3 | 5);
        message.extend((seen.ts_us.rem_euclid(1_000_000) as u32 * 1000).to_le_bytes());
        bytes(message, 14, &self.wire);
        let mut outer = Vec::with_capacity(self.frame.len() + 32);
        if let Some(sensor) = seen.sensor {
            bytes(&mut outer, 1, sensor.as_bytes());
        }
        bytes(&mut outer, 14, &self.frame);
        number(&mut outer, 15, 1);
        self.out.extend((outer.len() as u32).to_be_bytes());
        self.out.extend(outer);
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

/// IPv4 as four bytes.
fn short(address: &Address) -> &[u8] {
    if text::is_ipv4(address) { &address[12..] } else { address }
}

/// Ethernet, IP and UDP around a payload, with checksums.
fn packet(payload: &[u8], seen: &Seen<'_>, out: &mut Vec<u8>) {
    let v4 = text::is_ipv4(&seen.client) && text::is_ipv4(&seen.server);
    out.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    out.extend(if v4 { [0x08, 0x00] } else { [0x86, 0xDD] });
    let length = 8 + payload.len();
    let (source, destination) =
        if v4 { (&seen.server[12..], &seen.client[12..]) } else { (&seen.server[..], &seen.client[..]) };
    let ip = out.len();
    if v4 {
        out.extend([0x45, 0]);
        out.extend(((20 + length) as u16).to_be_bytes());
        out.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    } else {
        out.extend([0x60, 0, 0, 0]);
        out.extend((length as u16).to_be_bytes());
        out.extend([17, 64]);
    }
    out.extend(source);
    out.extend(destination);
    if v4 {
        let sum = !fold(sum16(&out[ip..ip + 20]));
        out[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
    }
    let udp = out.len();
    for field in [53, client_port(seen), length as u16, 0] {
        out.extend(field.to_be_bytes());
    }
    out.extend(payload);
    let pseudo = sum16(source) + sum16(destination) + 17 + length as u64;
    let sum = match !fold(pseudo + sum16(&out[udp..])) {
        0 => 0xFFFF,
        sum => sum,
    };
    out[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of RFC 1071, not folded yet.
fn sum16(bytes: &[u8]) -> u64 {
    let mut pairs = bytes.chunks_exact(2);
    let sum: u64 = pairs.by_ref().map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    sum + pairs.remainder().first().map_or(0, |last| u64::from(*last) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// One row of Zeek's `dns.log` in the order of [`ZEEK_FIELDS`].
fn zeek_row(message: &Message, seen: &Seen<'_>, out: &mut Vec<u8>) {
    let mut row = String::new();
    let (seconds, micros) = (seen.ts_us.div_euclid(1_000_000), seen.ts_us.rem_euclid(1_000_000));
    let address = |one: &Address| if *one == UNKNOWN_ADDRESS { "-".to_owned() } else { text::address(one) };
    let id = drawn(seen);
    let _ = write!(
        row,
        "{seconds}.{micros:06}\tC{id:016x}\t{}\t{}\t{}\t53\tudp\t{}\t",
        address(&seen.client),
        client_port(seen),
        address(&seen.server),
        id as u16
    );
    match message.question {
        Some((qname, qtype)) => {
            bare(message.name(qname), &mut row);
            let _ = write!(row, "\t1\tC_INTERNET\t{qtype}\t{}\t", rdtype_text(qtype));
        }
        None => row.push_str("-\t-\t-\t-\t-\t"),
    }
    let letter = |is: bool| if is { 'T' } else { 'F' };
    let upstream = seen.vantage == Vantage::Upstream;
    let _ = write!(
        row,
        "{}\t{}\t{}\t{}\tF\t{}\t0\t",
        message.rcode,
        rcode_text(message.rcode),
        letter(upstream),
        letter(message.truncated),
        letter(!upstream)
    );
    let answers: Vec<&Record> = message.records.iter().filter(|record| record.section == Section::Answer).collect();
    if answers.is_empty() {
        row.push_str("-\t-");
    }
    for (place, record) in answers.iter().enumerate() {
        row.push_str(if place == 0 { "" } else { "," });
        zeek_answer(message, record, &mut row);
    }
    for (place, record) in answers.iter().enumerate() {
        let _ = write!(row, "{}{}.000000", if place == 0 { "\t" } else { "," }, record.ttl);
    }
    let _ = writeln!(row, "\t{}", letter(matches!(message.rcode, 1..)));
    out.extend(row.as_bytes());
}

pub const ZEEK_FIELDS: [&str; 23] = [
    "ts",
    "uid",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "proto",
    "trans_id",
    "query",
    "qclass",
    "qclass_name",
    "qtype",
    "qtype_name",
    "rcode",
    "rcode_name",
    "AA",
    "TC",
    "RD",
    "RA",
    "Z",
    "answers",
    "TTLs",
    "rejected",
];

/// A name without its last dot, with what would break the line as `\xHH`.
fn bare(wire: &[u8], row: &mut String) {
    let start = row.len();
    name::present(wire, row);
    if row.len() > start + 1 {
        row.pop();
    }
    if row[start..].contains([',', '\t']) {
        let escaped = row[start..].replace(',', "\\x2c").replace('\t', "\\x09");
        row.truncate(start);
        row.push_str(&escaped);
    }
}

fn zeek_answer(message: &Message, record: &Record, row: &mut String) {
    match record.rdata {
        Rdata::A(address) => rdata::present_a(address, row),
        Rdata::Name(index) => bare(message.name(index), row),
        Rdata::Bytes(span) if record.rdtype == rdtype::AAAA => {
            rdata::present(record.rdtype, message.bytes(span), row);
        }
        // What Zeek does with types it does not take apart: it names them.
        _ => {
            let _ = write!(row, "<unknown type={}>", record.rdtype);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEEN: Seen<'_> = Seen {
        ts_us: 1_790_000_000_123_456,
        client: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 198, 18, 0, 1],
        server: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 198, 18, 0, 2],
        vantage: Vantage::Client,
        sensor: Some("s"),
    };

    fn wire_of(message: &Message) -> Vec<u8> {
        let mut composer = Composer::new(Form::Pcap);
        composer.compose(message, &SEEN);
        composer.wire
    }

    proptest! {
        #[test]
        fn a_composed_message_is_the_message(
            names in prop::collection::vec("[a-c]{1,3}(\\.[a-c]{1,3}){0,3}", 1..12),
            ttl in any::<u32>(),
        ) {
            let mut message = Message::default();
            let qname = message.add_name(&names[0]).unwrap();
            message.question = Some((qname, 1));
            for pair in names.windows(2) {
                let owner = message.add_name(&pair[0]).unwrap();
                let target = message.add_name(&pair[1]).unwrap();
                let record = |rdtype, rdata| Record { section: Section::Answer, owner, rdtype, ttl, rdata };
                message.records.push(record(rdtype::CNAME, Rdata::Name(target)));
                message.records.push(record(rdtype::A, Rdata::A(ttl)));
            }
            let wire = wire_of(&message);
            let mut again = Message::default();
            prop_assert!(again.parse(&wire).is_ok());
            prop_assert_eq!(again.n_trailing, 0);
            prop_assert_eq!(again.records.len(), message.records.len());
            for (one, other) in message.records.iter().zip(&again.records) {
                prop_assert_eq!(message.name(one.owner), again.name(other.owner));
                prop_assert_eq!((one.rdtype, one.ttl), (other.rdtype, other.ttl));
                match (one.rdata, other.rdata) {
                    (Rdata::Name(a), Rdata::Name(b)) => prop_assert_eq!(message.name(a), again.name(b)),
                    (a, b) => prop_assert_eq!(a, b),
                }
            }
        }
    }

    #[test]
    fn checksums_are_those_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7];
        assert_eq!(fold(sum16(&bytes)), 0xDDF2); // the example of its section 3
    }

    #[test]
    fn a_message_that_does_not_fit_is_cut_and_says_so() {
        let mut message = Message::default();
        let owner = message.add_name("a.test").unwrap();
        message.question = Some((owner, 1));
        let record = Record { section: Section::Answer, owner, rdtype: 1, ttl: 1, rdata: Rdata::A(1) };
        message.records = vec![record; 5000];
        let wire = wire_of(&message);
        let mut again = Message::default();
        again.parse(&wire).unwrap();
        assert!(again.truncated && again.records.is_empty());
    }
}
