//! Answers to sightings: mergeable history, one row per (owner, rdtype, rdata, hour, vantage).
//!
//! Merging two reductions that saw different packets gives the reduction of one that saw both, in
//! any order: every column is a minimum, a maximum, a sum, a union of bits or a bottom-k sample.
//!
//! **Fresh observations.** A cached copy of an rrset ages, but the second at which it expires
//! (time seen + TTL) stays. So an answer is known by its *expiry minute*: each row keeps the set
//! of expiry minutes modulo 64 as bits, and its count of fresh observations is the number of bits,
//! hence at most one per minute. A capture taken above the resolver (`upstream`) sees no cached
//! copies: there every response is fresh, and the bits are the minutes of the observation.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hint::black_box;

use foldhash::quality::RandomState;

use std::sync::{Mutex, PoisonError};

use crate::clients::Clients;
use crate::link::Address;
use crate::message::{Message, Rdata, Record, Section};
use crate::rdtype;
use crate::table::{CANONICAL, Entry, Index, Mapping, NONE, TEXT, Tables, WARM};

pub mod window;

pub const HOUR_US: i64 = 3_600_000_000;
const MINUTE_US: i64 = 60_000_000;
/// Clients kept per row: exact up to here, a bottom-k sample (KMV) beyond.
pub const MAX_CLIENTS: usize = 64;
/// Hours held open at once; older ones are closed and merged at the end if they come back.
const OPEN_HOURS: usize = 4;

/// Where a response was seen, as far as the source knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Vantage {
    Unknown,
    /// Below a cache: TTLs have aged.
    Client,
    /// An authoritative answer on its way to a resolver.
    Upstream,
    /// A row of somebody's passive DNS: counts are theirs, single responses are gone.
    History,
}

impl Vantage {
    pub const ALL: [Vantage; 4] = [Self::Unknown, Self::Client, Self::Upstream, Self::History];

    pub fn name(self) -> &'static str {
        ["unknown", "client", "upstream", "history"][self as usize]
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|vantage| vantage.name() == name)
    }
}

/// Why a question got no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Failure {
    NxDomain,
    ServFail,
    Refused,
    NoData,
    Other,
}

pub const N_FAILURES: usize = 5;
pub const FAILURE_NAMES: [&str; N_FAILURES] = ["nxdomain", "servfail", "refused", "nodata", "other_failures"];

/// One sighting of one hour; what does not fit (passive DNS over months) is in [`Bucket::wide`].
#[derive(Clone, Debug)]
pub struct Row {
    pub fresh_minutes: u64,
    pub owner: u32,
    /// The address of an A, the number of a name, else the number of the rdata.
    raw: u32,
    /// Microseconds since the start of the hour.
    first: u32,
    last: u32,
    count_raw: u32,
    pub ttl_max: u32,
    pub ttl_min: u32,
    /// Number of the response that touched the row last: a record twice in one counts once.
    stamp: u32,
    pub rdtype: u16,
    pub vantage: Vantage,
    is_wide: bool,
}

/// When and how often, for any span and any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Microseconds since the epoch.
    pub time_first: i64,
    pub time_last: i64,
    pub count_raw: u64,
}

impl Row {
    /// TTLs are unknown in most passive DNS: then the minimum is above the maximum.
    pub fn has_ttl(&self) -> bool {
        self.ttl_min <= self.ttl_max
    }

    /// What the rdata is; for other types the number is known already.
    fn entry(&self) -> Option<Entry> {
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
    stamp: u32,
    failures: u32,
    /// The first clients; from the fourth on they are in [`Bucket::clients`].
    few_clients: [u32; 3],
    many_clients: u32,
    pub rdtype: u16,
    pub vantage: Vantage,
}

/// A bounded set of clients: the `MAX_CLIENTS` with the smallest hash.
#[derive(Clone, Debug, Default)]
struct ClientSet {
    /// (hash of the address, number), sorted.
    members: Vec<(u32, u32)>,
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

