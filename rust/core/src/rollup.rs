//! From sightings to counts per name: what features are made of.
//!
//! One pass groups the rows of each name, puts its fresh observations back in order, and counts
//! how its answers rotated, how far its addresses are spread, and with whom it shares them. Ratios
//! and judgements are not made here: `features/` names them, one expression each.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Int8Type, Int32Type, Int64Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};

use crate::meetings::{Meetings, SAMPLE};
use crate::reduce::HOUR_US;
use crate::staying::{self, Staying};
use crate::visits::{self, Visits};

type Numbers<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Set<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

const MINUTES_PER_HOUR: i64 = 60;
/// Bits of `fresh_minutes`.
const SLOTS: i64 = 64;

/// How the answers of one name and type changed from one fresh observation to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Fresh observations, at most one per minute.
    pub n_fresh: u64,
    /// Pairs of consecutive fresh observations.
    pub n_pairs: u64,
    /// Over those pairs: records in the earlier answer, and of these also in the later one.
    pub n_previous: u64,
    pub n_kept: u64,
    /// Pairs whose answers differ.
    pub n_changed: u64,
    /// Observations after the first that brought a record never seen before, and how many such.
    pub n_growth_events: u64,
    pub n_new: u64,
    /// Records in all observations together.
    pub n_slots: u64,
}

impl Rotation {
    fn add(&mut self, other: &Rotation) {
        self.n_fresh += other.n_fresh;
        self.n_pairs += other.n_pairs;
        self.n_previous += other.n_previous;
        self.n_kept += other.n_kept;
        self.n_changed += other.n_changed;
        self.n_growth_events += other.n_growth_events;
        self.n_new += other.n_new;
        self.n_slots += other.n_slots;
    }
}

/// One hour of one name, type and vantage: per record its number and the minutes it was fresh in.
struct Hour<'a> {
    first_minute: i64,
    members: &'a [(u32, u64)],
}

/// Puts fresh observations in order and compares neighbours, across hours too.
#[derive(Default)]
struct Timeline {
    rotation: Rotation,
    seen: Set<u32>,
    /// Members of the last observation, and its minute.
    last: Vec<u32>,
    last_minute: Option<i64>,
    current: Vec<u32>,
    visits: Visits,
}

impl Timeline {
    fn clear(&mut self) {
        self.rotation = Rotation::default();
        self.seen.clear();
        self.last.clear();
        self.last_minute = None;
        self.visits.clear();
    }

    fn add(&mut self, hour: &Hour<'_>, network: &impl Fn(u32) -> u64) {
        let mut occupied = hour
            .members
            .iter()
            .fold(0, |bits, (_, fresh)| bits | fresh)
            .rotate_right(hour.first_minute.rem_euclid(SLOTS) as u32);
        while occupied != 0 {
            let step = i64::from(occupied.trailing_zeros());
            occupied &= occupied - 1;
            let minute = hour.first_minute + step;
            let bit = 1u64 << minute.rem_euclid(SLOTS);
            let mut current = std::mem::take(&mut self.current);
            current.clear();
            current.extend(hour.members.iter().filter(|(_, fresh)| fresh & bit != 0).map(|(code, _)| *code));
            current.sort_unstable();
            self.observe(minute, &mut current, network);
            self.current = current;
        }
    }

    fn observe(&mut self, minute: i64, current: &mut Vec<u32>, network: &impl Fn(u32) -> u64) {
        if self.last_minute.is_some_and(|last| minute <= last) {
            return; // cached copies that were seen on both sides of the hour
        }
        let rotation = &mut self.rotation;
        rotation.n_fresh += 1;
        rotation.n_slots += current.len() as u64;
        let n_new = current.iter().filter(|code| self.seen.insert(**code)).count() as u64;
        if self.last_minute.is_some() {
            let kept = self.last.iter().filter(|code| current.binary_search(code).is_ok()).count();
            rotation.n_pairs += 1;
            rotation.n_previous += self.last.len() as u64;
            rotation.n_kept += kept as u64;
            rotation.n_changed += u64::from(kept != self.last.len() || kept != current.len());
            rotation.n_growth_events += u64::from(n_new > 0);
            rotation.n_new += n_new;
        }
        let before = self.last_minute.map(|at| (at, self.last.as_slice()));
        self.visits.observe(minute, before, current, network);
        self.last_minute = Some(minute);
        std::mem::swap(&mut self.last, current);
    }
}

/// What stands in most of the fresh observations of one name and type, and what comes beside it:
/// flux has no such core, a name that stays and of which some answers were forged has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Core {
    pub n_fresh: u64,
    /// Records that stood in at least half of them.
    pub n_records: u64,
    /// Observations with a record that is none of those.
    pub n_apart: u64,
    /// The longest run of observations without any of those.
    pub absence: u64,
}

impl Core {
    fn add(&mut self, other: &Core) {
        self.n_fresh += other.n_fresh;
        self.n_records += other.n_records;
        self.n_apart += other.n_apart;
        self.absence = self.absence.max(other.absence);
    }

    /// From one type and vantage, in the order of time.
    fn of(views: &[View], rotation: &Rotation, times: &mut Numbers<u32, u64>) -> Core {
        if rotation.n_changed == 0 {
            let n_records = rotation.n_slots / rotation.n_fresh.max(1);
            return Core { n_fresh: rotation.n_fresh, n_records, ..Core::default() };
        }
        times.clear();
        let mut core = Core::default();
        each_hour(views, |members, occupied, _| {
            core.n_fresh += u64::from(occupied.count_ones());
            for view in members {
                *times.entry(view.code).or_default() += u64::from((view.fresh & occupied).count_ones());
            }
        });
        let is_core = |code: &u32| times.get(code).is_some_and(|n| 2 * n >= core.n_fresh);
        core.n_records = times.keys().filter(|code| is_core(code)).count() as u64;
        let mut absent = 0;
        each_hour(views, |members, occupied, turn| {
            let bits = |wanted: bool| {
                let chosen = members.iter().filter(|view| is_core(&view.code) == wanted);
                chosen.fold(0, |bits, view| bits | view.fresh) & occupied
            };
            let (with_core, apart) = (bits(true).rotate_right(turn), bits(false));
            core.n_apart += u64::from(apart.count_ones());
            let mut left = occupied.rotate_right(turn);
            while left != 0 {
                let bit = left & left.wrapping_neg();
                left ^= bit;
                absent = if with_core & bit != 0 { 0 } else { absent + 1 };
                core.absence = core.absence.max(absent);
            }
        });
        core
    }
}

/// Counts over the distinct addresses of one name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    pub n_addresses: u64,
    pub n_prefixes: u64,
    pub n_asns: u64,
    pub n_countries: u64,
    /// Addresses that no AS announces according to the table, and special-purpose ones.
    pub n_unrouted: u64,
    pub n_special: u64,
    /// Addresses in the largest AS.
    pub n_largest_asn: u64,
    /// Σ share² over origin ASes (Herfindahl), over addresses with a known one.
    pub asn_hhi: f64,
    /// Shannon entropy of the /16 (/48) prefixes, bits.
    pub prefix_entropy_bits: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sharing {
    /// Addresses that at least one other registered domain uses.
    n_shared: u64,
    /// Σ over addresses of ln(domains / domains on this address), and the largest such crowd.
    idf_sum: f64,
    max_domains: u64,
}

