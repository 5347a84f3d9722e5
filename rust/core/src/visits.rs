//! What the order of a name's answers tells about the pool behind them.
//!
//! Fed by the roll-up's timeline, one fresh observation after the other. All of it can be had from
//! a prefix: nothing here looks ahead. Only observations that differ from the one before are new
//! samples of a pool; one that was seen again is the same sample.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Addresses of one name whose visits are kept one by one.
pub const MAX_HOSTS: usize = 1 << 16;
/// Length of the intervals that visits are counted in, minutes.
pub const SLICE_MIN: i64 = 15;
/// Length of the blocks of time in which it is asked whether hosts stay, minutes.
pub const BLOCK_MIN: i64 = 360;
/// Stays of one name's hosts in such blocks that are kept.
const MAX_STAYS: usize = 4 * MAX_HOSTS;
/// Window of Caglayan's activity index (CATCH 2009), minutes.
const ACTIVITY_MIN: i64 = 10;
/// CUSUM of "the answer brought something new": what is expected of a pool that is known, and the
/// sum at which a change is called (six new answers in a row, or more with old ones between).
const CUSUM_DRIFT: f64 = 0.5;
const CUSUM_ALARM: f64 = 3.0;
/// Observations without news that make what follows a change rather than a beginning.
const QUIET: u32 = 5;

/// Chance that the next address of flux lies in a network not seen before, after `n` addresses:
/// the growth of networks of FluXOR's and Holz's names, 1.4 n^0.68, by the address. A pool of few
/// operators is taken to have a quarter of it.
fn novelty_of_flux(n: f64) -> f64 {
    (0.952 * n.max(1.0).powf(-0.32)).min(0.95)
}

/// One address of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub code: u32,
    /// Different answers it stood in.
    pub n_answers: u32,
    /// Times it came: it stood in an answer and not in the one before.
    pub n_visits: u32,
    /// Numbers of the answers in which its first and its last visit began.
    pub first_place: u32,
    pub last_place: u32,
    /// Its latest place in [`Visits::stays`].
    stay: usize,
}

/// The visits of one host in one block of time: over a day the hosts of a small population come
/// round again, and only inside of blocks can it be seen that they do not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    pub code: u32,
    pub n_visits: u32,
    /// Number of the block since the epoch.
    pub block: i32,
    /// Minutes of the block in which the first and the last of them began.
    first: u16,
    last: u16,
}

impl Stay {
    /// Minutes since the epoch in which the first and the last visit began.
    pub fn minutes(&self) -> (i64, i64) {
        let start = i64::from(self.block) * BLOCK_MIN;
        (start + i64::from(self.first), start + i64::from(self.last))
    }
}

/// Counts of one name, record type and vantage.
#[derive(Clone, Debug, Default)]
pub struct Visits {
    /// Different answers in a row: an answer equal to the one before is the same sample.
    pub n_samples: u32,
    pub hosts: Vec<Host>,
    pub stays: Vec<Stay>,
    at: HashMap<u32, u32, foldhash::fast::RandomState>,
    /// (slice of time, visits that began in it), ascending.
    pub slices: Vec<(i64, u32)>,
    /// (minutes to the next observation, whether that one differed).
    pub gaps: Vec<(u32, bool)>,
    networks: std::collections::HashSet<u64, foldhash::fast::RandomState>,
    /// Sequential test (Wald): ln of how much likelier the networks are flux than few operators.
    pub network_llr: f64,
    /// Distinct addresses in the busiest ten minutes.
    pub activity: u32,
    recent: Vec<(i64, u32)>,
    cusum: f64,
    quiet: u32,
    excursion_minute: i64,
    excursion_quiet: u32,
    alarmed: bool,
    /// Since the last time that the CUSUM stood at zero; kept once it has called a change.
    pub since: Since,
}

/// What the answers did since they began to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// When; `None`: no change was called, or the name never was quiet before.
    pub minute: Option<i64>,
    pub n_pairs: u32,
    pub n_previous: u32,
    pub n_kept: u32,
}

