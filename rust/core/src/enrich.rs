//! Where an address belongs (origin AS, organisation, country, special purpose) and a name does
//! (registered domain): for whole dictionaries at once, so that each value is looked up once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{StringBuilder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::ArrowError;
use maxminddb::Reader;
use publicsuffix::{List, Psl, Type};
use serde_json::Value;

/// One MMDB file. All layouts that are in use are understood: GeoLite2 and DB-IP
/// (`autonomous_system_number`, `country.iso_code`), IPinfo (`asn: "AS64496"`, `as_name`,
/// `country` or `country_code`), ip-location-db (`country_code`).
pub struct Table {
    reader: Reader<Vec<u8>>,
}

/// What a table says of an address. `None` is "not in the table".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub origin_asn: Option<u32>,
    pub organisation: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
}

impl Place {
    /// From a record of any of the layouts; what is not understood is as if it were not there.
    fn from_record(record: &Value) -> Self {
        let text = |key: &str| record.get(key).and_then(Value::as_str);
        let number = record.get("autonomous_system_number").or(record.get("asn"));
        let origin_asn = number.and_then(|number| match number {
            Value::String(text) => text.trim_start_matches("AS").parse().ok(),
            other => other.as_u64().and_then(|asn| u32::try_from(asn).ok()),
        });
        let country = record.get("country");
        let country = country.and_then(|country| country.as_str().or_else(|| country.get("iso_code")?.as_str()));
        let organisation = text("autonomous_system_organization").or(text("as_name")).or(text("name"));
        let origin_asn = origin_asn.filter(|asn| *asn != 0);
        Place {
            origin_asn,
            organisation: organisation.filter(|_| origin_asn.is_some()).map(str::to_owned),
            country: text("country_code").or(country).filter(|code| code.len() == 2).map(str::to_owned),
        }
    }
}

impl Table {
    /// # Errors
    /// A sentence when the file cannot be read or is no MMDB file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        Reader::from_source(bytes).map(|reader| Table { reader }).map_err(|error| error.to_string())
    }

    /// The kind of table, and when it was made (seconds since the epoch).
    pub fn about(&self) -> (String, u64) {
        let metadata = self.reader.metadata();
        (metadata.database_type.clone(), metadata.build_epoch)
    }

    fn find(&self, address: IpAddr, known: &mut HashMap<usize, Place>) -> Place {
        let Ok(found) = self.reader.lookup(address) else { return Place::default() };
        let Some(offset) = found.offset() else { return Place::default() };
        known
            .entry(offset)
            .or_insert_with(|| {
                let record = found.decode::<Value>().ok().flatten();
                record.as_ref().map(Place::from_record).unwrap_or_default()
            })
            .clone()
    }
}

/// Special-purpose prefixes (RFC 6890 registries, 2026): first address, length, what it is.
const SPECIAL_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "this_network"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "shared"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link_local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "protocol"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 88, 99, 0], 24, "6to4_relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

const SPECIAL_V6: &[(u128, u32, &str)] = &[
    (0, 128, "unspecified"),
    (1, 128, "loopback"),
    (0x0064_ff9b << 96, 96, "nat64"),
    (0x0064_ff9b_0001 << 80, 48, "nat64"),
    (0x0100 << 112, 64, "discard"),
    (0x2001_0db8 << 96, 32, "documentation"),
    (0x2002 << 112, 16, "6to4"),
    (0x3fff << 112, 20, "documentation"),
    (0xfc00 << 112, 7, "private"),
    (0xfe80 << 112, 10, "link_local"),
    (0xff00 << 112, 8, "multicast"),
];

/// What a special-purpose address is for; `None` for ordinary ones.
pub fn special_purpose(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => SPECIAL_V4
            .iter()
            .find(|(first, length, _)| (u32::from(address) ^ u32::from(Ipv4Addr::from(*first))) >> (32 - length) == 0)
            .map(|(_, _, what)| *what),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => special_purpose(IpAddr::V4(mapped)),
            None => SPECIAL_V6
                .iter()
                .find(|(first, length, _)| {
                    (u128::from(address) ^ u128::from(Ipv6Addr::from(*first))) >> (128 - length) == 0
                })
                .map(|(_, _, what)| *what),
        },
    }
}

