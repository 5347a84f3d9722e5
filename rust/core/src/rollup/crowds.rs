//! With how many others a name shares its addresses.

use arrow_array::{Array, Int32Array};

use super::{Rolled, Set};

#[derive(Clone, Copy, Debug, Default)]
pub struct Sharing {
    /// Addresses that at least one other registered domain uses.
    pub n_shared: u64,
    /// Σ over addresses of ln(domains / domains on this address), and the largest such crowd.
    pub idf_sum: f64,
    pub max_domains: u64,
}

/// How many registered domains (or names that have none) use each address.
pub fn domains_per_address(rolled: &Rolled<'_>, domain_of: &Int32Array, n_rdata: usize) -> Vec<u32> {
    let each = || rolled.ids().map(|id| (id, rolled.counts(id).1));
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
pub fn rarities(domains: &[u32], n_domains: f64) -> Vec<f64> {
    let most = domains.iter().copied().max().unwrap_or_default();
    (0..=most).map(|crowd| (n_domains / f64::from(crowd.max(1))).ln().max(0.0)).collect()
}

pub fn sharing(codes: &[u32], domains: &[u32], rarities: &[f64]) -> Sharing {
    codes.iter().fold(Sharing::default(), |sum, code| {
        let crowd = domains[*code as usize];
        Sharing {
            n_shared: sum.n_shared + u64::from(crowd > 1),
            idf_sum: sum.idf_sum + rarities[crowd as usize],
            max_domains: sum.max_domains.max(u64::from(crowd)),
        }
    })
}
