//! From a stream of bytes to whole records, on one thread or on several.
//!
//! One thread reads, unpacks and finds where records end; the others decode and reduce. A chunk of
//! whole records can be read by itself with a copy of the format's state from where it begins, so
//! the result does not depend on the number of threads.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use crate::input::{self, Progress};
use crate::pending::Inbox;
use crate::pieces::{Assembler, Piece, Pieces};
use crate::reduce::Reducer;
use crate::report::{Malformed, Report};
use crate::source::{Desk, Options, Sink};

/// Read at once on one thread: stays in the second-level cache until it is decoded.
pub const CHUNK: usize = 1 << 18;
/// Read at once for others: large enough that handing over costs nothing.
const SHARED_CHUNK: usize = 1 << 20;
/// Below this a second thread costs more than it brings.
const MIN_SHARED: u64 = 4 << 20;

/// Why records cannot be followed any further.
#[derive(Debug)]
pub struct Broken {
    pub kind: Malformed,
    /// Bytes into what was looked at: everything before was good.
    pub at: usize,
}

/// How a format puts one record behind the other, and what it must remember on the way.
///
/// The value itself is the state at a place in the file (byte order, interfaces, field names).
pub trait Framing: Clone + Send {
    /// How many bytes at the start of `bytes` are whole records; moves the state behind them.
    /// `last`: the file ends behind `bytes`.
    ///
    /// # Errors
    /// [`Broken`] where no record can begin; the state is then behind the good ones before.
    fn cut(&mut self, bytes: &[u8], last: bool) -> Result<usize, Broken>;

    /// Bytes that begin a record but do not end one, when the file is over: what that is.
    fn rest(&self, _bytes: &[u8]) -> Option<Malformed> {
        Some(Malformed::CutFile)
    }

    /// What places count: bytes of the file, or lines.
    fn place(&self, byte: u64) -> u64 {
        byte
    }
}

/// A format that `S` can take in.
pub trait Records<S>: Framing {
    /// Read whole records, the first of which stands at `place`.
    fn read(&mut self, bytes: &[u8], place: u64, desk: &mut Desk<'_, S>);
}

/// Read a whole file into `sink` on this thread.
///
/// # Errors
/// A sentence when the file cannot be read (to its end); what came before is in `sink`.
pub fn read<S: Sink, F: Records<S>>(
    path: &Path,
    framing: F,
    options: &Options,
    sink: &mut S,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), String> {
    let reader = input::open(path, progress).map_err(|error| error.to_string())?;
    read_stream(reader, CHUNK, framing, options, sink, report, progress)
}

/// The same for any stream of unpacked bytes, `chunk` of them at a time.
///
/// # Errors
/// As [`read`].
pub fn read_stream<'a, S: Sink, F: Records<S>>(
    reader: Box<dyn Read + 'a>,
    chunk: usize,
    framing: F,
    options: &Options,
    sink: &mut S,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), String> {
    let mut desk = Desk::new(options, sink, Pieces::Here(Assembler::default()));
    let outcome = one_thread(Cutter::new(reader, framing, chunk), &mut desk, progress);
    desk.finish();
    report.merge(&desk.report);
    outcome
}

fn one_thread<S: Sink, F: Records<S>>(
    mut cutter: Cutter<'_, F>,
    desk: &mut Desk<'_, S>,
    progress: &Progress,
) -> Result<(), String> {
    let outcome = loop {
        let mut before = cutter.framing.clone();
        let chunk = match cutter.next() {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break Ok(()),
            Err(sentence) => break Err(sentence),
        };
        before.read(&cutter.buffer[chunk.clone()], before.place(cutter.base + chunk.start as u64), desk);
        if progress.cancelled() {
            break Ok(());
        }
    };
    desk.report.merge(&cutter.report);
    outcome
}

