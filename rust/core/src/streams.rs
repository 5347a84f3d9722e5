//! DNS over TCP (RFC 7766): segments to streams, streams to messages.

use std::collections::HashMap;

use crate::link::{Ends, Part, PartKind};
use crate::message::be16;
use crate::pieces::seen;
use crate::report::Malformed;
use crate::source::{Desk, Sink};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Directions of connections that are followed; beyond it the longest unused half is given up.
const MAX_STREAMS: usize = 65_536;
/// Bytes that wait, of all streams together; beyond it the longest unused half is given up.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of one stream that came too early; beyond it the hole before them is given up.
const MAX_EARLY: usize = 128 << 10;
/// And how many such segments.
const MAX_EARLY_SEGMENTS: usize = 128;
/// A length, and the shortest message.
const SHORTEST: usize = 2 + 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    ends: Ends,
    ports: (u16, u16),
}

/// One direction of a connection.
#[derive(Debug)]
struct Stream {
    /// Sequence number of the next byte.
    next: u32,
    /// Bytes in order that are not a whole message yet.
    ready: Vec<u8>,
    /// Segments behind a hole, nearest first.
    early: Vec<(u32, Vec<u8>)>,
    /// Inside a message, or looking for the start of one after a hole.
    in_step: bool,
    used: u64,
    /// Of the segment taken last.
    place: u64,
    ts_us: i64,
}

impl Stream {
    fn bytes(&self) -> usize {
        self.ready.len() + self.early.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// Put a segment that came too early in its place.
    fn hold(&mut self, seq: u32, bytes: &[u8]) {
        let distance = |seq: u32| seq.wrapping_sub(self.next);
        let at = self.early.partition_point(|(other, _)| distance(*other) < distance(seq));
        let known = self.early.get(at).is_some_and(|(other, old)| *other == seq && old.len() >= bytes.len());
        if !known {
            self.early.insert(at, (seq, bytes.to_vec()));
        }
    }

    /// Append what is new in a segment that begins at or before `next`.
    fn append(&mut self, seq: u32, bytes: &[u8]) {
        let old = self.next.wrapping_sub(seq) as usize;
        let Some(new) = bytes.get(old..) else { return };
        self.next = self.next.wrapping_add(new.len() as u32);
        if !self.in_step && !self.find_step(new) {
            return;
        }
        self.ready.extend_from_slice(new);
    }

    fn find_step(&mut self, bytes: &[u8]) -> bool {
        self.in_step = looks_like_start(bytes);
        self.in_step
    }
}

/// Could these be a length and the header of a message?
fn looks_like_start(bytes: &[u8]) -> bool {
    let field = |at| be16(bytes, at).unwrap_or_default();
    let opcode = field(4) >> 11 & 0xF;
    bytes.len() >= SHORTEST && field(0) >= 12 && opcode <= 6 && field(4) & 0x40 == 0 && field(6) <= 1
}

/// All connections that are followed.
#[derive(Debug, Default)]
pub struct Streams {
    open: HashMap<Key, Stream>,
    /// Bytes that wait in them.
    bytes: usize,
    clock: u64,
}

impl Streams {
    pub fn take<S: Sink>(&mut self, part: &Part<'_>, ts_us: i64, place: u64, desk: &mut Desk<'_, S>) {
        let PartKind::Segment { ports, mut seq, flags } = part.kind else { return };
        let key = Key { ends: part.ends, ports };
        self.clock += 1;
        if flags & SYN != 0 {
            seq = seq.wrapping_add(1);
            if self.open.get(&key).is_none_or(|stream| stream.next != seq) {
                self.close(key, desk);
                self.start(key, seq, (ts_us, place), desk);
            }
        }
        if !part.bytes.is_empty() {
            if !self.open.contains_key(&key) {
                if !looks_like_start(&part.bytes) {
                    desk.report.oddity("tcp_stream_without_start", place);
                    return;
                }
                self.start(key, seq, (ts_us, place), desk);
            }
            self.data(key, seq, &part.bytes, (ts_us, place), desk);
        }
        let over =
            flags & RST != 0 || (flags & FIN != 0 && self.open.get(&key).is_some_and(|stream| stream.early.is_empty()));
        if over {
            self.close(key, desk);
        }
    }

    fn start<S: Sink>(&mut self, key: Key, next: u32, (ts_us, place): (i64, u64), desk: &mut Desk<'_, S>) {
        if self.open.len() >= MAX_STREAMS || self.bytes >= MAX_BYTES {
            self.make_room(desk);
        }
        let (ready, early) = (Vec::new(), Vec::new());
        self.open.insert(key, Stream { next, ready, early, in_step: true, used: self.clock, place, ts_us });
    }

