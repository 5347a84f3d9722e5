//! The rolling window of a live watch: hours of sightings that are merged into, asked, and bounded.
//!
//! Short reductions (a second of responses each) are folded in; because sightings are mergeable the
//! window is what one reducer would hold that had seen everything, less what was evicted. It keeps
//! for every name a sketch of its addresses: a name whose sketch stays small is benign so far, does
//! not have to be judged, and is the first to go when memory runs short. Only evidence that is
//! *fresh* (a new record, or a new expiry minute of a known one) makes a name wait for judgement.

mod hours;

use std::collections::{HashMap, HashSet};

use foldhash::quality::RandomState;

use super::{Bucket, HOUR_US, Reducer, Seen, Vantage};
use crate::activity::{Change, client_hash};
use crate::link::Address;
use crate::name;
use crate::rdtype;
use crate::rows::Row as LogRow;
use crate::table::RDATA_PREFIX;
use crate::table::{Entry, NONE, Tables};
use hours::{Activity, Hour, Row, activity_hash, row_hash};

type Numbers<V> = HashMap<u32, V, foldhash::fast::RandomState>;

/// Bits of a name's address sketch from which it may rotate; five distinct addresses set four of
/// 64 bits or more with a probability of 0.99, and no verdict of flux needs fewer than five.
const MIN_POOL_BITS: u32 = 4;
/// Name servers with so many zones (hosters) are followed to this many of them.
const MAX_EDGES: usize = 256;
/// Longer CNAME chains are given up, as `features.aliases` does.
const MAX_HOPS: usize = 6;
/// Names brought in because they share addresses: per address, and in all.
const MAX_PER_ADDRESS: u32 = 64;
const MAX_SIBLINGS: usize = 20_000;
/// Seconds between two judgements of a name double up to this.
const MAX_BACKOFF: u8 = 6;

const WAITING: u8 = 1;
const PINNED: u8 = 2;
const HOT_ZONE: u8 = 4;
const CHANGED: u8 = 8;

/// What is remembered of a name beside its rows.
#[derive(Clone, Copy, Debug, Default)]
struct NameState {
    /// A bit for every address, by hash: never more bits than distinct addresses.
    pool: u64,
    /// Seconds since the epoch: last activity, and when it may be judged again.
    last_s: u32,
    due_s: u32,
    n_rows: u16,
    backoff: u8,
    flags: u8,
}

impl NameState {
    fn may_rotate(&self) -> bool {
        self.pool.count_ones() >= MIN_POOL_BITS
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// About what it takes: its place in the tables, and its rows.
    fn n_bytes(&self) -> u64 {
        160 + 100 * u64::from(self.n_rows)
    }
}

/// Bounded lists of numbers by number.
#[derive(Default)]
struct Edges {
    lists: Numbers<Vec<u32>>,
    n: usize,
}

impl Edges {
    /// False where the list is full.
    fn add(&mut self, from: u32, to: u32) -> bool {
        let list = self.lists.entry(from).or_default();
        if list.contains(&to) {
            return true;
        }
        let has_room = list.len() < MAX_EDGES;
        if has_room {
            list.push(to);
            self.n += 1;
        }
        has_room
    }

    fn of(&self, from: u32) -> &[u32] {
        self.lists.get(&from).map_or(&[], Vec::as_slice)
    }

    fn n_bytes(&self) -> usize {
        48 * self.lists.len() + 8 * self.n
    }
}

/// What was given up for want of memory, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Names without a sign of rotation, and others.
    pub benign_names: u64,
    pub other_names: u64,
    pub rows: u64,
    pub runs: u64,
}

/// What was not followed, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Sightings of a further zone, name server or alias of what has `MAX_EDGES` of them.
    pub links_over: u64,
    /// Names that share an address with a judged one, beyond `MAX_PER_ADDRESS` or `MAX_SIBLINGS`.
    pub sharers_over: u64,
}

/// How large the window is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    pub n_names: usize,
    pub n_rows: usize,
    pub n_hours: usize,
    pub n_bytes: usize,
    pub n_waiting: usize,
    pub n_hot_zones: usize,
}

/// Numbers of one set of tables in another, found as they are needed.
struct Translation<'a> {
    from: &'a Tables,
    names: Vec<u32>,
    rdata: Vec<u32>,
    clients: Vec<u32>,
}

impl<'a> Translation<'a> {
    fn new(from: &'a Tables) -> Self {
        Translation {
            from,
            names: vec![NONE; from.names.len()],
            rdata: vec![NONE; from.entries().len()],
            clients: vec![NONE; from.clients().len()],
        }
    }