/// What is counted for one name.
#[derive(Clone, Debug, Default)]
struct Counts {
    addresses: Rotation,
    name_servers: Rotation,
    spread: Spread,
    n_ipv6: u64,
    n_ns: u64,
    ttl_max: Option<u32>,
    ns_ttl_max: Option<u32>,
    pool: Pool,
    core: Core,
    ns_core: Core,
    /// Minutes between changes of its NS records.
    ns_period_min: Option<f64>,
    n_cnames: u64,
    /// Distinct address numbers: a range of [`Part::addresses`].
    addresses_at: (usize, usize),
    /// Distinct numbers of NS rdata: a range of [`Part::name_servers`].
    name_servers_at: (usize, usize),
    /// Its hosts and their visits, by slices of time: ranges of [`Part::hosts`], [`Part::slices`].
    hosts_at: (usize, usize),
    slices_at: (usize, usize),
    /// Visits of its hosts by blocks of time: a range of [`Part::stays`].
    stays_at: (usize, usize),
    staying: Option<Staying>,
}

/// What the order of the answers tells of the pool behind them: of the type and vantage that saw
/// most of it.
#[derive(Clone, Copy, Debug, Default)]
struct Pool {
    n_samples: u64,
    n_once: u64,
    n_twice: u64,
    n_incidences: u64,
    dwell: visits::Dwell,
    network_llr: f64,
    activity: u64,
    period_min: Option<f64>,
    since: visits::Since,
}

impl Pool {
    fn of(visits: &Visits) -> Self {
        let (n_once, n_twice) = visits.seen_once_and_twice();
        Pool {
            n_samples: u64::from(visits.n_samples),
            n_once: u64::from(n_once),
            n_twice: u64::from(n_twice),
            n_incidences: visits.hosts.iter().map(|host| u64::from(host.n_answers)).sum(),
            dwell: visits.dwell(),
            network_llr: visits.network_llr,
            activity: u64::from(visits.activity),
            period_min: visits.period_min(),
            since: visits.since,
        }
    }
}

/// Where each address belongs, by the number of its rdata.
pub struct Places<'a> {
    prefix: &'a UInt64Array,
    asn: &'a PrimitiveArray<UInt32Type>,
    country: &'a Int32Array,
    special: &'a Int32Array,
}

impl<'a> Places<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"));
        let keys = |name: &str| {
            column(name)?
                .as_dictionary_opt::<Int32Type>()
                .map(|dictionary| dictionary.keys())
                .ok_or_else(|| format!("column {name} is no dictionary"))
        };
        Ok(Places {
            prefix: column("prefix")?.as_primitive_opt::<UInt64Type>().ok_or("prefix is no uint64")?,
            asn: column("origin_asn")?.as_primitive_opt::<UInt32Type>().ok_or("origin_asn is no uint32")?,
            country: keys("country")?,
            special: keys("special")?,
        })
    }

    /// The origin AS of an address, or its prefix where that is not known.
    fn network(&self, code: u32) -> u64 {
        let code = code as usize;
        if self.asn.is_valid(code) { u64::from(self.asn.value(code)) } else { !self.prefix.value(code) }
    }

    fn spread(&self, codes: &[u32], scratch: &mut Vec<u64>) -> Spread {
        let mut distinct = |values: &mut dyn Iterator<Item = u64>| {
            scratch.clear();
            scratch.extend(values);
            scratch.sort_unstable();
            let runs: Vec<u64> = scratch.chunk_by(|a, b| a == b).map(|run| run.len() as u64).collect();
            (runs, scratch.len() as u64)
        };
        let known = |array: &Int32Array, code: &u32| {
            let index = *code as usize;
            array.is_valid(index).then(|| array.value(index) as u64)
        };
        let (prefixes, n) = distinct(&mut codes.iter().map(|code| self.prefix.value(*code as usize)));
        let with_asn = codes.iter().filter(|code| self.asn.is_valid(**code as usize));
        let (asns, n_routed) = distinct(&mut with_asn.map(|code| u64::from(self.asn.value(*code as usize))));
        let (countries, _) = distinct(&mut codes.iter().filter_map(|code| known(self.country, code)));
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        let entropy: f64 = prefixes.iter().map(|part| -share(*part, n) * share(*part, n).log2()).sum();
        Spread {
            n_addresses: n,
            n_prefixes: prefixes.len() as u64,
            n_asns: asns.len() as u64,
            n_countries: countries.len() as u64,
            n_unrouted: n - n_routed,
            n_special: codes.iter().filter(|code| known(self.special, code).is_some()).count() as u64,
            n_largest_asn: asns.iter().copied().max().unwrap_or_default(),
            asn_hhi: asns.iter().map(|part| share(*part, n_routed).powi(2)).sum(),
            prefix_entropy_bits: entropy.max(0.0),
        }
    }
}

/// The columns of one hour's sightings.
pub(crate) struct Columns<'a> {
    owner: &'a Int32Array,
    rdtype: &'a PrimitiveArray<UInt16Type>,
    rdata: &'a Int32Array,
    vantage: &'a PrimitiveArray<Int8Type>,
    time_first: &'a PrimitiveArray<TimestampMicrosecondType>,
    time_last: &'a PrimitiveArray<TimestampMicrosecondType>,
    count_raw: &'a PrimitiveArray<Int64Type>,
    ttl_max: &'a PrimitiveArray<UInt32Type>,
    fresh: &'a UInt64Array,
    kinds: Kinds,
}

/// Dictionary keys of the record types that matter here, in one batch.
#[derive(Clone, Copy)]
struct Kinds {
    a: Option<u16>,
    aaaa: Option<u16>,
    ns: Option<u16>,
    cname: Option<u16>,
}

pub(crate) fn primitive<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"))?;
    column.as_primitive_opt::<T>().ok_or_else(|| format!("column {name} is {}", column.data_type()))
}

pub(crate) fn keys<'a, T: arrow_array::types::ArrowDictionaryKeyType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<(&'a PrimitiveArray<T>, &'a StringArray), String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"))?;
    let wrong = || format!("column {name} is {}, a dictionary of strings is needed", column.data_type());
    let dictionary = column.as_dictionary_opt::<T>().ok_or_else(wrong)?;
    let values = dictionary.values().as_string_opt::<i32>().ok_or_else(wrong)?;
    Ok((dictionary.keys(), values))
}

impl<'a> Columns<'a> {
    pub(crate) fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let (rdtype, types) = keys::<UInt16Type>(batch, "rdtype")?;
        let kind = |name: &str| types.iter().position(|known| known == Some(name)).map(|at| at as u16);
        Ok(Columns {
            owner: keys::<Int32Type>(batch, "owner")?.0,
            rdtype,
            rdata: keys::<Int32Type>(batch, "rdata")?.0,
            vantage: keys::<Int8Type>(batch, "vantage")?.0,
            time_first: primitive(batch, "time_first")?,
            time_last: primitive(batch, "time_last")?,
            count_raw: primitive(batch, "count_raw")?,
            ttl_max: primitive(batch, "ttl_max")?,
            fresh: primitive(batch, "fresh_minutes")?,
            kinds: Kinds { a: kind("A"), aaaa: kind("AAAA"), ns: kind("NS"), cname: kind("CNAME") },
        })
    }

    /// Fresh observations in a row, as [`crate::sightings`] has it.
    fn fresh(&self, row: usize) -> u64 {
        match self.vantage.value(row) {
            UPSTREAM | HISTORY => self.count_raw.value(row).unsigned_abs(),
            _ => u64::from(self.fresh.value(row).count_ones()),
        }
    }

    fn ttl(&self, row: usize) -> Option<u32> {
        self.ttl_max.is_valid(row).then(|| self.ttl_max.value(row))
    }
}