impl Visits {
    /// Forget everything but the memory.
    pub fn clear(&mut self) {
        let Visits { hosts, stays, at, slices, gaps, networks, recent, .. } = std::mem::take(self);
        let mut kept = Visits { hosts, stays, at, slices, gaps, networks, recent, ..Visits::default() };
        kept.hosts.clear();
        kept.stays.clear();
        kept.at.clear();
        kept.slices.clear();
        kept.gaps.clear();
        kept.networks.clear();
        kept.recent.clear();
        *self = kept;
    }

    /// Take the next observation: what stood in the answer (sorted), and in the one before.
    pub fn observe(
        &mut self,
        minute: i64,
        before: Option<(i64, &[u32])>,
        current: &[u32],
        network: impl Fn(u32) -> u64,
    ) {
        if let Some((last_minute, last)) = before {
            let differs = last != current;
            self.gaps.push(((minute - last_minute).clamp(0, i64::from(u32::MAX)) as u32, differs));
            if !differs {
                self.settle(minute, before, current, false);
                return;
            }
        }
        let place = self.n_samples;
        self.n_samples += 1;
        let known = self.hosts.len();
        let (mut came, mut new_networks) = (0, 0);
        for code in current {
            let stayed = before.is_some_and(|(_, last)| last.binary_search(code).is_ok());
            came += u32::from(!stayed);
            if let Some(index) = self.at.get(code) {
                let host = &mut self.hosts[*index as usize];
                host.n_answers += 1;
                if !stayed {
                    host.n_visits += 1;
                    host.last_place = place;
                    host.stay = stay(&mut self.stays, host.stay, *code, minute);
                }
            } else if self.hosts.len() < MAX_HOSTS {
                self.at.insert(*code, self.hosts.len() as u32);
                self.hosts.push(Host {
                    code: *code,
                    n_answers: 1,
                    n_visits: 1,
                    first_place: place,
                    last_place: place,
                    stay: stay(&mut self.stays, usize::MAX, *code, minute),
                });
                new_networks += u32::from(self.networks.insert(network(*code)));
                self.recent.push((minute, *code));
            }
        }
        let slice = minute.div_euclid(SLICE_MIN);
        match self.slices.last_mut() {
            Some((last, count)) if *last == slice => *count += came,
            _ => self.slices.push((slice, came)),
        }
        let new = (self.hosts.len() - known) as u32;
        self.test_networks(known, new, new_networks);
        self.recent.retain(|(at, _)| minute - at < ACTIVITY_MIN);
        self.activity = self.activity.max(self.recent.len() as u32);
        self.settle(minute, before, current, new > 0);
    }

    fn test_networks(&mut self, known: usize, new: u32, new_networks: u32) {
        let flux = novelty_of_flux(known as f64 + f64::from(new) / 2.0);
        let other = flux / 4.0;
        let (hits, misses) = (f64::from(new_networks), f64::from(new - new_networks.min(new)));
        self.network_llr += hits * (flux / other).ln() + misses * ((1.0 - flux) / (1.0 - other)).ln();
    }

    /// One step of the CUSUM, and of the counts since it left zero.
    fn settle(&mut self, minute: i64, before: Option<(i64, &[u32])>, current: &[u32], is_new: bool) {
        let Some((_, last)) = before else { return };
        if !self.alarmed && self.cusum == 0.0 {
            (self.excursion_minute, self.excursion_quiet) = (minute, self.quiet);
            self.since = Since::default();
        }
        self.cusum = (self.cusum + f64::from(u8::from(is_new)) - CUSUM_DRIFT).max(0.0);
        self.quiet = if is_new { 0 } else { self.quiet.saturating_add(1) };
        self.since.n_pairs += 1;
        self.since.n_previous += last.len() as u32;
        self.since.n_kept += last.iter().filter(|code| current.binary_search(code).is_ok()).count() as u32;
        if !self.alarmed && self.cusum >= CUSUM_ALARM {
            self.alarmed = true;
            self.since.minute = (self.excursion_quiet >= QUIET).then_some(self.excursion_minute);
        }
    }

    /// Addresses that stood in exactly one, and in exactly two different answers.
    pub fn seen_once_and_twice(&self) -> (u32, u32) {
        let count = |n| self.hosts.iter().filter(|host| host.n_answers == n).count() as u32;
        (count(1), count(2))
    }

