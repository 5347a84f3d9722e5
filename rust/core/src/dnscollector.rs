//! DNS-collector (dmachard/DNS-collector, formerly go-dnscollector) as JSON lines: `json`, where
//! objects are nested, and `flat-json`, where one object has keys such as `dns.qname`.
//!
//! It collects dnstap, so the operation tells the vantage and the identity is the sensor. What it
//! does not know it writes as `"-"`.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::link::{Address, UNKNOWN_ADDRESS};
use crate::logged::{self, CutShort, Filler, Logged};
use crate::message::{Message, Section};
use crate::rdtype::rcode_code;
use crate::reduce::Vantage;
use crate::report::{Malformed, Skip};
use crate::source::{Desk, Seen, Sink};
use crate::text::{LineFormat, TakeLine, Word, in_calendar, parse_address, parse_iso8601};

/// More records than a message of 64 KiB can hold.
const MAX_RECORDS: usize = 6000;

/// A line, whichever of the two shapes it came in.
#[derive(Default, Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    network: Network<'a>,
    #[serde(borrow, default)]
    dns: Dns<'a>,
    #[serde(borrow, default)]
    dnstap: Dnstap<'a>,
}

#[derive(Default, Deserialize)]
struct Network<'a> {
    #[serde(borrow, rename = "query-ip")]
    query_ip: Option<Word<'a>>,
    #[serde(borrow, rename = "response-ip")]
    response_ip: Option<Word<'a>>,
}

#[derive(Default, Deserialize)]
struct Dns<'a> {
    opcode: Option<u8>,
    #[serde(borrow)]
    rcode: Option<Word<'a>>,
    #[serde(borrow)]
    qname: Option<Word<'a>>,
    #[serde(borrow)]
    qtype: Option<Word<'a>>,
    #[serde(borrow)]
    qclass: Option<Word<'a>>,
    #[serde(default)]
    flags: Flags,
    #[serde(borrow, default, rename = "resource-records")]
    sections: Sections<'a>,
    #[serde(rename = "malformed-packet")]
    is_malformed: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Flags {
    qr: Option<bool>,
    tc: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Sections<'a> {
    #[serde(borrow)]
    an: Option<Vec<Entry<'a>>>,
    #[serde(borrow)]
    ns: Option<Vec<Entry<'a>>>,
    #[serde(borrow)]
    ar: Option<Vec<Entry<'a>>>,
}

#[derive(Clone, Default, Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    name: Option<Word<'a>>,
    #[serde(borrow)]
    rdatatype: Option<Word<'a>>,
    #[serde(borrow)]
    class: Option<Word<'a>>,
    ttl: Option<u64>,
    #[serde(borrow)]
    rdata: Option<Word<'a>>,
}

#[derive(Default, Deserialize)]
struct Dnstap<'a> {
    #[serde(borrow)]
    operation: Option<Word<'a>>,
    #[serde(borrow)]
    identity: Option<Word<'a>>,
    #[serde(borrow, rename = "timestamp-rfc3339ns")]
    timestamp: Option<Word<'a>>,
}

/// The same from the flat shape.
struct Flat<'a>(Row<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Flat<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Flat<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object with keys such as dns.qname")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Flat<'de>, A::Error> {
                let mut row = Row::default();
                while let Some(key) = map.next_key::<Word<'de>>()? {
                    take_field(&mut row, &key, &mut map)?;
                }
                Ok(Flat(row))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