    fn name(&mut self, to: &mut Tables, id: u32) -> u32 {
        let known = &mut self.names[id as usize];
        if *known == NONE {
            let bytes = self.from.names.get(id);
            *known = to.names.intern(to.names.hash(bytes), bytes);
        }
        *known
    }

    /// What tells the row's rdata from others of its owner and type.
    fn raw(&mut self, to: &mut Tables, row: &Row) -> u32 {
        match row.entry() {
            Some(Entry::A(address)) => address,
            Some(_) => self.name(to, row.raw),
            None => self.code(to, row.raw),
        }
    }

    fn code(&mut self, to: &mut Tables, code: u32) -> u32 {
        let known = self.rdata[code as usize];
        if known != NONE {
            return known;
        }
        let mut intern = |id: u32| {
            let bytes = self.from.bytes.get(id);
            to.bytes.intern(to.bytes.hash(bytes), bytes)
        };
        let entry = match self.from.entries()[code as usize] {
            Entry::Bytes(id) => Entry::Bytes(intern(id)),
            Entry::Text(id) => Entry::Text(intern(id)),
            Entry::Name(id) => Entry::Name(self.name(to, id)),
            Entry::A(address) => Entry::A(address),
        };
        let new = to.intern_rdata(entry);
        self.rdata[code as usize] = new;
        new
    }

    fn client(&mut self, to: &mut Tables, id: u32) -> u32 {
        let known = &mut self.clients[id as usize];
        if *known == NONE {
            let address = self.from.clients()[id as usize];
            *known = to.intern_client(to.client_hash(&address), address);
        }
        *known
    }

    fn row(&mut self, to: &mut Tables, row: &Row) -> Row {
        row.renumbered(self.name(to, row.owner), self.raw(to, row))
    }

    /// Merge a row of a reducer's activity into `hour`; returns whose it is.
    fn take_activity(
        &mut self,
        to: &mut Tables,
        state: &RandomState,
        hour: &mut Hour,
        from: &Bucket,
        at: usize,
    ) -> u32 {
        let all = &from.activity;
        let (owner, rdtype) = (self.name(to, all.owner[at] as u32), all.rdtype[at]);
        let vantage = Vantage::ALL[all.vantage[at] as usize];
        let ids: Vec<u32> = all.clients_of(at).iter().map(|id| self.client(to, *id)).collect();
        let place = hour.activity_at(activity_hash(state, owner, rdtype, vantage), owner, rdtype, vantage);
        hour.take_activity(place, all, at, &ids, (self.from.clients(), to.clients()));
        owner
    }

    /// Merge a row of activity of `from` into `hour`.
    fn put_activity(&mut self, to: &mut Tables, state: &RandomState, hour: &mut Hour, from: &Hour, row: &Activity) {
        let owner = self.name(to, row.owner);
        let ids: Vec<u32> = from.clients_of(row).map(|id| self.client(to, id)).collect();
        let place =
            hour.activity_at(activity_hash(state, owner, row.rdtype, row.vantage), owner, row.rdtype, row.vantage);
        hour.put_activity(place, row, from, ids.into_iter(), to.clients());
    }
}

/// Hours of sightings, merged into and bounded by who calls [`evict`](Window::evict).
#[derive(Default)]
pub struct Window {
    tables: Tables,
    state: RandomState,
    /// In order; their indexes are alive.
    hours: Vec<Hour>,
    names: Vec<NameState>,
    waiting: Vec<u32>,
    /// Name server to zones, zone to name servers, alias to targets, target to aliases.
    zones_of: Edges,
    servers_of: Edges,
    targets_of: Edges,
    aliases_of: Edges,
    /// Only merge: every record type is kept and nothing is judged.
    plain: bool,
    n_hot_zones: usize,
    pub evicted: Evicted,
    pub bounds: Bounds,
}

fn is_address(rdtype: u16) -> bool {
    matches!(rdtype, rdtype::A | rdtype::AAAA)
}

/// Types that features are made of; the others only matter to who keeps everything.
fn is_windowed(rdtype: u16) -> bool {
    is_address(rdtype) || matches!(rdtype, rdtype::NS | rdtype::CNAME)
}