/// Reduce a file, on several threads where it is large.
///
/// # Errors
/// As [`read`].
pub fn reduce<F: Records<Reducer>>(
    path: &Path,
    framing: F,
    options: &Options,
    reducer: &mut Reducer,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if options.threads < 2 || size < MIN_SHARED {
        return read(path, framing, options, reducer, report, progress);
    }
    let (workers, dealer) = reducer.dealers(options.threads);
    let (jobs, waiting) = channel::<Job<F>>();
    let (done, finished) = channel::<Done>();
    let waiting = Mutex::new(waiting);
    let (outcome, parts) = std::thread::scope(|scope| {
        let handles: Vec<_> = workers
            .into_iter()
            .map(|(worker, inbox)| {
                let (waiting, done) = (&waiting, done.clone());
                scope.spawn(move || work(waiting, done, options, worker, &inbox))
            })
            .collect();
        drop(done);
        let mut dealer = dealer; // dropped here whatever happens: the others wait for its end
        let mut desk = Desk::new(options, &mut dealer, Pieces::Here(Assembler::default()));
        let outcome = hand_out(path, framing, jobs, &finished, &mut desk, progress);
        desk.finish();
        report.merge(&desk.report);
        dealer.end_deal(); // they wait for what it has
        let join =
            |handle: std::thread::ScopedJoinHandle<'_, _>| handle.join().expect("a reading thread does not panic");
        (outcome, handles.into_iter().map(join).collect::<Vec<_>>())
    });
    let (parts, books): (Vec<Reducer>, Vec<Report>) = parts.into_iter().unzip();
    books.iter().for_each(|books| report.merge(books));
    reducer.absorb(Reducer::joined(parts));
    outcome
}

/// A chunk to be read, with the state of the format where it begins.
struct Job<F> {
    number: u64,
    buffer: Vec<u8>,
    chunk: Range<usize>,
    place: u64,
    framing: F,
}

/// What is left of a job: the buffer, and pieces that only who sees all chunks can put together.
struct Done {
    number: u64,
    buffer: Vec<u8>,
    pieces: Vec<Piece<'static>>,
}

/// Do what is to do until nothing is left.
fn work<F: Records<Reducer>>(
    jobs: &Mutex<Receiver<Job<F>>>,
    done: Sender<Done>,
    options: &Options,
    mut reducer: Reducer,
    inbox: &Inbox,
) -> (Reducer, Report) {
    let mut desk = Desk::new(options, &mut reducer, Pieces::default());
    loop {
        desk.sink.take_in(inbox);
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { number, buffer, chunk, place, mut framing }) = job else { break };
        framing.read(&buffer[chunk], place, &mut desk);
        let pieces = desk.pieces.take_kept();
        if done.send(Done { number, buffer, pieces }).is_err() {
            break; // who reads is gone: it panicked, and its thread says so
        }
    }
    let report = desk.report;
    drop(done); // who reads waits for that before it ends its own deal
    reducer.take_in_rest(inbox);
    (reducer, report)
}

/// Read and cut the file, keep the workers busy, and put pieces together in the file's order.
fn hand_out<F: Records<Reducer>>(
    path: &Path,
    framing: F,
    jobs: Sender<Job<F>>,
    finished: &Receiver<Done>,
    desk: &mut Desk<'_, Reducer>,
    progress: &Progress,
) -> Result<(), String> {
    let reader = input::open(path, progress).map_err(|error| error.to_string())?;
    let mut cutter = Cutter::new(reader, framing, SHARED_CHUNK);
    let mut back = Back { next: 0, early: BTreeMap::new(), spare: Vec::new() };
    let in_flight = 2 * desk.options.threads as u64 + 1;
    let mut number = 0;
    let outcome = loop {
        let before = cutter.framing.clone();
        let chunk = match cutter.next() {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break Ok(()),
            Err(sentence) => break Err(sentence),
        };
        let place = before.place(cutter.base + chunk.start as u64);
        let buffer = cutter.hand_over(chunk.end, back.spare.pop().unwrap_or_default());
        if jobs.send(Job { number, buffer, chunk, place, framing: before }).is_err() {
            break Err("the reading threads are gone".to_owned());
        }
        number += 1;
        while number - back.next >= in_flight {
            match finished.recv() {
                Ok(done) => back.take(done, desk),
                Err(_) => break,
            }
        }
        if progress.cancelled() {
            break Ok(());
        }
    };
    drop(jobs); // the workers end when they have done what is waiting
    for done in finished {
        back.take(done, desk);
    }
    desk.report.merge(&cutter.report);
    outcome
}