    fn data<S: Sink>(&mut self, key: Key, seq: u32, bytes: &[u8], (ts_us, place): (i64, u64), desk: &mut Desk<'_, S>) {
        let Some(stream) = self.open.get_mut(&key) else { return };
        let before = stream.bytes();
        stream.used = self.clock;
        (stream.place, stream.ts_us) = (place, ts_us);
        if seq.wrapping_sub(stream.next) as i32 <= 0 {
            stream.append(seq, bytes);
        } else {
            stream.hold(seq, bytes);
        }
        let early: usize = stream.early.iter().map(|(_, bytes)| bytes.len()).sum();
        let give_up = early > MAX_EARLY || stream.early.len() > MAX_EARLY_SEGMENTS;
        advance(key, stream, give_up, desk);
        self.bytes = self.bytes - before + stream.bytes();
        if self.bytes >= MAX_BYTES {
            self.make_room(desk);
        }
    }

    /// Forget a stream, and enter what was missing or unfinished in it.
    fn close<S: Sink>(&mut self, key: Key, desk: &mut Desk<'_, S>) {
        let Some(mut stream) = self.open.remove(&key) else { return };
        self.bytes -= stream.bytes();
        while !stream.early.is_empty() {
            advance(key, &mut stream, true, desk);
        }
        if !stream.ready.is_empty() {
            gap(stream.place, desk);
        }
    }

    fn make_room<S: Sink>(&mut self, desk: &mut Desk<'_, S>) {
        let mut by_use: Vec<_> = self.open.iter().map(|(key, stream)| (stream.used, *key)).collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in by_use.iter().take(by_use.len().div_ceil(2)) {
            self.close(*key, desk);
        }
    }