fn pool_bit(tables: &Tables, row: &Row) -> u64 {
    let hash = match row.entry() {
        Some(_) => row.raw.wrapping_mul(0x9E37_79B1),
        None => match tables.entries()[row.raw as usize] {
            Entry::Bytes(id) => {
                let mut address: Address = [0; 16];
                let bytes = &tables.bytes.get(id)[RDATA_PREFIX..];
                let n = bytes.len().min(16);
                address[..n].copy_from_slice(&bytes[..n]);
                client_hash(&address)
            }
            _ => 0,
        },
    };
    1 << (hash >> 26)
}

impl Window {
    /// `plain`: keep every record type, note nothing: what was read since some moment, as one.
    pub fn new(plain: bool) -> Self {
        Window { plain, ..Self::default() }
    }

    fn hour_at(hours: &mut Vec<Hour>, hour: i64) -> usize {
        hours.binary_search_by_key(&hour, |bucket| bucket.hour).unwrap_or_else(|place| {
            hours.insert(place, Hour::new(hour));
            place
        })
    }

    /// Merge in what a reducer holds, which it keeps.
    pub fn fold(&mut self, young: &mut Reducer) {
        young.close_all();
        let mut numbers = Translation::new(&young.tables);
        let mut changed = Vec::new();
        let second = |time_us: i64| u32::try_from(time_us.div_euclid(1_000_000)).unwrap_or(u32::MAX);
        for piece in young.closed.values().flatten() {
            let place = Self::hour_at(&mut self.hours, piece.hour);
            for (row, seen) in Hour::rows_of(piece, &young.tables) {
                if self.plain || is_windowed(row.rdtype) {
                    let row = numbers.row(&mut self.tables, &row);
                    self.fold_row(place, row, seen, &mut changed);
                    self.touch(row.owner, second(seen.time_last));
                }
            }
            for at in 0..piece.activity.len() {
                let owner = numbers.take_activity(&mut self.tables, &self.state, &mut self.hours[place], piece, at);
                self.touch(owner, second(piece.hour * HOUR_US));
            }
        }
        for id in changed {
            self.names[id as usize].flags &= !CHANGED;
            self.note(id);
        }
    }

    /// A name was active then.
    fn touch(&mut self, id: u32, at_s: u32) {
        if self.plain {
            return;
        }
        if self.names.len() < self.tables.names.len() {
            self.names.resize(self.tables.names.len(), NameState::default());
        }
        let name = &mut self.names[id as usize];
        name.last_s = name.last_s.max(at_s);
    }

    fn fold_row(&mut self, place: usize, row: Row, seen: Seen, changed: &mut Vec<u32>) {
        let hour = &mut self.hours[place];
        let hash = row_hash(&self.state, row.owner, row.rdtype, row.raw, row.vantage);
        let known = hour.find_row(hash, row.owner, row.rdtype, row.raw, row.vantage);
        let is_fresh = known.is_none_or(|place| row.fresh_minutes & !hour.rows[place].fresh_minutes != 0);
        hour.put_row(&self.state, row, seen);
        if self.plain || !is_fresh {
            return;
        }
        if self.names.len() < self.tables.names.len() {
            self.names.resize(self.tables.names.len(), NameState::default());
        }
        if known.is_none() {
            self.learn(&row);
        }
        let name = &mut self.names[row.owner as usize];
        if !name.has(CHANGED) {
            name.flags |= CHANGED;
            changed.push(row.owner);
        }
    }

    /// Enter a row that is new into what is remembered of names.
    fn learn(&mut self, row: &Row) {
        let bit = if is_address(row.rdtype) { pool_bit(&self.tables, row) } else { 0 };
        let name = &mut self.names[row.owner as usize];
        name.pool |= bit;
        name.n_rows = name.n_rows.saturating_add(1);
        match row.rdtype {
            rdtype::NS => {
                let kept = self.servers_of.add(row.owner, row.raw) & self.zones_of.add(row.raw, row.owner);
                self.bounds.links_over += u64::from(!kept);
            }
            rdtype::CNAME => {
                let kept = self.targets_of.add(row.owner, row.raw) & self.aliases_of.add(row.raw, row.owner);
                self.bounds.links_over += u64::from(!kept);
            }
            _ => {}
        }
    }