    /// Distinct clients: exact while few, else (k − 1) / (k-th smallest hash as a fraction).
    fn estimate(&self) -> u64 {
        match self.members.last() {
            Some((largest, _)) if self.overflowed => {
                let fraction = (f64::from(*largest) + 1.0) / 4_294_967_296.0;
                ((self.members.len() - 1) as f64 / fraction).round() as u64
            }
            _ => self.members.len() as u64,
        }
    }
}

/// The same address has the same hash in every process: samples of two sensors can be merged.
fn client_hash(address: &Address) -> u32 {
    let value = u128::from_be_bytes(*address);
    let mut mixed = (value as u64) ^ ((value >> 64) as u64).rotate_left(32);
    for multiplier in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(multiplier);
    }
    (mixed >> 32) as u32
}

/// What one record adds to a row.
#[derive(Clone, Copy)]
struct RowChange {
    hash: u32,
    owner: u32,
    raw: u32,
    at: u32,
    ttl: u32,
    stamp: u32,
    bit: u64,
    rdtype: u16,
    vantage: Vantage,
}

/// What one rrset of an answer, or one failure, adds to the activity of its name.
#[derive(Clone, Copy)]
struct ActivityChange {
    hash: u32,
    owner: u32,
    stamp: u32,
    client: u32,
    length: u32,
    bit: u64,
    rdtype: u16,
    vantage: Vantage,
    failure: Option<Failure>,
}

/// All rows of one hour.
#[derive(Default)]
pub struct Bucket {
    /// Hours since the epoch.
    pub hour: i64,
    pub rows: Vec<Row>,
    /// Numbers of the rows' rdata; filled when the hour is closed.
    pub rdata: Vec<u32>,
    pub activity: Vec<Activity>,
    wide: HashMap<u32, Seen>,
    failures: Vec<[u64; N_FAILURES]>,
    clients: Vec<ClientSet>,
    row_index: Index,
    activity_index: Index,
}

fn row_hash(state: &RandomState, owner: u32, rdtype: u16, raw: u32, vantage: Vantage) -> u32 {
    let pair = u64::from(owner) << 32 | u64::from(raw);
    (state.hash_one((pair, u32::from(rdtype) << 8 | vantage as u32)) >> 32) as u32
}

fn activity_hash(state: &RandomState, owner: u32, rdtype: u16, vantage: Vantage) -> u32 {
    (state.hash_one(u64::from(owner) << 32 | u64::from(rdtype) << 8 | vantage as u64) >> 32) as u32
}