/// Finished jobs, taken in their order.
struct Back {
    next: u64,
    early: BTreeMap<u64, Vec<Piece<'static>>>,
    spare: Vec<Vec<u8>>,
}

impl Back {
    fn take(&mut self, done: Done, desk: &mut Desk<'_, Reducer>) {
        self.spare.push(done.buffer);
        self.early.insert(done.number, done.pieces);
        while let Some(pieces) = self.early.remove(&self.next) {
            self.next += 1;
            for piece in pieces {
                desk.piece(piece);
            }
        }
    }
}

/// Reads a stream and finds chunks of whole records in it.
struct Cutter<'a, F> {
    reader: Box<dyn Read + 'a>,
    framing: F,
    buffer: Vec<u8>,
    /// Offset of `buffer[0]` in the unpacked file.
    base: u64,
    /// Bytes of `buffer` that were handed out already, and that are filled.
    used: usize,
    have: usize,
    chunk: usize,
    over: bool,
    /// Said when everything before it was handed out.
    error: Option<String>,
    report: Report,
}

impl<'a, F: Framing> Cutter<'a, F> {
    fn new(reader: Box<dyn Read + 'a>, framing: F, chunk: usize) -> Self {
        Cutter {
            reader,
            framing,
            buffer: Vec::new(),
            base: 0,
            used: 0,
            have: 0,
            chunk: chunk.max(1),
            over: false,
            error: None,
            report: Report::default(),
        }
    }

    /// The next chunk as a range of `buffer`; `None` at the end.
    fn next(&mut self) -> Result<Option<Range<usize>>, String> {
        loop {
            let found = self.framing.cut(&self.buffer[self.used..self.have], self.over);
            let length = match found {
                Ok(length) => length,
                Err(broken) => self.broken(&broken),
            };
            if length > 0 {
                let chunk = self.used..self.used + length;
                self.used += length;
                return Ok(Some(chunk));
            }
            if self.over {
                return self.end();
            }
            self.fill();
        }
    }

    /// Nothing behind the place can be read: enter it, and stop there.
    fn broken(&mut self, broken: &Broken) -> usize {
        let byte = self.base + (self.used + broken.at) as u64;
        let place = self.framing.place(byte);
        self.report.malformed(broken.kind, place);
        let sentence = format!(
            "the record at byte {byte} cannot be true ({}): nothing from there on was read",
            broken.kind.name()
        );
        self.error.get_or_insert(sentence);
        self.over = true;
        self.have = self.used + broken.at;
        broken.at
    }

    fn end(&mut self) -> Result<Option<Range<usize>>, String> {
        if self.used < self.have {
            if let Some(kind) = self.framing.rest(&self.buffer[self.used..self.have]) {
                self.report.malformed(kind, self.framing.place(self.base + self.used as u64));
            }
            self.used = self.have;
        }
        self.error.take().map_or(Ok(None), Err)
    }

    /// Read more behind what is not used yet, which moves to the front.
    fn fill(&mut self) {
        self.buffer.copy_within(self.used..self.have, 0);
        self.base += self.used as u64;
        self.have -= self.used;
        self.used = 0;
        let need = self.have + self.chunk.max(self.have); // a record longer than all: double
        if self.buffer.len() < need {
            self.buffer.resize(need, 0);
        }
        let end = self.have + self.chunk;
        let (n, error) = read_some(&mut self.reader, &mut self.buffer[self.have..end]);
        self.have += n;
        self.over = n == 0 || error.is_some();
        self.error = error.map(|error| error.to_string());
    }

    /// Give the buffer away; what is behind `end` goes on in `spare`.
    fn hand_over(&mut self, end: usize, mut spare: Vec<u8>) -> Vec<u8> {
        let rest = &self.buffer[end..self.have];
        spare.resize(spare.len().max(rest.len()), 0);
        spare[..rest.len()].copy_from_slice(rest);
        self.base += end as u64;
        self.have = rest.len();
        self.used = 0;
        std::mem::replace(&mut self.buffer, spare)
    }
}

/// Fill a buffer as far as the stream goes (unpackers give little at a time), or until it breaks.
fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut have = 0;
    while have < buffer.len() {
        match reader.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (have, Some(error)),
        }
    }
    (have, None)
}
