//! dnstap (dnstap.info): protocol buffers in Frame Streams, as resolvers and name servers log them.
//!
//! A server's log tells what a capture cannot: which answers it gave its clients (TTLs age in its
//! cache) and which it got itself (they do not). The kinds of message keep them apart.

use crate::chunks::{Broken, Framing, Records};
use crate::link::{Address, UNKNOWN_ADDRESS};
use crate::message::be32;
use crate::reduce::Vantage;
use crate::report::{Malformed, Skip};
use crate::source::{Desk, Seen, Sink};
use crate::text::in_calendar;

/// A DNS message has 64 KiB at most, a frame two of them and some fields; fstrm's own limit.
const MAX_FRAME: usize = 1 << 20;
/// fstrm's limit for control frames (FSTRM_CONTROL_FRAME_LENGTH_MAX).
const MAX_CONTROL: usize = 512;
const READY: u32 = 4;
const START: u32 = 2;
const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

/// Does the file begin like Frame Streams with dnstap inside?
pub fn is_dnstap(head: &[u8]) -> bool {
    let kind = be32(head, 8);
    be32(head, 0) == Some(0)
        && matches!(kind, Some(START | READY))
        && head.windows(CONTENT_TYPE.len()).any(|window| window == CONTENT_TYPE)
}

/// A dnstap file; nothing needs to be remembered from frame to frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dnstap;

/// A frame's payload and length as a whole; `None` for the payload of control frames.
type Frame<'a> = (Option<&'a [u8]>, usize);

fn frame(bytes: &[u8], at: usize) -> Result<Option<Frame<'_>>, Broken> {
    let too_long = || Broken { kind: Malformed::RecordLength, at };
    let Some(length) = be32(bytes, at) else { return Ok(None) };
    if length > 0 {
        let length = length as usize;
        if length > MAX_FRAME {
            return Err(too_long());
        }
        return Ok(bytes.get(at + 4..at + 4 + length).map(|payload| (Some(payload), 4 + length)));
    }
    let Some(length) = be32(bytes, at + 4) else { return Ok(None) };
    let length = length as usize;
    if length > MAX_CONTROL {
        return Err(too_long());
    }
    Ok(bytes.get(at + 8..at + 8 + length).map(|_| (None, 8 + length)))
}

impl Framing for Dnstap {
    fn cut(&mut self, bytes: &[u8], _last: bool) -> Result<usize, Broken> {
        let mut at = 0;
        while let Some((_, length)) = frame(bytes, at)? {
            at += length;
        }
        Ok(at)
    }
}

impl<S: Sink> Records<S> for Dnstap {
    fn read(&mut self, bytes: &[u8], place: u64, desk: &mut Desk<'_, S>) {
        let mut at = 0;
        while let Ok(Some((payload, length))) = frame(bytes, at) {
            if let Some(payload) = payload {
                take(payload, place + at as u64, desk);
            }
            at += length;
        }
    }
}

/// Take in one dnstap frame.
fn take<S: Sink>(payload: &[u8], place: u64, desk: &mut Desk<'_, S>) {
    let event = match Event::parse(payload) {
        Ok(event) => event,
        Err(kind) => return desk.malformed(kind, place),
    };
    let vantage = match event.kind {
        _ if event.kind % 2 == 1 => return desk.report.skip(Skip::Query, place),
        AUTH_RESPONSE | RESOLVER_RESPONSE => Vantage::Upstream,
        CLIENT_RESPONSE | FORWARDER_RESPONSE | STUB_RESPONSE => Vantage::Client,
        TOOL_RESPONSE => desk.options.vantage,
        _ => return desk.report.skip(Skip::OtherMessage, place),
    };
    let Some(ts_us) = event.response_us.or(event.query_us) else {
        return desk.malformed(Malformed::MissingField, place);
    };
    let Some(message) = event.message else { return desk.malformed(Malformed::MissingField, place) };
    if desk.in_time(ts_us, place) {
        let Event { client, server, sensor, .. } = event;
        desk.wire(message, &Seen { ts_us, client, server, vantage, sensor }, place);
    }
}

// Message.Type of dnstap.proto: queries are odd, responses even.
const AUTH_RESPONSE: u64 = 2;
const RESOLVER_RESPONSE: u64 = 4;
const CLIENT_RESPONSE: u64 = 6;
const FORWARDER_RESPONSE: u64 = 8;
const STUB_RESPONSE: u64 = 10;
const TOOL_RESPONSE: u64 = 12;

