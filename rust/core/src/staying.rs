//! Did the addresses of a name stay, or come and go?
//!
//! An address seen n times at random over a time T lies between its first and last sight for
//! T (n - 1) / (n + 1) on average (order statistics of the uniform distribution): a host that stays
//! has a ratio near 1, one that comes and goes a small one. Of m addresses seen twice each, a pool
//! that stays has a ratio of 1 with a standard error of 0.71 / sqrt(m).

/// Names with fewer addresses have no pool to speak of.
pub const MIN_ADDRESSES: usize = 5;
/// Below an hour nothing can be said about staying.
const MIN_SPAN_US: i64 = 3_600_000_000;

/// An address in an hour, from one vantage.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub code: u32,
    pub vantage: i8,
    /// Microseconds since the epoch.
    pub first: i64,
    pub last: i64,
    /// Fresh observations.
    pub n: u64,
}

/// What a name's addresses did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Staying {
    /// Addresses seen more than once.
    pub n_returning: u64,
    /// Time that these were there, as a share of what is expected of hosts that stay, 0…1.
    pub dwell_ratio: f64,
}

impl Staying {
    /// Of one name's sights, which are brought in order; nothing when no address was seen twice, or
    /// all within an hour.
    pub fn of(sights: &mut [Sight]) -> Option<Self> {
        sights.sort_unstable_by_key(|sight| (sight.code, sight.vantage));
        let whole = sights.iter().map(|sight| sight.last).max()? - sights.iter().map(|sight| sight.first).min()?;
        if whole < MIN_SPAN_US {
            return None;
        }
        let (mut n_returning, mut spanned, mut expected) = (0, 0i128, 0i128);
        for host in sights.chunk_by(|a, b| a.code == b.code) {
            // What both sides of a resolver saw was one event.
            let sum = |side: &[Sight]| side.iter().fold(0u64, |sum, sight| sum.saturating_add(sight.n));
            let n = host.chunk_by(|a, b| a.vantage == b.vantage).map(sum).max().unwrap_or_default();
            if n >= 2 {
                let first = host.iter().map(|sight| sight.first).min().unwrap_or_default();
                let last = host.iter().map(|sight| sight.last).max().unwrap_or_default();
                n_returning += 1;
                spanned += i128::from(last - first);
                // Whole microseconds: a sum of floats depends on its order.
                let share = (n - 1) as f64 / (n as f64 + 1.0);
                expected += (share * whole as f64).round_ties_even() as i128;
            }
        }
        (n_returning > 0)
            .then(|| Staying { n_returning, dwell_ratio: (spanned as f64 / expected as f64).min(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(code: u32, vantage: i8, first: i64, last: i64, n: u64) -> Sight {
        Sight { code, vantage, first: first * 1_000_000, last: last * 1_000_000, n }
    }

    #[test]
    fn a_host_that_stays_has_a_ratio_of_one_and_a_short_visit_a_small_one() {
        let mut sights = [sight(1, 1, 0, 7200, 3), sight(2, 1, 0, 720, 3), sight(3, 1, 90, 90, 1)];
        // Expected of each of the two: 7200 s · 2 / 4; there were 7200 s and 720 s.
        assert_eq!(Staying::of(&mut sights), Some(Staying { n_returning: 2, dwell_ratio: 1.0 }));
        let mut sights = [sight(1, 1, 0, 720, 3), sight(2, 1, 6480, 7200, 3)];
        assert_eq!(Staying::of(&mut sights), Some(Staying { n_returning: 2, dwell_ratio: 0.2 }));
    }

    #[test]
    fn both_sides_of_a_resolver_saw_one_event() {
        let mut sights = [sight(1, 1, 0, 0, 1), sight(1, 2, 7200, 7200, 1)];
        assert_eq!(Staying::of(&mut sights), None);
    }

    #[test]
    fn within_an_hour_nothing_is_said() {
        assert_eq!(Staying::of(&mut [sight(1, 1, 0, 3000, 9)]), None);
    }
}