    /// A name has fresh evidence: who has to be judged because of it?
    fn note(&mut self, id: u32) {
        let pool = self.names[id as usize].pool.count_ones();
        if pool >= MIN_POOL_BITS || self.leads_to_pool(id) || self.is_under_hot_zone(id) {
            self.wait(id);
        }
        if pool >= MIN_POOL_BITS {
            self.aliases(id).into_iter().for_each(|alias| self.wait(alias));
        }
        let zones = if pool >= 2 { self.zones_of.of(id).to_vec() } else { Vec::new() };
        for zone in zones.into_iter().chain([id]) {
            if self.server_pool(zone) >= MIN_POOL_BITS {
                let name = &mut self.names[zone as usize];
                self.n_hot_zones += usize::from(!name.has(HOT_ZONE));
                name.flags |= HOT_ZONE;
                self.wait(zone);
            }
        }
    }

    fn wait(&mut self, id: u32) {
        let name = &mut self.names[id as usize];
        if !name.has(WAITING) {
            name.flags |= WAITING;
            self.waiting.push(id);
        }
    }

    /// Bits in the sketches of a zone's name servers together; 0 for what is no zone.
    fn server_pool(&self, zone: u32) -> u32 {
        let servers = self.servers_of.of(zone).iter();
        servers.fold(0, |bits: u64, host| bits | self.names[*host as usize].pool).count_ones()
    }

    fn leads_to_pool(&self, id: u32) -> bool {
        let mut ends = self.targets_of.of(id).to_vec();
        for _ in 0..MAX_HOPS {
            if ends.iter().any(|end| self.names[*end as usize].may_rotate()) {
                return true;
            }
            ends = ends.iter().flat_map(|end| self.targets_of.of(*end)).copied().take(MAX_EDGES).collect();
            if ends.is_empty() {
                break;
            }
        }
        false
    }

