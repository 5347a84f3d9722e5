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

use std::collections::BTreeMap;
use std::sync::mpsc::channel;

pub use crate::activity::MAX_CLIENTS;
use crate::activity::{Activities, Change, NO_MINUTE, Sum};
use crate::clients::Clients;
use crate::link::Address;
use crate::message::{Message, Rdata, Section};
use crate::pending::{
    Deal, Envelope, Inbox, PENDING_BYTES, Pending, PendingRdata, PendingRecord, PendingSighting, Response,
};
pub use crate::rows::Seen;
use crate::rows::{Row, Rows};
use crate::table::{Entry, Mapping, NONE, Tables, WARM};
use crate::threads::side_by_side;

mod open;
pub mod window;

use open::{Hour, Open};

pub const HOUR_US: i64 = 3_600_000_000;
const MINUTE_US: i64 = 60_000_000;
/// Changes of an open hour from which on they are folded into columns before it is over.
const MAX_LOG: usize = 1 << 20;
/// Changes in open hours that seem to be over, from which on these are closed.
const MAX_WAITING: usize = if cfg!(test) { 40 } else { 1 << 18 }; // tests are to come across it
/// Emptied logs that are kept for hours to come.
const MAX_SPARE: usize = 2;
/// Pieces of a closed hour are not merged before they have so many rows.
const MIN_MERGED: usize = if cfg!(test) { 4 } else { 256 };
/// Records of a response up to which repeated ones are looked for one by one.
const FEW_RECORDS: usize = 16;

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

/// All that was seen in one hour: closed, in columns.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// Hours since the epoch.
    pub hour: i64,
    pub rows: Rows,
    pub activity: Activities,
}

impl Bucket {
    fn len(&self) -> usize {
        self.rows.len() + self.activity.len()
    }

    /// Pieces of one hour as one. `spare` is memory to work in.
    fn merged(mut pieces: Vec<Bucket>, tables: &Tables, spare: &mut (Vec<Row>, Vec<Row>)) -> Bucket {
        if pieces.len() == 1 {
            return pieces.remove(0);
        }
        let hour = pieces[0].hour;
        let all: Vec<&Activities> = pieces.iter().map(|piece| &piece.activity).collect();
        let activity = Activities::merged(&all, tables.clients());
        let rows = Rows::merged(&mut pieces.into_iter().map(|piece| piece.rows), hour, tables.names.len(), spare);
        Bucket { hour, rows, activity }
    }

    /// Put another worker's numbers in terms of ours.
    fn renumber(&mut self, mapping: &Mapping) {
        self.rows.renumber(&mapping.names, &mapping.rdata);
        self.activity.renumber(&mapping.names, &mapping.clients);
    }

