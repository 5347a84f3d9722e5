//! Packets of a capture as rows: who sent how much to whom, and the little of the content that tells
//! which inbound request became which outbound one.
//!
//! For `unflux trace`, which looks for the server behind a proxy. Content is read only where it is
//! plain: the question of DNS on port 53, and the first lines of HTTP. No stream is put together.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Int64Builder, StringBuilder, StringDictionaryBuilder, TimestampMicrosecondBuilder, UInt8Builder,
    UInt16Builder, UInt32Builder,
};
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;

use crate::capture::Packet;
use crate::link::{self, Ends, Internet, TCP, UDP};
use crate::message::{Message, Refused, be16, be32};
use crate::name;
use crate::report::{Malformed, Report, Skip};
use crate::source::{Seen, Sink};
use crate::text;

/// Rows per batch.
const BATCH_ROWS: usize = 1 << 16;
/// Of the content, so much is searched for the head of an HTTP message.
const HEAD: usize = 4096;
/// A longer first line or host is cut.
const MAX_TEXT: usize = 256;
const DNS_PORT: u16 = 53;
const METHODS: [&[u8]; 8] = [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"OPTIONS ", b"DELETE ", b"PATCH ", b"CONNECT "];

/// What TCP and UDP headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transport<'a> {
    protocol: &'static str,
    ports: (u16, u16),
    seq: u32,
    flags: u8,
    /// Bytes of payload that were sent, also where the capture was cut.
    length: u32,
    /// What was captured of them.
    payload: &'a [u8],
}

/// The head of an HTTP message that begins in this payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Http {
    line: String,
    host: Option<String>,
    content_length: Option<i64>,
}

type Words = StringDictionaryBuilder<UInt32Type>;

/// Builds the packets table; full batches are handed to `out`.
pub struct Packets<F: FnMut(RecordBatch)> {
    out: F,
    rows: usize,
    ts: TimestampMicrosecondBuilder,
    source: Words,
    destination: Words,
    source_port: UInt16Builder,
    destination_port: UInt16Builder,
    protocol: Words,
    seq: UInt32Builder,
    flags: UInt8Builder,
    length: UInt32Builder,
    qname: StringBuilder,
    recursion: BooleanBuilder,
    http_line: StringBuilder,
    http_host: StringBuilder,
    content_length: Int64Builder,
    tls: BooleanBuilder,
}

impl<F: FnMut(RecordBatch)> Packets<F> {
    pub fn new(out: F) -> Self {
        Packets {
            out,
            rows: 0,
            ts: TimestampMicrosecondBuilder::new(),
            source: Words::new(),
            destination: Words::new(),
            source_port: UInt16Builder::new(),
            destination_port: UInt16Builder::new(),
            protocol: Words::new(),
            seq: UInt32Builder::new(),
            flags: UInt8Builder::new(),
            length: UInt32Builder::new(),
            qname: StringBuilder::new(),
            recursion: BooleanBuilder::new(),
            http_line: StringBuilder::new(),
            http_host: StringBuilder::new(),
            content_length: Int64Builder::new(),
            tls: BooleanBuilder::new(),
        }
    }

    /// Hand over the last, partly filled batch.
    ///
    /// # Errors
    /// When Arrow refuses the batch, which would be a fault of this crate.
    pub fn finish(mut self) -> Result<(), ArrowError> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), ArrowError> {
        let columns: [(&str, ArrayRef, bool); 15] = [
            ("ts", Arc::new(self.ts.finish().with_timezone("UTC")), false),
            ("source", Arc::new(self.source.finish()), false),
            ("destination", Arc::new(self.destination.finish()), false),
            ("source_port", Arc::new(self.source_port.finish()), false),
            ("destination_port", Arc::new(self.destination_port.finish()), false),
            ("protocol", Arc::new(self.protocol.finish()), false),
            ("seq", Arc::new(self.seq.finish()), false),
            ("flags", Arc::new(self.flags.finish()), false),
            ("length", Arc::new(self.length.finish()), false),
            ("qname", Arc::new(self.qname.finish()), true),
            ("recursion", Arc::new(self.recursion.finish()), true),
            ("http_line", Arc::new(self.http_line.finish()), true),
            ("http_host", Arc::new(self.http_host.finish()), true),
            ("content_length", Arc::new(self.content_length.finish()), true),
            ("tls", Arc::new(self.tls.finish()), false),
        ];
        self.rows = 0;
        (self.out)(RecordBatch::try_from_iter_with_nullable(columns)?);
        Ok(())
    }

    fn row(&mut self, ts_us: i64, ends: &Ends, transport: &Transport<'_>) {
        self.ts.append_value(ts_us);
        self.source.append_value(text::address(&ends.source));
        self.destination.append_value(text::address(&ends.destination));
        self.source_port.append_value(transport.ports.0);
        self.destination_port.append_value(transport.ports.1);
        self.protocol.append_value(transport.protocol);
        self.seq.append_value(transport.seq);
        self.flags.append_value(transport.flags);
        self.length.append_value(transport.length);
        let (qname, recursion) = question_of(transport).unzip();
        self.qname.append_option(qname);
        self.recursion.append_option(recursion);
        let http = if transport.protocol == "tcp" { http_of(transport.payload) } else { None };
        let (line, host, content_length) = match http {
            Some(Http { line, host, content_length }) => (Some(line), host, content_length),
            None => (None, None, None),
        };
        self.http_line.append_option(line);
        self.http_host.append_option(host);
        self.content_length.append_option(content_length);
        self.tls.append_value(is_hello(transport.payload));
        self.rows += 1;
    }
}