    /// Names that lead to this one: what it answers is their evidence, and their own CNAME may be
    /// fresh much less often.
    fn aliases(&self, id: u32) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::new();
        let mut starts = vec![id];
        for _ in 0..MAX_HOPS {
            let nearer = starts.iter().flat_map(|start| self.aliases_of.of(*start)).copied();
            starts = nearer.filter(|alias| *alias != id && !found.contains(alias)).take(MAX_EDGES).collect();
            found.extend(&starts);
            if starts.is_empty() {
                break;
            }
        }
        found
    }

    /// Numbers of the names above, as far as they are known, without the name itself.
    fn above(&self, id: u32) -> Vec<u32> {
        let mut rest = self.tables.names.get(id);
        let mut found = Vec::new();
        while let Some((&length, tail)) = rest.split_first().filter(|(length, _)| **length > 0) {
            rest = &tail[usize::from(length).min(tail.len())..];
            found.extend(self.tables.names.find(rest).filter(|_| rest.len() > 1));
        }
        found
    }

    fn is_under_hot_zone(&self, id: u32) -> bool {
        self.n_hot_zones > 0 && self.above(id).iter().any(|above| self.names[*above as usize].has(HOT_ZONE))
    }

    /// Names to be judged now: those that wait and are due, `max` at most, new ones first.
    pub fn due(&mut self, now_s: u32, max: usize) -> Vec<u32> {
        let names = &mut self.names;
        self.waiting.sort_unstable_by_key(|id| (names[*id as usize].due_s, *id));
        let n_due = self.waiting.partition_point(|id| names[*id as usize].due_s <= now_s).min(max);
        let chosen: Vec<u32> = self.waiting.drain(..n_due).collect();
        for id in &chosen {
            let name = &mut names[*id as usize];
            name.flags &= !WAITING;
            name.due_s = now_s.saturating_add(1 << name.backoff);
            name.backoff = (name.backoff + 1).min(MAX_BACKOFF);
        }
        chosen
    }

    /// Everything that judging these names needs, as a reducer of its own.
    ///
    /// Beside their own rows: the zones above them with their name servers, what their CNAMEs lead
    /// to, and names that share their addresses.
    pub fn select(&mut self, ids: &[u32]) -> Reducer {
        let mut wanted = vec![false; self.tables.names.len()];
        let mut list: Vec<u32> = Vec::new();
        let mut want = |id: u32, list: &mut Vec<u32>| {
            if !std::mem::replace(&mut wanted[id as usize], true) {
                list.push(id);
            }
        };
        for id in ids {
            want(*id, &mut list);
            let mut ends = self.targets_of.of(*id).to_vec();
            for _ in 0..MAX_HOPS {
                ends.iter().for_each(|end| want(*end, &mut list));
                ends = ends.iter().flat_map(|end| self.targets_of.of(*end)).copied().take(MAX_EDGES).collect();
            }
        }
        for id in list.clone() {
            for zone in self.above(id).into_iter().chain([id]).filter(|zone| !self.servers_of.of(*zone).is_empty()) {
                want(zone, &mut list);
                self.servers_of.of(zone).iter().for_each(|host| want(*host, &mut list));
            }
        }
        let (siblings, n_over) = self.siblings(&list);
        self.bounds.sharers_over += n_over;
        for id in siblings {
            want(id, &mut list);
        }
        self.copy(&wanted)
    }

    /// Names that may rotate and share an address with one of these, and how many were left out.
    fn siblings(&self, list: &[u32]) -> (Vec<u32>, u64) {
        let pools: HashSet<u32> = list.iter().copied().filter(|id| self.names[*id as usize].may_rotate()).collect();
        if pools.is_empty() {
            return (Vec::new(), 0);
        }
        let rows = || self.hours.iter().flat_map(|hour| &hour.rows).filter(|row| is_address(row.rdtype));
        let rotating = || rows().filter(|row| self.names[row.owner as usize].may_rotate());
        let mut users: HashMap<(bool, u32), u32, foldhash::fast::RandomState> = HashMap::default();
        for row in rotating().filter(|row| pools.contains(&row.owner)) {
            users.insert((row.rdtype == rdtype::A, row.raw), 0);
        }
        let (mut found, mut over): (HashSet<u32>, HashSet<u32>) = Default::default();
        for row in rotating().filter(|row| !pools.contains(&row.owner)) {
            let Some(n) = users.get_mut(&(row.rdtype == rdtype::A, row.raw)) else { continue };
            if *n < MAX_PER_ADDRESS && found.len() < MAX_SIBLINGS {
                *n += u32::from(found.insert(row.owner));
            } else {
                over.insert(row.owner);
            }
        }
        let n_over = over.difference(&found).count() as u64;
        (found.into_iter().collect(), n_over)
    }

    fn copy(&self, wanted: &[bool]) -> Reducer {
        let mut small = Reducer::default();
        let state = RandomState::default();
        let mut numbers = Translation::new(&self.tables);
        for hour in &self.hours {
            let mut piece = Hour::new(hour.hour);
            for (at, row) in hour.rows.iter().enumerate().filter(|(_, row)| wanted[row.owner as usize]) {
                let row = numbers.row(&mut small.tables, row);
                piece.put_row(&state, row, hour.seen(at));
            }
            for row in hour.activity.iter().filter(|row| wanted[row.owner as usize]) {
                numbers.put_activity(&mut small.tables, &state, &mut piece, hour, row);
            }
            if !piece.rows.is_empty() || !piece.activity.is_empty() {
                small.closed.insert(piece.hour, vec![piece.write(&mut small.tables)]);
            }
        }
        small
    }

    /// All of it, as a reducer; nothing is left here.
    pub fn take(&mut self) -> Reducer {
        let mut whole = Reducer { tables: std::mem::take(&mut self.tables), ..Reducer::default() };
        for hour in std::mem::take(&mut self.hours) {
            whole.closed.insert(hour.hour, vec![hour.write(&mut whole.tables)]);
        }
        *self = Window { plain: self.plain, evicted: self.evicted, bounds: self.bounds, ..Self::default() };
        whole
    }

    /// Keep these names whatever happens: they are judged flux, or may be. `false` lets them go.
    pub fn pin<'a>(&mut self, names: impl Iterator<Item = &'a str>, pinned: bool) {
        let mut wire = Vec::new();
        for text in names {
            wire.clear();
            if name::parse(text, &mut wire).is_ok()
                && let Some(id) = self.tables.names.find(&wire)
                && let Some(name) = self.names.get_mut(id as usize)
            {
                name.flags = if pinned { name.flags | PINNED } else { name.flags & !PINNED };
            }
        }
    }

    pub fn name(&self, id: u32) -> String {
        let mut out = String::new();
        self.tables.present_name(id, &mut out);
        out
    }

    /// Everything with a sign of rotation waits to be judged: after a restart.
    pub fn judge_all(&mut self) {
        for id in 0..self.names.len() as u32 {
            self.note(id);
        }
    }

    /// Who else uses these addresses: pairs of (place in the list, name), `max` names per address.
    pub fn users_of(&self, addresses: &[Address], max: usize) -> Vec<(usize, String)> {
        let places: HashMap<Address, usize> = addresses.iter().enumerate().map(|(at, one)| (*one, at)).collect();
        let mut found: HashSet<(usize, u32)> = HashSet::new();
        let mut counts = vec![0; addresses.len()];
        for row in self.hours.iter().flat_map(|hour| &hour.rows).filter(|row| is_address(row.rdtype)) {
            let Some(at) = self.address_of(row).and_then(|address| places.get(&address).copied()) else { continue };
            if counts[at] < max && found.insert((at, row.owner)) {
                counts[at] += 1;
            }
        }
        found.into_iter().map(|(at, owner)| (at, self.name(owner))).collect()
    }

    fn address_of(&self, row: &Row) -> Option<Address> {
        match row.entry() {
            Some(Entry::A(address)) => {
                let [a, b, c, d] = address.to_be_bytes();
                Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d])
            }
            _ => match self.tables.entries().get(row.raw as usize)? {
                Entry::Bytes(id) => self.tables.bytes.get(*id).get(RDATA_PREFIX..)?.try_into().ok(),
                _ => None,
            },
        }
    }

    /// The zones that a name serves, as far as they were seen (256 at most).
    pub fn zones_of(&self, server: &str) -> Vec<String> {
        self.linked(server, &self.zones_of)
    }

    /// The name servers of a zone, as far as they were seen (256 at most).
    pub fn servers_of(&self, zone: &str) -> Vec<String> {
        self.linked(zone, &self.servers_of)
    }

    fn linked(&self, name: &str, edges: &Edges) -> Vec<String> {
        let mut wire = Vec::new();
        let id = name::parse(name, &mut wire).ok().and_then(|()| self.tables.names.find(&wire));
        id.map(|id| edges.of(id).iter().map(|other| self.name(*other)).collect()).unwrap_or_default()
    }

    pub fn size(&self) -> Size {
        let n_rows = self.hours.iter().map(|hour| hour.rows.len()).sum();
        let of_hours: usize = self.hours.iter().map(Hour::n_bytes).sum();
        let edges = [&self.zones_of, &self.servers_of, &self.targets_of, &self.aliases_of];
        let edges: usize = edges.into_iter().map(Edges::n_bytes).sum();
        Size {
            n_names: self.tables.names.len(),
            n_rows,
            n_hours: self.hours.len(),
            n_bytes: self.tables.n_bytes() + of_hours + edges + self.names.len() * size_of::<NameState>(),
            n_waiting: self.waiting.len(),
            n_hot_zones: self.n_hot_zones,
        }
    }

    /// Drop hours before `hour` (since the epoch); names that are left with nothing go too.
    pub fn expire(&mut self, hour: i64) -> usize {
        let before = self.hours.len();
        self.hours.retain(|bucket| bucket.hour >= hour);
        let n = before - self.hours.len();
        if n > 0 {
            self.compact(&vec![true; self.tables.names.len()]);
        }
        n
    }

    /// Shrink to about `target` bytes: names without a sign of rotation go first, the least
    /// recently active of them before others; then the others likewise. Pinned names stay.
    pub fn evict(&mut self, target: usize) -> Evicted {
        let size = self.size().n_bytes;
        if size <= target || self.plain {
            return Evicted::default();
        }
        let whole: u64 = self.names.iter().map(NameState::n_bytes).sum();
        let mut excess = (whole as f64 * (1.0 - target as f64 / size as f64)) as u64;
        let mut keep = vec![true; self.names.len()];
        let mut order: Vec<u32> =
            (0..self.names.len() as u32).filter(|id| !self.names[*id as usize].has(PINNED)).collect();
        order.sort_unstable_by_key(|id| {
            let name = &self.names[*id as usize];
            (name.may_rotate() || name.has(HOT_ZONE), name.last_s)
        });
        let mut gone = Evicted { runs: 1, ..Evicted::default() };
        for id in order {
            if excess == 0 {
                break;
            }
            let name = &self.names[id as usize];
            excess = excess.saturating_sub(name.n_bytes());
            keep[id as usize] = false;
            match (name.n_rows, name.may_rotate()) {
                (_, true) => gone.other_names += 1,
                _ => gone.benign_names += 1,
            }
        }
        gone.rows = self.compact(&keep);
        self.evicted.benign_names += gone.benign_names;
        self.evicted.other_names += gone.other_names;
        self.evicted.rows += gone.rows;
        self.evicted.runs += 1;
        gone
    }

    /// Keep only rows of names marked in `keep`, and only what those rows refer to.
    fn compact(&mut self, keep: &[bool]) -> u64 {
        let old = std::mem::take(&mut self.tables);
        let names = std::mem::take(&mut self.names);
        let mut numbers = Translation::new(&old);
        let mut n_gone = 0;
        for hour in &mut self.hours {
            let rows_before = hour.rows.len();
            hour.keep(|owner| keep[owner as usize]);
            n_gone += (rows_before - hour.rows.len()) as u64;
            for row in &mut hour.rows {
                *row = numbers.row(&mut self.tables, row);
            }
            for row in &mut hour.activity {
                row.owner = numbers.name(&mut self.tables, row.owner);
                for id in row.few_clients.iter_mut().filter(|id| **id != NONE) {
                    *id = numbers.client(&mut self.tables, *id);
                }
            }
            for (_, id) in hour.clients.iter_mut().flat_map(|set| &mut set.members) {
                *id = numbers.client(&mut self.tables, *id);
            }
            hour.reopen(&self.state);
        }
        self.names = vec![NameState::default(); self.tables.names.len()];
        for (name, new) in names.iter().zip(&numbers.names).filter(|(_, new)| **new != NONE) {
            self.names[*new as usize] = NameState { pool: 0, n_rows: 0, ..*name };
        }
        self.waiting = self.waiting.iter().map(|id| numbers.names[*id as usize]).filter(|id| *id != NONE).collect();
        (self.zones_of, self.servers_of, self.targets_of, self.aliases_of) = Default::default();
        for hour in 0..self.hours.len() {
            for place in 0..self.hours[hour].rows.len() {
                let row = self.hours[hour].rows[place];
                self.learn(&row);
            }
        }
        self.n_hot_zones = self.names.iter().filter(|name| name.has(HOT_ZONE)).count();
        n_gone
    }
}