fn take_field<'de, A: MapAccess<'de>>(row: &mut Row<'de>, key: &str, map: &mut A) -> Result<(), A::Error> {
    match key {
        "network.query-ip" => row.network.query_ip = map.next_value()?,
        "network.response-ip" => row.network.response_ip = map.next_value()?,
        "dns.opcode" => row.dns.opcode = map.next_value()?,
        "dns.rcode" => row.dns.rcode = map.next_value()?,
        "dns.qname" => row.dns.qname = map.next_value()?,
        "dns.qtype" => row.dns.qtype = map.next_value()?,
        "dns.qclass" => row.dns.qclass = map.next_value()?,
        "dns.flags.qr" => row.dns.flags.qr = map.next_value()?,
        "dns.flags.tc" => row.dns.flags.tc = map.next_value()?,
        "dns.malformed-packet" => row.dns.is_malformed = map.next_value()?,
        "dnstap.operation" => row.dnstap.operation = map.next_value()?,
        "dnstap.identity" => row.dnstap.identity = map.next_value()?,
        "dnstap.timestamp-rfc3339ns" => row.dnstap.timestamp = map.next_value()?,
        _ => match key.strip_prefix("dns.resource-records.").and_then(|rest| rest.split_once('.')) {
            Some((section, rest)) => take_record_field(&mut row.dns.sections, section, rest, map)?,
            None => {
                map.next_value::<IgnoredAny>()?;
            }
        },
    }
    Ok(())
}

/// `an.0.name` and so on; places come in any order ("10" sorts before "2").
fn take_record_field<'de, A: MapAccess<'de>>(
    sections: &mut Sections<'de>,
    section: &str,
    rest: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    let list = match section {
        "an" => &mut sections.an,
        "ns" => &mut sections.ns,
        "ar" => &mut sections.ar,
        _ => return map.next_value::<IgnoredAny>().map(|_| ()),
    };
    let (place, field) = rest.split_once('.').ok_or_else(|| A::Error::custom("a record has a place and a field"))?;
    let place = place.parse::<usize>().ok().filter(|place| *place < MAX_RECORDS);
    let place = place.ok_or_else(|| A::Error::custom("no message has a record at this place"))?;
    let list = list.get_or_insert_default();
    if list.len() <= place {
        list.resize(place + 1, Entry::default());
    }
    let entry = &mut list[place];
    match field {
        "name" => entry.name = map.next_value()?,
        "rdatatype" => entry.rdatatype = map.next_value()?,
        "class" => entry.class = map.next_value()?,
        "ttl" => entry.ttl = map.next_value()?,
        "rdata" => entry.rdata = map.next_value()?,
        _ => {
            map.next_value::<IgnoredAny>()?;
        }
    }
    Ok(())
}

/// Does the file begin like DNS-collector's JSON?
pub fn is_dnscollector(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| {
        let has = |keys: &[&str]| keys.iter().all(|key| line.contains(key));
        line.starts_with('{')
            && (has(&["\"dns\":", "\"dnstap\":", "\"qname\"", "\"operation\""]) || has(&["\"dns.qname\"", "\"dnstap."]))
    })
}

/// A log of DNS-collector, a message a line.
#[derive(Clone, Copy, Debug)]
pub struct DnsCollector;

impl LineFormat for DnsCollector {}

impl<S: Sink> TakeLine<S> for DnsCollector {
    fn line(&mut self, text: &str, number: u64, desk: &mut Desk<'_, S>) -> Result<(), Malformed> {
        let row = parse(text)?;
        let vantage = match vantage(&row, desk.options.vantage)? {
            Ok(vantage) => vantage,
            Err(skip) => {
                desk.report.skip(skip, number);
                return Ok(());
            }
        };
        let time = known(&row.dnstap.timestamp).ok_or(Malformed::MissingField)?;
        let seen = Seen {
            ts_us: parse_iso8601(time).and_then(in_calendar).ok_or(Malformed::BadField)?,
            client: address(&row.network.query_ip)?,
            server: address(&row.network.response_ip)?,
            vantage,
            sensor: known(&row.dnstap.identity),
        };
        if !desk.in_time(seen.ts_us, number) {
            return Ok(());
        }
        if known(&row.dns.qclass).is_some_and(|class| class != "IN") {
            desk.report.skip(Skip::OtherClass, number);
            return Ok(());
        }
        let lost = fill(&row.dns, &mut desk.message)?;
        logged::deliver(desk, &seen, lost, number);
        Ok(())
    }
}

