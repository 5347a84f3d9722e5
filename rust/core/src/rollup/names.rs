//! What is counted for one name by itself.

use std::ops::Range;

use crate::reduce::HOUR_US;
use crate::staying::{self, Staying};
use crate::visits::{self, Visits};

use super::Numbers;
use super::input::{Groups, Run};
use super::places::{Places, Spread};
use super::rotation::{Core, Kind, Rotation, Timeline, View, rotation};

/// Names with fewer addresses have no pool to speak of: their hosts are not listed.
const MIN_POOL: usize = 3;

/// What is counted for one name.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub addresses: Rotation,
    pub name_servers: Rotation,
    pub spread: Spread,
    pub n_ipv6: u64,
    pub n_ns: u64,
    pub ttl_max: Option<u32>,
    pub ns_ttl_max: Option<u32>,
    pub pool: Pool,
    pub core: Core,
    pub ns_core: Core,
    /// Minutes between changes of its NS records.
    pub ns_period_min: Option<f64>,
    pub n_cnames: u64,
    /// First and last time it was seen as an owner of anything.
    pub times: (i64, i64),
    /// Distinct address numbers: a range of [`Part::addresses`].
    pub addresses_at: (usize, usize),
    /// Distinct numbers of NS rdata: a range of [`Part::name_servers`].
    pub name_servers_at: (usize, usize),
    /// Its hosts and their visits, by slices of time: ranges of [`Part::hosts`], [`Part::slices`]; of
    /// names alone whose answers changed, or were seen once.
    pub hosts_at: (usize, usize),
    pub slices_at: (usize, usize),
    /// Visits of its hosts by blocks of time: a range of [`Part::stays`].
    pub stays_at: (usize, usize),
    pub staying: Option<Staying>,
}

/// What the order of the answers tells of the pool behind them: of the type and vantage that saw
/// most of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool {
    pub n_samples: u64,
    pub n_once: u64,
    pub n_twice: u64,
    pub n_incidences: u64,
    pub dwell: visits::Dwell,
    pub network_llr: f64,
    pub activity: u64,
    pub period_min: Option<f64>,
    pub since: visits::Since,
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

/// What was found for some names.
#[derive(Default)]
pub struct Part {
    pub counts: Vec<Counts>,
    pub addresses: Vec<u32>,
    pub name_servers: Vec<u32>,
    /// Number and visits.
    pub hosts: Vec<(u32, u32)>,
    /// Slice of time and visits that began in it.
    pub slices: Vec<(i64, u32)>,
    pub stays: Vec<visits::Stay>,
}

impl Part {
    /// Ends of the lists that tell of pools.
    fn ends(&self) -> [usize; 3] {
        [self.hosts.len(), self.slices.len(), self.stays.len()]
    }

    fn truncate(&mut self, [hosts, slices, stays]: [usize; 3]) {
        self.hosts.truncate(hosts);
        self.slices.truncate(slices);
        self.stays.truncate(stays);
    }
}

pub fn count_names(groups: &Groups<'_>, places: &Places<'_>, names: Range<usize>) -> Part {
    let mut part = Part { counts: Vec::with_capacity(names.len()), ..Part::default() };
    let mut scratch = Scratch::default();
    groups.by_owner.each(names, |_, runs| count_name(groups, places, runs, &mut scratch, &mut part));
    part
}

fn count_name(groups: &Groups<'_>, places: &Places<'_>, runs: &[Run], scratch: &mut Scratch, part: &mut Part) {
    let mut counts = Counts { times: (i64::MAX, i64::MIN), ..Counts::default() };
    gather(groups, runs, &mut counts, &mut scratch.views);
    let (views, codes) = (&scratch.views, &mut scratch.codes);
    distinct(views.iter().filter(|view| view.kind == Kind::Ns), codes);
    counts.n_ns = codes.len() as u64;
    counts.name_servers_at = append(&mut part.name_servers, codes);
    distinct(views.iter().filter(|view| view.kind != Kind::Ns), codes);
    counts.addresses_at = append(&mut part.addresses, codes);
    if !codes.is_empty() {
        counts.spread = places.spread(codes, &mut scratch.words);
        counts.n_ipv6 = codes.iter().filter(|code| places.is_ipv6(**code)).count() as u64;
    }
    if codes.len() >= staying::MIN_ADDRESSES {
        counts.staying = staying(groups, runs, &mut scratch.sights);
    }
    let network = |code: u32| places.network(code);
    let start = part.ends();
    for same_kind in scratch.views.chunk_by(|a, b| a.kind == b.kind) {
        // Both sides of a resolver saw the same events: the side that saw more of them counts.
        let kind_start = part.ends();
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
            part.truncate(kind_start);
            if visits.hosts.len() >= MIN_POOL {
                part.hosts.extend(visits.hosts.iter().map(|host| (host.code, host.n_visits)));
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
    if counts.addresses.n_new == 0 && counts.addresses.n_pairs > 0 {
        part.truncate(start); // a name that stays where it is draws from no pool
    }
    let end = part.ends();
    [counts.hosts_at, counts.slices_at, counts.stays_at] = std::array::from_fn(|list| (start[list], end[list]));
    part.counts.push(counts);
}

/// Whether the addresses in these rows stayed.
fn staying(groups: &Groups<'_>, runs: &[Run], sights: &mut Vec<staying::Sight>) -> Option<Staying> {
    sights.clear();
    for (batch, rows) in runs {
        let batch = &groups.batches[*batch];
        sights.extend(rows.clone().filter_map(|row| {
            let (code, first, last) = batch.address(row)?;
            Some(staying::Sight { code, vantage: batch.vantage.value(row), first, last, n: batch.fresh(row) })
        }));
    }
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
fn gather(groups: &Groups<'_>, runs: &[Run], counts: &mut Counts, views: &mut Vec<View>) {
    views.clear();
    for (batch, rows) in runs {
        let batch = &groups.batches[*batch];
        let kinds = batch.kinds;
        for row in rows.clone() {
            let (first, last) = (batch.time_first.value(row), batch.time_last.value(row));
            counts.times = (counts.times.0.min(first), counts.times.1.max(last));
            let rdtype = Some(batch.rdtype.value(row));
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
                hour: first.div_euclid(HOUR_US),
                code: batch.rdata.value(row) as u32,
                ttl: ttl.unwrap_or_default(),
                fresh: batch.fresh_minutes.value(row),
            });
        }
    }
    views.sort_unstable();
}