impl Reducer {
    /// About the memory it takes, told quickly.
    pub fn n_bytes(&self) -> usize {
        let (n_rows, n_activity) = self.open.n_changes();
        let open = n_rows * size_of::<LogRow>() + n_activity * size_of::<Change>();
        let closed = self.closed.values().flatten().map(|hour| 60 * hour.rows.len() + 80 * hour.activity.len());
        self.tables.n_bytes() + open + closed.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, Rdata, Record, Section};
    use crate::reduce::Vantage;
    use crate::sightings;

    const NOW_US: i64 = 500_000 * HOUR_US;

    fn answer(reducer: &mut Reducer, name: &str, addresses: &[u32], at_s: i64, client: u8) {
        let mut message = Message::default();
        let owner = message.add_name(name).unwrap();
        message.question = Some((owner, rdtype::A));
        for address in addresses {
            let rdata = Rdata::A(*address);
            message.records.push(Record { section: Section::Answer, rdtype: rdtype::A, owner, ttl: 60, rdata });
        }
        let mut from = [0; 16];
        (from[10], from[11], from[15]) = (0xFF, 0xFF, client);
        reducer.add(&message, NOW_US + at_s * 1_000_000, Some(from), Vantage::Client);
    }

    fn text(reducer: Reducer) -> Vec<String> {
        let reduced = sightings::export(reducer, 1).unwrap();
        let mut rows = Vec::new();
        for batch in &reduced.sightings {
            rows.extend((0..batch.num_rows()).map(|row| {
                let column = |name: &str| batch.column_by_name(name).unwrap().slice(row, 1);
                ["owner", "rdata", "time_first", "time_last", "count_raw", "fresh_minutes"]
                    .map(|name| {
                        let one = column(name);
                        match arrow_array::cast::AsArray::as_dictionary_opt::<arrow_array::types::Int32Type>(&one) {
                            Some(keys) => {
                                let values = arrow_array::cast::AsArray::as_string::<i32>(keys.values());
                                values.value(keys.keys().value(0) as usize).to_owned()
                            }
                            None => format!("{:?}", one.to_data().buffers()[0].as_slice().get(..8)),
                        }
                    })
                    .join(" ")
            }));
        }
        rows.sort();
        rows
    }