/// Rows by name: a counting sort of row numbers, in the order of the batches inside a name.
pub(crate) struct Groups<'a> {
    batches: Vec<Columns<'a>>,
    /// Row number at which each batch begins.
    starts: Vec<u32>,
    /// Batch of the first row of each block of rows: finding a row's batch starts there.
    block_batch: Vec<u32>,
    rows: Vec<u32>,
    ends: Vec<u32>,
    /// First and last time each name was seen as an owner of anything.
    times: Vec<(i64, i64)>,
}

impl<'a> Groups<'a> {
    pub(crate) fn new(batches: Vec<Columns<'a>>, n_names: usize) -> Result<Self, String> {
        let total: usize = batches.iter().map(|batch| batch.owner.len()).sum();
        u32::try_from(total).map_err(|_| "more than 2^32 sightings at once".to_owned())?;
        let mut ends = vec![0u32; n_names];
        let mut starts = Vec::with_capacity(batches.len());
        let mut start = 0;
        let mut times = vec![(i64::MAX, i64::MIN); n_names];
        for batch in &batches {
            starts.push(start);
            start += batch.owner.len() as u32;
            let seen = batch.time_first.values().iter().zip(batch.time_last.values());
            for (owner, (first, last)) in batch.owner.values().iter().zip(seen) {
                *ends.get_mut(*owner as usize).ok_or("an owner is not in the dictionary")? += 1;
                let span = &mut times[*owner as usize];
                *span = (span.0.min(*first), span.1.max(*last));
            }
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        let mut rows = vec![0; total];
        for (batch, start) in batches.iter().zip(&starts) {
            for (row, owner) in batch.owner.values().iter().enumerate() {
                let place = &mut ends[*owner as usize];
                rows[*place as usize] = start + row as u32;
                *place += 1;
            }
        }
        let block_batch = (0..=total >> BLOCK_BITS)
            .map(|block| {
                starts.partition_point(|start| *start <= (block << BLOCK_BITS) as u32).saturating_sub(1) as u32
            })
            .collect();
        Ok(Groups { batches, starts, block_batch, rows, ends, times })
    }

    /// Numbers of a name's rows.
    pub(crate) fn of(&self, name: usize) -> &[u32] {
        let start = if name == 0 { 0 } else { self.ends[name - 1] };
        &self.rows[start as usize..self.ends[name] as usize]
    }

    /// The batch of a row, and its place there.
    pub(crate) fn place(&self, row: u32) -> (usize, usize) {
        let mut batch = self.block_batch[(row >> BLOCK_BITS) as usize] as usize;
        while self.starts.get(batch + 1).is_some_and(|start| *start <= row) {
            batch += 1;
        }
        (batch, (row - self.starts[batch]) as usize)
    }

    fn at(&self, row: u32) -> (&Columns<'a>, usize) {
        let (batch, row) = self.place(row);
        (&self.batches[batch], row)
    }

    /// Number of the rdata, first and last time, when a row is about an address.
    pub(crate) fn address(&self, batch: usize, row: usize) -> Option<(u32, i64, i64)> {
        let batch = &self.batches[batch];
        let rdtype = Some(batch.rdtype.value(row));
        (rdtype == batch.kinds.a || rdtype == batch.kinds.aaaa)
            .then(|| (batch.rdata.value(row) as u32, batch.time_first.value(row), batch.time_last.value(row)))
    }

    /// Bring in what gathering the rows of some names will touch: plain loads that do not wait
    /// for each other, as in `table`.
    fn warm(&self, names: Range<usize>) {
        let first = if names.start == 0 { 0 } else { self.ends[names.start - 1] };
        let rows = &self.rows[first as usize..self.ends[names.end - 1] as usize];
        black_box(rows.iter().fold(0, |sum, row| {
            let (batch, row) = self.at(*row);
            sum ^ i64::from(batch.rdtype.value(row))
                ^ i64::from(batch.rdata.value(row))
                ^ i64::from(batch.vantage.value(row))
                ^ i64::from(batch.ttl_max.value(row))
                ^ batch.time_first.value(row)
                ^ batch.fresh.value(row) as i64
        }));
    }
}

/// Rows per block of [`Groups::block_batch`], as a power of two.
const BLOCK_BITS: u32 = 12;
/// Names with fewer addresses have no pool to speak of: their hosts are not listed.
const MIN_POOL: usize = 3;
/// Share of a name's addresses that another domain has too: two answers of 10 out of one list of 40
/// share 2.5 addresses; days of answers share nearly all.
const SIBLING_OVERLAP: f64 = 0.3;
/// Names whose rows are warmed together.
const WARM_NAMES: usize = 16;

/// What a record type means for the roll-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    A,
    Aaaa,
    Ns,
}

/// One sighting, as far as rotation is concerned; sorts into the order of the timelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct View {
    kind: Kind,
    vantage: i8,
    hour: i64,
    code: u32,
    ttl: u32,
    fresh: u64,
}

/// Dictionary key of the vantage `upstream`, as the core writes it.
const UPSTREAM: i8 = 2;
/// That of `history`.
const HISTORY: i8 = 3;

/// Working memory of one thread.
#[derive(Default)]
struct Scratch {
    timeline: Timeline,
    views: Vec<View>,
    members: Vec<(u32, u64)>,
    codes: Vec<u32>,
    words: Vec<u64>,
    sights: Vec<staying::Sight>,
    times: Numbers<u32, u64>,
}

/// What one thread found for its names.
#[derive(Default)]
struct Part {
    counts: Vec<Counts>,
    addresses: Vec<u32>,
    name_servers: Vec<u32>,
    hosts: Vec<visits::Host>,
    slices: Vec<(i64, u32)>,
    stays: Vec<visits::Stay>,
}

fn count_names(groups: &Groups<'_>, places: &Places<'_>, names: Range<usize>) -> Part {
    let mut part = Part { counts: Vec::with_capacity(names.len()), ..Part::default() };
    let mut scratch = Scratch::default();
    for start in names.clone().step_by(WARM_NAMES) {
        let some = start..(start + WARM_NAMES).min(names.end);
        groups.warm(some.clone());
        for name in some {
            count_name(groups, places, groups.of(name), &mut scratch, &mut part);
        }
    }
    part
}

