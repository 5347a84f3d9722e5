//! Classic pcap files (µs and ns, either byte order), on one thread or on several.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::link::{Address, LinkType, UNKNOWN_ADDRESS, datagram};
use crate::message::{Message, Refused};
use crate::reduce::{Reducer, Vantage};
use crate::report::{Malformed, Report, Skip};
use crate::text::Progress;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Read at once: stays in the second-level cache until it is decoded.
const CHUNK: usize = 1 << 18;
/// libpcap's own limit for one packet (MAXIMUM_SNAPLEN).
const MAX_PACKET: usize = 262_144;
/// Below this a second thread costs more than it brings.
const MIN_PART: u64 = 8 << 20;
/// How far a thread looks for the first packet of its part.
const RESYNC_WINDOW: usize = 2 << 20;

/// What to take out of a capture.
#[derive(Clone, Debug)]
pub struct Options {
    /// UDP ports on which DNS is read.
    pub ports: Vec<u16>,
    pub vantage: Vantage,
    /// Only packets with `since <= time < until`, microseconds since the epoch.
    pub since_us: i64,
    pub until_us: i64,
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { ports: vec![53], vantage: Vantage::Unknown, since_us: i64::MIN, until_us: i64::MAX, threads: 1 }
    }
}

/// Who wants the responses of a capture.
pub trait Sink {
    fn response(&mut self, message: &Message, ts_us: i64, client: Address, server: Address, vantage: Vantage);
}

impl Sink for Reducer {
    fn response(&mut self, message: &Message, ts_us: i64, client: Address, _server: Address, vantage: Vantage) {
        self.add(message, ts_us, Some(client).filter(|client| *client != UNKNOWN_ADDRESS), vantage);
    }
}

/// The file header: byte order, unit of time, link layer.
#[derive(Clone, Copy, Debug)]
struct Header {
    big_endian: bool,
    nanoseconds: bool,
    link: LinkType,
}

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

fn word(big_endian: bool, bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

impl Header {
    fn read(head: &[u8]) -> Result<Self, String> {
        let (big_endian, nanoseconds) = order_of(head).ok_or("this is no pcap file")?;
        if head.len() < FILE_HEADER {
            return Err("the pcap file ends inside its header".to_owned());
        }
        let number = word(big_endian, head, 20) & 0xFFFF; // the upper bits are about the FCS
        let link = LinkType::from_number(number)
            .ok_or_else(|| format!("link layer {number} of this capture is not understood"))?;
        Ok(Header { big_endian, nanoseconds, link })
    }

    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        word(self.big_endian, bytes, at)
    }

    fn time_us(&self, record: &[u8]) -> i64 {
        let fraction = i64::from(self.word(record, 4));
        i64::from(self.word(record, 0)) * 1_000_000 + if self.nanoseconds { fraction / 1000 } else { fraction }
    }

    fn captured(&self, record: &[u8]) -> usize {
        self.word(record, 8) as usize
    }

    /// Could a record header stand here? (For finding the way back in the middle of a file.)
    fn plausible(&self, record: &[u8], near_s: u32) -> bool {
        let (captured, original) = (self.word(record, 8), self.word(record, 12));
        let limit = if self.nanoseconds { 1_000_000_000 } else { 1_000_000 };
        (14..=65_535 + 64).contains(&captured)
            && captured <= original
            && original < 1 << 20
            && self.word(record, 4) < limit
            && self.word(record, 0).abs_diff(near_s) < 40 * 86_400
    }
}

/// Read a whole capture into `sink` on this thread.
///
/// # Errors
/// A sentence when the file cannot be read or is no pcap file of a known link layer.
pub fn read<S: Sink>(
    path: &Path,
    options: &Options,
    sink: &mut S,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), String> {
    let (file, header, size) = open(path)?;
    let part = Part { file: &file, header, from: FILE_HEADER as u64, to: u64::MAX, size };
    part.read(options, sink, report, progress).map(|_| ()).map_err(|error| error.to_string())
}

fn open(path: &Path) -> Result<(File, Header, u64), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    (&file).take(FILE_HEADER as u64).read_to_end(&mut head).map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    Ok((file, Header::read(&head)?, size))
}