    fn pieces() -> Vec<Reducer> {
        (0..30)
            .map(|second| {
                let mut young = Reducer::default();
                answer(&mut young, "flux.test.", &[second, second + 1, 100 + second], i64::from(second) * 61, 1);
                answer(&mut young, "calm.test.", &[7], i64::from(second) * 61, second as u8);
                young
            })
            .collect()
    }

    #[test]
    fn a_window_is_what_one_reducer_would_hold() {
        let (mut whole, mut window) = (Reducer::default(), Window::new(false));
        for mut young in pieces() {
            window.fold(&mut young);
            whole.absorb(young);
        }
        assert_eq!(text(window.take()), text(whole));
    }

    #[test]
    fn names_that_rotate_wait_and_calm_ones_do_not() {
        let mut window = Window::new(false);
        pieces().iter_mut().for_each(|young| window.fold(young));
        let due = window.due(1, 10);
        assert_eq!(due.iter().map(|id| window.name(*id)).collect::<Vec<_>>(), ["flux.test."]);
        assert_eq!(window.due(1, 10), [] as [u32; 0]);
        let mut again = Reducer::default();
        answer(&mut again, "flux.test.", &[0, 1, 100], 0, 1); // the same minute: nothing fresh
        window.fold(&mut again);
        assert_eq!(window.size().n_waiting, 0);
    }

