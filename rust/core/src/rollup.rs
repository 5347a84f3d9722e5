//! From sightings to counts per name: what features are made of.
//!
//! One pass goes through the rows of each name, puts its fresh observations back in order, and counts
//! how its answers rotated, how far its addresses are spread, and with whom it shares them. Ratios
//! and judgements are not made here: `features/` names them, one expression each.

use std::collections::HashMap;
use std::ops::Range;

use arrow_array::types::{Int32Type, Int64Type, UInt16Type};
use arrow_array::{Array, Int32Array, Int64Array, RecordBatch, StringArray};

use crate::threads::side_by_side;

mod crowds;
mod input;
mod names;
mod places;
mod rotation;
mod table;
mod zones;

use input::primitive;
pub(crate) use input::{ByOwner, Groups, Run, keys};
use names::{Counts, Part, count_names};
use places::Places;

type Numbers<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Set<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

/// Names that one thread counts at a time.
const NAMES_AT_ONCE: usize = 4096;

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
    names: &'a StringArray,
    /// Of [`NAMES_AT_ONCE`] names each.
    parts: Vec<Part>,
}

impl Rolled<'_> {
    /// Place of the part that a name is in.
    fn part_of(&self, name: usize) -> usize {
        name / NAMES_AT_ONCE
    }

    fn part(&self, name: usize) -> (&Part, &Counts) {
        let part = &self.parts[self.part_of(name)];
        (part, &part.counts[name % NAMES_AT_ONCE])
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

/// What the roll-up gives: a row per name that is judged, and what these drew from pools, see
/// [`table::pools`].
pub struct Rollup {
    pub names: RecordBatch,
    pub hosts: RecordBatch,
    pub stays: RecordBatch,
    pub slices: RecordBatch,
}

/// Roll sightings, in canonical order, up to one row per name that has addresses or name servers.
///
/// `batches` (and `activity`) share their dictionaries; `places` has a row per rdata, `domains` (int32 keys of
/// registered domains) one per name. Work is split over `threads`.
///
/// # Errors
/// A sentence when a column is missing or of another type, or rows are in another order.
pub fn rollup(
    batches: &[RecordBatch],
    activity: &[RecordBatch],
    places: &RecordBatch,
    domains: &Int32Array,
    threads: usize,
) -> Result<Rollup, String> {
    let first = batches.first().ok_or("no batch of sightings")?;
    let (_, names) = keys::<Int32Type>(first, "owner")?;
    let (_, rdata) = keys::<Int32Type>(first, "rdata")?;
    if domains.len() != names.len() || places.num_rows() != rdata.len() {
        return Err("places and domains must have a row per dictionary value".to_owned());
    }
    let groups = Groups::new(batches, names.len())?;
    let places = Places::new(places)?;
    let some = (0..names.len()).step_by(NAMES_AT_ONCE).map(|first| first..(first + NAMES_AT_ONCE).min(names.len()));
    let parts = side_by_side(threads, some, |names| count_names(&groups, &places, names));
    let mut rolled = Rolled { asked: asked(activity, names.len())?, names, parts };
    let crowds = crowds::domains_per_address(&rolled, domains, rdata.len());
    let n_domains = domains.iter().flatten().collect::<Set<_>>().len().max(2) as f64;
    let rarities = crowds::rarities(&crowds, n_domains);
    let zones = zones::zones(&rolled, rdata, &places, domains);
    let kept = rolled.judged(&zones.is_server);
    let names = table::columns_of(&rolled, &crowds, domains, &rarities, &zones, &kept);
    let names = names.map_err(|error| error.to_string())?;
    let [hosts, stays, slices] = table::pools(&mut rolled, &kept).map_err(|error| error.to_string())?;
    Ok(Rollup { names, hosts, stays, slices })
}