    /// Time that addresses with several visits spanned, what is expected of a pool that stays, and
    /// the variance of it, in shares of all answers.
    ///
    /// n places drawn at random from (0, 1) span (n-1)/(n+1) on average, with variance
    /// 2(n-1)/((n+1)²(n+2)) (order statistics of the uniform distribution).
    pub fn dwell(&self) -> Dwell {
        let whole = f64::from(self.n_samples.max(1));
        self.hosts.iter().filter(|host| host.n_visits >= 2).fold(Dwell::default(), |sum, host| {
            let n = f64::from(host.n_visits);
            Dwell {
                n_hosts: sum.n_hosts + 1,
                spanned: sum.spanned + f64::from(host.last_place - host.first_place) / whole,
                expected: sum.expected + (n - 1.0) / (n + 1.0),
                variance: sum.variance + 2.0 * (n - 1.0) / ((n + 1.0).powi(2) * (n + 2.0)),
            }
        })
    }

    /// Minutes between changes, by maximum likelihood for a clock of unknown phase.
    ///
    /// A clock with period P has struck between two looks d apart with probability min(1, d/P).
    /// `None` before three changes. Where every look found a change, the period is at most this.
    pub fn period_min(&self) -> Option<f64> {
        period_min(&self.gaps)
    }
}

/// Count a visit that begins now to a host's latest stay, or to a new one; returns its place.
fn stay(stays: &mut Vec<Stay>, latest: usize, code: u32, minute: i64) -> usize {
    let block = minute.div_euclid(BLOCK_MIN) as i32; // minutes of 64-bit microseconds: far from 2^31 blocks
    let at = minute.rem_euclid(BLOCK_MIN) as u16;
    if let Some(known) = stays.get_mut(latest).filter(|known| known.block == block) {
        known.n_visits += 1;
        known.last = at;
        return latest;
    }
    if stays.len() >= MAX_STAYS {
        return usize::MAX;
    }
    stays.push(Stay { code, n_visits: 1, block, first: at, last: at });
    stays.len() - 1
}

/// Periods that are tried: one minute to a fortnight in steps of 5 %.
const N_PERIODS: usize = 204;
/// Chance that a change is missed, or seen where none was: clocks are not exact, and a draw may repeat itself.
const MISS: f64 = 0.02;

fn period(step: usize) -> f64 {
    1.05f64.powi(step as i32)
}

/// By period: ln of the chances that a clock has struck, and has not, between looks so many minutes apart.
fn chances(gap: u32) -> [(f64, f64); N_PERIODS] {
    std::array::from_fn(|step| {
        let chance = (f64::from(gap) / period(step)).clamp(MISS, 1.0 - MISS);
        (chance.ln(), (1.0 - chance).ln())
    })
}

/// The same for gaps up to two hours, worked out once: logarithms are dear.
static SHORT_GAPS: LazyLock<Vec<[(f64, f64); N_PERIODS]>> = LazyLock::new(|| (0..=120).map(chances).collect());

/// See [`Visits::period_min`].
pub fn period_min(gaps: &[(u32, bool)]) -> Option<f64> {
    if gaps.iter().filter(|(_, changed)| *changed).count() < 3 {
        return None;
    }
    let mut tallies: Vec<(u32, u32, u32)> = Vec::new();
    let mut sorted = gaps.to_vec();
    sorted.sort_unstable();
    for (gap, changed) in sorted {
        match tallies.last_mut() {
            Some(tally) if tally.0 == gap => {
                tally.1 += u32::from(changed);
                tally.2 += u32::from(!changed);
            }
            _ => tallies.push((gap, u32::from(changed), u32::from(!changed))),
        }
    }
    let mut likelihoods = [0.0; N_PERIODS];
    for (gap, changed, same) in tallies {
        let long;
        let chances = match SHORT_GAPS.get(gap as usize) {
            Some(chances) => chances,
            None => {
                long = chances(gap);
                &long
            }
        };
        for (sum, (struck, silent)) in likelihoods.iter_mut().zip(chances) {
            *sum = *sum + f64::from(changed) * struck + f64::from(same) * silent;
        }
    }
    // The longest of equally likely ones.
    let mut best = (f64::NEG_INFINITY, 1.0);
    for (step, value) in likelihoods.into_iter().enumerate() {
        if value >= best.0 - 1e-9 {
            best = (value, period(step));
        }
    }
    Some(best.1)
}