/// Reduce a capture, cut into one part per thread where it is large.
///
/// A part starts at the first place that looks like a chain of packet headers; whether that was
/// right is known when the part before it ends, and if it was not, the part is read again from
/// the true place. So the result never depends on the guess.
///
/// # Errors
/// A sentence when the file cannot be read or is no pcap file of a known link layer.
pub fn reduce(
    path: &Path,
    options: &Options,
    reducer: &mut Reducer,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), String> {
    let (file, header, size) = open(path)?;
    let parts = (size / MIN_PART).clamp(1, options.threads.max(1) as u64);
    let mut starts = vec![FILE_HEADER as u64];
    for index in 1..parts {
        match resync(&file, &header, size * index / parts) {
            Ok(Some(start)) => starts.push(start),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let part = |index: usize| Part {
        file: &file,
        header,
        from: starts[index],
        to: starts.get(index + 1).copied().unwrap_or(u64::MAX),
        size,
    };
    let (first, others) = std::thread::scope(|scope| {
        let handles: Vec<_> = (1..starts.len())
            .map(|index| {
                let (part, mut sibling, mut books) = (part(index), reducer.sibling(), Report::default());
                scope.spawn(move || {
                    let end = part.read(options, &mut sibling, &mut books, progress);
                    sibling.settle();
                    (sibling, books, end)
                })
            })
            .collect();
        let first = part(0).read(options, reducer, report, progress);
        let join =
            |handle: std::thread::ScopedJoinHandle<'_, _>| handle.join().expect("a reading thread does not panic");
        (first, handles.into_iter().map(join).collect::<Vec<_>>())
    });
    let mut end = first.map_err(|error| error.to_string())?;
    for (index, (sibling, books, next)) in others.into_iter().enumerate() {
        let Some(from) = end else { break }; // the file ended, or broke off, before this part
        end = if from == starts[index + 1] {
            reducer.absorb(sibling);
            report.merge(&books);
            next
        } else {
            Part { from, ..part(index + 1) }.read(options, reducer, report, progress)
        }
        .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The first offset at or after `from` from which 16 headers follow each other.
fn resync(file: &File, header: &Header, from: u64) -> io::Result<Option<u64>> {
    let mut first = [0; RECORD_HEADER];
    file.read_exact_at(&mut first, FILE_HEADER as u64)?;
    let near_s = header.word(&first, 0);
    let mut window = vec![0; RESYNC_WINDOW];
    let mut have = 0;
    while have < window.len() {
        let n = file.read_at(&mut window[have..], from + have as u64)?;
        if n == 0 {
            break;
        }
        have += n;
    }
    let window = &window[..have];
    let chain = |start: usize| {
        let mut at = start;
        (0..16).all(|_| {
            let record = window.get(at..at + RECORD_HEADER);
            at += RECORD_HEADER + record.map_or(0, |record| header.captured(record));
            record.is_some_and(|record| header.plausible(record, near_s))
        })
    };
    Ok((0..window.len() / 2).find(|start| chain(*start)).map(|start| from + start as u64))
}

/// A piece of a capture file: records that begin in `from..to`.
struct Part<'a> {
    file: &'a File,
    header: Header,
    from: u64,
    to: u64,
    size: u64,
}

impl Part<'_> {
    /// Returns where the next part must begin (`None`: the file is over).
    fn read<S: Sink>(
        &self,
        options: &Options,
        sink: &mut S,
        report: &mut Report,
        progress: &Progress,
    ) -> io::Result<Option<u64>> {
        let mut message = Message::default();
        let mut buffer = vec![0; CHUNK + MAX_PACKET + RECORD_HEADER];
        let (mut base, mut have) = (self.from, 0); // base: offset of buffer[0] in the file
        loop {
            let n = self.fill(&mut buffer, base, &mut have)?;
            progress.advance(n as u64);
            let mut at = 0;
            while let Some(record) = buffer[..have].get(at..at + RECORD_HEADER) {
                let offset = base + at as u64;
                if offset >= self.to {
                    return Ok(Some(offset));
                }
                let captured = self.header.captured(record);
                if captured > MAX_PACKET {
                    report.malformed(Malformed::RecordLength, offset);
                    let left = self.size.saturating_sub(offset);
                    let what = format!(
                        "the record at byte {offset} has an impossible length: the {left} bytes from there on were not read"
                    );
                    return Err(io::Error::other(what));
                }
                let Some(frame) = buffer[..have].get(at + RECORD_HEADER..at + RECORD_HEADER + captured) else { break };
                let cut = captured < self.header.word(record, 12) as usize;
                self.packet(frame, offset, self.header.time_us(record), cut, options, sink, &mut message, report);
                at += RECORD_HEADER + captured;
            }
            if n == 0 || progress.cancelled() {
                let rest = base + at as u64;
                if n == 0 && at < have && rest < self.to {
                    report.malformed(Malformed::CutFile, rest);
                }
                return Ok((rest < self.size && n > 0).then_some(rest));
            }
            buffer.copy_within(at..have, 0);
            base += at as u64;
            have -= at;
        }
    }

    fn fill(&self, buffer: &mut [u8], base: u64, have: &mut usize) -> io::Result<usize> {
        let end = (*have + CHUNK).min(buffer.len());
        let n = self.file.read_at(&mut buffer[*have..end], base + *have as u64)?;
        *have += n;
        Ok(n)
    }

    #[allow(clippy::too_many_arguments)] // one packet's fields, on the hot path
    fn packet<S: Sink>(
        &self,
        frame: &[u8],
        offset: u64,
        ts_us: i64,
        cut: bool,
        options: &Options,
        sink: &mut S,
        message: &mut Message,
        report: &mut Report,
    ) {
        if ts_us < options.since_us || ts_us >= options.until_us {
            report.skip(Skip::OutsideTime, offset);
            return;
        }
        let found = datagram(self.header.link, frame, cut, &options.ports)
            .and_then(|found| message.parse(found.payload).map(|()| found));
        match found {
            Ok(found) => {
                sink.response(message, ts_us, found.destination, found.source, options.vantage);
                note(message, ts_us, offset, report);
            }
            Err(Refused::Skip(kind)) => report.skip(kind, offset),
            Err(Refused::Malformed(kind)) => report.malformed(kind, offset),
        }
    }
}

/// Enter a decoded response in the books, with what is odd about it.
fn note(message: &Message, ts_us: i64, offset: u64, report: &mut Report) {
    report.decoded(ts_us, message.records.len() as u64);
    if message.n_other_class > 0 {
        report.left_out("class_not_in", u64::from(message.n_other_class), offset);
    }
    if message.n_trailing > 0 {
        report.oddity("bytes_after_message", offset);
    }
    if message.n_questions != 1 {
        report.oddity("question_count_not_1", offset);
    }
    if message.truncated {
        report.oddity("truncated_response", offset);
    }
    if message.records.iter().any(|record| record.ttl > i32::MAX as u32) {
        report.oddity("ttl_top_bit_set", offset);
    }
}
