//! An hour of the window: rows that are found by a table of hashes, to be merged into at any time.
//!
//! The reducer's own hours are logs that become sorted columns when they are closed; here rows come
//! second by second for as long as the window lasts. `read` and `write` are the way between the two.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use super::super::{Bucket, HOUR_US, N_FAILURES, Seen, Vantage};
use crate::activity::{Activities, MAX_CLIENTS, Sum, client_hash};
use crate::link::Address;
use crate::rdtype;
use crate::rows::Rows;
use crate::table::{Entry, Index, NONE, Tables};

/// One sighting of one hour; what does not fit (passive DNS over months) is in [`Hour::wide`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub fresh_minutes: u64,
    pub owner: u32,
    /// The address of an A, the number of a name, else the number of the rdata.
    pub raw: u32,
    /// Microseconds since the start of the hour.
    first: u32,
    last: u32,
    count_raw: u32,
    pub ttl_max: u32,
    pub ttl_min: u32,
    pub rdtype: u16,
    pub vantage: Vantage,
    is_wide: bool,
}

impl Row {
    /// The same with numbers of other tables.
    pub fn renumbered(&self, owner: u32, raw: u32) -> Self {
        Row { owner, raw, ..*self }
    }

    /// What the rdata is; for other types the number is known already.
    pub fn entry(&self) -> Option<Entry> {
        match self.rdtype {
            rdtype::A => Some(Entry::A(self.raw)),
            rdtype if rdtype::is_name_type(rdtype) => Some(Entry::Name(self.raw)),
            _ => None,
        }
    }
}

/// How a name and type was answered in one hour: rrsets of answer sections, and failures.
#[derive(Clone, Debug)]
pub struct Activity {
    pub responses: u64,
    pub fresh_minutes: u64,
    pub answers_sum: u64,
    pub answers_max: u32,
    pub owner: u32,
    failures: u32,
    /// The first clients; from the fourth on they are in [`Hour::clients`].
    pub few_clients: [u32; 3],
    many_clients: u32,
    pub rdtype: u16,
    pub vantage: Vantage,
}

/// A bounded set of clients: the `MAX_CLIENTS` with the smallest hash.
#[derive(Clone, Debug, Default)]
pub struct ClientSet {
    /// (hash of the address, number), sorted.
    pub members: Vec<(u32, u32)>,
    overflowed: bool,
}

impl ClientSet {
    fn insert(&mut self, member: (u32, u32)) {
        if self.overflowed && self.members.last().is_some_and(|last| member > *last) {
            return;
        }
        if let Err(place) = self.members.binary_search(&member) {
            self.members.insert(place, member);
            if self.members.len() > MAX_CLIENTS {
                self.members.pop();
                self.overflowed = true;
            }
        }
    }
}

/// All rows of one hour.
#[derive(Default)]
pub struct Hour {
    /// Hours since the epoch.
    pub hour: i64,
    pub rows: Vec<Row>,
    pub activity: Vec<Activity>,
    wide: HashMap<u32, Seen>,
    failures: Vec<[u64; N_FAILURES]>,
    pub clients: Vec<ClientSet>,
    row_index: Index,
    activity_index: Index,
}

pub fn row_hash(state: &RandomState, owner: u32, rdtype: u16, raw: u32, vantage: Vantage) -> u32 {
    let pair = u64::from(owner) << 32 | u64::from(raw);
    (state.hash_one((pair, u32::from(rdtype) << 8 | vantage as u32)) >> 32) as u32
}

pub fn activity_hash(state: &RandomState, owner: u32, rdtype: u16, vantage: Vantage) -> u32 {
    (state.hash_one(u64::from(owner) << 32 | u64::from(rdtype) << 8 | vantage as u64) >> 32) as u32
}

impl Hour {
    pub fn new(hour: i64) -> Self {
        Hour { hour, ..Hour::default() }
    }

