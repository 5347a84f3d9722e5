//! The addresses that stand in findings (agents), as JSON: a large capture has millions of them,
//! and most leave the program as JSON anyway.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt32Type};
use arrow_array::{Array, Int32Array, PrimitiveArray, RecordBatch, StringArray};

use crate::rollup::{Groups, Run, keys};
use crate::threads::side_by_side;

/// A name whose agents are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Accused {
    /// Number of the name.
    pub name: u32,
    pub is_flux: bool,
    /// Its answers were seen to change.
    pub rotates: bool,
}

/// What was seen of one address under one name.
#[derive(Clone, Copy)]
struct Agent {
    code: u32,
    first_us: i64,
    last_us: i64,
    count: i64,
}

/// A column of words as JSON strings, by number of the rdata.
struct Words<'a> {
    keys: &'a Int32Array,
    json: Vec<String>,
}

impl<'a> Words<'a> {
    fn new(batch: &'a RecordBatch, name: &str) -> Result<Self, String> {
        let (keys, values) = keys::<Int32Type>(batch, name)?;
        let json = values.iter().map(|word| serde_json::to_string(&word).map_err(|error| error.to_string()));
        Ok(Words { keys, json: json.collect::<Result<_, _>>()? })
    }

    fn of(&self, code: u32) -> &str {
        let code = code as usize;
        if self.keys.is_valid(code) { &self.json[self.keys.value(code) as usize] } else { "null" }
    }
}

/// Sightings by name, and where addresses belong.
pub struct Agents<'a> {
    groups: Groups<'a>,
    rdata: &'a StringArray,
    asn: &'a PrimitiveArray<UInt32Type>,
    organisation: Words<'a>,
    country: Words<'a>,
    special: Words<'a>,
    /// Names called flux that use an address, by number of the rdata.
    used: Vec<u32>,
}

impl<'a> Agents<'a> {
    /// `batches` are in canonical order; `places` has a row per rdata; `accused` are all that are,
    /// by name.
    ///
    /// # Errors
    /// A sentence when a column is missing or of another type.
    pub fn new(batches: &'a [RecordBatch], places: &'a RecordBatch, accused: &[Accused]) -> Result<Self, String> {
        let first = batches.first().ok_or("no batch of sightings")?;
        let (names, rdata) = (keys::<Int32Type>(first, "owner")?.1, keys::<Int32Type>(first, "rdata")?.1);
        let is_ordered = accused.is_sorted_by(|a, b| a.name < b.name);
        let is_known = accused.last().is_none_or(|last| (last.name as usize) < names.len());
        if !is_ordered || !is_known || places.num_rows() != rdata.len() {
            return Err("names must be in the dictionary and ascend, and places must have a row per rdata".to_owned());
        }
        let mut agents = Agents {
            groups: Groups::new(batches, names.len())?,
            rdata,
            asn: places
                .column_by_name("origin_asn")
                .and_then(|column| column.as_primitive_opt::<UInt32Type>())
                .ok_or("origin_asn is no uint32")?,
            organisation: Words::new(places, "organisation")?,
            country: Words::new(places, "country")?,
            special: Words::new(places, "special")?,
            used: Vec::new(),
        };
        let mut used = vec![0; rdata.len()];
        let flux: Vec<Accused> = accused.iter().copied().filter(|one| one.is_flux).collect();
        agents.each(&flux, |_, found| found.iter().for_each(|agent| used[agent.code as usize] += 1));
        agents.used = used;
        Ok(agents)
    }

    /// The agents of some names as JSON arrays, each in the order they were first seen; `None` for a
    /// name without an address.
    pub fn json(&self, accused: &[Accused], threads: usize) -> Vec<Option<Vec<u8>>> {
        let some = accused.chunks(accused.len().div_ceil(threads.max(1)).max(1));
        let parts = side_by_side(threads, some, |some| {
            let mut all = Vec::with_capacity(some.len());
            self.each(some, |one, found| all.push(self.list(one, found)));
            all
        });
        parts.into_iter().flatten().collect()
    }

