//! The hours that changes still come in for.
//!
//! However the hours of an input follow each other, turning from one to another costs next to
//! nothing: an hour that is not the present one just waits, until there is much in such hours.

use std::collections::HashMap;

use crate::activity::{Activities, Change};
use crate::rows::{Front, Log, Row};

/// An hour that changes come in for.
#[derive(Default)]
pub struct Hour {
    /// Hours since the epoch.
    pub hour: i64,
    pub rows: Log,
    pub activity: Vec<Change>,
    /// Rows that were activity already when they came.
    pub saved: Activities,
}

impl Hour {
    /// Changes in it, without those in the front.
    pub fn len(&self) -> usize {
        self.rows.len() + self.activity.len() + self.saved.len()
    }
}

/// All open hours: the present one, and those that wait.
#[derive(Default)]
pub struct Open {
    now: Hour,
    /// The hour that was the present one before.
    before: i64,
    waiting: HashMap<i64, Hour, foldhash::fast::RandomState>,
    n_waiting: usize,
    front: Front,
}

impl Open {
    /// The present hour.
    pub fn now(&mut self) -> &mut Hour {
        &mut self.now
    }

    /// Changes in the hours that wait.
    pub fn n_waiting(&self) -> usize {
        self.n_waiting
    }

    /// Changes in all hours: rows, and activity.
    pub fn n_changes(&self) -> (usize, usize) {
        let all = || std::iter::once(&self.now).chain(self.waiting.values());
        (all().map(|hour| hour.rows.len()).sum(), all().map(|hour| hour.activity.len()).sum())
    }

    /// Add a row to the present hour.
    #[inline]
    pub fn add(&mut self, row: &Row) {
        if let Some((hour, displaced)) = self.front.add(self.now.hour, row, &mut self.now.rows) {
            self.put(hour, displaced);
        }
    }

    /// A row from the front goes to the log of its hour.
    fn put(&mut self, hour: i64, row: Row) {
        if hour == self.now.hour {
            self.now.rows.push(row);
            return;
        }
        let waiting = self.waiting.entry(hour).or_insert_with(|| Hour { hour, ..Hour::default() });
        waiting.rows.push(row);
        self.n_waiting += 1;
    }

    /// Make another hour the present one; a new one gets its memory from `spare`.
    pub fn turn_to(&mut self, hour: i64, spare: impl FnOnce() -> (Vec<Row>, Vec<Change>)) {
        let next = self.waiting.remove(&hour).unwrap_or_else(|| {
            let (rows, activity) = spare();
            Hour { hour, rows: Log::with(rows), activity, saved: Activities::default() }
        });
        self.n_waiting -= next.len();
        let before = std::mem::replace(&mut self.now, next);
        self.before = before.hour;
        if before.len() > 0 {
            self.n_waiting += before.len();
            self.waiting.insert(before.hour, before);
        }
    }

    /// Take away the hours that seem to be over: all but the present one and the one before.
    pub fn take_over(&mut self) -> Vec<Hour> {
        if self.waiting.keys().all(|hour| *hour == self.before) {
            return Vec::new();
        }
        self.empty_front();
        let before = self.before;
        let over: Vec<Hour> = self.waiting.extract_if(|hour, _| *hour != before).map(|(_, hour)| hour).collect();
        self.n_waiting = self.waiting.values().map(Hour::len).sum();
        over
    }

    /// Take away the present hour.
    pub fn take_now(&mut self) -> Hour {
        let hour = self.now.hour;
        std::mem::replace(&mut self.now, Hour { hour, ..Hour::default() })
    }

    pub fn take_all(&mut self) -> Vec<Hour> {
        self.empty_front();
        self.n_waiting = 0;
        let mut all: Vec<Hour> = self.waiting.drain().map(|(_, hour)| hour).collect();
        all.push(self.take_now());
        all.retain(|hour| hour.len() > 0);
        all.sort_unstable_by_key(|hour| hour.hour);
        all
    }

    fn empty_front(&mut self) {
        let mut front = std::mem::take(&mut self.front);
        front.empty().for_each(|(hour, row)| self.put(hour, row));
        self.front = front;
    }
}