    /// When and how often the row with this place was seen.
    pub fn seen(&self, place: usize) -> Seen {
        let row = &self.rows[place];
        if row.is_wide {
            return self.wide[&(place as u32)];
        }
        let start = self.hour * HOUR_US;
        Seen {
            time_first: start + i64::from(row.first),
            time_last: start + i64::from(row.last),
            count_raw: u64::from(row.count_raw),
        }
    }

    pub fn find_row(&self, hash: u32, owner: u32, rdtype: u16, raw: u32, vantage: Vantage) -> Option<usize> {
        let same = |place: u32| {
            let row = &self.rows[place as usize];
            row.owner == owner && row.raw == raw && row.rdtype == rdtype && row.vantage == vantage
        };
        self.row_index.find(hash, same).map(|place| place as usize)
    }

    fn push_row(&mut self, hash: u32, row: Row) {
        self.row_index.insert(hash, self.rows.len() as u32);
        self.rows.push(row);
    }

    /// Add to a row what does not fit into it.
    fn widen(&mut self, place: usize, more: Seen) {
        let seen = self.seen(place);
        self.rows[place].is_wide = true;
        self.wide.insert(
            place as u32,
            Seen {
                time_first: seen.time_first.min(more.time_first),
                time_last: seen.time_last.max(more.time_last),
                count_raw: seen.count_raw.saturating_add(more.count_raw), // counts may be a stranger's
            },
        );
    }

    /// Merge in a row of the same hour with what was seen of it.
    pub fn put_row(&mut self, state: &RandomState, mut row: Row, seen: Seen) {
        let start = self.hour * HOUR_US;
        let offset = |time: i64| u32::try_from(time.checked_sub(start)?).ok();
        let narrow = offset(seen.time_first).zip(offset(seen.time_last)).zip(u32::try_from(seen.count_raw).ok());
        let hash = row_hash(state, row.owner, row.rdtype, row.raw, row.vantage);
        if let Some(place) = self.find_row(hash, row.owner, row.rdtype, row.raw, row.vantage) {
            let known = &mut self.rows[place];
            known.fresh_minutes |= row.fresh_minutes;
            known.ttl_max = known.ttl_max.max(row.ttl_max);
            known.ttl_min = known.ttl_min.min(row.ttl_min);
            match narrow.filter(|(_, count)| !known.is_wide && known.count_raw.checked_add(*count).is_some()) {
                Some(((first, last), count)) => {
                    known.first = known.first.min(first);
                    known.last = known.last.max(last);
                    known.count_raw += count;
                }
                None => self.widen(place, seen),
            }
            return;
        }
        row.is_wide = narrow.is_none();
        match narrow {
            Some(((first, last), count)) => (row.first, row.last, row.count_raw) = (first, last, count),
            None => drop(self.wide.insert(self.rows.len() as u32, seen)),
        }
        self.push_row(hash, row);
    }

    /// The place of a name's activity, made if need be.
    pub fn activity_at(&mut self, hash: u32, owner: u32, rdtype: u16, vantage: Vantage) -> usize {
        let all = &self.activity;
        let same = |place: u32| {
            let found = &all[place as usize];
            found.owner == owner && found.rdtype == rdtype && found.vantage == vantage
        };
        if let Some(place) = self.activity_index.find(hash, same) {
            return place as usize;
        }
        self.activity_index.insert(hash, self.activity.len() as u32);
        self.activity.push(Activity {
            responses: 0,
            fresh_minutes: 0,
            answers_sum: 0,
            answers_max: 0,
            owner,
            failures: NONE,
            few_clients: [NONE; 3],
            many_clients: NONE,
            rdtype,
            vantage,
        });
        self.activity.len() - 1
    }

    pub fn failures_of(&self, activity: &Activity) -> [u64; N_FAILURES] {
        self.failures.get(activity.failures as usize).copied().unwrap_or_default()
    }