fn count_name(groups: &Groups<'_>, places: &Places<'_>, rows: &[u32], scratch: &mut Scratch, part: &mut Part) {
    let mut counts = Counts::default();
    gather(groups, rows, &mut counts, &mut scratch.views);
    let (views, codes) = (&scratch.views, &mut scratch.codes);
    distinct(views.iter().filter(|view| view.kind == Kind::Ns), codes);
    counts.n_ns = codes.len() as u64;
    counts.name_servers_at = append(&mut part.name_servers, codes);
    distinct(views.iter().filter(|view| view.kind != Kind::Ns), codes);
    counts.addresses_at = append(&mut part.addresses, codes);
    if !codes.is_empty() {
        counts.spread = places.spread(codes, &mut scratch.words);
        counts.n_ipv6 = codes.iter().filter(|code| places.prefix.value(**code as usize) >> 63 == 1).count() as u64;
    }
    if codes.len() >= staying::MIN_ADDRESSES {
        counts.staying = staying(groups, rows, &mut scratch.sights);
    }
    let network = |code: u32| places.network(code);
    counts.hosts_at.0 = part.hosts.len();
    counts.slices_at.0 = part.slices.len();
    counts.stays_at.0 = part.stays.len();
    for same_kind in scratch.views.chunk_by(|a, b| a.kind == b.kind) {
        // Both sides of a resolver saw the same events: the side that saw more of them counts.
        let (hosts_start, slices_start, stays_start) = (part.hosts.len(), part.slices.len(), part.stays.len());
        let mut best = Rotation::default();
        for run in same_kind.chunk_by(|a, b| a.vantage == b.vantage) {
            let rotation = rotation(run, &mut scratch.timeline, &mut scratch.members, &network);
            if rotation.n_fresh <= best.n_fresh {
                continue;
            }
            best = rotation;
            let visits = &scratch.timeline.visits;
            if run[0].kind == Kind::Ns {
                counts.ns_period_min = visits.period_min();
                counts.ns_core = Core::of(run, &best, &mut scratch.times);
                continue;
            }
            part.hosts.truncate(hosts_start);
            part.slices.truncate(slices_start);
            part.stays.truncate(stays_start);
            if visits.hosts.len() >= MIN_POOL {
                part.hosts.extend_from_slice(&visits.hosts);
                part.slices.extend_from_slice(&visits.slices);
                part.stays.extend_from_slice(&visits.stays);
            }
            if u64::from(visits.n_samples) > counts.pool.n_samples {
                counts.pool = Pool::of(visits);
                counts.core = Core::of(run, &best, &mut scratch.times);
            }
        }
        match same_kind[0].kind {
            Kind::Ns => counts.name_servers.add(&best),
            _ => counts.addresses.add(&best),
        }
    }
    counts.hosts_at.1 = part.hosts.len();
    counts.slices_at.1 = part.slices.len();
    counts.stays_at.1 = part.stays.len();
    part.counts.push(counts);
}

/// Whether the addresses in these rows stayed.
fn staying(groups: &Groups<'_>, rows: &[u32], sights: &mut Vec<staying::Sight>) -> Option<Staying> {
    sights.clear();
    sights.extend(rows.iter().filter_map(|row| {
        let (batch, row) = groups.place(*row);
        let (code, first, last) = groups.address(batch, row)?;
        let batch = &groups.batches[batch];
        Some(staying::Sight { code, vantage: batch.vantage.value(row), first, last, n: batch.fresh(row) })
    }));
    Staying::of(sights)
}

/// The distinct rdata of some sightings, sorted.
fn distinct<'a>(views: impl Iterator<Item = &'a View>, codes: &mut Vec<u32>) {
    codes.clear();
    codes.extend(views.map(|view| view.code));
    codes.sort_unstable();
    codes.dedup();
}

/// Append to a list of all names' numbers; returns where they are in it.
fn append(all: &mut Vec<u32>, codes: &[u32]) -> (usize, usize) {
    let start = all.len();
    all.extend_from_slice(codes);
    (start, all.len())
}

/// Collect a name's sightings in timeline order, and the sums that need no order.
fn gather(groups: &Groups<'_>, rows: &[u32], counts: &mut Counts, views: &mut Vec<View>) {
    views.clear();
    for row in rows {
        let (batch, row) = groups.at(*row);
        let (rdtype, kinds) = (Some(batch.rdtype.value(row)), batch.kinds);
        let kind = match rdtype {
            _ if rdtype == kinds.a => Kind::A,
            _ if rdtype == kinds.aaaa => Kind::Aaaa,
            _ if rdtype == kinds.ns => Kind::Ns,
            _ if rdtype == kinds.cname => {
                counts.n_cnames += 1;
                continue;
            }
            _ => continue,
        };
        let ttl = batch.ttl(row);
        match kind {
            Kind::Ns => counts.ns_ttl_max = counts.ns_ttl_max.max(ttl),
            _ => counts.ttl_max = counts.ttl_max.max(ttl),
        }
        views.push(View {
            kind,
            vantage: batch.vantage.value(row),
            hour: batch.time_first.value(row).div_euclid(HOUR_US),
            code: batch.rdata.value(row) as u32,
            ttl: ttl.unwrap_or_default(),
            fresh: batch.fresh.value(row),
        });
    }
    views.sort_unstable();
}

/// The rotation of one record type from one vantage: minutes of two vantages mean other things.
fn rotation(
    views: &[View],
    timeline: &mut Timeline,
    members: &mut Vec<(u32, u64)>,
    network: &impl Fn(u32) -> u64,
) -> Rotation {
    timeline.clear();
    for hour in views.chunk_by(|a, b| a.hour == b.hour) {
        members.clear();
        members.extend(hour.iter().map(|view| (view.code, view.fresh)));
        timeline.add(&Hour { first_minute: first_minute(hour), members }, network);
    }
    timeline.rotation
}

/// The minute that the first bit in order of an hour's `fresh_minutes` stands for.
fn first_minute(hour: &[View]) -> i64 {
    let ttl = hour.iter().map(|view| view.ttl).max().unwrap_or_default();
    let lead = if hour[0].vantage == UPSTREAM { 0 } else { first_expiry(ttl) };
    hour[0].hour * MINUTES_PER_HOUR + lead
}

/// Calls with each hour's sightings, the bits of its observations (minutes after those of the hours
/// before), and the turn to the right that puts bits in order.
fn each_hour(views: &[View], mut take: impl FnMut(&[View], u64, u32)) {
    let mut last = i64::MIN;
    for hour in views.chunk_by(|a, b| a.hour == b.hour) {
        let first = first_minute(hour);
        let turn = first.rem_euclid(SLOTS) as u32;
        let skipped = last.saturating_sub(first).saturating_add(1).clamp(0, SLOTS) as u32;
        let later = u64::MAX.checked_shl(skipped).unwrap_or_default();
        let ordered = hour.iter().fold(0, |bits, view| bits | view.fresh).rotate_right(turn) & later;
        if ordered != 0 {
            last = first + SLOTS - 1 - i64::from(ordered.leading_zeros());
            take(hour, ordered.rotate_left(turn), turn);
        }
    }
}

/// Minutes after the start of an hour from which its 64 expiry minutes are counted.
///
/// Answers fetched in the hour expire between its start + TTL and 60 minutes later; the 4 minutes
/// that 64 bits leave are given to copies that were cached before the hour began.
fn first_expiry(ttl_max_s: u32) -> i64 {
    (i64::from(ttl_max_s / 60) - (SLOTS - MINUTES_PER_HOUR)).max(0)
}

/// How many registered domains (or names that have none) use each address.
fn domains_per_address(parts: &[Part], bounds: &[usize], domain_of: &Int32Array, n_rdata: usize) -> Vec<u32> {
    let each = || {
        parts.iter().zip(bounds).flat_map(|(part, first)| {
            part.counts.iter().enumerate().map(move |(index, counts)| {
                (first + index, &part.addresses[counts.addresses_at.0..counts.addresses_at.1])
            })
        })
    };
    let mut owners = vec![0u32; n_rdata];
    for (_, codes) in each() {
        codes.iter().for_each(|code| owners[*code as usize] += 1);
    }
    let mut domains = vec![0u32; n_rdata];
    let mut known: Set<(u32, i64)> = Set::default();
    for (name, codes) in each() {
        let domain = if domain_of.is_valid(name) { i64::from(domain_of.value(name)) } else { -1 - name as i64 };
        for code in codes {
            let alone = owners[*code as usize] == 1;
            domains[*code as usize] += u32::from(alone || known.insert((*code, domain)));
        }
    }
    domains
}