impl<F: FnMut(RecordBatch)> Sink for Packets<F> {
    fn response(&mut self, _message: &Message, _seen: &Seen<'_>) {}

    fn packet(&mut self, packet: &Packet<'_>, report: &mut Report) -> bool {
        match transport_of(packet) {
            Ok((ends, transport)) => {
                self.row(packet.ts_us, &ends, &transport);
                report.decoded(packet.ts_us, 0);
            }
            Err(Refused::Skip(kind)) => report.skip(kind, packet.place),
            Err(Refused::Malformed(kind)) => report.malformed(kind, packet.place),
        }
        if self.rows >= BATCH_ROWS {
            self.flush().expect("columns of equal length and known types");
        }
        true
    }
}

fn transport_of<'a>(packet: &Packet<'a>) -> Result<(Ends, Transport<'a>), Refused> {
    let ip = link::internet(link::network(packet.link, packet.frame)?)?;
    if ip.fragment.is_some_and(|(_, at, _)| at > 0) {
        return Err(Refused::Skip(Skip::IpFragment)); // its ports are in the first one
    }
    let transport = match ip.protocol {
        TCP => tcp(&ip)?,
        UDP => udp(&ip)?,
        _ => return Err(Refused::Skip(Skip::NotUdp)),
    };
    Ok((ip.ends, transport))
}

fn ports(body: &[u8], otherwise: Malformed) -> Result<(u16, u16), Malformed> {
    be16(body, 0).zip(be16(body, 2)).ok_or(otherwise)
}

fn udp<'a>(ip: &Internet<'a>) -> Result<Transport<'a>, Refused> {
    let ports = ports(ip.body, Malformed::UdpLength)?;
    let said = usize::from(be16(ip.body, 4).ok_or(Malformed::UdpLength)?);
    let whole = ip.body.len() + ip.missing;
    if said < 8 || (said > whole && ip.fragment.is_none()) {
        return Err(Malformed::UdpLength.into());
    }
    let payload = ip.body.get(8..said.min(ip.body.len())).unwrap_or_default();
    Ok(Transport { protocol: "udp", ports, seq: 0, flags: 0, length: said as u32 - 8, payload })
}

fn tcp<'a>(ip: &Internet<'a>) -> Result<Transport<'a>, Refused> {
    let header: &[u8; 20] = ip.body.first_chunk().ok_or(Malformed::TcpHeader)?;
    let ports = ports(header, Malformed::TcpHeader)?;
    let size = usize::from(header[12] >> 4) * 4;
    let whole = ip.body.len() + ip.missing;
    if size < 20 || size > whole {
        return Err(Malformed::TcpHeader.into());
    }
    let payload = ip.body.get(size..).unwrap_or_default();
    let seq = be32(header, 4).unwrap_or_default();
    Ok(Transport { protocol: "tcp", ports, seq, flags: header[13], length: (whole - size) as u32, payload })
}