/// The fields of a frame that matter.
#[derive(Debug)]
struct Event<'a> {
    kind: u64,
    sensor: Option<&'a str>,
    client: Address,
    server: Address,
    query_us: Option<i64>,
    response_us: Option<i64>,
    message: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let (mut identity, mut message, mut kind) = (None, None, None);
        for field in (Fields { rest: payload }) {
            match field? {
                (1, Value::Bytes(bytes)) => identity = Some(bytes),
                (14, Value::Bytes(bytes)) => message = Some(bytes),
                (15, Value::Number(number)) => kind = Some(number),
                _ => {}
            }
        }
        let message = message.filter(|_| kind.is_none_or(|kind| kind == 1)).ok_or(Malformed::MissingField)?;
        let sensor = identity.filter(|identity| !identity.is_empty()).and_then(|id| std::str::from_utf8(id).ok());
        Self::parse_message(message, sensor)
    }

    fn parse_message(message: &'a [u8], sensor: Option<&'a str>) -> Result<Self, Malformed> {
        let mut event = Event {
            kind: 0,
            sensor,
            client: UNKNOWN_ADDRESS,
            server: UNKNOWN_ADDRESS,
            query_us: None,
            response_us: None,
            message: None,
        };
        let (mut query, mut response) = ((None, 0), (None, 0));
        for field in (Fields { rest: message }) {
            match field? {
                (1, Value::Number(kind)) => event.kind = kind,
                (4, Value::Bytes(bytes)) => event.client = address(bytes)?,
                (5, Value::Bytes(bytes)) => event.server = address(bytes)?,
                (8, Value::Number(seconds)) => query.0 = Some(seconds),
                (9, Value::Number(nanoseconds)) => query.1 = nanoseconds,
                (12, Value::Number(seconds)) => response.0 = Some(seconds),
                (13, Value::Number(nanoseconds)) => response.1 = nanoseconds,
                (14, Value::Bytes(bytes)) => event.message = Some(bytes),
                _ => {}
            }
        }
        if event.kind == 0 {
            return Err(Malformed::MissingField);
        }
        event.query_us = time_us(query)?;
        event.response_us = time_us(response)?;
        Ok(event)
    }
}

fn time_us((seconds, nanoseconds): (Option<u64>, u64)) -> Result<Option<i64>, Malformed> {
    let Some(seconds) = seconds else { return Ok(None) };
    let us = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    let us = us.filter(|_| nanoseconds < 1_000_000_000).and_then(|us| us.checked_add((nanoseconds / 1000) as i64));
    us.and_then(in_calendar).map(Some).ok_or(Malformed::BadField)
}

fn address(bytes: &[u8]) -> Result<Address, Malformed> {
    match bytes.len() {
        4 if bytes == [0; 4] => Ok(UNKNOWN_ADDRESS), // what unbound says of its own side
        4 => {
            let mut address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0];
            address[12..].copy_from_slice(bytes);
            Ok(address)
        }
        16 => bytes.try_into().map_err(|_| Malformed::BadField),
        _ => Err(Malformed::BadField),
    }
}

/// A value of a protocol buffer field; fixed-width numbers are numbers too.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Fields of a protocol buffer message, in the order in which they stand.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(bytes)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Number(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?)),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => Value::Number(u64::from(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))),
            _ => return None, // groups, which dnstap never had
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(Malformed::Protobuf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_of_every_width_are_read() {
        let fields: Vec<_> = Fields { rest: &[0x08, 0x96, 0x01, 0x4D, 1, 0, 0, 0, 0x51, 2, 0, 0, 0, 0, 0, 0, 0] }
            .map(|field| match field {
                Ok((number, Value::Number(value))) => (number, value),
                _ => panic!("a number"),
            })
            .collect();
        assert_eq!(fields, [(1, 150), (9, 1), (10, 2)]);
    }

    proptest! {
        #[test]
        fn any_frame_is_an_event_or_malformed(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Event::parse(&payload);
        }

        #[test]
        fn any_stream_is_cut_where_its_frames_end(bytes in prop::collection::vec(0u8..8, 0..400)) {
            if let Ok(length) = Dnstap.cut(&bytes, true) {
                prop_assert!(length <= bytes.len());
                prop_assert!(length == 0 || Dnstap.cut(&bytes[..length], true).is_ok_and(|again| again == length));
            }
        }
    }
}