/// ln of how rare it is that an address is used by so many of `n_domains`, by that number.
fn rarities(domains: &[u32], n_domains: f64) -> Vec<f64> {
    let most = domains.iter().copied().max().unwrap_or_default();
    (0..=most).map(|crowd| (n_domains / f64::from(crowd.max(1))).ln().max(0.0)).collect()
}

fn sharing(codes: &[u32], domains: &[u32], rarities: &[f64]) -> Sharing {
    codes.iter().fold(Sharing::default(), |sum, code| {
        let crowd = domains[*code as usize];
        Sharing {
            n_shared: sum.n_shared + u64::from(crowd > 1),
            idf_sum: sum.idf_sum + rarities[crowd as usize],
            max_domains: sum.max_domains.max(u64::from(crowd)),
        }
    })
}

/// The name-server layer of one zone.
#[derive(Clone, Debug, Default)]
struct Servers {
    spread: Spread,
    /// Rotation of the name servers' own addresses.
    addresses: Rotation,
    /// The same of cores, summed.
    core: Core,
    ttl_max: Option<u32>,
    /// Changes a minute of the hosts whose period is known, and how many such hosts.
    rate_sum: f64,
    n_rated: u32,
    /// Addresses of name servers that are also addresses of names in the zone.
    n_overlap: u64,
    n_named: u64,
}

/// How a name was asked for, over all its activity.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// Responses with an A or AAAA rrset, records in them, and the longest one.
    n_answers: u64,
    answers_sum: u64,
    answers_max: u64,
    /// Responses of any type, and failures among them.
    n_responses: u64,
    n_failures: u64,
    n_nxdomain: u64,
    /// Largest number of clients in one hour.
    n_clients_max: u64,
}

/// Sum activity up by name.
fn asked(batches: &[RecordBatch], n_names: usize) -> Result<Vec<Asked>, String> {
    let mut sums = vec![Asked::default(); n_names];
    for batch in batches {
        let owner = keys::<Int32Type>(batch, "owner")?.0;
        let (rdtype, types) = keys::<UInt16Type>(batch, "rdtype")?;
        let is_address: Vec<bool> = types.iter().map(|name| matches!(name, Some("A" | "AAAA"))).collect();
        let number = |name: &str| primitive::<Int64Type>(batch, name);
        let (responses, sum, max) = (number("responses")?, number("answers_sum")?, number("answers_max")?);
        let (nxdomain, clients) = (number("nxdomain")?, number("n_clients")?);
        let failures = [number("servfail")?, number("refused")?, number("nodata")?, number("other_failures")?];
        for row in 0..batch.num_rows() {
            let name = sums.get_mut(owner.value(row) as usize).ok_or("an owner is not in the dictionary")?;
            let value = |column: &Int64Array| column.value(row).unsigned_abs();
            let failed = failures.iter().fold(value(nxdomain), |sum, column| sum.saturating_add(value(column)));
            name.n_responses = name.n_responses.saturating_add(value(responses));
            name.n_failures = name.n_failures.saturating_add(failed);
            name.n_nxdomain = name.n_nxdomain.saturating_add(value(nxdomain));
            name.n_clients_max = name.n_clients_max.max(value(clients));
            if is_address.get(rdtype.value(row) as usize).copied().unwrap_or_default() {
                name.n_answers = name.n_answers.saturating_add(value(responses).saturating_sub(failed));
                name.answers_sum = name.answers_sum.saturating_add(value(sum));
                name.answers_max = name.answers_max.max(value(max));
            }
        }
    }
    Ok(sums)
}

/// Everything that was counted, ready to become columns.
struct Rolled<'a> {
    asked: Vec<Asked>,
    times: &'a [(i64, i64)],
    names: &'a StringArray,
    parts: Vec<Part>,
    bounds: Vec<usize>,
}

impl Rolled<'_> {
    fn part(&self, name: usize) -> (&Part, &Counts) {
        let index = self.bounds.partition_point(|first| *first <= name) - 1;
        let part = &self.parts[index];
        (part, &part.counts[name - self.bounds[index]])
    }

    fn counts(&self, name: usize) -> (&Counts, &[u32]) {
        let (part, counts) = self.part(name);
        (counts, &part.addresses[counts.addresses_at.0..counts.addresses_at.1])
    }

    /// Numbers of the rdata of a name's NS records.
    fn name_servers(&self, name: usize) -> &[u32] {
        let (part, counts) = self.part(name);
        &part.name_servers[counts.name_servers_at.0..counts.name_servers_at.1]
    }

    fn ids(&self) -> Range<usize> {
        0..self.names.len()
    }

    /// Names that get a row: those asked for, those known from passive DNS, and zones. Name
    /// servers that were only seen beside other answers are judged as a part of their zone.
    fn judged(&self, is_server: &[bool]) -> Vec<usize> {
        self.ids()
            .filter(|id| {
                let counts = self.counts(*id).0;
                let known = counts.spread.n_addresses > 0 || counts.n_cnames > 0;
                self.asked[*id].n_responses > 0 || counts.n_ns > 0 || (known && !is_server[*id])
            })
            .collect()
    }
}