    /// Nothing more comes.
    pub fn finish<S: Sink>(&mut self, desk: &mut Desk<'_, S>) {
        let mut keys: Vec<_> = self.open.iter().map(|(key, stream)| (stream.used, *key)).collect();
        keys.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in keys {
            self.close(key, desk);
        }
    }
}

fn gap<S>(place: u64, desk: &mut Desk<'_, S>) {
    desk.report.assembled += 1;
    desk.report.malformed(Malformed::StreamGap, place);
}

/// Take what can be taken out of a stream; `give_up`: jump over the hole that is next.
fn advance<S: Sink>(key: Key, stream: &mut Stream, give_up: bool, desk: &mut Desk<'_, S>) {
    let mut jump = give_up;
    loop {
        messages(key, stream, desk);
        let Some((seq, _)) = stream.early.first() else { break };
        let distance = seq.wrapping_sub(stream.next) as i32;
        if distance > 0 {
            if !std::mem::take(&mut jump) {
                break;
            }
            gap(stream.place, desk);
            stream.ready.clear();
            stream.in_step = false;
            stream.next = *seq;
        }
        let (seq, bytes) = stream.early.remove(0);
        stream.append(seq, &bytes);
    }
}

/// Take in the whole messages at the start of what is ready.
fn messages<S: Sink>(key: Key, stream: &mut Stream, desk: &mut Desk<'_, S>) {
    let mut at = 0;
    while let Some(length) = be16(&stream.ready, at) {
        let Some(message) = stream.ready.get(at + 2..at + 2 + usize::from(length)) else { break };
        at += 2 + usize::from(length);
        desk.report.assembled += 1;
        desk.wire(message, &seen(key.ends, stream.ts_us, desk), stream.place);
    }
    stream.ready.drain(..at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::pieces::Pieces;
    use crate::source::{Options, Seen};
    use proptest::prelude::*;

    /// Counts responses, and remembers the first label of their questions.
    #[derive(Default)]
    struct Names(Vec<String>);

    impl Sink for Names {
        fn response(&mut self, message: &Message, _: &Seen<'_>) {
            let (qname, _) = message.question.unwrap();
            let label = message.name(qname);
            self.0.push(String::from_utf8_lossy(&label[1..=usize::from(label[0])]).into_owned());
        }
    }

    fn message(number: usize) -> Vec<u8> {
        let label = format!("{number:05}");
        let header = [0, 0, 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let body = [&header[..], &[5], label.as_bytes(), &[0, 0, 1, 0, 1]].concat();
        [&(body.len() as u16).to_be_bytes()[..], &body].concat()
    }

    fn segment(seq: u32, flags: u8, bytes: &[u8]) -> Part<'static> {
        let ends = Ends { source: [1; 16], destination: [2; 16] };
        Part { ends, kind: PartKind::Segment { ports: (53, 4000), seq, flags }, bytes: bytes.to_vec().into() }
    }

    fn play(segments: impl IntoIterator<Item = Part<'static>>) -> (Vec<String>, crate::report::Report) {
        let (options, mut sink) = (Options::default(), Names::default());
        let mut desk = Desk::new(&options, &mut sink, Pieces::default());
        let mut streams = Streams::default();
        for (place, part) in segments.into_iter().enumerate() {
            streams.take(&part, 1, place as u64, &mut desk);
            assert_eq!(streams.bytes, streams.open.values().map(Stream::bytes).sum::<usize>());
        }
        streams.finish(&mut desk);
        assert_eq!(streams.bytes, 0);
        let report = desk.report;
        (sink.0, report)
    }

    proptest! {
        #[test]
        fn segments_in_any_order_sent_twice_give_all_messages(
            n in 1usize..40,
            cuts in prop::collection::vec(1usize..60, 1..80),
            swaps in prop::collection::vec((0usize..200, 0usize..200), 0..30),
            isn in any::<u32>(),
        ) {
            let bytes: Vec<u8> = (0..n).flat_map(message).collect();
            let mut segments = Vec::new();
            let mut at = 0;
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(bytes.len());
                segments.push(segment(isn.wrapping_add(1 + at as u32), 0, &bytes[at..end]));
                at = end;
                if at == bytes.len() { break }
            }
            let again = segments.len() / 2;
            segments.push(segments[again].clone());
            let count = segments.len();
            for (one, other) in swaps {
                segments.swap(one % count, other % count);
            }
            // The holes stay within what is kept for one stream.
            prop_assume!(segments.len() <= MAX_EARLY_SEGMENTS);
            let (names, report) = play([segment(isn, SYN, b"")].into_iter().chain(segments));
            let wanted: Vec<String> = (0..n).map(|number| format!("{number:05}")).collect();
            prop_assert_eq!(names, wanted);
            prop_assert_eq!((report.assembled, report.malformed.len()), (n as u64, 0));
        }

        #[test]
        fn any_segments_are_bounded_and_counted(
            segments in prop::collection::vec((0u32..300, any::<u8>(), prop::collection::vec(any::<u8>(), 0..80)), 0..100)
        ) {
            let (_, report) = play(segments.iter().map(|(seq, flags, bytes)| segment(*seq, *flags, bytes)));
            prop_assert_eq!(report.items, report.assembled);
        }
    }

    #[test]
    fn behind_a_hole_reading_goes_on_at_the_next_message() {
        let rest = [message(2), message(3)].concat();
        let far = segment(1000, 0, &rest);
        let (names, report) = play([segment(0, SYN, b""), segment(1, 0, &message(1)), far]);
        assert_eq!(names, ["00001", "00002", "00003"]);
        assert_eq!(report.malformed[&Malformed::StreamGap].count, 1);
    }

    #[test]
    fn a_stream_seen_from_its_middle_is_taken_where_a_message_begins() {
        let (names, report) = play([segment(77, 0, b"rest of something"), segment(94, 0, &message(1))]);
        assert_eq!(names, ["00001"]);
        assert_eq!(report.oddities["tcp_stream_without_start"].count, 1);
    }

    #[test]
    fn an_unfinished_message_is_a_gap() {
        let (names, report) = play([segment(0, SYN, b""), segment(1, FIN, &message(1)[..20])]);
        assert!(names.is_empty());
        assert_eq!(report.malformed[&Malformed::StreamGap].count, 1);
    }

    #[test]
    fn a_message_of_64_kib_in_small_segments_is_one_message() {
        let mut body = message(1)[2..].to_vec();
        body.resize(65_535, 0);
        let bytes = [&65_535u16.to_be_bytes()[..], &body].concat();
        let segments = bytes.chunks(536).enumerate().map(|(i, chunk)| segment(1 + i as u32 * 536, 0, chunk));
        let (names, report) = play([segment(0, SYN, b"")].into_iter().chain(segments));
        assert_eq!((names.len(), report.assembled), (1, 1));
    }

    #[test]
    fn a_flood_of_connections_does_not_grow_without_bound() {
        let options = Options::default();
        let mut sink = Names::default();
        let mut desk = Desk::new(&options, &mut sink, Pieces::default());
        let mut streams = Streams::default();
        for number in 0..200_000u32 {
            let mut part = segment(0, SYN, b"");
            part.ends.source[..4].copy_from_slice(&number.to_be_bytes());
            streams.take(&part, 1, 0, &mut desk);
            assert!(streams.open.len() <= MAX_STREAMS);
        }
    }
}
