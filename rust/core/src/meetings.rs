//! Whom names share their addresses with, over bounded samples.
//!
//! A delivery network has thousands of names on each address, and names with thousands of
//! addresses: comparing all with all would cost their product. So of a name's addresses, and of an
//! address's names, those with the smallest hashes are looked at, which are the same ones in every
//! run and on every machine.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch};

/// Addresses of a name that are compared, and names that are met at one address.
pub const SAMPLE: usize = 64;

/// What samples are taken by: how the embedded engine (DuckDB) hashes whole numbers.
fn hash(number: u64) -> u64 {
    const MULTIPLIER: u64 = 0xD6E8_FEB8_6659_FD93;
    let once = (number ^ number >> 32).wrapping_mul(MULTIPLIER);
    let twice = (once ^ once >> 32).wrapping_mul(MULTIPLIER);
    twice ^ twice >> 32
}

/// Keep the [`SAMPLE`] with the smallest hashes.
fn sample(numbers: &mut Vec<(u64, u32)>) {
    if numbers.len() > SAMPLE {
        numbers.select_nth_unstable(SAMPLE);
        numbers.truncate(SAMPLE);
    }
}

/// Names with their addresses.
#[derive(Default)]
pub struct Meetings {
    /// Number of each name, its group (names of one group do not meet), and where its codes end.
    names: Vec<(u32, i64, usize)>,
    codes: Vec<u32>,
}

impl Meetings {
    /// Add a name with its distinct addresses.
    pub fn add(&mut self, name: u32, group: i64, codes: impl Iterator<Item = u32>) {
        self.codes.extend(codes);
        self.names.push((name, group, self.codes.len()));
    }

    /// For each name and each other group: at how many of the name's (sampled) addresses names of
    /// that group are met. Called with the place of the name, the group and that number; groups
    /// ascend.
    pub fn each(&self, mut found: impl FnMut(usize, i64, u32)) {
        let (met, ends) = self.groups_at_codes();
        let mut groups: Vec<i64> = Vec::new();
        let mut own: Vec<(u64, u32)> = Vec::new();
        let mut start = 0;
        for (place, (_, group, end)) in self.names.iter().enumerate() {
            own.clear();
            own.extend(self.codes[start..*end].iter().map(|code| (hash(u64::from(*code)), *code)));
            start = *end;
            sample(&mut own);
            groups.clear();
            for (_, code) in &own {
                let from = if *code == 0 { 0 } else { ends[*code as usize - 1] };
                groups.extend(met[from..ends[*code as usize]].iter().filter(|other| *other != group));
            }
            groups.sort_unstable();
            for run in groups.chunk_by(|a, b| a == b) {
                found(place, run[0], run.len() as u32);
            }
        }
    }

    /// The distinct groups of the (sampled) names at each address, and where those of each end.
    /// Addresses with one name have none.
    fn groups_at_codes(&self) -> (Vec<i64>, Vec<usize>) {
        let n_codes = self.codes.iter().max().map_or(0, |code| *code as usize + 1);
        let mut places = vec![0usize; n_codes];
        self.codes.iter().for_each(|code| places[*code as usize] += 1);
        let mut sum = 0;
        for place in &mut places {
            sum += std::mem::replace(place, sum);
        }
        let mut names_at = vec![0u32; self.codes.len()];
        let mut start = 0;
        for (name, (_, _, end)) in self.names.iter().enumerate() {
            for code in &self.codes[start..*end] {
                let place = &mut places[*code as usize];
                names_at[*place] = name as u32;
                *place += 1;
            }
            start = *end;
        }
        let (mut met, mut ends) = (Vec::new(), Vec::with_capacity(n_codes));
        let mut sampled: Vec<(u64, u32)> = Vec::new();
        let mut groups: Vec<i64> = Vec::new();
        let mut from = 0;
        for to in places {
            let names = &names_at[from..to];
            from = to;
            if names.len() > 1 {
                sampled.clear();
                sampled.extend(names.iter().map(|at| (hash(u64::from(self.names[*at as usize].0)), *at)));
                sample(&mut sampled);
                groups.clear();
                groups.extend(sampled.iter().map(|(_, at)| self.names[*at as usize].1));
                groups.sort_unstable();
                groups.dedup();
                met.extend_from_slice(&groups);
            }
            ends.push(met.len());
        }
        (met, ends)
    }
}

/// (row, code) pairs, those of a row together, as (a, b, n): at n of the addresses of `a`, `b` is met.
///
/// # Errors
/// A sentence when the columns do not fit together.
pub fn of_rows(rows: &Int32Array, codes: &Int32Array) -> Result<RecordBatch, String> {
    if rows.len() != codes.len() || rows.null_count() + codes.null_count() > 0 {
        return Err("rows and codes go in pairs".to_owned());
    }
    let number = |value: i32| u32::try_from(value).map_err(|_| format!("{value} is no number of a row or an address"));
    let codes = codes.values().iter().map(|code| number(*code)).collect::<Result<Vec<_>, _>>()?;
    let mut meetings = Meetings::default();
    let mut start = 0;
    for run in rows.values().chunk_by(|a, b| a == b) {
        let end = start + run.len();
        meetings.add(number(run[0])?, i64::from(run[0]), codes[start..end].iter().copied());
        start = end;
    }
    let (mut a, mut b, mut n) = (Vec::new(), Vec::new(), Vec::new());
    meetings.each(|place, other, n_common| {
        a.push(i64::from(meetings.names[place].0));
        b.push(other);
        n.push(i64::from(n_common));
    });
    let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    RecordBatch::try_from_iter([("a", column(a)), ("b", column(b)), ("n", column(n))])
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(meetings: &Meetings) -> Vec<(usize, i64, u32)> {
        let mut all = Vec::new();
        meetings.each(|name, group, n| all.push((name, group, n)));
        all
    }

    #[test]
    fn names_of_other_groups_are_met_where_addresses_are_shared() {
        let mut meetings = Meetings::default();
        meetings.add(7, 1, [0, 2, 3].into_iter());
        meetings.add(8, 1, [2, 3].into_iter());
        meetings.add(9, 5, [3, 4].into_iter());
        meetings.add(10, 5, [2, 3].into_iter());
        // Both names of group 5 stand at address 3: that counts once.
        assert_eq!(told(&meetings), [(0, 5, 2), (1, 5, 2), (2, 1, 1), (3, 1, 2)]);
    }

    #[test]
    fn what_is_looked_at_is_bounded() {
        let mut meetings = Meetings::default();
        for name in 0..1000 {
            meetings.add(name, i64::from(name), 0..100);
        }
        let all = told(&meetings);
        assert!(all.len() <= 1000 * SAMPLE * SAMPLE && all.iter().all(|(_, _, n)| *n <= SAMPLE as u32));
        assert_eq!(all.iter().filter(|(name, ..)| *name == 0).map(|(.., n)| *n).max(), Some(SAMPLE as u32));
    }

    #[test]
    fn the_hash_is_that_of_the_embedded_engine() {
        // SELECT hash(1), hash(42), hash(123456) in DuckDB.
        let known = [4_717_996_019_076_358_352, 7_199_933_130_570_745_587, 4_503_191_581_844_798_335];
        assert_eq!([1, 42, 123_456].map(hash), known);
    }
}