    pub fn add_failures(&mut self, place: usize, counts: &[u64; N_FAILURES]) {
        let handle = &mut self.activity[place].failures;
        if *handle == NONE {
            *handle = self.failures.len() as u32;
            self.failures.push([0; N_FAILURES]);
        }
        for (sum, count) in self.failures[*handle as usize].iter_mut().zip(counts) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// Numbers of the clients that are kept for this row.
    pub fn clients_of<'a>(&'a self, activity: &'a Activity) -> impl Iterator<Item = u32> + 'a {
        let many = self.clients.get(activity.many_clients as usize);
        let many = many.map(|set| set.members.as_slice()).unwrap_or_default().iter().map(|(_, id)| *id);
        activity.few_clients.iter().copied().filter(|id| *id != NONE).chain(many)
    }

    pub fn add_client(&mut self, place: usize, id: u32, clients: &[Address]) {
        let activity = &mut self.activity[place];
        let member = |id: u32| (client_hash(&clients[id as usize]), id);
        if activity.many_clients == NONE {
            if let Some(slot) = activity.few_clients.iter_mut().find(|slot| **slot == NONE || **slot == id) {
                *slot = id;
                return;
            }
            activity.many_clients = self.clients.len() as u32;
            let mut set = ClientSet::default();
            activity.few_clients.iter().for_each(|id| set.insert(member(*id)));
            activity.few_clients = [NONE; 3];
            self.clients.push(set);
        }
        self.clients[activity.many_clients as usize].insert(member(id));
    }

    /// Make a closed hour ready for merging.
    pub fn reopen(&mut self, state: &RandomState) {
        for (place, row) in self.rows.iter().enumerate() {
            self.row_index.insert(row_hash(state, row.owner, row.rdtype, row.raw, row.vantage), place as u32);
        }
        for (place, row) in self.activity.iter().enumerate() {
            self.activity_index.insert(activity_hash(state, row.owner, row.rdtype, row.vantage), place as u32);
        }
    }

    /// Merge a row of `other`, whose clients have the numbers `ids` here, into the one at `place`.
    pub fn put_activity(
        &mut self,
        place: usize,
        row: &Activity,
        other: &Hour,
        ids: impl Iterator<Item = u32>,
        clients: &[Address],
    ) {
        let found = &mut self.activity[place];
        found.responses = found.responses.saturating_add(row.responses);
        found.fresh_minutes |= row.fresh_minutes;
        found.answers_sum = found.answers_sum.saturating_add(row.answers_sum);
        found.answers_max = found.answers_max.max(row.answers_max);
        if row.failures != NONE {
            self.add_failures(place, &other.failures_of(row));
        }
        for id in ids {
            self.add_client(place, id, clients);
        }
        if other.clients.get(row.many_clients as usize).is_some_and(|set| set.overflowed) {
            let many = self.activity[place].many_clients;
            self.clients[many as usize].overflowed = true;
        }
    }

    /// The rows of a closed hour of a reducer.
    pub fn rows_of<'a>(bucket: &'a Bucket, tables: &'a Tables) -> impl Iterator<Item = (Row, Seen)> + 'a {
        let rows = &bucket.rows;
        (0..rows.len()).map(move |at| {
            let code = rows.rdata[at] as u32;
            let raw = match tables.entries()[code as usize] {
                Entry::A(address) => address,
                Entry::Name(id) => id,
                Entry::Bytes(_) | Entry::Text(_) => code,
            };
            let row = Row {
                fresh_minutes: rows.fresh_minutes[at],
                owner: rows.owner[at] as u32,
                raw,
                first: 0,
                last: 0,
                count_raw: 0,
                ttl_max: rows.ttl_max[at],
                ttl_min: rows.ttl_min[at],
                rdtype: rows.rdtype[at],
                vantage: Vantage::ALL[rows.vantage[at] as usize],
                is_wide: false,
            };
            let count_raw = rows.count_raw[at].unsigned_abs();
            (row, Seen { time_first: rows.time_first[at], time_last: rows.time_last[at], count_raw })
        })
    }

    /// Merge a row of a reducer's activity, with its numbers put in terms of ours.
    pub fn take_activity(
        &mut self,
        place: usize,
        from: &Activities,
        at: usize,
        ids: &[u32],
        addresses: (&[Address], &[Address]),
    ) {
        let (theirs, ours) = addresses;
        let found = &mut self.activity[place];
        found.responses = found.responses.saturating_add(from.responses[at].unsigned_abs());
        found.fresh_minutes |= from.fresh_minutes[at];
        found.answers_sum = found.answers_sum.saturating_add(from.answers_sum[at].unsigned_abs());
        found.answers_max = found.answers_max.max(from.answers_max[at]);
        let failures = from.failures_of(at);
        if failures != [0; N_FAILURES] {
            self.add_failures(place, &failures);
        }
        ids.iter().for_each(|id| self.add_client(place, *id, ours));
        if from.n_clients(at, theirs) > ids.len() as u64 {
            let many = self.activity[place].many_clients;
            if let Some(set) = self.clients.get_mut(many as usize) {
                set.overflowed = true;
            }
        }
    }

    /// As a closed hour of a reducer, with the same tables.
    pub fn write(&self, tables: &mut Tables) -> Bucket {
        let mut columns = Rows::default();
        for (place, row) in self.rows.iter().enumerate() {
            let seen = self.seen(place);
            let code = row.entry().map_or(row.raw, |entry| tables.intern_rdata(entry));
            columns.owner.push(row.owner as i32);
            columns.rdata.push(code as i32);
            columns.rdtype.push(row.rdtype);
            columns.vantage.push(row.vantage as i8);
            columns.time_first.push(seen.time_first);
            columns.time_last.push(seen.time_last);
            columns.count_raw.push(i64::try_from(seen.count_raw).unwrap_or(i64::MAX));
            columns.ttl_max.push(row.ttl_max);
            columns.ttl_min.push(row.ttl_min);
            columns.fresh_minutes.push(row.fresh_minutes);
        }
        let mut activity = Activities::default();
        for row in &self.activity {
            let many = self.clients.get(row.many_clients as usize);
            let sum = Sum {
                responses: row.responses,
                fresh_minutes: row.fresh_minutes,
                answers_sum: row.answers_sum,
                answers_max: row.answers_max,
                failures: self.failures_of(row),
                clients: self.clients_of(row).collect(),
                sampled: many.is_some_and(|set| set.overflowed),
            };
            activity.push(row.owner, row.rdtype, row.vantage, &sum);
        }
        Bucket { hour: self.hour, rows: columns, activity }
    }

    pub fn n_bytes(&self) -> usize {
        let many: usize = self.clients.iter().map(|set| 32 + 8 * set.members.capacity()).sum();
        self.rows.len() * size_of::<Row>()
            + self.activity.len() * size_of::<Activity>()
            + self.failures.len() * size_of::<[u64; N_FAILURES]>()
            + self.row_index.n_bytes()
            + self.activity_index.n_bytes()
            + many
    }

    /// Keep rows of some owners; the indexes are gone until the hour is reopened.
    pub fn keep(&mut self, wanted: impl Fn(u32) -> bool) {
        self.row_index = Default::default();
        self.activity_index = Default::default();
        let wide = std::mem::take(&mut self.wide);
        let mut kept = 0;
        let mut place = 0;
        self.rows.retain(|row| {
            let stays = wanted(row.owner);
            if stays {
                if let Some(seen) = wide.get(&place) {
                    self.wide.insert(kept, *seen);
                }
                kept += 1;
            }
            place += 1;
            stays
        });
        self.activity.retain(|row| wanted(row.owner));
        let (mut failures, mut clients) = (Vec::new(), Vec::new());
        for row in &mut self.activity {
            if row.failures != NONE {
                failures.push(self.failures[row.failures as usize]);
                row.failures = failures.len() as u32 - 1;
            }
            if row.many_clients != NONE {
                clients.push(std::mem::take(&mut self.clients[row.many_clients as usize]));
                row.many_clients = clients.len() as u32 - 1;
            }
        }
        (self.failures, self.clients) = (failures, clients);
        self.rows.shrink_to_fit();
        self.activity.shrink_to_fit();
    }
}
