//! What was counted, as columns.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow_schema::ArrowError;

use crate::meetings::{Meetings, SAMPLE};
use crate::staying;

use super::crowds::{Sharing, sharing};
use super::names::Counts;
use super::rotation::Core;
use super::zones::{Servers, Zones};
use super::{Asked, Rolled};

/// Share of a name's addresses that another domain has too: two answers of 10 out of one list of 40
/// share 2.5 addresses; days of answers share nearly all.
const SIBLING_OVERLAP: f64 = 0.3;

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

/// An address of names that stay where they are.
fn still_column(rolled: &Rolled<'_>, kept: &[usize]) -> ArrayRef {
    let still = kept.iter().map(|id| {
        let (counts, addresses) = rolled.counts(*id);
        let is_still = counts.addresses.n_changed == 0 && matches!(counts.spread.n_addresses, 1 | 2);
        is_still.then(|| addresses[0] as i32)
    });
    Arc::new(still.collect::<Int32Array>())
}

/// What names drew from pools, as long tables beside the rows (`row`) of the names: their hosts with
/// their visits, these visits by blocks of time, and all of a name's visits by slices of time.
pub fn pools(rolled: &mut Rolled<'_>, kept: &[usize]) -> Result<[RecordBatch; 3], ArrowError> {
    let spans = |pick: fn(&Counts) -> (usize, usize)| -> Vec<(usize, i32, Range<usize>)> {
        let of = |(row, id): (usize, &usize)| {
            let (start, end) = pick(rolled.counts(*id).0);
            (rolled.part_of(*id), row as i32, start..end)
        };
        kept.iter().enumerate().map(of).filter(|(.., span)| !span.is_empty()).collect()
    };
    let [of_hosts, of_stays, of_slices] =
        [spans(|counts| counts.hosts_at), spans(|counts| counts.stays_at), spans(|counts| counts.slices_at)];
    let parts = &mut rolled.parts;
    let hosts = Long::of(of_hosts, |part| std::mem::take(&mut parts[part].hosts));
    let hosts = RecordBatch::try_from_iter([
        ("row", hosts.rows()),
        ("code", hosts.numbers(|host| host.0 as i32)),
        ("visits", hosts.numbers(|host| host.1 as i32)),
    ])?;
    let stays = Long::of(of_stays, |part| std::mem::take(&mut parts[part].stays));
    let stays = RecordBatch::try_from_iter([
        ("row", stays.rows()),
        ("code", stays.numbers(|stay| stay.code as i32)),
        ("block", stays.numbers(|stay| stay.block)),
        ("visits", stays.numbers(|stay| stay.n_visits as i32)),
        ("first", stays.minutes(|stay| stay.minutes().0)),
        ("last", stays.minutes(|stay| stay.minutes().1)),
    ])?;
    let slices = Long::of(of_slices, |part| std::mem::take(&mut parts[part].slices));
    let slices = RecordBatch::try_from_iter([
        ("row", slices.rows()),
        ("slice", slices.minutes(|slice| slice.0)),
        ("visits", slices.numbers(|slice| slice.1 as i32)),
    ])?;
    Ok([hosts, stays, slices])
}

/// Lists of several rows, one behind the other, by part.
struct Long<T> {
    /// Part, row, and which of the part's entries are the row's.
    spans: Vec<(usize, i32, Range<usize>)>,
    parts: Vec<Vec<T>>,
}

impl<T> Long<T> {
    /// `take` gives what a part holds.
    fn of(spans: Vec<(usize, i32, Range<usize>)>, take: impl FnMut(usize) -> Vec<T>) -> Self {
        let n_parts = spans.last().map_or(0, |(part, ..)| part + 1); // spans come in the order of parts
        Long { spans, parts: (0..n_parts).map(take).collect() }
    }

    fn len(&self) -> usize {
        self.spans.iter().map(|(.., span)| span.len()).sum()
    }

    fn rows(&self) -> ArrayRef {
        let mut rows = Vec::with_capacity(self.len());
        self.spans.iter().for_each(|(_, row, span)| rows.extend(span.clone().map(|_| *row)));
        Arc::new(Int32Array::from(rows))
    }

    fn column<V>(&self, value: impl Fn(&T) -> V) -> Vec<V> {
        let mut values = Vec::with_capacity(self.len());
        self.spans.iter().for_each(|(part, _, span)| values.extend(self.parts[*part][span.clone()].iter().map(&value)));
        values
    }

    fn numbers(&self, value: impl Fn(&T) -> i32) -> ArrayRef {
        Arc::new(Int32Array::from(self.column(value)))
    }

    fn minutes(&self, value: impl Fn(&T) -> i64) -> ArrayRef {
        Arc::new(Int64Array::from(self.column(value)))
    }
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

pub fn columns_of(
    rolled: &Rolled<'_>,
    crowds: &[u32],
    domains: &Int32Array,
    rarities: &[f64],
    zones: &Zones,
    kept: &[usize],
) -> Result<RecordBatch, ArrowError> {
    std::thread::scope(|scope| {
        let staying = scope.spawn(|| staying_columns(rolled, kept, domains));
        let mut columns = counted_columns(rolled, crowds, rarities, zones, kept);
        columns.extend(staying.join().expect("comparing names does not panic"));
        columns.push(("still_code", still_column(rolled, kept), true));
        RecordBatch::try_from_iter_with_nullable(columns)
    })
}

fn counted_columns(
    rolled: &Rolled<'_>,
    crowds: &[u32],
    rarities: &[f64],
    zones: &Zones,
    kept: &[usize],
) -> Vec<(&'static str, ArrayRef, bool)> {
    let blank = (Counts::default(), Sharing::default(), Asked::default());
    let mut own = own_columns(&blank.0, &blank.1, &blank.2).map(|(name, _)| (name, Vec::with_capacity(kept.len())));
    let mut zoned = zone_columns(&blank.0, None, None).map(|(name, _)| (name, Vec::with_capacity(kept.len())));
    let blank_reals = real_columns(&blank.0, &blank.1, None, None);
    let mut real = blank_reals.map(|(name, _)| (name, Vec::with_capacity(kept.len())));
    let mut times = ["time_first", "time_last"].map(|name| (name, Vec::with_capacity(kept.len())));
    for id in kept {
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
        let (first, last) = counts.times;
        let seen = (first <= last).then_some((first, last));
        times
            .iter_mut()
            .zip([seen.map(|seen| seen.0), seen.map(|seen| seen.1)])
            .for_each(|(column, value)| column.1.push(value));
    }
    let key = |id: usize| id as i32;
    let mut columns: Vec<(&'static str, ArrayRef, bool)> = vec![
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
    columns
}
