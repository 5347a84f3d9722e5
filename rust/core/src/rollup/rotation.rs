//! How the answers of a name rotate: its fresh observations in order, each compared with the one before.

use crate::visits::Visits;

use super::input::UPSTREAM;
use super::{Numbers, Set};

const MINUTES_PER_HOUR: i64 = 60;
/// Bits of `fresh_minutes`.
const SLOTS: i64 = 64;

/// What a record type means for the roll-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    A,
    Aaaa,
    Ns,
}

/// One sighting, as far as rotation is concerned; sorts into the order of the timelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct View {
    pub kind: Kind,
    pub vantage: i8,
    pub hour: i64,
    pub code: u32,
    pub ttl: u32,
    pub fresh: u64,
}

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
    pub fn add(&mut self, other: &Rotation) {
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
pub struct Timeline {
    rotation: Rotation,
    seen: Set<u32>,
    /// Members of the last observation, and its minute.
    last: Vec<u32>,
    last_minute: Option<i64>,
    /// Members by minute of the hour at hand.
    minutes: Vec<Vec<u32>>,
    pub visits: Visits,
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
        self.minutes.resize(SLOTS as usize, Vec::new());
        let turn = hour.first_minute.rem_euclid(SLOTS) as u32;
        let mut occupied = 0;
        for (code, fresh) in hour.members {
            let mut left = fresh.rotate_right(turn);
            occupied |= left;
            while left != 0 {
                self.minutes[left.trailing_zeros() as usize].push(*code);
                left &= left - 1;
            }
        }
        while occupied != 0 {
            let step = occupied.trailing_zeros() as usize;
            occupied &= occupied - 1;
            let mut current = std::mem::take(&mut self.minutes[step]);
            current.sort_unstable();
            self.observe(hour.first_minute + step as i64, &mut current, network);
            current.clear();
            self.minutes[step] = current;
        }
    }

    fn observe(&mut self, minute: i64, current: &mut Vec<u32>, network: &impl Fn(u32) -> u64) {
        if self.last_minute.is_some_and(|last| minute <= last) {
            return; // cached copies that were seen on both sides of the hour
        }
        let is_same = self.last_minute.is_some() && self.last == *current;
        let rotation = &mut self.rotation;
        rotation.n_fresh += 1;
        rotation.n_slots += current.len() as u64;
        let mut n_new = 0;
        if !is_same {
            n_new = current.iter().filter(|code| self.seen.insert(**code)).count() as u64;
        }
        if self.last_minute.is_some() {
            let is_kept = |code: &&u32| is_same || current.binary_search(code).is_ok();
            let kept = self.last.iter().filter(is_kept).count();
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
    pub fn add(&mut self, other: &Core) {
        self.n_fresh += other.n_fresh;
        self.n_records += other.n_records;
        self.n_apart += other.n_apart;
        self.absence = self.absence.max(other.absence);
    }

    /// From one type and vantage, in the order of time.
    pub fn of(views: &[View], rotation: &Rotation, times: &mut Numbers<u32, u64>) -> Core {
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

/// The rotation of one record type from one vantage: minutes of two vantages mean other things.
pub fn rotation(
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
}