    #[test]
    fn an_alias_waits_whenever_what_it_leads_to_has_fresh_evidence() {
        let mut window = Window::new(false);
        let mut young = Reducer::default();
        let mut message = Message::default();
        let [alias, target] = ["www.alias.test.", "flux.test."].map(|name| message.add_name(name).unwrap());
        message.question = Some((alias, rdtype::A));
        let rdata = Rdata::Name(target);
        let cname = Record { section: Section::Answer, rdtype: rdtype::CNAME, owner: alias, ttl: 3_600, rdata };
        message.records.push(cname);
        young.add(&message, NOW_US, None, Vantage::Client);
        window.fold(&mut young);
        pieces().iter_mut().for_each(|young| window.fold(young));
        let names = |ids: Vec<u32>, window: &Window| {
            let mut names: Vec<_> = ids.iter().map(|id| window.name(*id)).collect();
            names.sort();
            names
        };
        let due = window.due(1, 10);
        assert_eq!(names(due, &window), ["flux.test.", "www.alias.test."]);
        let mut again = Reducer::default();
        answer(&mut again, "flux.test.", &[900], 3_000, 1);
        window.fold(&mut again);
        let due = window.due(100, 10);
        assert_eq!(names(due, &window), ["flux.test.", "www.alias.test."]);
    }

    #[test]
    fn what_is_selected_is_all_there_is_about_a_name() {
        let (mut alone, mut window) = (Reducer::default(), Window::new(false));
        for (second, mut young) in pieces().into_iter().enumerate() {
            window.fold(&mut young);
            let second = second as u32;
            answer(&mut alone, "flux.test.", &[second, second + 1, 100 + second], i64::from(second) * 61, 1);
        }
        let due = window.due(1, 10);
        assert_eq!(text(window.select(&due)), text(alone));
    }

    #[test]
    fn calm_names_are_evicted_before_rotating_ones_and_pinned_ones_never() {
        let mut window = Window::new(false);
        pieces().iter_mut().for_each(|young| window.fold(young));
        for name in 0..2_000 {
            let mut young = Reducer::default();
            answer(&mut young, &format!("n{name}.test."), &[name], 5_000 + i64::from(name), 9);
            window.fold(&mut young);
        }
        window.pin(["calm.test."].into_iter(), true);
        let before = window.size();
        let gone = window.evict(before.n_bytes / 2);
        assert!(gone.benign_names > 500 && gone.other_names == 0, "{gone:?}");
        assert!(window.size().n_bytes < before.n_bytes * 3 / 4);
        let left = text(window.take()).join("\n");
        assert!(left.contains("flux.test.") && left.contains("calm.test.") && left.contains("n1999.test."));
        assert!(!left.contains("n0.test."));
    }

    #[test]
    fn what_shares_an_address_beyond_the_bound_is_counted() {
        let mut window = Window::new(false);
        for name in 0..70 {
            let mut young = Reducer::default();
            let own: Vec<u32> = (0..8).map(|place| 1_000 + name * 8 + place).chain([1]).collect();
            answer(&mut young, &format!("n{name}.test."), &own, i64::from(name), 1);
            window.fold(&mut young);
        }
        let due = window.due(1, 1);
        window.select(&due);
        assert_eq!(window.bounds.sharers_over, 69 - u64::from(MAX_PER_ADDRESS));
    }

    #[test]
    fn hours_that_expire_are_forgotten() {
        let mut window = Window::new(false);
        let (mut early, mut late) = (Reducer::default(), Reducer::default());
        answer(&mut early, "early.test.", &[1], 0, 1);
        answer(&mut late, "late.test.", &[1], 7_200, 1);
        window.fold(&mut early);
        window.fold(&mut late);
        assert_eq!(window.expire(500_001), 1);
        assert_eq!((window.size().n_names, window.size().n_rows), (1, 1));
    }
}