/// See [`Visits::dwell`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dwell {
    pub n_hosts: u32,
    pub spanned: f64,
    pub expected: f64,
    pub variance: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(answers: &[(i64, &[u32])]) -> Visits {
        let mut visits = Visits::default();
        let mut before: Option<(i64, &[u32])> = None;
        for (minute, current) in answers {
            visits.observe(*minute, before, current, u64::from);
            before = Some((*minute, current));
        }
        visits
    }

    #[test]
    fn the_same_answer_is_one_sample() {
        let visits = run(&[(0, &[1, 2]), (5, &[1, 2]), (10, &[2, 3]), (15, &[1, 3])]);
        assert_eq!((visits.n_samples, visits.hosts.len()), (3, 3));
        // 1 came at 0 and at 15; 2 and 3 came once; 1, 2 and 3 stood in two samples each.
        assert_eq!(visits.hosts.iter().map(|host| host.n_visits).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(visits.seen_once_and_twice(), (0, 3));
        let dwell = visits.dwell();
        assert_eq!(dwell.n_hosts, 1);
        assert!((dwell.spanned - 2.0 / 3.0).abs() < 1e-12 && (dwell.expected - 1.0 / 3.0).abs() < 1e-12);
        assert!((dwell.variance - 2.0 / (9.0 * 4.0)).abs() < 1e-12);
    }

    #[test]
    fn visits_are_counted_by_blocks_of_six_hours() {
        let visits = run(&[(0, &[1]), (60, &[2]), (120, &[1]), (350, &[2]), (400, &[1])]);
        let told: Vec<_> =
            visits.stays.iter().map(|stay| (stay.code, stay.block, stay.n_visits, stay.minutes())).collect();
        assert_eq!(told, [(1, 0, 2, (0, 120)), (2, 0, 2, (60, 350)), (1, 1, 1, (400, 400))]);
    }

    #[test]
    fn a_clock_of_ten_minutes_is_found() {
        // Looked at every 4 minutes for 400: version = minute / 10.
        let versions: Vec<[u32; 1]> = (0..100u32).map(|look| [look * 4 / 10]).collect();
        let answers: Vec<(i64, &[u32])> =
            versions.iter().enumerate().map(|(look, version)| (look as i64 * 4, version.as_slice())).collect();
        let period = run(&answers).period_min().unwrap();
        assert!((9.0..11.0).contains(&period), "{period}");
        assert_eq!(run(&answers[..5]).period_min(), None);
    }

    #[test]
    fn a_change_after_quiet_is_dated_and_a_beginning_is_none() {
        let still: &[u32] = &[1];
        let moving: Vec<[u32; 1]> = (10..20).map(|code| [code]).collect();
        let mut answers: Vec<(i64, &[u32])> = (0..8).map(|minute| (minute * 10, still)).collect();
        answers.extend(moving.iter().enumerate().map(|(step, one)| (80 + step as i64 * 10, one.as_slice())));
        let since = run(&answers).since;
        assert_eq!(since.minute, Some(80));
        assert_eq!((since.n_pairs, since.n_previous, since.n_kept), (10, 10, 0));
        assert_eq!(run(&answers[8..]).since.minute, None);
    }

    #[test]
    fn networks_are_tested_by_the_answer() {
        let wide = run(&[(0, &[1, 2, 3])]);
        let mut narrow = Visits::default();
        narrow.observe(0, None, &[1, 2, 3], |_| 7);
        let p: f64 = 0.952 * 1.5f64.powf(-0.32);
        assert!((wide.network_llr - 3.0 * 4f64.ln()).abs() < 1e-9);
        let misses = 2.0 * ((1.0 - p) / (1.0 - p / 4.0)).ln();
        assert!((narrow.network_llr - (4f64.ln() + misses)).abs() < 1e-9);
    }
}
