//! Take responses from live name servers: dnstap listeners, a bounded queue, and reducing threads.
//!
//! A thread per producer reads whatever there is and puts it, whole frames only, into the queue;
//! it never waits for anybody, so back-pressure cannot reach the resolver: when the queue is full,
//! frames are dropped and counted. Workers reduce what is queued, each into a reducer of its own;
//! [`Live::take`] hands those over and leaves empty ones.

mod feed;
mod queue;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use unflux_core::chunks::Records;
use unflux_core::clients::Clients;
use unflux_core::dnstap::Dnstap;
use unflux_core::formats::Format;
use unflux_core::frames::{Conversation, Step};
use unflux_core::pieces::Pieces;
use unflux_core::reduce::Reducer;
use unflux_core::report::Report;
use unflux_core::source::{Desk, Options};

use crate::feed::Feed;
use crate::queue::{Chunk, Queue};

/// How long a thread waits before it looks whether it shall stop.
const POLL: Duration = Duration::from_millis(200);
const ACCEPT_POLL: Duration = Duration::from_millis(20);
const MAX_PRODUCERS: u64 = 256;
/// What was reduced and not taken yet may be so many times as large as the queue.
const MAX_YOUNG: usize = 2;
/// Read at once from a producer.
const READ: usize = 1 << 18;

macro_rules! counters {
    ($($(#[$about:meta])* $name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$about])* pub $name: AtomicU64),* }

        impl Counters {
            /// Names and values.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed))),*]
            }
        }
    };
}

counters! {
    /// Connections that were accepted, and those that are open now.
    producers_seen,
    producers,
    /// Connections over the limit: hung up at once.
    producers_refused,
    /// Streams that were given up because they are no Frame Streams, or none of dnstap.
    streams_not_frames,
    streams_not_dnstap,
    /// Streams that ended inside a frame: the producer died.
    streams_cut,
    frames,
    bytes,
    /// Frames for which there was no room in the queue.
    frames_dropped,
}

/// A worker's reducer and books since they were taken last.
#[derive(Default)]
struct Young {
    reducer: Reducer,
    report: Report,
}

struct Shared {
    stop: AtomicBool,
    queue: Queue,
    counters: Counters,
    young: Vec<Mutex<Young>>,
    since_us: AtomicI64,
    until_us: AtomicI64,
    policy: Clients,
    options: Options,
}

impl Shared {
    fn stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn young(&self, worker: usize) -> MutexGuard<'_, Young> {
        lock(&self.young[worker])
    }

    fn options(&self) -> Options {
        let (since_us, until_us) = (self.since_us.load(Relaxed), self.until_us.load(Relaxed));
        Options { since_us, until_us, ..self.options.clone() }
    }

    /// Reduce whole records of a format into a worker's reducer.
    fn reduce<F: Records<Reducer>>(
        &self,
        worker: usize,
        framing: &mut F,
        bytes: &[u8],
        place: u64,
        pieces: Pieces,
    ) -> Pieces {
        let options = self.options();
        let mut young = self.young(worker);
        let Young { reducer, report } = &mut *young;
        let mut desk = Desk::new(&options, reducer, pieces);
        framing.read(bytes, place, &mut desk);
        report.merge(&desk.report);
        desk.pieces
    }
}

