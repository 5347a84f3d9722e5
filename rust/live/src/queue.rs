//! What waits to be reduced: bounded in bytes, and nobody waits to put something in.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Whole frames of one producer; `place` is the offset of the first in its stream.
#[derive(Debug)]
pub struct Chunk {
    pub bytes: Box<[u8]>,
    pub place: u64,
}

#[derive(Default)]
struct Inner {
    chunks: VecDeque<Chunk>,
    n_bytes: usize,
    closed: bool,
}

pub struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    limit: usize,
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Queue { inner: Mutex::default(), filled: Condvar::new(), limit }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Add a chunk unless there is no room (or nobody takes any more); says whether it was added.
    pub fn put(&self, chunk: Chunk) -> bool {
        let mut inner = self.inner();
        let n_bytes = inner.n_bytes + chunk.bytes.len();
        if inner.closed || n_bytes > self.limit {
            return false;
        }
        inner.n_bytes = n_bytes;
        inner.chunks.push_back(chunk);
        drop(inner);
        self.filled.notify_one();
        true
    }

    /// The oldest chunk, waited for; `None` when the queue is closed and empty.
    pub fn take(&self) -> Option<Chunk> {
        let mut inner = self.inner();
        loop {
            if let Some(chunk) = inner.chunks.pop_front() {
                inner.n_bytes -= chunk.bytes.len();
                return Some(chunk);
            }
            if inner.closed {
                return None;
            }
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn close(&self) {
        self.inner().closed = true;
        self.filled.notify_all();
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn n_bytes(&self) -> usize {
        self.inner().n_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_is_emptied() {
        let queue = Queue::new(10);
        let chunk = |n: usize| Chunk { bytes: vec![0; n].into(), place: n as u64 };
        assert!(queue.put(chunk(6)));
        assert!(!queue.put(chunk(5)));
        assert!(queue.put(chunk(4)));
        queue.close();
        assert!(!queue.put(chunk(0)));
        assert_eq!(queue.take().map(|chunk| chunk.place), Some(6));
        assert_eq!(queue.take().map(|chunk| chunk.place), Some(4));
        assert!(queue.take().is_none());
    }
}