/// The space of RFC 2544, 198.18.0.0/15, by its first 15 bits: nobody has an address there but the
/// lab, whose Internet it is, and two /16s would stand for all networks of the world.
const BENCHMARKING: u32 = 0xC612 >> 1;

/// A number for the /16 of an IPv4 (in 198.18.0.0/15: the /26), or the /48 of an IPv6 address.
pub fn prefix(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) if u32::from(address) >> 17 == BENCHMARKING => 1 << 32 | u64::from(u32::from(address) >> 6),
        IpAddr::V4(address) => u64::from(u32::from(address) >> 16),
        IpAddr::V6(address) => 1 << 63 | (u128::from(address) >> 80) as u64,
    }
}

/// Look up every address of a dictionary; rows that are no addresses stay null.
///
/// Columns: `prefix` (see [`prefix`]), `origin_asn`, `organisation`, `country`, `special`.
/// An address that an AS table maps is not special, whatever the registries say (the lab relies
/// on that: its Internet is made of reserved addresses).
///
/// # Errors
/// When Arrow refuses a column, which would be a fault of this crate.
pub fn locate(
    addresses: &StringArray,
    asn: Option<&Table>,
    country: Option<&Table>,
) -> Result<RecordBatch, ArrowError> {
    let n = addresses.len();
    let mut prefixes = Vec::with_capacity(n);
    let mut asns = Vec::with_capacity(n);
    let mut organisations = StringDictionaryBuilder::<Int32Type>::new();
    let mut countries = StringDictionaryBuilder::<Int32Type>::new();
    let mut specials = StringDictionaryBuilder::<Int32Type>::new();
    let (mut known_asn, mut known_country) = (HashMap::new(), HashMap::new());
    for text in addresses {
        let Some(address) = text.and_then(|text| text.parse::<IpAddr>().ok()) else {
            prefixes.push(None);
            asns.push(None);
            organisations.append_null();
            countries.append_null();
            specials.append_null();
            continue;
        };
        let network = asn.map(|table| table.find(address, &mut known_asn)).unwrap_or_default();
        let place = country.map(|table| table.find(address, &mut known_country)).unwrap_or_default();
        prefixes.push(Some(prefix(address)));
        asns.push(network.origin_asn);
        organisations.append_option(network.organisation);
        countries.append_option(place.country.or(network.country));
        specials.append_option(special_purpose(address).filter(|_| network.origin_asn.is_none()));
    }
    RecordBatch::try_from_iter_with_nullable([
        ("prefix", Arc::new(UInt64Array::from(prefixes)) as ArrayRef, true),
        ("origin_asn", Arc::new(UInt32Array::from(asns)), true),
        ("organisation", Arc::new(organisations.finish()), true),
        ("country", Arc::new(countries.finish()), true),
        ("special", Arc::new(specials.finish()), true),
    ])
}

/// The Public Suffix List.
pub struct Suffixes(List);

impl Suffixes {
    /// # Errors
    /// A sentence when the text is no such list.
    pub fn parse(list: &[u8]) -> Result<Self, String> {
        List::from_bytes(list).map(Suffixes).map_err(|error| error.to_string())
    }