fn parse(text: &str) -> Result<Row<'_>, Malformed> {
    let nested = serde_json::from_str::<Row<'_>>(text).map_err(|_| Malformed::NotJson)?;
    if nested.dnstap.operation.is_some() {
        return Ok(nested);
    }
    serde_json::from_str::<Flat<'_>>(text).map(|flat| flat.0).map_err(|_| Malformed::BadField)
}

/// `"-"` is DNS-collector's word for what it does not know.
fn known<'a>(word: &'a Option<Word<'_>>) -> Option<&'a str> {
    word.as_deref().filter(|text| !matches!(*text, "-" | ""))
}

fn address(word: &Option<Word<'_>>) -> Result<Address, Malformed> {
    known(word).map_or(Ok(UNKNOWN_ADDRESS), |text| parse_address(text).ok_or(Malformed::BadField))
}

/// As of dnstap's kinds of message, or why the line is no response.
fn vantage(row: &Row<'_>, or: Vantage) -> Result<Result<Vantage, Skip>, Malformed> {
    let operation = known(&row.dnstap.operation).ok_or(Malformed::MissingField)?;
    if row.dns.opcode.unwrap_or_default() != 0 || operation.starts_with("UPDATE") {
        return Ok(Err(Skip::Opcode));
    }
    if row.dns.is_malformed == Some(true) {
        return Err(Malformed::ShortMessage); // DNS-collector could not decode all of it
    }
    if row.dns.flags.qr == Some(false) {
        return Ok(Err(Skip::Query));
    }
    Ok(match operation {
        "CLIENT_RESPONSE" | "FORWARDER_RESPONSE" | "STUB_RESPONSE" => Ok(Vantage::Client),
        "RESOLVER_RESPONSE" | "AUTH_RESPONSE" => Ok(Vantage::Upstream),
        "TOOL_RESPONSE" | "DNS_RESPONSE" => Ok(or),
        _ if operation.ends_with("_QUERY") => Err(Skip::Query),
        _ => Err(Skip::OtherMessage),
    })
}