    /// Call with each of these and each of its addresses once.
    fn each(&self, accused: &[Accused], mut take: impl FnMut(Accused, &mut [Agent])) {
        let (Some(first), Some(last)) = (accused.first(), accused.last()) else { return };
        let mut left = accused.iter().copied().peekable();
        let mut found = Vec::new();
        self.groups.by_owner.each(first.name as usize..last.name as usize + 1, |name, runs| {
            if let Some(one) = left.next_if(|one| one.name as usize == name) {
                self.gather(runs, &mut found);
                take(one, &mut found);
            }
        });
    }

    fn gather(&self, runs: &[Run], found: &mut Vec<Agent>) {
        found.clear();
        for (batch, rows) in runs {
            let batch = &self.groups.batches[*batch];
            found.extend(rows.clone().filter_map(|row| {
                let (code, first_us, last_us) = batch.address(row)?;
                Some(Agent { code, first_us, last_us, count: batch.count_raw.value(row) })
            }));
        }
        found.sort_unstable_by_key(|agent| agent.code);
        found.dedup_by(|next, kept| {
            let same = next.code == kept.code;
            if same {
                kept.first_us = kept.first_us.min(next.first_us);
                kept.last_us = kept.last_us.max(next.last_us);
                kept.count = kept.count.saturating_add(next.count);
            }
            same
        });
    }

    fn list(&self, accused: Accused, found: &mut [Agent]) -> Option<Vec<u8>> {
        found.sort_unstable_by_key(|agent| (agent.first_us, self.rdata.value(agent.code as usize)));
        let mut out = Vec::with_capacity(2 + found.len() * 240);
        for agent in found.iter() {
            out.push(if out.is_empty() { b'[' } else { b',' });
            self.write(accused, agent, &mut out);
        }
        (!out.is_empty()).then(|| {
            out.push(b']');
            out
        })
    }

    fn write(&self, accused: Accused, agent: &Agent, out: &mut Vec<u8>) {
        let code = agent.code as usize;
        let evidence = match accused {
            Accused { is_flux: false, .. } => "unproven",
            _ if self.used[code] > 1 => "shared",
            Accused { rotates: true, .. } => "rotated",
            _ => "answered",
        };
        let mut put = |text: &str| out.extend_from_slice(text.as_bytes());
        put("{\"address\":\""); // an address needs no escapes
        put(self.rdata.value(code));
        put("\",\"evidence\":\"");
        put(evidence);
        put("\",\"origin_asn\":");
        if self.asn.is_valid(code) {
            put(&self.asn.value(code).to_string())
        } else {
            put("null")
        }
        for (key, words) in
            [("organisation", &self.organisation), ("country", &self.country), ("special", &self.special)]
        {
            put(",\"");
            put(key);
            put("\":");
            put(words.of(agent.code));
        }
        for (key, time_us) in [("first_seen", agent.first_us), ("last_seen", agent.last_us)] {
            put(",\"");
            put(key);
            put("\":\"");
            put_iso(time_us, &mut put);
            put("\"");
        }
        put(",\"count\":");
        put(&agent.count.to_string());
        put("}");
    }
}

/// Microseconds since the epoch as ISO 8601 in UTC.
fn put_iso(time_us: i64, put: &mut impl FnMut(&str)) {
    let (seconds, micros) = (time_us.div_euclid(1_000_000), time_us.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date: Howard Hinnant, "chrono-compatible low-level date algorithms" (civil_from_days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let fields =
        [(year, 4, "-"), (month, 2, "-"), (day, 2, "T"), (hour, 2, ":"), (minute, 2, ":"), (second % 60, 2, ".")];
    for (value, width, behind) in fields.into_iter().chain([(micros, 6, "Z")]) {
        let mut digits = [b'0'; 8];
        let mut rest = value;
        for digit in digits[..width].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        put(std::str::from_utf8(&digits[..width]).unwrap_or_default());
        put(behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_iso_8601() {
        let iso = |time_us| {
            let mut out = String::new();
            put_iso(time_us, &mut |text: &str| out.push_str(text));
            out
        };
        assert_eq!(iso(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(iso(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(iso(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(iso(1_322_849_924_408_856), "2011-12-02T18:18:44.408856Z");
        assert_eq!(iso(4_102_444_799_000_001), "2099-12-31T23:59:59.000001Z");
    }
}