    /// For every name: its registered domain (null for public suffixes themselves and for names
    /// under no listed suffix but a bare label), and the section of its suffix: `icann`, `private`
    /// or null where no rule is listed (then the last label counts as the suffix).
    ///
    /// # Errors
    /// When Arrow refuses a column, which would be a fault of this crate.
    pub fn registered_domains(&self, names: &StringArray) -> Result<RecordBatch, ArrowError> {
        let mut domains = StringDictionaryBuilder::<Int32Type>::new();
        let mut sections = StringBuilder::new();
        for name in names {
            let bare = name.unwrap_or_default().trim_end_matches('.').as_bytes();
            let suffix = self.0.suffix(bare);
            sections.append_option(suffix.and_then(|suffix| suffix.typ()).map(|section| match section {
                Type::Icann => "icann",
                Type::Private => "private",
            }));
            let domain =
                self.0.domain(bare).map(|domain| String::from_utf8_lossy(domain.as_bytes()).into_owned() + ".");
            domains.append_option(domain);
        }
        RecordBatch::try_from_iter_with_nullable([
            ("registered_domain", Arc::new(domains.finish()) as ArrayRef, true),
            ("suffix_section", Arc::new(sections.finish()), true),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;

    #[test]
    fn every_layout_is_understood() {
        let of = |json: &str| Place::from_record(&serde_json::from_str(json).unwrap());
        let place = of(r#"{"autonomous_system_number": 64496, "autonomous_system_organization": "A"}"#);
        assert_eq!((place.origin_asn, place.organisation.as_deref()), (Some(64496), Some("A")));
        let place = of(r#"{"asn": "AS64496", "as_name": "A", "country_code": "DE", "country": "Germany"}"#);
        assert_eq!((place.origin_asn, place.country.as_deref()), (Some(64496), Some("DE")));
        assert_eq!(of(r#"{"country": {"iso_code": "FR"}}"#).country.as_deref(), Some("FR"));
        assert_eq!(of(r#"{"country": "FR"}"#).country.as_deref(), Some("FR"));
        assert_eq!(of(r#"{"asn": 0, "as_name": "not routed"}"#), Place::default());
        assert_eq!(of("[]"), Place::default());
    }

    #[test]
    fn prefixes_of_the_lab_are_narrow() {
        let same = |a: &str, b: &str| prefix(a.parse().unwrap()) == prefix(b.parse().unwrap());
        assert!(same("192.0.2.1", "192.0.255.9") && !same("192.0.2.1", "192.1.2.1"));
        assert!(same("198.19.0.0", "198.19.0.63") && !same("198.19.0.63", "198.19.0.64"));
        assert!(same("198.17.0.1", "198.17.9.1") && same("198.20.0.1", "198.20.9.1"));
        assert!(same("2001:db8:1::1", "2001:db8:1:ffff::1") && !same("2001:db8:1::", "2001:db8:2::"));
    }

    #[test]
    fn special_purpose_addresses_are_told() {
        let of = |text: &str| special_purpose(text.parse().unwrap());
        assert_eq!(of("10.1.2.3"), Some("private"));
        assert_eq!(of("198.19.255.255"), Some("benchmarking"));
        assert_eq!(of("198.20.0.0"), None);
        assert_eq!(of("2001:db8::1"), Some("documentation"));
        assert_eq!(of("::ffff:127.0.0.1"), Some("loopback"));
        assert_eq!(of("2600::1"), None);
        assert_eq!(of("fd00::1"), Some("private"));
    }

    #[test]
    fn icann_and_private_suffixes_are_told_apart() {
        let list = Suffixes::parse(b"// ===BEGIN ICANN DOMAINS===\ncom\nco.uk\nuk\n// ===END ICANN DOMAINS===\n// ===BEGIN PRIVATE DOMAINS===\nblogspot.com\n// ===END PRIVATE DOMAINS===\n").unwrap();
        let names = StringArray::from(vec!["www.a.co.uk.", "b.blogspot.com.", "com.", "x.lan.", "."]);
        let batch = list.registered_domains(&names).unwrap();
        let domains = batch.column(0).as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
        let domains: Vec<_> = domains.into_iter().collect();
        assert_eq!(domains, [Some("a.co.uk."), Some("b.blogspot.com."), None, Some("x.lan."), None]);
        let sections: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
        assert_eq!(sections, [Some("icann"), Some("private"), Some("icann"), None, None]);
    }
}