/// The name asked for and whether recursion is desired, in queries and responses on port 53: a
/// resolver is asked with the bit and asks without, who passes questions on leaves it as it is.
fn question_of(transport: &Transport<'_>) -> Option<(String, bool)> {
    if transport.ports.0 != DNS_PORT && transport.ports.1 != DNS_PORT {
        return None;
    }
    let wire = match transport.protocol {
        "udp" => transport.payload,
        _ => transport.payload.get(2..)?, // behind the length (RFC 1035 §4.2.2)
    };
    if be16(wire, 4)? != 1 {
        return None;
    }
    let (mut lower, mut out) = (Vec::new(), String::new());
    name::read(wire, 12, &mut lower).ok()?;
    name::present(&lower, &mut out);
    Some((out, wire.get(2)? & 1 != 0))
}

/// A TLS handshake record with a ClientHello or ServerHello begins here (RFC 8446 §5.1).
fn is_hello(payload: &[u8]) -> bool {
    matches!(payload, [0x16, 0x03, 0..=4, _, _, 1 | 2, ..])
}

fn http_of(payload: &[u8]) -> Option<Http> {
    let is_head = payload.starts_with(b"HTTP/1.") || METHODS.iter().any(|method| payload.starts_with(method));
    if !is_head {
        return None;
    }
    let mut lines = payload[..payload.len().min(HEAD)].split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut http = Http { line: readable(lines.next()?), ..Http::default() };
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (field, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if field.eq_ignore_ascii_case(b"host") {
            http.host.get_or_insert_with(|| readable(value).to_ascii_lowercase());
        } else if field.eq_ignore_ascii_case(b"content-length") {
            http.content_length =
                std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()).filter(|n| *n >= 0);
        }
    }
    Some(http)
}

fn readable(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(MAX_TEXT)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkType;
    use proptest::prelude::*;

    fn packet(frame: &[u8]) -> Packet<'_> {
        Packet { link: LinkType::RawIp, frame, cut: false, ts_us: 1, place: 24 }
    }

    /// IPv4 around a body of which the capture may have only a part.
    fn ipv4(protocol: u8, body: &[u8], total: usize) -> Vec<u8> {
        let mut frame = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2];
        frame[2..4].copy_from_slice(&(20 + total as u16).to_be_bytes());
        [&frame[..], body].concat()
    }

    #[test]
    fn a_cut_segment_has_its_whole_length() {
        let body = [&[0, 80, 0x12, 0x34, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0][..], b"GET"].concat();
        let frame = ipv4(TCP, &body, 20 + 1000);
        let (ends, transport) = transport_of(&packet(&frame)).expect("a segment");
        assert_eq!(text::address(&ends.destination), "198.18.0.2");
        assert_eq!((transport.ports, transport.seq, transport.flags), ((80, 0x1234), 7, 0x18));
        assert_eq!((transport.length, transport.payload), (1000, &b"GET"[..]));
    }

    #[test]
    fn the_head_of_a_message_is_read_and_no_more() {
        let http =
            http_of(b"POST /gate HTTP/1.1\r\nHOST: A.Test\r\nContent-Length: 12\r\n\r\nHost: no").expect("a head");
        assert_eq!(
            http,
            Http { line: "POST /gate HTTP/1.1".into(), host: Some("a.test".into()), content_length: Some(12) }
        );
        assert_eq!(http_of(b"\x16\x03\x01\x02\x00"), None);
        assert_eq!(http_of(b"HTTP/1.0 200 OK\nContent-Length: -5\n\n").and_then(|http| http.content_length), None);
    }

    #[test]
    fn the_question_is_read_from_queries_too() {
        let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01A\x04test\0\0\x01\0\x01";
        let udp = [&[0x12, 0x34, 0, 53][..], &(8 + query.len() as u16).to_be_bytes(), &[0, 0], query].concat();
        let frame = ipv4(UDP, &udp, udp.len());
        let (_, transport) = transport_of(&packet(&frame)).expect("a datagram");
        assert_eq!(question_of(&transport), Some(("a.test.".to_owned(), true)));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_the_books(frame in prop::collection::vec(any::<u8>(), 0..200), version in 0u8..3) {
            let mut frame = frame;
            if let (Some(first), 1..) = (frame.first_mut(), version) {
                *first = if version == 1 { 0x45 } else { 0x60 };
            }
            let mut report = Report::default();
            let mut rows = 0;
            let mut sink = Packets::new(|batch: RecordBatch| rows += batch.num_rows());
            prop_assert!(sink.packet(&packet(&frame), &mut report));
            sink.finish().expect("columns fit");
            prop_assert_eq!(report.items, 1);
            prop_assert_eq!(rows as u64, report.decoded);
        }
    }
}
