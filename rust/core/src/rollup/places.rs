//! Where addresses belong, and how far those of a name are spread.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt32Type, UInt64Type};
use arrow_array::{Array, Int32Array, PrimitiveArray, RecordBatch, UInt64Array};

/// Counts over the distinct addresses of one name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    pub n_addresses: u64,
    pub n_prefixes: u64,
    pub n_asns: u64,
    pub n_countries: u64,
    /// Addresses that no AS announces according to the table, and special-purpose ones.
    pub n_unrouted: u64,
    pub n_special: u64,
    /// Addresses in the largest AS.
    pub n_largest_asn: u64,
    /// Σ share² over origin ASes (Herfindahl), over addresses with a known one.
    pub asn_hhi: f64,
    /// Shannon entropy of the /16 (/48) prefixes, bits.
    pub prefix_entropy_bits: f64,
}

/// Where each address belongs, by the number of its rdata.
pub struct Places<'a> {
    prefix: &'a UInt64Array,
    asn: &'a PrimitiveArray<UInt32Type>,
    country: &'a Int32Array,
    special: &'a Int32Array,
}

impl<'a> Places<'a> {
    pub fn new(batch: &'a RecordBatch) -> Result<Self, String> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"));
        let keys = |name: &str| {
            column(name)?
                .as_dictionary_opt::<Int32Type>()
                .map(|dictionary| dictionary.keys())
                .ok_or_else(|| format!("column {name} is no dictionary"))
        };
        Ok(Places {
            prefix: column("prefix")?.as_primitive_opt::<UInt64Type>().ok_or("prefix is no uint64")?,
            asn: column("origin_asn")?.as_primitive_opt::<UInt32Type>().ok_or("origin_asn is no uint32")?,
            country: keys("country")?,
            special: keys("special")?,
        })
    }

    /// The origin AS of an address, or its prefix where that is not known.
    pub fn network(&self, code: u32) -> u64 {
        let code = code as usize;
        if self.asn.is_valid(code) { u64::from(self.asn.value(code)) } else { !self.prefix.value(code) }
    }

    pub fn is_ipv6(&self, code: u32) -> bool {
        self.prefix.value(code as usize) >> 63 == 1
    }

    pub fn spread(&self, codes: &[u32], scratch: &mut Vec<u64>) -> Spread {
        let mut distinct = |values: &mut dyn Iterator<Item = u64>| {
            scratch.clear();
            scratch.extend(values);
            scratch.sort_unstable();
            let runs: Vec<u64> = scratch.chunk_by(|a, b| a == b).map(|run| run.len() as u64).collect();
            (runs, scratch.len() as u64)
        };
        let known = |array: &Int32Array, code: &u32| {
            let index = *code as usize;
            array.is_valid(index).then(|| array.value(index) as u64)
        };
        let (prefixes, n) = distinct(&mut codes.iter().map(|code| self.prefix.value(*code as usize)));
        let with_asn = codes.iter().filter(|code| self.asn.is_valid(**code as usize));
        let (asns, n_routed) = distinct(&mut with_asn.map(|code| u64::from(self.asn.value(*code as usize))));
        let (countries, _) = distinct(&mut codes.iter().filter_map(|code| known(self.country, code)));
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        let entropy: f64 = prefixes.iter().map(|part| -share(*part, n) * share(*part, n).log2()).sum();
        Spread {
            n_addresses: n,
            n_prefixes: prefixes.len() as u64,
            n_asns: asns.len() as u64,
            n_countries: countries.len() as u64,
            n_unrouted: n - n_routed,
            n_special: codes.iter().filter(|code| known(self.special, code).is_some()).count() as u64,
            n_largest_asn: asns.iter().copied().max().unwrap_or_default(),
            asn_hhi: asns.iter().map(|part| share(*part, n_routed).powi(2)).sum(),
            prefix_entropy_bits: entropy.max(0.0),
        }
    }
}