/// Roll sightings up to one row per name that has addresses or name servers.
///
/// `batches` (and `activity`) share their dictionaries; `places` has a row per rdata, `domains` (int32 keys of
/// registered domains) one per name. Work is split over `threads`.
///
/// # Errors
/// A sentence when a column is missing or of another type.
pub fn rollup(
    batches: &[RecordBatch],
    activity: &[RecordBatch],
    places: &RecordBatch,
    domains: &Int32Array,
    threads: usize,
) -> Result<RecordBatch, String> {
    let first = batches.first().ok_or("no batch of sightings")?;
    let (_, names) = keys::<Int32Type>(first, "owner")?;
    let (_, rdata) = keys::<Int32Type>(first, "rdata")?;
    if domains.len() != names.len() || places.num_rows() != rdata.len() {
        return Err("places and domains must have a row per dictionary value".to_owned());
    }
    let columns: Result<Vec<_>, _> = batches.iter().map(Columns::new).collect();
    let groups = Groups::new(columns?, names.len())?;
    let places = Places::new(places)?;
    let step = names.len().div_ceil(threads.max(1)).max(1);
    let bounds: Vec<usize> = (0..names.len().max(1)).step_by(step).collect();
    let parts = std::thread::scope(|scope| {
        let handles: Vec<_> = bounds
            .iter()
            .map(|first| {
                let range = *first..(first + step).min(names.len());
                let (groups, places) = (&groups, &places);
                scope.spawn(move || count_names(groups, places, range))
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("a counting thread does not panic")).collect::<Vec<_>>()
    });
    let crowds = domains_per_address(&parts, &bounds, domains, rdata.len());
    let rolled = Rolled { asked: asked(activity, names.len())?, times: &groups.times, names, parts, bounds };
    let n_domains = domains.iter().flatten().collect::<Set<_>>().len().max(2) as f64;
    let zones = zones(&rolled, rdata, &places, domains);
    columns_of(&rolled, &crowds, domains, &rarities(&crowds, n_domains), &zones).map_err(|error| error.to_string())
}

/// For each name with NS records: what its name servers' addresses do.
struct Zones {
    /// Name servers' layer by the number of the zone's name.
    servers: Numbers<usize, Servers>,
    /// Per name: the zone it is in (itself or the nearest name above with NS records).
    zone_of: Vec<Option<usize>>,
    /// Names that are name servers of some zone.
    is_server: Vec<bool>,
}

fn zones(rolled: &Rolled<'_>, rdata: &StringArray, places: &Places<'_>, domains: &Int32Array) -> Zones {
    let mut number: Numbers<&str, usize> = Numbers::with_capacity_and_hasher(rolled.names.len(), Default::default());
    number.extend(rolled.ids().map(|id| (rolled.names.value(id), id)));
    let mut zone_of = vec![None; rolled.names.len()];
    for id in rolled.ids() {
        zone_of[id] = parents(rolled.names.value(id)).find_map(|name| {
            // A public suffix has no registered domain: its servers say nothing about this name.
            number.get(name).copied().filter(|found| domains.is_valid(*found) && rolled.counts(*found).0.n_ns > 0)
        });
    }
    let mut members: Numbers<usize, Vec<u32>> = Numbers::default();
    for id in rolled.ids() {
        if let Some(zone) = zone_of[id] {
            members.entry(zone).or_default().extend(rolled.counts(id).1);
        }
    }
    let mut is_server = vec![false; rolled.names.len()];
    let mut servers = Numbers::default();
    let mut scratch = Vec::new();
    for id in rolled.ids().filter(|id| rolled.counts(*id).0.n_ns > 0) {
        let hosts = name_servers(rolled, id, rdata, &number);
        let mut layer = Servers::default();
        let mut codes: Vec<u32> = Vec::new();
        for host in &hosts {
            is_server[*host] = true;
            let (counts, addresses) = rolled.counts(*host);
            layer.addresses.add(&counts.addresses);
            layer.core.add(&counts.core);
            layer.ttl_max = layer.ttl_max.max(counts.ttl_max);
            layer.n_named += u64::from(!addresses.is_empty());
            if let Some(period) = counts.pool.period_min {
                layer.rate_sum += 1.0 / period;
                layer.n_rated += 1;
            }
            codes.extend(addresses);
        }
        codes.sort_unstable();
        codes.dedup();
        if !codes.is_empty() {
            layer.spread = places.spread(&codes, &mut scratch);
            let in_zone = members.get(&id).map(Vec::as_slice).unwrap_or_default();
            layer.n_overlap = overlap(&codes, in_zone, rolled, id, &hosts);
            servers.insert(id, layer);
        }
    }
    Zones { servers, zone_of, is_server }
}

/// Addresses of the zone's name servers that answer for its other names too.
fn overlap(codes: &[u32], members: &[u32], rolled: &Rolled<'_>, zone: usize, hosts: &[usize]) -> u64 {
    let mut times: Numbers<u32, i64> = codes.iter().map(|code| (*code, 0)).collect();
    for code in members {
        times.entry(*code).and_modify(|n| *n += 1);
    }
    for host in hosts {
        let in_zone = parents(rolled.names.value(*host)).any(|name| name == rolled.names.value(zone));
        for code in rolled.counts(*host).1.iter().filter(|_| in_zone) {
            times.entry(*code).and_modify(|n| *n -= 1); // a name server's own record is no overlap
        }
    }
    times.values().filter(|n| **n > 0).count() as u64
}

/// Numbers of the names that a zone's NS records point to, as far as they own records themselves.
fn name_servers(rolled: &Rolled<'_>, zone: usize, rdata: &StringArray, number: &Numbers<&str, usize>) -> Vec<usize> {
    let targets = rolled.name_servers(zone).iter().map(|code| rdata.value(*code as usize));
    let mut hosts: Vec<usize> = targets.filter_map(|target| number.get(target).copied()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// The name itself and those above it, the root left out.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(name);
    std::iter::from_fn(move || {
        let current = rest.filter(|name| !name.is_empty() && *name != ".")?;
        let mut escaped = false;
        let dot = current.bytes().position(|byte| {
            let is_dot = byte == b'.' && !escaped;
            escaped = byte == b'\\' && !escaped;
            is_dot
        });
        rest = dot.and_then(|dot| current.get(dot + 1..));
        Some(current)
    })
}

/// Names and values of the columns that every row has, in one place.
fn own_columns(counts: &Counts, share: &Sharing, asked: &Asked) -> [(&'static str, i64); 39] {
    let (spread, rotation) = (&counts.spread, &counts.addresses);
    [
        ("n_answers", asked.n_answers),
        ("answers_sum", asked.answers_sum),
        ("answers_max", asked.answers_max),
        ("n_responses", asked.n_responses),
        ("n_failures", asked.n_failures),
        ("n_nxdomain", asked.n_nxdomain),
        ("n_clients_max", asked.n_clients_max),
        ("n_cnames", counts.n_cnames),
        ("n_addresses", spread.n_addresses),
        ("n_ipv6", counts.n_ipv6),
        ("n_prefixes", spread.n_prefixes),
        ("n_asns", spread.n_asns),
        ("n_countries", spread.n_countries),
        ("n_unrouted", spread.n_unrouted),
        ("n_special", spread.n_special),
        ("n_largest_asn", spread.n_largest_asn),
        ("n_fresh", rotation.n_fresh),
        ("n_pairs", rotation.n_pairs),
        ("n_previous", rotation.n_previous),
        ("n_kept", rotation.n_kept),
        ("n_changed", rotation.n_changed),
        ("n_growth_events", rotation.n_growth_events),
        ("n_new", rotation.n_new),
        ("n_slots", rotation.n_slots),
        ("n_shared", share.n_shared),
        ("max_domains_per_address", share.max_domains),
        ("n_samples", counts.pool.n_samples),
        ("n_once", counts.pool.n_once),
        ("n_twice", counts.pool.n_twice),
        ("n_incidences", counts.pool.n_incidences),
        ("n_revisited", u64::from(counts.pool.dwell.n_hosts)),
        ("activity_10min", counts.pool.activity),
        ("since_pairs", u64::from(counts.pool.since.n_pairs)),
        ("since_previous", u64::from(counts.pool.since.n_previous)),
        ("since_kept", u64::from(counts.pool.since.n_kept)),
        ("core_fresh", counts.core.n_fresh),
        ("core_records", counts.core.n_records),
        ("core_apart", counts.core.n_apart),
        ("core_absence", counts.core.absence),
    ]
    .map(|(name, value)| (name, i64::try_from(value).unwrap_or(i64::MAX)))
}

/// The columns that are null where the name's zone, or its servers' addresses, were not seen.
fn zone_columns(own: &Counts, zone: Option<&Counts>, servers: Option<&Servers>) -> [(&'static str, Option<i64>); 22] {
    let of_zone = |pick: fn(&Counts) -> u64| zone.map(pick);
    let served = |pick: fn(&Servers) -> u64| servers.map(pick);
    let mut both = zone.map(|zone| zone.ns_core);
    if let (Some(sum), Some(layer)) = (both.as_mut(), servers) {
        sum.add(&layer.core);
    }
    let layer_core = |pick: fn(&Core) -> u64| both.as_ref().map(pick);
    [
        ("ttl_max_s", own.ttl_max.map(u64::from)),
        ("n_ns", of_zone(|zone| zone.n_ns)),
        ("ns_ttl_max_s", zone.and_then(|zone| zone.ns_ttl_max).map(u64::from)),
        ("ns_pairs", of_zone(|zone| zone.name_servers.n_pairs)),
        ("ns_previous", of_zone(|zone| zone.name_servers.n_previous)),
        ("ns_kept", of_zone(|zone| zone.name_servers.n_kept)),
        ("ns_changed", of_zone(|zone| zone.name_servers.n_changed)),
        ("ns_addresses", served(|layer| layer.spread.n_addresses)),
        ("ns_prefixes", served(|layer| layer.spread.n_prefixes)),
        ("ns_asns", served(|layer| layer.spread.n_asns)),
        ("ns_hosts_seen", served(|layer| layer.n_named)),
        ("ns_address_ttl_max_s", servers.and_then(|layer| layer.ttl_max).map(u64::from)),
        ("ns_address_fresh", served(|layer| layer.addresses.n_fresh)),
        ("ns_address_pairs", served(|layer| layer.addresses.n_pairs)),
        ("ns_address_previous", served(|layer| layer.addresses.n_previous)),
        ("ns_address_kept", served(|layer| layer.addresses.n_kept)),
        ("ns_address_changed", served(|layer| layer.addresses.n_changed)),
        ("ns_address_new", served(|layer| layer.addresses.n_new)),
        ("web_dns_overlap", served(|layer| layer.n_overlap)),
        ("ns_core_fresh", layer_core(|core| core.n_fresh)),
        ("ns_core_apart", layer_core(|core| core.n_apart)),
        ("ns_core_absence", layer_core(|core| core.absence)),
    ]
    .map(|(name, value)| (name, value.map(|value| value as i64)))
}

/// The columns of real numbers; null where nothing can be said.
fn real_columns(
    own: &Counts,
    share: &Sharing,
    zone: Option<&Counts>,
    servers: Option<&Servers>,
) -> [(&'static str, Option<f64>); 11] {
    let (spread, pool) = (&own.spread, &own.pool);
    let minutes = |value: Option<f64>| value.map(|value| value * 60.0);
    let server_period =
        servers.filter(|layer| layer.n_rated > 0).map(|layer| f64::from(layer.n_rated) / layer.rate_sum);
    [
        ("asn_hhi", Some(spread.asn_hhi)),
        ("prefix_entropy_bits", Some(spread.prefix_entropy_bits)),
        ("idf_sum", Some(share.idf_sum)),
        ("dwell_spanned", Some(pool.dwell.spanned)),
        ("dwell_expected", Some(pool.dwell.expected)),
        ("dwell_variance", Some(pool.dwell.variance)),
        ("network_llr", Some(pool.network_llr)),
        ("rotation_period_s", minutes(pool.period_min)),
        ("since_us", pool.since.minute.map(|minute| minute as f64 * 6e7)),
        ("ns_rrset_period_s", minutes(zone.and_then(|zone| zone.ns_period_min))),
        ("ns_address_period_s", minutes(server_period)),
    ]
}

/// Lists of each name's hosts with their visits, and of its visits by slice of time; an address of
/// names that stay where they are.
fn pool_columns(rolled: &Rolled<'_>, kept: &[usize]) -> Vec<(&'static str, ArrayRef, bool)> {
    let parts = || kept.iter().map(|id| rolled.part(*id));
    let hosts = || parts().map(|(part, counts)| &part.hosts[counts.hosts_at.0..counts.hosts_at.1]);
    let slices = || parts().map(|(part, counts)| &part.slices[counts.slices_at.0..counts.slices_at.1]);
    let stays = || parts().map(|(part, counts)| &part.stays[counts.stays_at.0..counts.stays_at.1]);
    let stay_lists = |value: fn(&visits::Stay) -> i64| lists(stays().map(|some| some.iter().map(value).collect()));
    let host_lists = |value: fn(&visits::Host) -> i64| lists(hosts().map(|some| some.iter().map(value).collect()));
    let slice_lists = |value: fn(&(i64, u32)) -> i64| lists(slices().map(|some| some.iter().map(value).collect()));
    let still = parts().map(|(part, counts)| {
        let is_still = counts.addresses.n_changed == 0 && matches!(counts.spread.n_addresses, 1 | 2);
        is_still.then(|| part.addresses[counts.addresses_at.0] as i32)
    });
    vec![
        ("still_code", Arc::new(still.collect::<Int32Array>()) as ArrayRef, true),
        ("host_code", host_lists(|host| i64::from(host.code)), false),
        ("host_visits", host_lists(|host| i64::from(host.n_visits)), false),
        ("host_first_minute", host_lists(|host| host.first_minute), false),
        ("host_last_minute", host_lists(|host| host.last_minute), false),
        ("slice", slice_lists(|(slice, _)| *slice), false),
        ("slice_visits", slice_lists(|(_, count)| i64::from(*count)), false),
        ("stay_code", stay_lists(|stay| i64::from(stay.code)), false),
        ("stay_block", stay_lists(|stay| stay.block), false),
        ("stay_visits", stay_lists(|stay| i64::from(stay.n_visits)), false),
        ("stay_first_minute", stay_lists(|stay| stay.first_minute), false),
        ("stay_last_minute", stay_lists(|stay| stay.last_minute), false),
    ]
}

/// Whether a name's addresses stay, and whom else they serve: null for names with few of them.
fn staying_columns(rolled: &Rolled<'_>, kept: &[usize], domains: &Int32Array) -> Vec<(&'static str, ArrayRef, bool)> {
    let of = |id: &usize| rolled.counts(*id).0.staying;
    let n_returning: Int64Array = kept.iter().map(|id| of(id).map(|staying| staying.n_returning as i64)).collect();
    let ratio: Float64Array = kept.iter().map(|id| of(id).map(|staying| staying.dwell_ratio)).collect();
    let large: Vec<usize> =
        (0..kept.len()).filter(|place| rolled.counts(kept[*place]).1.len() >= staying::MIN_ADDRESSES).collect();
    let mut meetings = Meetings::default();
    for place in &large {
        let id = kept[*place];
        // A name without a registered domain is a domain of its own.
        let domain = if domains.is_valid(id) { i64::from(domains.value(id)) } else { -1 - id as i64 };
        meetings.add(id as u32, domain, rolled.counts(id).1.iter().copied());
    }
    let mut overlaps = vec![None; kept.len()];
    let mut siblings = vec![None; kept.len()];
    large.iter().for_each(|place| (overlaps[*place], siblings[*place]) = (Some(0.0), Some(0)));
    meetings.each(|name, _, n_common| {
        let place = large[name];
        let share = f64::from(n_common) / rolled.counts(kept[place]).1.len().min(SAMPLE) as f64;
        overlaps[place] = overlaps[place].map(|most: f64| most.max(share));
        siblings[place] = siblings[place].map(|n: i64| n + i64::from(share >= SIBLING_OVERLAP));
    });
    vec![
        ("n_returning", Arc::new(n_returning) as ArrayRef, true),
        ("dwell_ratio", Arc::new(ratio), true),
        ("sibling_overlap", Arc::new(Float64Array::from(overlaps)), true),
        ("n_siblings", Arc::new(Int64Array::from(siblings)), true),
    ]
}

fn lists(rows: impl Iterator<Item = Vec<i64>>) -> ArrayRef {
    let mut builder = ListBuilder::new(Int64Builder::new());
    for row in rows {
        builder.values().append_slice(&row);
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn columns_of(
    rolled: &Rolled<'_>,
    crowds: &[u32],
    domains: &Int32Array,
    rarities: &[f64],
    zones: &Zones,
) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let kept = rolled.judged(&zones.is_server);
    let blank = (Counts::default(), Sharing::default(), Asked::default());
    let mut own = own_columns(&blank.0, &blank.1, &blank.2).map(|(name, _)| (name, Vec::with_capacity(kept.len())));
    let mut zoned = zone_columns(&blank.0, None, None).map(|(name, _)| (name, Vec::with_capacity(kept.len())));
    let blank_reals = real_columns(&blank.0, &blank.1, None, None);
    let mut real = blank_reals.map(|(name, _)| (name, Vec::with_capacity(kept.len())));
    let mut times = ["time_first", "time_last"].map(|name| (name, Vec::with_capacity(kept.len())));
    for id in &kept {
        let (counts, codes) = rolled.counts(*id);
        let share = sharing(codes, crowds, rarities);
        let zone = zones.zone_of[*id];
        let servers = zone.and_then(|zone| zones.servers.get(&zone));
        let of_zone = zone_columns(counts, zone.map(|zone| rolled.counts(zone).0), servers);
        own.iter_mut()
            .zip(own_columns(counts, &share, &rolled.asked[*id]))
            .for_each(|(column, (_, value))| column.1.push(value));
        zoned.iter_mut().zip(of_zone).for_each(|(column, (_, value))| column.1.push(value));
        let reals = real_columns(counts, &share, zone.map(|zone| rolled.counts(zone).0), servers);
        real.iter_mut().zip(reals).for_each(|(column, (_, value))| column.1.push(value));
        let (first, last) = rolled.times[*id];
        let seen = (first <= last).then_some((first, last));
        times
            .iter_mut()
            .zip([seen.map(|seen| seen.0), seen.map(|seen| seen.1)])
            .for_each(|(column, value)| column.1.push(value));
    }
    let key = |id: usize| id as i32;
    let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("name_id", Arc::new(Int32Array::from_iter_values(kept.iter().map(|id| key(*id)))), false),
        ("zone_id", Arc::new(kept.iter().map(|id| zones.zone_of[*id].map(key)).collect::<Int32Array>()), true),
        ("is_name_server", Arc::new(BooleanArray::from_iter(kept.iter().map(|id| Some(zones.is_server[*id])))), false),
    ];
    for (name, values) in times {
        columns.push((name, Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")), true));
    }
    for (name, values) in own {
        columns.push((name, Arc::new(Int64Array::from(values)), false));
    }
    for (name, values) in zoned {
        columns.push((name, Arc::new(Int64Array::from(values)), true));
    }
    for (name, values) in real {
        columns.push((name, Arc::new(Float64Array::from(values)), true));
    }
    columns.extend(staying_columns(rolled, &kept, domains));
    columns.extend(pool_columns(rolled, &kept));
    RecordBatch::try_from_iter_with_nullable(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(hours: &[(i64, &[(u32, u64)])]) -> Rotation {
        let mut timeline = Timeline::default();
        for (first_minute, members) in hours {
            timeline.add(&Hour { first_minute: *first_minute, members }, &u64::from);
        }
        timeline.rotation
    }

    #[test]
    fn a_static_name_keeps_everything() {
        // Two records, fresh in minutes 0, 5 and 10: two pairs, 4 of 4 records kept, none new.
        let fresh = 1 | 1 << 5 | 1 << 10;
        let rotation = run(&[(0, &[(1, fresh), (2, fresh)])]);
        assert_eq!(
            rotation,
            Rotation { n_fresh: 3, n_pairs: 2, n_previous: 4, n_kept: 4, n_slots: 6, ..Rotation::default() }
        );
    }

    #[test]
    fn full_rotation_keeps_nothing_and_grows() {
        let rotation = run(&[(0, &[(1, 1), (2, 1), (3, 2), (4, 2)]), (60, &[(5, 1 << 60)])]);
        assert_eq!((rotation.n_pairs, rotation.n_kept, rotation.n_changed), (2, 0, 2));
        assert_eq!((rotation.n_growth_events, rotation.n_new), (2, 3));
    }

    #[test]
    fn a_copy_seen_on_both_sides_of_the_hour_is_one_observation() {
        // Expiry minute 61 is bit 61 in either hour.
        let rotation = run(&[(0, &[(1, 1 << 61)]), (60, &[(1, 1 << 61)])]);
        assert_eq!((rotation.n_fresh, rotation.n_pairs), (1, 0));
    }

    #[test]
    fn copies_of_two_resolvers_on_both_sides_of_the_hour_are_two_observations() {
        let both: &[(u32, u64)] = &[(1, 1 << 60), (2, 1 << 61)];
        let rotation = run(&[(0, both), (60, both)]);
        assert_eq!((rotation.n_fresh, rotation.n_pairs), (2, 1));
    }

    fn views(hours: &[(i64, &[(u32, u64)])]) -> Vec<View> {
        let of_hour = |(hour, members): &(i64, &[(u32, u64)])| {
            let (hour, members) = (*hour, members.to_vec());
            let view = move |(code, fresh)| View { kind: Kind::A, vantage: UPSTREAM, hour, code, ttl: 60, fresh };
            members.into_iter().map(view)
        };
        hours.iter().flat_map(of_hour).collect()
    }

    fn core(hours: &[(i64, &[(u32, u64)])]) -> Core {
        let some = views(hours);
        let rotation = rotation(&some, &mut Timeline::default(), &mut Vec::new(), &u64::from);
        Core::of(&some, &rotation, &mut Numbers::default())
    }

    #[test]
    fn what_stands_in_most_answers_is_told_from_what_comes_beside_it() {
        // Minute n of hour 8 is bit (480 + n) mod 64 = 32 + n. Record 1 is fresh in minutes 0 to 9;
        // 2 beside it in minute 3; 3 alone in minutes 10 and 11.
        let bit = |n: u32| 1u64 << (32 + n);
        let steady = (0..10).fold(0, |bits, n| bits | bit(n));
        let found = core(&[(8, &[(1, steady), (2, bit(3)), (3, bit(10) | bit(11))])]);
        assert_eq!(found, Core { n_fresh: 12, n_records: 1, n_apart: 3, absence: 2 });
    }

    #[test]
    fn an_absence_runs_on_over_the_hour() {
        // Hour 0: 1 in minutes 0 to 7, 2 in 58 and 59. Hour 1 starts at bit 60: 3 in its minute 0,
        // 1 in its minutes 5 and 6.
        let found = core(&[(0, &[(1, 0xff), (2, 3 << 58)]), (1, &[(1, 1 << 1 | 1 << 2), (3, 1 << 60)])]);
        assert_eq!(found, Core { n_fresh: 13, n_records: 1, n_apart: 3, absence: 3 });
    }

    #[test]
    fn rotation_has_no_core() {
        let found = core(&[(0, &[(1, 1), (2, 2), (3, 4), (4, 8)])]);
        assert_eq!(found, Core { n_fresh: 4, n_records: 0, n_apart: 4, absence: 4 });
    }

    #[test]
    fn names_above_are_found_past_escaped_dots() {
        let all: Vec<&str> = parents("a\\.b.c.test.").collect();
        assert_eq!(all, ["a\\.b.c.test.", "c.test.", "test."]);
        assert_eq!(parents(".").count(), 0);
    }
}
