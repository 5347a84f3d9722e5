//! The name-server layer: what the addresses of a zone's name servers do.

use arrow_array::{Array, Int32Array, StringArray};

use super::places::{Places, Spread};
use super::rotation::{Core, Rotation};
use super::{Numbers, Rolled};

/// The name-server layer of one zone.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    pub spread: Spread,
    /// Rotation of the name servers' own addresses.
    pub addresses: Rotation,
    /// The same of cores, summed.
    pub core: Core,
    pub ttl_max: Option<u32>,
    /// Changes a minute of the hosts whose period is known, and how many such hosts.
    pub rate_sum: f64,
    pub n_rated: u32,
    /// Addresses of name servers that are also addresses of names in the zone.
    pub n_overlap: u64,
    pub n_named: u64,
}

/// For each name with NS records: what its name servers' addresses do.
pub struct Zones {
    /// Name servers' layer by the number of the zone's name.
    pub servers: Numbers<usize, Servers>,
    /// Per name: the zone it is in (itself or the nearest name above with NS records).
    pub zone_of: Vec<Option<usize>>,
    /// Names that are name servers of some zone.
    pub is_server: Vec<bool>,
}

pub fn zones(rolled: &Rolled<'_>, rdata: &StringArray, places: &Places<'_>, domains: &Int32Array) -> Zones {
    let (number, zone_of) = std::thread::scope(|scope| {
        let zone_of = scope.spawn(|| zones_of_names(rolled, domains));
        let number: Numbers<&str, usize> = rolled.ids().map(|id| (rolled.names.value(id), id)).collect();
        (number, zone_of.join().expect("looking zones up does not panic"))
    });
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

/// The zone that each name is in.
fn zones_of_names(rolled: &Rolled<'_>, domains: &Int32Array) -> Vec<Option<usize>> {
    // A public suffix has no registered domain: its servers say nothing about the names below.
    let is_zone = |id: &usize| domains.is_valid(*id) && rolled.counts(*id).0.n_ns > 0;
    let zones: Numbers<&str, usize> = rolled.ids().filter(is_zone).map(|id| (rolled.names.value(id), id)).collect();
    let zone_of = |id| parents(rolled.names.value(id)).find_map(|name| zones.get(name).copied());
    rolled.ids().map(zone_of).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_above_are_found_past_escaped_dots() {
        let all: Vec<&str> = parents("a\\.b.c.test.").collect();
        assert_eq!(all, ["a\\.b.c.test.", "c.test.", "test."]);
        assert_eq!(parents(".").count(), 0);
    }
}