/// Listeners, queue and workers; everything ends when this is dropped.
pub struct Live {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    sockets: Mutex<Vec<PathBuf>>,
    feeds: Mutex<Vec<Arc<Mutex<Feed>>>>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// `queue_bytes` may wait to be reduced by `threads` workers.
    pub fn new(policy: Clients, options: Options, threads: usize, queue_bytes: usize) -> Self {
        let young = || Mutex::new(Young { reducer: Reducer::new(policy.clone()), report: Report::default() });
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            queue: Queue::new(queue_bytes),
            counters: Counters::default(),
            young: (0..threads.max(1)).map(|_| young()).collect(),
            since_us: AtomicI64::new(options.since_us),
            until_us: AtomicI64::new(options.until_us),
            policy,
            options,
        });
        let threads = (0..shared.young.len())
            .map(|worker| {
                let shared = shared.clone();
                std::thread::spawn(move || work(&shared, worker))
            })
            .collect();
        Live { shared, threads: Mutex::new(threads), sockets: Mutex::default(), feeds: Mutex::default() }
    }

    /// Listen on a Unix socket, which must not exist yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn listen_unix(&self, path: &Path) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        lock(&self.sockets).push(path.to_owned());
        self.accept(move || listener.accept().map(|(stream, _)| Producer::Unix(stream)));
        Ok(())
    }

    /// Listen on a TCP socket; returns where, for port 0.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn listen_tcp(&self, at: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        self.accept(move || listener.accept().map(|(stream, _)| Producer::Tcp(stream)));
        Ok(at)
    }

    fn accept(&self, next: impl Fn() -> io::Result<Producer> + Send + 'static) {
        let shared = self.shared.clone();
        lock(&self.threads).push(std::thread::spawn(move || {
            while !shared.stopping() {
                match next() {
                    Ok(producer) => welcome(&shared, producer),
                    Err(_) => std::thread::sleep(ACCEPT_POLL), // nobody yet, or too many open files
                }
            }
        }));
    }

    /// A place to feed bytes of a format into that come from elsewhere; returns its number.
    pub fn open_feed(&self, format: Format) -> usize {
        let mut feeds = lock(&self.feeds);
        feeds.push(Arc::new(Mutex::new(Feed::new(format))));
        feeds.len() - 1
    }

    /// Take in the next bytes of a feed; `last` when nothing follows (another file begins).
    ///
    /// # Errors
    /// A sentence when they cannot be of that format: the feed begins anew.
    pub fn feed(&self, number: usize, bytes: &[u8], last: bool) -> Result<(), String> {
        let feed = lock(&self.feeds).get(number).cloned().ok_or("there is no such feed")?;
        lock(&feed).take(&self.shared, bytes, last)
    }

    /// Only what was seen in this time is taken in, microseconds since the epoch.
    pub fn set_range(&self, since_us: i64, until_us: i64) {
        self.shared.since_us.store(since_us, Relaxed);
        self.shared.until_us.store(until_us, Relaxed);
    }

    /// What was reduced since the last time, with its books.
    pub fn take(&self) -> (Reducer, Report) {
        let mut whole: Option<Reducer> = None;
        let mut books = Report::default();
        for worker in 0..self.shared.young.len() {
            let fresh = Young { reducer: Reducer::new(self.shared.policy.clone()), report: Report::default() };
            let Young { reducer, report } = std::mem::replace(&mut *self.shared.young(worker), fresh);
            books.merge(&report);
            match &mut whole {
                Some(whole) => whole.absorb(reducer),
                None => whole = Some(reducer),
            }
        }
        (whole.unwrap_or_default(), books)
    }

    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut list = self.shared.counters.list();
        list.push(("queued_bytes", self.shared.queue.n_bytes() as u64));
        list
    }

    /// Stop listening; what is queued is still reduced.
    pub fn stop(&self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.queue.close();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            let _ = thread.join();
        }
        for path in std::mem::take(&mut *lock(&self.sockets)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work(shared: &Shared, worker: usize) {
    let limit = MAX_YOUNG * shared.queue.limit() / shared.young.len();
    while let Some(chunk) = shared.queue.take() {
        // Nobody takes what was reduced: let the queue fill, where what is lost is counted.
        while !shared.stopping() && shared.young(worker).reducer.n_bytes() > limit {
            std::thread::sleep(ACCEPT_POLL);
        }
        shared.reduce(worker, &mut Dnstap, &chunk.bytes, chunk.place, Pieces::default());
    }
}

/// Somebody who writes dnstap.
enum Producer {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Producer {
    fn prepare(&self) -> io::Result<()> {
        match self {
            Producer::Unix(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(POLL))?;
                stream.set_read_timeout(Some(POLL))
            }
            Producer::Tcp(stream) => {
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(POLL))?;
                stream.set_read_timeout(Some(POLL))
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Producer::Unix(stream) => stream.read(buffer),
            Producer::Tcp(stream) => stream.read(buffer),
        }
    }

    /// A producer that goes without waiting for an answer is no fault.
    fn reply(&mut self, bytes: &[u8]) {
        let _ = match self {
            Producer::Unix(stream) => stream.write_all(bytes),
            Producer::Tcp(stream) => stream.write_all(bytes),
        };
    }
}

fn welcome(shared: &Arc<Shared>, producer: Producer) {
    let counters = &shared.counters;
    counters.producers_seen.fetch_add(1, Relaxed);
    if counters.producers.load(Relaxed) >= MAX_PRODUCERS || producer.prepare().is_err() {
        counters.producers_refused.fetch_add(1, Relaxed);
        return;
    }
    counters.producers.fetch_add(1, Relaxed);
    let shared = shared.clone();
    std::thread::spawn(move || {
        listen(&shared, producer);
        shared.counters.producers.fetch_sub(1, Relaxed);
    });
}

/// Read a producer's frames into the queue until it goes, or we do.
fn listen(shared: &Shared, mut producer: Producer) {
    let counters = &shared.counters;
    let mut talk = Conversation::default();
    let (mut buffer, mut have, mut place) = (vec![0; READ], 0, 0u64);
    loop {
        if buffer.len() - have < READ / 2 {
            buffer.resize(have + READ, 0);
        }
        match producer.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(n) => {
                have += n;
                counters.bytes.fetch_add(n as u64, Relaxed);
            }
            Err(error) if is_timeout(&error) && !shared.stopping() => continue,
            Err(_) => break,
        }
        let mut at = 0;
        loop {
            match talk.step(&buffer[at..have]) {
                Ok(Step::Data { bytes, frames }) => {
                    counters.frames.fetch_add(frames, Relaxed);
                    let chunk = Chunk { bytes: buffer[at..at + bytes].into(), place: place + at as u64 };
                    if !shared.queue.put(chunk) {
                        counters.frames_dropped.fetch_add(frames, Relaxed);
                    }
                    at += bytes;
                }
                Ok(Step::Control { bytes, reply }) => {
                    producer.reply(&reply);
                    at += bytes;
                }
                Ok(Step::End { reply }) => return producer.reply(&reply),
                Ok(Step::Wait) => break,
                Err(fault) => {
                    let counter = match fault {
                        unflux_core::frames::Fault::NotFrames => &counters.streams_not_frames,
                        unflux_core::frames::Fault::OtherContent => &counters.streams_not_dnstap,
                    };
                    counter.fetch_add(1, Relaxed);
                    return;
                }
            }
        }
        buffer.copy_within(at..have, 0);
        (have, place) = (have - at, place + at as u64);
        if shared.stopping() {
            break;
        }
    }
    if have > 0 {
        counters.streams_cut.fetch_add(1, Relaxed);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