    /// Take in rows of the same hour about other names.
    fn append(&mut self, other: Bucket) {
        self.rows.append(other.rows);
        self.activity.append(other.activity);
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

/// Folds responses into [`Bucket`]s. Memory grows with distinct (owner, rdata, hour), not with
/// responses; there is no further bound, because every row is part of the result.
#[derive(Default)]
pub struct Reducer {
    tables: Tables,
    open: Open,
    closed: BTreeMap<i64, Vec<Bucket>>,
    pending: Pending,
    /// Responses go to whom their names belong to, one of which is this.
    deal: Option<Deal>,
    /// Some rows came in another way, so that others may have rows of their names too.
    is_mixed: bool,
    ids: Vec<u32>,
    rdata_codes: Vec<u32>,
    client_ids: Vec<u32>,
    /// Of the response at hand.
    rows: Vec<Row>,
    /// Owner, type, records and shortest TTL of the rrsets in its answer section.
    rrsets: Vec<(u32, u16, u32, u32)>,
    /// Memory that closing hours needs, and that of closed ones for the next.
    scratch: (Vec<Row>, Vec<Change>),
    spare: Vec<(Vec<Row>, Vec<Change>)>,
    policy: Clients,
}

impl Reducer {
    pub fn new(policy: Clients) -> Self {
        Reducer { policy, ..Self::default() }
    }

    /// Reducers of the same kind for `n` threads, to be [`joined`](Self::joined) and absorbed later, and
    /// one that only deals. Whichever is given a response, each of its records gets to the one of
    /// the `n` that its owner belongs to.
    pub fn dealers(&self, n: usize) -> (Vec<(Reducer, Inbox)>, Reducer) {
        let (to, inboxes): (Vec<_>, Vec<_>) = (0..n).map(|_| channel()).unzip();
        let dealer = |own| Reducer {
            tables: self.tables.alike(),
            deal: Some(Deal::new(own, &to)),
            ..Self::new(self.policy.clone())
        };
        let workers = inboxes.into_iter().enumerate().map(|(own, inbox)| (dealer(Some(own)), Inbox(inbox))).collect();
        (workers, dealer(None))
    }

    /// Take in one response seen at `ts_us`, sent to `client`.
    pub fn add(&mut self, message: &Message, ts_us: i64, client: Option<Address>, vantage: Vantage) {
        let client = client.and_then(|address| self.policy.admit(address));
        let envelope = Envelope { ts_us, client, vantage };
        if let Some(deal) = &mut self.deal {
            deal.push(message, &envelope, &self.tables);
            self.pass_on(PENDING_BYTES);
            return;
        }
        self.pending.push(message, &envelope, &self.tables);
        if self.pending.n_bytes() >= PENDING_BYTES {
            self.flush();
        }
    }

    /// Hand on what was dealt, as soon as there are so many bytes of it for somebody.
    fn pass_on(&mut self, n_bytes: usize) {
        let Some(mut deal) = self.deal.take() else { return };
        deal.pass_on(n_bytes, |pending| self.work(pending));
        self.deal = Some(deal);
    }

    /// Take in what others dealt so far.
    pub fn take_in(&mut self, inbox: &Inbox) {
        while let Ok(mut pending) = inbox.0.try_recv() {
            self.work(&mut pending);
            if let Some(deal) = &mut self.deal {
                deal.give_back(pending);
            }
        }
    }

    /// No more responses come to this one: hand on what is left for others.
    pub fn end_deal(&mut self) {
        self.pass_on(0);
        self.deal = None;
    }

    /// Take in what others still deal, until all of them ended, and tidy up.
    pub fn take_in_rest(&mut self, inbox: &Inbox) {
        self.end_deal();
        for mut pending in &inbox.0 {
            self.work(&mut pending);
        }
        self.settle();
        let tables = &self.tables;
        for pieces in self.closed.values_mut().filter(|pieces| pieces.len() > 1) {
            *pieces = vec![Bucket::merged(std::mem::take(pieces), tables, &mut Default::default())];
        }
    }

    /// Work the pending responses in.
    fn flush(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        self.work(&mut pending);
        self.pending = pending;
    }

    /// Work responses in, and empty what they came in.
    fn work(&mut self, pending: &mut Pending) {
        if pending.responses.is_empty() && pending.sightings.is_empty() {
            return;
        }
        self.number(pending);
        let mut from = 0;
        for response in &pending.responses {
            self.open_hour(response.ts_us.div_euclid(HOUR_US));
            let records = &pending.records[from..response.records_end as usize];
            from = response.records_end as usize;
            self.work_in(response, records);
        }
        pending.sightings.iter().for_each(|sighting| self.work_in_sighting(sighting));
        pending.clear();
        self.close_large();
    }

    /// Give every pending name, rdata and client its number.
    fn number(&mut self, pending: &Pending) {
        let arena = &pending.arena;
        self.ids.clear();
        for chunk in pending.names.chunks(WARM) {
            self.tables.names.warm(chunk.iter().map(|(_, _, hash)| *hash));
            let names = &mut self.tables.names;
            let intern =
                |(start, len, hash): &(u32, u32, u32)| names.intern_in(*hash, arena, *start as usize, *len as usize);
            self.ids.extend(chunk.iter().map(intern));
        }
        self.rdata_codes.clear();
        for chunk in pending.rdata.chunks(WARM) {
            self.tables.bytes.warm(chunk.iter().map(|(_, _, hash, _)| *hash));
            for (start, len, hash, is_text) in chunk {
                let id = self.tables.bytes.intern_in(*hash, arena, *start as usize, *len as usize);
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

    /// Log what a response changes in the hour that is open.
    fn work_in(&mut self, response: &Response, records: &[PendingRecord]) {
        let Response { ts_us, vantage, .. } = *response;
        let client = self.client_ids.get(response.client as usize).copied().unwrap_or(NONE);
        let at = ts_us.rem_euclid(HOUR_US) as u32;
        self.rrsets.clear();
        self.rows.clear();
        for record in records {
            let PendingRecord { rdtype, ttl, .. } = *record;
            let owner = self.ids[record.owner as usize];
            let bit = minute_of(ts_us, ttl, vantage).map_or(0, |minute| 1 << minute);
            self.rows.push(Row::once(owner, rdtype, self.raw(record.rdata), vantage, at, ttl, bit));
            if record.section == Section::Answer {
                // Records of one rrset need not stand together.
                match self.rrsets.iter_mut().rev().find(|rrset| (rrset.0, rrset.1) == (owner, rdtype)) {
                    Some(rrset) => (rrset.2, rrset.3) = (rrset.2 + 1, rrset.3.min(ttl)),
                    None => self.rrsets.push((owner, rdtype, 1, ttl)),
                }
            }
        }
        count_once(&mut self.rows);
        self.rows.iter().for_each(|row| self.open.add(*row));
        let hour = self.open.now();
        for (owner, rdtype, length, ttl) in &self.rrsets {
            let minute = minute_of(ts_us, *ttl, vantage).unwrap_or(NO_MINUTE);
            hour.activity.push(Change::answered(*owner, *rdtype, vantage, client, *length, minute));
        }
        if let Some((qname, rdtype, failure)) = response.failed {
            let owner = self.ids[qname as usize];
            let again = self.rrsets.iter().any(|rrset| (rrset.0, rrset.1) == (owner, rdtype));
            hour.activity.push(Change::failed(owner, rdtype, vantage, client, failure as usize, again));
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

    /// Take in a row that somebody reduced before. Names and bytes of `message` hold its rdata.
    pub fn add_sighting(&mut self, message: &Message, sighting: &Sighting) {
        self.is_mixed = true;
        self.pending.push_sighting(message, sighting, &self.tables);
        if self.pending.n_bytes() >= PENDING_BYTES {
            self.flush();
        }
    }

    /// Log a row that was reduced before in its hour.
    fn work_in_sighting(&mut self, pending: &PendingSighting) {
        let PendingSighting { owner, rdtype, rdata, vantage, fresh_minutes, ttl_max, ttl_min, hour, seen } = *pending;
        self.open_hour(hour);
        let row = Row::once(self.ids[owner as usize], rdtype, self.raw(rdata), vantage, 0, 0, fresh_minutes);
        self.open.now().rows.add_seen(hour, row.with_ttl(ttl_max, ttl_min), seen);
        self.close_large();
    }

    /// Take in a saved activity row for the lower-case wire name `owner`.
    pub fn add_activity(&mut self, owner: &[u8], saved: &SavedActivity<'_>) {
        self.flush();
        self.is_mixed = true;
        self.open_hour(saved.hour);
        let owner = self.tables.names.intern(self.tables.names.hash(owner), owner);
        let mut clients = Vec::with_capacity(saved.clients.len());
        for address in saved.clients.iter().filter_map(|address| self.policy.admit(*address)) {
            clients.push(self.tables.intern_client(self.tables.client_hash(&address), address));
        }
        let sum = Sum {
            responses: saved.responses,
            fresh_minutes: saved.fresh_minutes,
            answers_sum: saved.answers_sum,
            answers_max: saved.answers_max,
            failures: saved.failures,
            sampled: saved.sampled && clients.len() >= MAX_CLIENTS,
            clients,
        };
        self.open.now().saved.push(owner, saved.rdtype, saved.vantage, &sum);
        self.close_large();
    }

    /// Make `hour` the one that changes go to. When much is waiting in hours that seem to be over,
    /// they are closed, and merged if they come back.
    fn open_hour(&mut self, hour: i64) {
        if self.open.now().hour == hour {
            return;
        }
        let spare = &mut self.spare;
        self.open.turn_to(hour, || spare.pop().unwrap_or_default());
        if self.open.n_waiting() >= MAX_WAITING {
            self.open.take_over().into_iter().for_each(|over| self.close(over));
        }
    }

    /// An hour that became large is folded before it is over.
    fn close_large(&mut self) {
        if self.open.now().len() >= MAX_LOG {
            let hour = self.open.take_now();
            self.close(hour);
        }
    }

    /// Fold an hour's log into columns, and give its memory to the next one.
    fn close(&mut self, mut open: Hour) {
        let Hour { hour, .. } = open;
        let (rows, changes) = &mut self.scratch;
        let n_names = self.tables.names.len();
        let mut activity = Activities::close(&mut open.activity, changes, n_names, self.tables.clients());
        if !open.saved.is_empty() {
            activity = Activities::merged(&[&activity, &open.saved], self.tables.clients());
        }
        let rows = open.rows.close(hour, &mut self.tables, rows);
        if self.spare.len() < MAX_SPARE {
            self.spare.push((open.rows.into_spare(), open.activity));
        }
        let pieces = self.closed.entry(hour).or_default();
        pieces.push(Bucket { hour, rows, activity });
        let later: usize = pieces.iter().skip(1).map(Bucket::len).sum();
        if later > MIN_MERGED.max(pieces[0].len()) {
            // What came after the first piece is as large: merging now keeps memory to distinct rows.
            let whole = Bucket::merged(std::mem::take(pieces), &self.tables, &mut Default::default());
            pieces.push(whole);
        }
    }

    fn close_all(&mut self) {
        self.flush();
        self.open.take_all().into_iter().for_each(|hour| self.close(hour));
    }

    /// Put together what [dealers](Self::dealers) have, on as many threads.
    pub fn joined(mut parts: Vec<Reducer>) -> Reducer {
        let others = parts.split_off(1.min(parts.len()));
        let mut whole = parts.pop().unwrap_or_default();
        if whole.is_mixed || others.iter().any(|other| other.is_mixed) {
            others.into_iter().for_each(|other| whole.absorb(other));
            return whole;
        }
        let n_threads = others.len() + 1;
        let mut hours: BTreeMap<i64, Vec<(Bucket, usize)>> = BTreeMap::new();
        let mut mappings = Vec::new();
        for (number, other) in others.into_iter().enumerate() {
            mappings.push(whole.tables.absorb(&other.tables));
            for bucket in other.closed.into_values().flatten() {
                hours.entry(bucket.hour).or_default().push((bucket, number));
            }
        }
        for bucket in std::mem::take(&mut whole.closed).into_values().flatten() {
            hours.entry(bucket.hour).or_default().push((bucket, usize::MAX));
        }
        let joined = side_by_side(n_threads, hours.into_values(), |pieces| {
            let mut pieces = pieces.into_iter().map(|(mut bucket, number)| {
                mappings.get(number).into_iter().for_each(|mapping| bucket.renumber(mapping));
                bucket
            });
            let mut first = pieces.next().unwrap_or_default();
            pieces.for_each(|piece| first.append(piece));
            first
        });
        whole.closed.extend(joined.into_iter().map(|bucket| (bucket.hour, vec![bucket])));
        whole
    }

    /// Take in what another thread reduced.
    pub fn absorb(&mut self, mut other: Reducer) {
        self.close_all();
        other.close_all();
        if self.closed.is_empty() {
            let policy = self.policy.clone();
            *self = Reducer { policy, ..other };
            return;
        }
        let mapping = self.tables.absorb(&other.tables);
        for mut bucket in other.closed.into_values().flatten() {
            bucket.renumber(&mapping);
            self.closed.entry(bucket.hour).or_default().push(bucket);
        }
    }

    /// Do what is left to do before [`absorb`](Self::absorb): better on the worker's own thread.
    pub fn settle(&mut self) {
        self.close_all();
        self.scratch = Default::default();
        self.spare = Vec::new();
    }

    /// The hours in order, each once, and the tables their numbers refer to.
    ///
    /// Hours that came in pieces (from other threads, or out of order) are put together, on
    /// `threads` threads.
    pub fn finish(mut self, threads: usize) -> (Vec<Bucket>, Tables) {
        self.settle();
        let tables = &self.tables;
        let hours = std::mem::take(&mut self.closed).into_values();
        let done = side_by_side(threads, hours, |pieces| Bucket::merged(pieces, tables, &mut Default::default()));
        (done, self.tables)
    }
}

/// A record twice in one response counts once: the later ones get the count 0.
fn count_once(rows: &mut [Row]) {
    if rows.len() <= FEW_RECORDS {
        for place in 1..rows.len() {
            let (before, after) = rows.split_at_mut(place);
            after[0].count = u32::from(!before.iter().any(|row| row.is_same(&after[0])));
        }
        return;
    }
    let mut places: Vec<usize> = (0..rows.len()).collect();
    places.sort_unstable_by_key(|place| (rows[*place].owner, rows[*place].rdtype, rows[*place].raw, *place));
    for pair in places.windows(2) {
        rows[pair[1]].count = u32::from(!rows[pair[0]].is_same(&rows[pair[1]]));
    }
}

/// The bit of a fresh observation: its expiry minute modulo 64, or the minute it was seen.
fn minute_of(ts_us: i64, ttl: u32, vantage: Vantage) -> Option<u8> {
    let minute = match vantage {
        Vantage::Upstream => ts_us.div_euclid(MINUTE_US),
        Vantage::History => return None,
        _ => (ts_us.div_euclid(1_000_000) + i64::from(ttl)).div_euclid(60),
    };
    Some(minute.rem_euclid(64) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Record;
    use crate::rdtype;
    use proptest::prelude::*;

    /// A response by a few small numbers: owner, addresses (some twice), hour, TTL, client.
    type Small = (u8, Vec<u8>, u8, u8, u8);

    fn add(reducer: &mut Reducer, (owner, addresses, hour, ttl, client): &Small) {
        let mut message = Message::default();
        message.clear();
        let owner = message.add_name(&format!("n{owner}.test.")).unwrap();
        message.question = Some((owner, rdtype::A));
        for address in addresses {
            let rdata = Rdata::A(0xC612_0000 | u32::from(*address % 8));
            message.records.push(Record {
                section: Section::Answer,
                owner,
                rdtype: rdtype::A,
                ttl: u32::from(*ttl),
                rdata,
            });
        }
        let ts_us = i64::from(*hour % 7) * HOUR_US + i64::from(*ttl) * MINUTE_US / 5;
        let mut address = [0; 16];
        address[15] = *client;
        reducer.add(&message, ts_us, Some(address), Vantage::Client);
    }

    /// Everything that was reduced, in words and in order.
    fn told(reducer: Reducer, threads: usize) -> Vec<String> {
        let (buckets, tables) = reducer.finish(threads);
        let mut all = Vec::new();
        for Bucket { hour, rows, activity, .. } in &buckets {
            for place in 0..rows.len() {
                let (mut owner, mut rdata) = (String::new(), String::new());
                tables.present_name(rows.owner[place] as u32, &mut owner);
                tables.present_rdata(rows.rdata[place] as u32, &mut rdata);
                let (first, last, count) = (rows.time_first[place], rows.time_last[place], rows.count_raw[place]);
                let (max, min, fresh) = (rows.ttl_max[place], rows.ttl_min[place], rows.fresh_minutes[place]);
                all.push(format!("{hour} {owner} {rdata} {first} {last} {count} {max} {min} {fresh:x}"));
            }
            for place in 0..activity.len() {
                let mut owner = String::new();
                tables.present_name(activity.owner[place] as u32, &mut owner);
                let mut clients: Vec<_> =
                    activity.clients_of(place).iter().map(|id| tables.clients()[*id as usize]).collect();
                clients.sort_unstable();
                let sums = (activity.responses[place], activity.answers_sum[place], activity.answers_max[place]);
                let n_clients = activity.n_clients(place, tables.clients());
                let failures = activity.failures_of(place);
                all.push(format!("{hour} {owner} {sums:?} {failures:?} {n_clients} {clients:?}"));
            }
        }
        all.sort_unstable();
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_split_among_reducers_gives_the_same(
            responses in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20), any::<u8>(), any::<u8>(), any::<u8>()), 0..300),
            cuts in prop::collection::vec(any::<bool>(), 300),
        ) {
            let (mut whole, mut one, mut two) = (Reducer::default(), Reducer::default(), Reducer::default());
            for (response, cut) in responses.iter().zip(&cuts) {
                add(&mut whole, response);
                add(if *cut { &mut one } else { &mut two }, response);
            }
            one.absorb(two);
            prop_assert_eq!(told(whole, 1), told(one, 2));
        }

        #[test]
        fn any_deal_among_reducers_gives_the_same(
            responses in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20), any::<u8>(), any::<u8>(), any::<u8>()), 0..300),
            cuts in prop::collection::vec(0usize..4, 300),
        ) {
            let mut whole = Reducer::default();
            let (mut workers, mut router) = whole.dealers(3);
            for (response, cut) in responses.iter().zip(&cuts) {
                add(&mut whole, response);
                add(workers.get_mut(*cut).map_or(&mut router, |worker| &mut worker.0), response);
                let (worker, inbox) = &mut workers[cut % 3];
                worker.pass_on(400);
                worker.take_in(inbox);
            }
            router.end_deal();
            workers.iter_mut().for_each(|(worker, _)| worker.end_deal());
            workers.iter_mut().for_each(|(worker, inbox)| worker.take_in_rest(inbox));
            let joined = Reducer::joined(workers.into_iter().map(|(worker, _)| worker).collect());
            prop_assert_eq!(told(whole, 1), told(joined, 2));
        }
    }

    #[test]
    fn a_record_twice_in_one_response_counts_once() {
        for n in [2, 40] {
            let mut reducer = Reducer::default();
            add(&mut reducer, &(1, vec![3; n], 0, 60, 1));
            let (buckets, _) = reducer.finish(1);
            assert_eq!((&buckets[0].rows.count_raw, &buckets[0].activity.answers_sum), (&vec![1], &vec![n as i64]));
        }
    }

    #[test]
    fn folding_early_changes_nothing() {
        let mut reducer = Reducer::default();
        for number in 0..3000u32 {
            add(&mut reducer, &(number as u8, vec![number as u8], 0, 60, (number / 7) as u8));
            if number % 1000 == 999 {
                reducer.close_all();
            }
        }
        let mut whole = Reducer::default();
        for number in 0..3000u32 {
            add(&mut whole, &(number as u8, vec![number as u8], 0, 60, (number / 7) as u8));
        }
        assert_eq!(told(reducer, 1), told(whole, 1));
    }
}