fn fill(dns: &Dns<'_>, message: &mut Message) -> Result<CutShort, Malformed> {
    let qname = dns.qname.as_deref().filter(|qname| *qname != "-"); // the root's name is empty
    let mut filler = Filler::new(message, qname, known(&dns.qtype))?;
    let rcode = known(&dns.rcode).ok_or(Malformed::MissingField)?;
    filler.message.rcode = match rcode {
        "NOIMP" => 4,
        "BADSIG" => 16,
        _ => rcode_code(rcode).ok_or(Malformed::BadField)?,
    };
    filler.message.truncated = dns.flags.tc.unwrap_or_default();
    let Sections { an, ns, ar } = &dns.sections;
    for (section, entries) in [(Section::Answer, an), (Section::Authority, ns), (Section::Additional, ar)] {
        for entry in entries.iter().flatten() {
            if entry.class.as_deref().is_some_and(|class| class != "IN") {
                filler.message.n_other_class += 1;
                continue;
            }
            filler.record(&Logged {
                section,
                owner: entry.name.as_deref().ok_or(Malformed::MissingField)?,
                rdtype: entry.rdatatype.as_deref().ok_or(Malformed::MissingField)?,
                ttl: entry.ttl.ok_or(Malformed::MissingField)?,
                rdata: entry.rdata.as_deref().filter(|rdata| *rdata != "-"),
            })?;
        }
    }
    Ok(filler.cut_short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::Pieces;
    use crate::reduce::Reducer;
    use crate::report::Report;
    use crate::source::Options;
    use proptest::prelude::*;

    const NESTED: &str = r#"{"network":{"query-ip":"198.18.0.1","response-ip":"198.18.0.53"},"dns":{"opcode":0,"rcode":"NOERROR","qname":"a.test","qtype":"A","qclass":"IN","flags":{"qr":true,"tc":false},"resource-records":{"an":[{"name":"a.test","rdatatype":"A","class":"IN","ttl":60,"rdata":"198.18.1.1"},{"name":"a.test","rdatatype":"A","class":"CH","ttl":60,"rdata":"x"}],"ns":[{"name":"test","rdatatype":"NS","class":"IN","ttl":9,"rdata":"ns.test"}],"ar":[]},"malformed-packet":false},"dnstap":{"operation":"CLIENT_RESPONSE","identity":"r1","timestamp-rfc3339ns":"2026-09-21T14:13:20.250000123Z"}}"#;
    const FLAT: &str = r#"{"dns.flags.qr":true,"dns.flags.tc":false,"dns.malformed-packet":false,"dns.opcode":0,"dns.qclass":"IN","dns.qname":"a.test","dns.qtype":"A","dns.rcode":"NOERROR","dns.resource-records.an.1.class":"CH","dns.resource-records.an.1.name":"a.test","dns.resource-records.an.1.rdata":"x","dns.resource-records.an.1.rdatatype":"A","dns.resource-records.an.1.ttl":60,"dns.resource-records.an.0.class":"IN","dns.resource-records.an.0.name":"a.test","dns.resource-records.an.0.rdata":"198.18.1.1","dns.resource-records.an.0.rdatatype":"A","dns.resource-records.an.0.ttl":60,"dns.resource-records.ar":"-","dns.resource-records.ns.0.class":"IN","dns.resource-records.ns.0.name":"test","dns.resource-records.ns.0.rdata":"ns.test","dns.resource-records.ns.0.rdatatype":"NS","dns.resource-records.ns.0.ttl":9,"dnstap.identity":"r1","dnstap.operation":"CLIENT_RESPONSE","dnstap.timestamp-rfc3339ns":"2026-09-21T14:13:20.250000123Z","network.query-ip":"198.18.0.1","network.response-ip":"198.18.0.53"}"#;

    fn read(line: &str) -> (Report, usize) {
        let (options, mut reducer) = (Options::default(), Reducer::default());
        let mut desk = Desk::new(&options, &mut reducer, Pieces::default());
        if let Err(kind) = DnsCollector.line(line, 1, &mut desk) {
            desk.report.malformed(kind, 1);
        }
        let report = desk.report;
        (report, reducer.finish(1).0.iter().map(|bucket| bucket.rows.len()).sum())
    }

    #[test]
    fn both_shapes_say_the_same() {
        for line in [NESTED, FLAT] {
            let (report, rows) = read(line);
            assert_eq!((report.decoded, report.records, rows), (1, 2, 2), "{line}");
            assert_eq!(report.records_left_out["class_not_in"].count, 1);
            assert_eq!(report.time_range_us, Some((1_790_000_000_250_000, 1_790_000_000_250_000)));
        }
    }

    #[test]
    fn what_is_no_response_says_why() {
        for (from, to, skip) in [
            ("CLIENT_RESPONSE", "CLIENT_QUERY", Skip::Query),
            ("CLIENT_RESPONSE", "UPDATE_RESPONSE", Skip::Opcode),
            ("CLIENT_RESPONSE", "SOMETHING", Skip::OtherMessage),
            ("\"qclass\":\"IN\"", "\"qclass\":\"CH\"", Skip::OtherClass),
        ] {
            assert_eq!(read(&NESTED.replace(from, to)).0.skipped[&skip].count, 1, "{to}");
        }
        for (from, to, kind) in [
            ("{\"network", "{{", Malformed::NotJson),
            ("CLIENT_RESPONSE", "-", Malformed::MissingField),
            ("2026-09", "-", Malformed::BadField),
            ("198.18.1.1", "nonsense", Malformed::BadField),
        ] {
            assert_eq!(read(&NESTED.replace(from, to)).0.malformed[&kind].count, 1, "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_a_row_or_one_oddity(line in "\\PC*", place in 0usize..900, text in "\\PC{0,3}") {
            let damaged = |whole: &str| format!("{}{text}{}", &whole[..place.min(whole.len())], &whole[(place + 1).min(whole.len())..]);
            for line in [line.clone(), damaged(NESTED), damaged(FLAT)] {
                let (report, _) = read(&line);
                prop_assert_eq!(report.items, 1);
            }
        }
    }
}