impl Bucket {
    /// An hour about as full as another one.
    fn like(hour: i64, other: Option<&Bucket>) -> Self {
        let (rows, activity) = other.map_or((0, 0), |other| (other.rows.len(), other.activity.len()));
        Bucket {
            hour,
            rows: Vec::with_capacity(rows + rows / 8),
            activity: Vec::with_capacity(activity + activity / 8),
            row_index: Index::with_capacity(rows),
            activity_index: Index::with_capacity(activity),
            ..Bucket::default()
        }
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

    fn find_row(&self, hash: u32, owner: u32, rdtype: u16, raw: u32, vantage: Vantage) -> Option<usize> {
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

    fn change_rows(&mut self, changes: &[RowChange]) {
        for chunk in changes.chunks(WARM) {
            black_box(chunk.iter().fold(0, |sum, change| sum ^ self.row_index.first(change.hash)));
            black_box(chunk.iter().fold(0, |sum, change| {
                let row = self.rows.get(self.row_index.first(change.hash) as usize);
                sum ^ row.map_or(0, |row| row.fresh_minutes ^ u64::from(row.rdtype)) // both ends of it
            }));
            chunk.iter().for_each(|change| self.change_row(change));
        }
    }

    fn change_row(&mut self, change: &RowChange) {
        let RowChange { hash, owner, raw, at, ttl, stamp, bit, rdtype, vantage } = *change;
        let Some(place) = self.find_row(hash, owner, rdtype, raw, vantage) else {
            self.push_row(
                hash,
                Row {
                    fresh_minutes: bit,
                    owner,
                    raw,
                    first: at,
                    last: at,
                    count_raw: 1,
                    ttl_max: ttl,
                    ttl_min: ttl,
                    stamp,
                    rdtype,
                    vantage,
                    is_wide: false,
                },
            );
            return;
        };
        let row = &mut self.rows[place];
        let again = row.stamp == stamp;
        row.stamp = stamp;
        row.ttl_max = row.ttl_max.max(ttl);
        row.ttl_min = row.ttl_min.min(ttl);
        row.fresh_minutes |= bit;
        if row.is_wide || row.count_raw == u32::MAX {
            let time = self.hour * HOUR_US + i64::from(at);
            self.widen(place, Seen { time_first: time, time_last: time, count_raw: u64::from(!again) });
        } else {
            row.count_raw += u32::from(!again);
            row.first = row.first.min(at);
            row.last = row.last.max(at);
        }
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
    fn put_row(&mut self, state: &RandomState, mut row: Row, seen: Seen) {
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
        row.stamp = NONE;
        row.is_wide = narrow.is_none();
        match narrow {
            Some(((first, last), count)) => (row.first, row.last, row.count_raw) = (first, last, count),
            None => drop(self.wide.insert(self.rows.len() as u32, seen)),
        }
        self.push_row(hash, row);
    }

    /// The place of a name's activity, made if need be.
    fn activity_at(&mut self, hash: u32, owner: u32, rdtype: u16, vantage: Vantage) -> usize {
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
            stamp: NONE,
            failures: NONE,
            few_clients: [NONE; 3],
            many_clients: NONE,
            rdtype,
            vantage,
        });
        self.activity.len() - 1
    }

    fn change_activity(&mut self, changes: &[ActivityChange], clients: &[Address]) {
        for chunk in changes.chunks(WARM) {
            black_box(chunk.iter().fold(0, |sum, change| sum ^ self.activity_index.first(change.hash)));
            black_box(chunk.iter().fold(0, |sum, change| {
                let found = self.activity.get(self.activity_index.first(change.hash) as usize);
                sum ^ found.map_or(0, |found| found.responses ^ u64::from(found.rdtype))
            }));
            for change in chunk {
                let place = self.activity_at(change.hash, change.owner, change.rdtype, change.vantage);
                let activity = &mut self.activity[place];
                let again = std::mem::replace(&mut activity.stamp, change.stamp) == change.stamp;
                activity.fresh_minutes |= change.bit;
                activity.answers_max = activity.answers_max.max(change.length);
                if !again {
                    activity.responses += 1;
                    activity.answers_sum += u64::from(change.length);
                }
                if let Some(failure) = change.failure {
                    let mut counts = [0; N_FAILURES];
                    counts[failure as usize] = 1;
                    self.add_failures(place, &counts);
                }
                if change.client != NONE {
                    self.add_client(place, change.client, clients);
                }
            }
        }
    }

    pub fn failures_of(&self, activity: &Activity) -> [u64; N_FAILURES] {
        self.failures.get(activity.failures as usize).copied().unwrap_or_default()
    }

    fn add_failures(&mut self, place: usize, counts: &[u64; N_FAILURES]) {
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

    /// How many clients there were, see [`MAX_CLIENTS`].
    pub fn n_clients(&self, activity: &Activity) -> u64 {
        let many = self.clients.get(activity.many_clients as usize).map_or(0, ClientSet::estimate);
        many + activity.few_clients.iter().filter(|id| **id != NONE).count() as u64
    }

    fn add_client(&mut self, place: usize, id: u32, clients: &[Address]) {
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

    /// No more packets are expected for this hour: number its rdata, give back what only adding
    /// needs.
    fn close(&mut self, tables: &mut Tables) {
        self.row_index = Index::default();
        self.activity_index = Index::default();
        self.rdata = Vec::with_capacity(self.rows.len());
        for chunk in self.rows.chunks(WARM) {
            tables.warm_rdata(chunk.iter().filter_map(Row::entry));
            self.rdata.extend(chunk.iter().map(|row| row.entry().map_or(row.raw, |entry| tables.intern_rdata(entry))));
        }
        self.rows.shrink_to_fit();
        self.activity.shrink_to_fit();
    }

    /// [`close`](Self::close) for an hour whose rdata all have their numbers: merged, not read.
    fn close_merged(&mut self, tables: &Tables) {
        self.row_index = Index::default();
        self.activity_index = Index::default();
        self.rdata = Vec::with_capacity(self.rows.len());
        for chunk in self.rows.chunks(WARM) {
            tables.warm_rdata(chunk.iter().filter_map(Row::entry));
            let number = |row: &Row| row.entry().map_or(row.raw, |entry| tables.find_rdata(entry).unwrap_or(NONE));
            self.rdata.extend(chunk.iter().map(number));
        }
        debug_assert!(!self.rdata.contains(&NONE));
        self.rows.shrink_to_fit();
        self.activity.shrink_to_fit();
    }

    /// Pieces of one hour as one.
    fn merged(pieces: Vec<Bucket>, state: &RandomState, tables: &Tables) -> Option<Bucket> {
        let mut pieces = pieces.into_iter();
        let mut whole = pieces.next()?;
        if pieces.len() > 0 {
            whole.reopen(state);
            for piece in pieces {
                whole.absorb(state, &piece, tables.clients());
            }
            whole.close_merged(tables);
        }
        Some(whole)
    }

    /// Make a closed hour ready for merging.
    fn reopen(&mut self, state: &RandomState) {
        for (place, row) in self.rows.iter().enumerate() {
            self.row_index.insert(row_hash(state, row.owner, row.rdtype, row.raw, row.vantage), place as u32);
        }
        for (place, row) in self.activity.iter().enumerate() {
            self.activity_index.insert(activity_hash(state, row.owner, row.rdtype, row.vantage), place as u32);
        }
    }

    /// Put another worker's numbers in terms of ours.
    fn renumber(&mut self, mapping: &Mapping) {
        for code in &mut self.rdata {
            *code = mapping.rdata[*code as usize];
        }
        for (row, code) in self.rows.iter_mut().zip(&self.rdata) {
            row.owner = mapping.names[row.owner as usize];
            row.raw = match row.entry() {
                Some(Entry::A(address)) => address,
                Some(_) => mapping.names[row.raw as usize],
                None => *code,
            };
            row.stamp = NONE;
        }
        for row in &mut self.activity {
            row.owner = mapping.names[row.owner as usize];
            row.stamp = NONE;
            for id in row.few_clients.iter_mut().filter(|id| **id != NONE) {
                *id = mapping.clients[*id as usize];
            }
        }
        for (_, id) in self.clients.iter_mut().flat_map(|set| &mut set.members) {
            *id = mapping.clients[*id as usize];
        }
    }

    /// Merge in another piece of the same hour.
    fn absorb(&mut self, state: &RandomState, other: &Bucket, clients: &[Address]) {
        for (place, row) in other.rows.iter().enumerate() {
            self.put_row(state, row.clone(), other.seen(place));
        }
        for row in &other.activity {
            let hash = activity_hash(state, row.owner, row.rdtype, row.vantage);
            let place = self.activity_at(hash, row.owner, row.rdtype, row.vantage);
            self.put_activity(place, row, other, other.clients_of(row), clients);
        }
    }

    /// Merge a row of `other`, whose clients have the numbers `ids` here, into the one at `place`.
    fn put_activity(
        &mut self,
        place: usize,
        row: &Activity,
        other: &Bucket,
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
}

/// One row of passive DNS, or of a saved table, on its way in.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Index of a name in the message that comes with it.
    pub owner: u32,
    pub rdtype: u16,
    pub rdata: Rdata,
    pub hour: i64,
    pub seen: Seen,
    pub fresh_minutes: u64,
    /// Longest and shortest TTL in seconds.
    pub ttl: Option<(u32, u32)>,
    pub vantage: Vantage,
}

/// One saved activity row on its way in.
#[derive(Clone, Debug)]
pub struct SavedActivity<'a> {
    pub rdtype: u16,
    pub hour: i64,
    pub vantage: Vantage,
    pub responses: u64,
    pub fresh_minutes: u64,
    pub answers_sum: u64,
    pub answers_max: u32,
    pub failures: [u64; N_FAILURES],
    pub clients: &'a [Address],
    /// More clients than are listed: the listed ones are a bottom-k sample.
    pub sampled: bool,
}

/// Responses on their way into the tables: small enough to stay in the cache.
#[derive(Default)]
struct Pending {
    arena: Vec<u8>,
    /// Start and length in the arena, and hash.
    names: Vec<(u32, u32, u32)>,
    /// The same of rdata that is neither an address nor a name, and whether it is text.
    rdata: Vec<(u32, u32, u32, bool)>,
    records: Vec<PendingRecord>,
    responses: Vec<Response>,
    clients: Vec<(u32, Address)>,
}

/// A record in [`Pending`].
#[derive(Clone, Copy)]
struct PendingRecord {
    section: Section,
    rdtype: u16,
    owner: u32,
    ttl: u32,
    rdata: PendingRdata,
}

#[derive(Clone, Copy)]
enum PendingRdata {
    A(u32),
    /// Place in [`Pending::names`].
    Name(u32),
    /// Place in [`Pending::rdata`].
    Other(u32),
}

impl Pending {
    /// Take in the names and records of a message; returns the place of its first name.
    fn push(&mut self, message: &Message, tables: &Tables) -> u32 {
        let (shift, base) = (self.arena.len() as u32, self.names.len() as u32);
        self.arena.extend_from_slice(message.arena());
        for index in 0..message.n_names() as u32 {
            let span = message.name_span(index);
            self.names.push((shift + span.start, span.len, tables.names.hash(message.bytes(span))));
        }
        for record in &message.records {
            let rdata = match record.rdata {
                Rdata::A(address) => PendingRdata::A(address),
                Rdata::Name(index) => PendingRdata::Name(base + index),
                Rdata::Bytes(span) => self.push_rdata(CANONICAL, record.rdtype, message.bytes(span), tables),
                Rdata::Text(span) => self.push_rdata(TEXT, record.rdtype, message.bytes(span), tables),
            };
            let Record { section, rdtype, owner, ttl, .. } = *record;
            self.records.push(PendingRecord { section, rdtype, owner: base + owner, ttl, rdata });
        }
        base
    }

    fn push_rdata(&mut self, kind: u8, rdtype: u16, bytes: &[u8], tables: &Tables) -> PendingRdata {
        let start = self.arena.len();
        self.arena.push(kind);
        self.arena.extend_from_slice(&rdtype.to_be_bytes());
        self.arena.extend_from_slice(bytes);
        let hash = tables.bytes.hash(&self.arena[start..]);
        self.rdata.push((start as u32, (self.arena.len() - start) as u32, hash, kind == TEXT));
        PendingRdata::Other(self.rdata.len() as u32 - 1)
    }

    fn clear(&mut self) {
        self.arena.clear();
        self.names.clear();
        self.rdata.clear();
        self.records.clear();
        self.responses.clear();
        self.clients.clear();
    }
}

/// A response in [`Pending`]; its records end at `records_end`.
struct Response {
    ts_us: i64,
    /// Place in [`Pending::clients`], or [`NONE`].
    client: u32,
    stamp: u32,
    records_end: u32,
    /// Name and type of the question that failed.
    failed: Option<(u32, u16, Failure)>,
    vantage: Vantage,
}

/// Pending bytes of names and rdata at which they are worked in.
const PENDING_BYTES: usize = 32 << 10;

/// Folds responses into [`Bucket`]s. Memory grows with distinct (owner, rdata, hour), not with
/// responses; there is no further bound, because every row is part of the result.
#[derive(Default)]
pub struct Reducer {
    tables: Tables,
    open: Vec<Bucket>,
    closed: Vec<Bucket>,
    state: RandomState,
    pending: Pending,
    ids: Vec<u32>,
    rdata_codes: Vec<u32>,
    client_ids: Vec<u32>,
    rows: Vec<RowChange>,
    activity: Vec<ActivityChange>,
    /// Owner, type, records and shortest TTL of the rrsets in one answer section.
    rrsets: Vec<(u32, u16, u32, u32)>,
    stamp: u32,
    policy: Clients,
}

impl Reducer {
    pub fn new(policy: Clients) -> Self {
        Reducer { policy, ..Self::default() }
    }

    /// A reducer of the same kind for another thread, to be [`absorbed`](Self::absorb) later.
    pub fn sibling(&self) -> Self {
        Self::new(self.policy.clone())
    }

    /// Take in one response seen at `ts_us`, sent to `client`.
    pub fn add(&mut self, message: &Message, ts_us: i64, client: Option<Address>, vantage: Vantage) {
        let base = self.pending.push(message, &self.tables);
        self.stamp = (self.stamp + 1) % NONE;
        let client = client.and_then(|address| self.policy.admit(address)).map_or(NONE, |address| {
            let hash = self.tables.client_hash(&address);
            self.pending.clients.push((hash, address));
            self.pending.clients.len() as u32 - 1
        });
        let failed =
            message.question.zip(failure_of(message)).map(|((qname, qtype), failure)| (base + qname, qtype, failure));
        let records_end = self.pending.records.len() as u32;
        self.pending.responses.push(Response { ts_us, client, stamp: self.stamp, records_end, failed, vantage });
        if self.pending.arena.len() >= PENDING_BYTES {
            self.flush();
        }
    }

    /// Work the pending responses in.
    fn flush(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        self.number(&pending);
        let mut from = 0;
        for response in &pending.responses {
            let hour = response.ts_us.div_euclid(HOUR_US);
            if self.open.last().is_none_or(|bucket| bucket.hour != hour) {
                self.apply();
                self.open_hour(hour);
            }
            let records = &pending.records[from..response.records_end as usize];
            from = response.records_end as usize;
            self.plan(response, records);
        }
        self.apply();
        pending.clear();
        self.pending = pending;
    }

    /// Give every pending name, rdata and client its number.
    fn number(&mut self, pending: &Pending) {
        let bytes = |start: u32, len: u32| &pending.arena[start as usize..(start + len) as usize];
        self.ids.clear();
        for chunk in pending.names.chunks(WARM) {
            self.tables.names.warm(chunk.iter().map(|(_, _, hash)| *hash));
            let intern = |(start, len, hash): &(u32, u32, u32)| self.tables.names.intern(*hash, bytes(*start, *len));
            self.ids.extend(chunk.iter().map(intern));
        }
        self.rdata_codes.clear();
        for chunk in pending.rdata.chunks(WARM) {
            self.tables.bytes.warm(chunk.iter().map(|(_, _, hash, _)| *hash));
            for (start, len, hash, is_text) in chunk {
                let id = self.tables.bytes.intern(*hash, bytes(*start, *len));
                let entry = if *is_text { Entry::Text(id) } else { Entry::Bytes(id) };
                self.rdata_codes.push(self.tables.intern_rdata(entry));
            }
        }
        self.client_ids.clear();
        for chunk in pending.clients.chunks(WARM) {
            self.tables.warm_clients(chunk.iter().map(|(hash, _)| *hash));
            self.client_ids.extend(chunk.iter().map(|(hash, address)| self.tables.intern_client(*hash, *address)));
        }
    }

    /// Note what a response will change in its hour.
    fn plan(&mut self, response: &Response, records: &[PendingRecord]) {
        let Response { ts_us, stamp, vantage, .. } = *response;
        let client = self.client_ids.get(response.client as usize).copied().unwrap_or(NONE);
        let at = ts_us.rem_euclid(HOUR_US) as u32;
        self.rrsets.clear();
        for record in records {
            let PendingRecord { rdtype, ttl, .. } = *record;
            let owner = self.ids[record.owner as usize];
            let raw = self.raw(record.rdata);
            let hash = row_hash(&self.state, owner, rdtype, raw, vantage);
            let bit = minute_bit(ts_us, ttl, vantage);
            self.rows.push(RowChange { hash, owner, raw, at, ttl, stamp, bit, rdtype, vantage });
            if record.section == Section::Answer {
                // Records of one rrset need not stand together.
                match self.rrsets.iter_mut().rev().find(|rrset| (rrset.0, rrset.1) == (owner, rdtype)) {
                    Some(rrset) => (rrset.2, rrset.3) = (rrset.2 + 1, rrset.3.min(ttl)),
                    None => self.rrsets.push((owner, rdtype, 1, ttl)),
                }
            }
        }
        for (owner, rdtype, length, ttl) in self.rrsets.drain(..) {
            let hash = activity_hash(&self.state, owner, rdtype, vantage);
            let bit = minute_bit(ts_us, ttl, vantage);
            self.activity.push(ActivityChange {
                hash,
                owner,
                stamp,
                client,
                length,
                bit,
                rdtype,
                vantage,
                failure: None,
            });
        }
        if let Some((qname, rdtype, failure)) = response.failed {
            let owner = self.ids[qname as usize];
            let hash = activity_hash(&self.state, owner, rdtype, vantage);
            let failure = Some(failure);
            self.activity.push(ActivityChange {
                hash,
                owner,
                stamp,
                client,
                length: 0,
                bit: 0,
                rdtype,
                vantage,
                failure,
            });
        }
    }

    /// What tells this rdata from others of its owner and type.
    fn raw(&self, rdata: PendingRdata) -> u32 {
        match rdata {
            PendingRdata::A(address) => address,
            PendingRdata::Name(place) => self.ids[place as usize],
            PendingRdata::Other(place) => self.rdata_codes[place as usize],
        }
    }

    /// Carry out what is planned for the hour that is open.
    fn apply(&mut self) {
        if let Some(bucket) = self.open.last_mut() {
            bucket.change_rows(&self.rows);
            bucket.change_activity(&self.activity, self.tables.clients());
        }
        self.rows.clear();
        self.activity.clear();
    }

    /// Take in a row that somebody reduced before. Names and bytes of `message` hold its rdata.
    pub fn add_sighting(&mut self, message: &Message, sighting: &Sighting) {
        self.flush();
        self.open_hour(sighting.hour);
        let Sighting { owner, rdtype, rdata, fresh_minutes, vantage, .. } = *sighting;
        let mut pending = std::mem::take(&mut self.pending);
        pending.push(message, &self.tables);
        let rdata = match rdata {
            Rdata::A(address) => PendingRdata::A(address),
            Rdata::Name(index) => PendingRdata::Name(index),
            Rdata::Bytes(span) => pending.push_rdata(CANONICAL, rdtype, message.bytes(span), &self.tables),
            Rdata::Text(span) => pending.push_rdata(TEXT, rdtype, message.bytes(span), &self.tables),
        };
        self.number(&pending);
        pending.clear();
        self.pending = pending;
        let raw = self.raw(rdata);
        let (ttl_max, ttl_min) = sighting.ttl.unwrap_or((0, u32::MAX));
        let row = Row {
            fresh_minutes,
            owner: self.ids[owner as usize],
            raw,
            first: 0,
            last: 0,
            count_raw: 0,
            ttl_max,
            ttl_min,
            stamp: NONE,
            rdtype,
            vantage,
            is_wide: false,
        };
        let (bucket, state) = (self.open.last_mut().expect("an hour is open"), &self.state);
        bucket.put_row(state, row, sighting.seen);
    }

    /// Take in a saved activity row for the lower-case wire name `owner`.
    pub fn add_activity(&mut self, owner: &[u8], saved: &SavedActivity<'_>) {
        self.flush();
        self.open_hour(saved.hour);
        let owner = self.tables.names.intern(self.tables.names.hash(owner), owner);
        let mut one = Bucket { hour: saved.hour, ..Bucket::default() };
        let hash = activity_hash(&self.state, owner, saved.rdtype, saved.vantage);
        let place = one.activity_at(hash, owner, saved.rdtype, saved.vantage);
        let row = &mut one.activity[place];
        row.responses = saved.responses;
        row.fresh_minutes = saved.fresh_minutes;
        row.answers_sum = saved.answers_sum;
        row.answers_max = saved.answers_max;
        if saved.failures != [0; N_FAILURES] {
            one.add_failures(place, &saved.failures);
        }
        for address in saved.clients.iter().filter_map(|address| self.policy.admit(*address)) {
            let id = self.tables.intern_client(self.tables.client_hash(&address), address);
            one.add_client(place, id, self.tables.clients());
        }
        if let Some(set) = one.clients.first_mut().filter(|_| saved.sampled) {
            set.overflowed = true;
        }
        let bucket = self.open.last_mut().expect("an hour is open");
        bucket.absorb(&self.state, &one, self.tables.clients());
    }

    /// Make `hour` the last of the open ones.
    fn open_hour(&mut self, hour: i64) {
        if self.open.last().is_some_and(|bucket| bucket.hour == hour) {
            return;
        }
        if let Some(place) = self.open.iter().position(|bucket| bucket.hour == hour) {
            let bucket = self.open.remove(place);
            self.open.push(bucket);
            return;
        }
        let bucket = Bucket::like(hour, self.open.last());
        if self.open.len() == OPEN_HOURS {
            let mut oldest = self.open.remove(0);
            oldest.close(&mut self.tables);
            self.closed.push(oldest);
        }
        self.open.push(bucket);
    }

    fn close_all(&mut self) {
        self.flush();
        for mut bucket in self.open.drain(..) {
            bucket.close(&mut self.tables);
            self.closed.push(bucket);
        }
    }

    /// Take in what another thread reduced.
    pub fn absorb(&mut self, mut other: Reducer) {
        self.close_all();
        other.close_all();
        let mapping = self.tables.absorb(&other.tables);
        for mut bucket in other.closed {
            bucket.renumber(&mapping);
            self.closed.push(bucket);
        }
    }

    /// Do what is left to do before [`absorb`](Self::absorb): better on the worker's own thread.
    pub fn settle(&mut self) {
        self.close_all();
    }

    /// The hours in order, each once, and the tables their numbers refer to.
    ///
    /// Hours that came in pieces (from other threads, or out of order) are put together, on
    /// `threads` threads.
    pub fn finish(mut self, threads: usize) -> (Vec<Bucket>, Tables) {
        self.close_all();
        self.closed.sort_by_key(|bucket| bucket.hour); // stable: earlier pieces stay first
        let mut hours: Vec<Vec<Bucket>> = Vec::new();
        for bucket in std::mem::take(&mut self.closed) {
            match hours.last_mut().filter(|pieces| pieces[0].hour == bucket.hour) {
                Some(pieces) => pieces.push(bucket),
                None => hours.push(vec![bucket]),
            }
        }
        let (state, tables) = (&self.state, &self.tables);
        let waiting = Mutex::new(hours.into_iter());
        let work = || {
            let mut done = Vec::new();
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(pieces) = next else { return done };
                done.extend(Bucket::merged(pieces, state, tables));
            }
        };
        let mut done = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            for other in others {
                done.extend(other.join().expect("a merging thread does not panic"));
            }
            done
        });
        done.sort_by_key(|bucket| bucket.hour);
        (done, self.tables)
    }
}

/// The bit of a fresh observation: its expiry minute modulo 64, or the minute it was seen.
fn minute_bit(ts_us: i64, ttl: u32, vantage: Vantage) -> u64 {
    let minute = match vantage {
        Vantage::Upstream => ts_us.div_euclid(MINUTE_US),
        Vantage::History => return 0,
        _ => (ts_us.div_euclid(1_000_000) + i64::from(ttl)).div_euclid(60),
    };
    1 << minute.rem_euclid(64)
}

fn failure_of(message: &Message) -> Option<Failure> {
    match message.rcode {
        0 => {
            let has = |section| message.records.iter().any(|record| record.section == section);
            let referral = message
                .records
                .iter()
                .any(|record| record.section == Section::Authority && record.rdtype == rdtype::NS);
            (!has(Section::Answer) && !referral && !message.truncated).then_some(Failure::NoData)
        }
        2 => Some(Failure::ServFail),
        3 => Some(Failure::NxDomain),
        5 => Some(Failure::Refused),
        _ => Some(Failure::Other),
    }
}
