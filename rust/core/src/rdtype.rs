//! Mnemonics of record types and response codes (IANA DNS parameters); `TYPE123` for the rest.

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const MX: u16 = 15;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const DNAME: u16 = 39;
pub const OPT: u16 = 41;
pub const SVCB: u16 = 64;
pub const HTTPS: u16 = 65;

const RDTYPES: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (7, "MB"),
    (8, "MG"),
    (9, "MR"),
    (10, "NULL"),
    (11, "WKS"),
    (12, "PTR"),
    (13, "HINFO"),
    (14, "MINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (24, "SIG"),
    (25, "KEY"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (36, "KX"),
    (37, "CERT"),
    (39, "DNAME"),
    (41, "OPT"),
    (42, "APL"),
    (43, "DS"),
    (44, "SSHFP"),
    (45, "IPSECKEY"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (49, "DHCID"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (53, "SMIMEA"),
    (55, "HIP"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (62, "CSYNC"),
    (63, "ZONEMD"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (108, "EUI48"),
    (109, "EUI64"),
    (249, "TKEY"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
    (258, "AVC"),
    (32769, "DLV"),
];

const RCODES: &[(u16, &str)] = &[
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (16, "BADVERS"),
    (23, "BADCOOKIE"),
];

fn text_of(table: &[(u16, &str)], code: u16, prefix: &str) -> String {
    match table.iter().find(|(known, _)| *known == code) {
        Some((_, text)) => (*text).to_owned(),
        None => format!("{prefix}{code}"),
    }
}

fn code_of(table: &[(u16, &str)], text: &str, prefixes: &[&str]) -> Option<u16> {
    let known = table.iter().find(|(_, known)| known.eq_ignore_ascii_case(text));
    known.map(|(code, _)| *code).or_else(|| {
        prefixes.iter().find_map(|prefix| {
            let head = text.get(..prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then(|| text[prefix.len()..].parse().ok())?
        })
    })
}

pub fn rdtype_text(code: u16) -> String {
    text_of(RDTYPES, code, "TYPE")
}

/// `"A"`, `"TYPE65534"` or Zeek's `"query-65534"` to its number.
pub fn rdtype_code(text: &str) -> Option<u16> {
    if text == "*" {
        return Some(255);
    }
    code_of(RDTYPES, text, &["TYPE", "query-"])
}

pub fn rcode_text(code: u16) -> String {
    text_of(RCODES, code, "RCODE")
}

pub fn rcode_code(text: &str) -> Option<u16> {
    code_of(RCODES, text, &["RCODE", "rcode-"])
}

/// Record types whose whole rdata is one domain name.
pub fn is_name_type(rdtype: u16) -> bool {
    matches!(rdtype, NS | CNAME | PTR | DNAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_both_ways() {
        for code in 0..=u16::MAX {
            assert_eq!(rdtype_code(&rdtype_text(code)), Some(code));
        }
        assert_eq!(rdtype_code("query-4711"), Some(4711));
        assert_eq!(rdtype_code("nonsense"), None);
        assert_eq!(rcode_code("servfail"), Some(2));
    }
}
