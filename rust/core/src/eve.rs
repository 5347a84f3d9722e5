//! Suricata's EVE JSON: `dns` events of versions 1, 2 and 3, among the events of other kinds.
//!
//! Versions 2 and 3 log one event a response. Version 1 (Suricata 4 and before) logs one a record,
//! without the question or the section: neighbours of one transaction are put together again, and
//! the section follows from the CNAME chain. `grouped` answers have neither owner nor TTL: where
//! nothing else is logged they are left out.

use memchr::{memmem, memrchr};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::link::Address;
use crate::logged::{self, CutShort, Filler, Logged, logged_type};
use crate::message::{Message, Rdata, Section};
use crate::rdtype::{self, rcode_code};
use crate::report::{Malformed, Skip};
use crate::source::{Desk, Seen, Sink};
use crate::text::{LineFormat, TakeLine, Word, in_calendar, parse_address, parse_iso8601};

/// Answers of which only the rdata was logged.
const GROUPED: &str = "grouped_without_ttl";
/// A response has a few dozen records; that many bytes of events are kept in one piece.
const MAX_GROUP: usize = 1 << 16;

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    event_type: Option<Word<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    timestamp: Option<Word<'a>>,
    #[serde(borrow)]
    event_type: Option<Word<'a>>,
    flow_id: Option<u64>,
    #[serde(borrow)]
    src_ip: Option<Word<'a>>,
    src_port: Option<u16>,
    #[serde(borrow)]
    dest_ip: Option<Word<'a>>,
    dest_port: Option<u16>,
    #[serde(borrow)]
    host: Option<Word<'a>>,
    #[serde(borrow)]
    dns: Option<Dns<'a>>,
}

#[derive(Deserialize)]
struct Dns<'a> {
    version: Option<u8>,
    #[serde(borrow, rename = "type")]
    kind: Option<Word<'a>>,
    id: Option<u64>,
    #[serde(borrow)]
    flags: Option<Word<'a>>,
    tc: Option<bool>,
    opcode: Option<u8>,
    #[serde(borrow)]
    rcode: Option<Word<'a>>,
    #[serde(borrow)]
    rrname: Option<Word<'a>>,
    #[serde(borrow)]
    rrtype: Option<Word<'a>>,
    ttl: Option<u64>,
    #[serde(borrow)]
    rdata: Option<Word<'a>>,
    #[serde(borrow)]
    queries: Option<Vec<Query<'a>>>,
    #[serde(borrow)]
    answers: Option<Vec<Answer<'a>>>,
    #[serde(borrow)]
    authorities: Option<Vec<Answer<'a>>>,
    #[serde(borrow)]
    additionals: Option<Vec<Answer<'a>>>,
    grouped: Option<Grouped>,
}

#[derive(Deserialize)]
struct Query<'a> {
    #[serde(borrow)]
    rrname: Option<Word<'a>>,
    #[serde(borrow)]
    rrtype: Option<Word<'a>>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    rrname: Option<Word<'a>>,
    #[serde(borrow)]
    rrtype: Option<Word<'a>>,
    ttl: Option<u64>,
    #[serde(borrow)]
    rdata: Option<Word<'a>>,
    #[serde(borrow)]
    soa: Option<Soa<'a>>,
    #[serde(borrow)]
    srv: Option<Srv<'a>>,
    /// Names over 1,025 bytes, which no name of RFC 1035 is.
    rrname_truncated: Option<bool>,
    rdata_truncated: Option<bool>,
}

#[derive(Deserialize)]
struct Soa<'a> {
    #[serde(borrow)]
    mname: Word<'a>,
    #[serde(borrow)]
    rname: Word<'a>,
    serial: u32,
    refresh: u32,
    retry: u32,
    expire: u32,
    minimum: u32,
}

#[derive(Deserialize)]
struct Srv<'a> {
    priority: u16,
    weight: u16,
    port: u16,
    #[serde(borrow)]
    name: Word<'a>,
}

/// How many answers `grouped` lists.
struct Grouped(u64);

impl<'de> Deserialize<'de> for Grouped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = Grouped;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("lists of answers by type")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Grouped, A::Error> {
                let mut count = 0;
                while map.next_key::<IgnoredAny>()?.is_some() {
                    count += map.next_value::<Vec<IgnoredAny>>()?.len() as u64; // of no size: no memory
                }
                Ok(Grouped(count))
            }
        }
        deserializer.deserialize_map(Count)
    }
}

/// Does the file begin like EVE JSON?
pub fn is_eve(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| {
        line.starts_with('{')
            && line.contains("\"event_type\"")
            && line.contains("\"timestamp\"")
            && ["\"flow_id\"", "\"src_ip\"", "\"stats\"", "\"engine\""].iter().any(|key| line.contains(key))
    })
}

/// An EVE log.
#[derive(Clone, Debug, Default)]
pub struct Eve {
    /// The response of version 1 whose records are being put together in the desk's message.
    open: Option<Open>,
}

/// A response of version 1 of which more records may follow.
#[derive(Clone, Debug)]
struct Open {
    /// Flow, transaction and time: what its events have in common.
    key: (u64, u64, i64),
    client: Address,
    server: Address,
    sensor: Option<String>,
    lost: CutShort,
    place: u64,
}

/// What a line turned out to be.
enum Line<'a> {
    Dns(Box<Event<'a>>),
    Other,
}

fn parse(text: &str) -> Result<Line<'_>, Malformed> {
    if memmem::find(text.as_bytes(), b"\"dns\"").is_some() {
        match serde_json::from_str::<Event<'_>>(text) {
            Ok(event) if event.event_type.as_deref() == Some("dns") => return Ok(Line::Dns(Box::new(event))),
            // Other events may have a `dns` of another shape (alerts have).
            _ => {}
        }
    }
    match serde_json::from_str::<Kind<'_>>(text).map_err(|_| Malformed::NotJson)?.event_type.as_deref() {
        None => Err(Malformed::MissingField),
        Some("dns") => Err(Malformed::BadField),
        Some(_) => Ok(Line::Other),
    }
}

impl LineFormat for Eve {
    /// Do not part the records of a response of version 1.
    fn whole(&self, bytes: &[u8]) -> usize {
        let Some(mut start) = last_line(bytes, bytes.len()) else { return bytes.len() };
        let Some(flow) = flow_of_part(&bytes[start..]) else { return bytes.len() };
        while bytes.len() - start <= MAX_GROUP {
            match last_line(bytes, start) {
                Some(before) if flow_of_part(&bytes[before..start]) == Some(flow) => start = before,
                _ => return start, // 0 when all of it is one response: more may come
            }
        }
        bytes.len()
    }
}

/// Where the line begins that ends at `end`.
fn last_line(bytes: &[u8], end: usize) -> Option<usize> {
    let body = &bytes[..end.checked_sub(1)?];
    Some(memrchr(b'\n', body).map_or(0, |place| place + 1))
}

/// The flow's number, as text, of a line that is one record of a response.
fn flow_of_part(line: &[u8]) -> Option<&[u8]> {
    let is_part = memmem::find(line, b"\"answer\"").is_some() && memmem::find(line, b"\"version\":").is_none();
    let start = memmem::find(line, b"\"flow_id\":").filter(|_| is_part)? + 10;
    line[start..].split(|byte| *byte == b',').next()
}

impl<S: Sink> TakeLine<S> for Eve {
    fn line(&mut self, text: &str, number: u64, desk: &mut Desk<'_, S>) -> Result<(), Malformed> {
        let event = match parse(text) {
            Ok(Line::Dns(event)) => event,
            Ok(Line::Other) => {
                desk.report.skip(Skip::OtherLog, number);
                return Ok(());
            }
            Err(kind) => return Err(kind),
        };
        let dns = event.dns.as_ref().ok_or(Malformed::MissingField)?;
        match dns.kind.as_deref().ok_or(Malformed::MissingField)? {
            "query" | "request" => {
                desk.report.skip(Skip::Query, number);
                return Ok(());
            }
            "answer" | "response" => {}
            _ => return Err(Malformed::BadField),
        }
        let header = Header::of(dns)?;
        if header.opcode != 0 {
            desk.report.skip(Skip::Opcode, number);
            return Ok(());
        }
        let (client, server) = event.between(&desk.options.ports)?;
        let sensor = event.host.as_deref();
        let seen = Seen { ts_us: event.time_us()?, client, server, vantage: desk.options.vantage, sensor };
        if !desk.in_time(seen.ts_us, number) {
            return Ok(());
        }
        if dns.is_part() {
            return self.part(&event, dns, &header, &seen, number, desk);
        }
        self.close(desk);
        let (lost, grouped) = fill(dns, &header, &mut desk.message)?;
        logged::deliver(desk, &seen, lost, number);
        if grouped > 0 {
            desk.report.left_out(GROUPED, grouped, number);
        }
        Ok(())
    }

    fn end(&mut self, desk: &mut Desk<'_, S>) {
        self.close(desk);
    }
}

impl Eve {
    /// One record of a response of version 1: into the open response, or the first of a new one.
    fn part<S: Sink>(
        &mut self,
        event: &Event<'_>,
        dns: &Dns<'_>,
        header: &Header,
        seen: &Seen<'_>,
        number: u64,
        desk: &mut Desk<'_, S>,
    ) -> Result<(), Malformed> {
        let key = (event.flow_id.unwrap_or_default(), dns.id.unwrap_or_default(), seen.ts_us);
        if self.open.as_ref().is_none_or(|open| open.key != key) {
            self.close(desk);
            Filler::new(&mut desk.message, None, None)?;
        }
        let fresh = Open {
            key,
            client: seen.client,
            server: seen.server,
            sensor: seen.sensor.map(str::to_owned),
            lost: CutShort::default(),
            place: number,
        };
        let lost = fill_part(dns, header, &mut desk.message)?;
        let open = self.open.get_or_insert(fresh);
        open.lost.count += lost.count;
        open.lost.hides_answer |= lost.hides_answer;
        desk.report.skip(Skip::ResponsePart, number);
        Ok(())
    }

    /// Hand over the response of version 1 that is open, if there is one.
    fn close<S: Sink>(&mut self, desk: &mut Desk<'_, S>) {
        let Some(open) = self.open.take() else { return };
        let Open { key: (_, _, ts_us), client, server, sensor, lost, place } = open;
        let seen = Seen { ts_us, client, server, vantage: desk.options.vantage, sensor: sensor.as_deref() };
        desk.report.assembled += 1;
        logged::deliver(desk, &seen, lost, place);
    }
}

impl Event<'_> {
    fn time_us(&self) -> Result<i64, Malformed> {
        let text = self.timestamp.as_deref().ok_or(Malformed::MissingField)?;
        parse_iso8601(text).and_then(in_calendar).ok_or(Malformed::BadField)
    }

    /// Client and server. Events have the flow's direction, or the packet's: the port tells.
    fn between(&self, ports: &[u16]) -> Result<(Address, Address), Malformed> {
        let address = |word: &Option<Word<'_>>| {
            parse_address(word.as_deref().ok_or(Malformed::MissingField)?).ok_or(Malformed::BadField)
        };
        let (source, target) = (address(&self.src_ip)?, address(&self.dest_ip)?);
        let serves = |port: Option<u16>| port.is_some_and(|port| ports.contains(&port));
        Ok(if serves(self.src_port) && !serves(self.dest_port) { (target, source) } else { (source, target) })
    }
}

/// What the flags say, written out or as their number in hexadecimal.
struct Header {
    opcode: u8,
    truncated: bool,
    rcode: u16,
}

impl Header {
    fn of(dns: &Dns<'_>) -> Result<Self, Malformed> {
        let flags = dns.flags.as_deref().map(|text| u16::from_str_radix(text, 16)).transpose();
        let flags = flags.map_err(|_| Malformed::BadField)?.unwrap_or_default();
        let rcode = match dns.rcode.as_deref() {
            Some(text) => rcode_code(text).or_else(|| text.parse().ok()).or(dns.flags.as_ref().map(|_| flags & 0xF)),
            None => dns.flags.as_ref().map(|_| flags & 0xF),
        };
        Ok(Header {
            opcode: dns.opcode.unwrap_or((flags >> 11 & 0xF) as u8),
            truncated: dns.tc.unwrap_or(flags & 0x0200 != 0),
            rcode: rcode.ok_or(Malformed::MissingField)?,
        })
    }
}

impl<'a> Dns<'a> {
    /// Is this one record of a response (version 1)?
    fn is_part(&self) -> bool {
        self.version.unwrap_or(1) == 1 && self.queries.is_none() && self.answers.is_none() && self.grouped.is_none()
    }

    fn question(&self) -> (Option<&str>, Option<&str>) {
        match &self.queries {
            Some(queries) => {
                queries.first().map_or((None, None), |query| (query.rrname.as_deref(), query.rrtype.as_deref()))
            }
            None => (self.rrname.as_deref(), self.rrtype.as_deref()),
        }
    }
}

/// Make a message of an event of version 2 or 3; returns what the log cut short, and how many
/// answers are only in `grouped`.
fn fill(dns: &Dns<'_>, header: &Header, message: &mut Message) -> Result<(CutShort, u64), Malformed> {
    let (qname, qtype) = dns.question();
    let mut filler = Filler::new(message, qname, qtype)?;
    filler.message.rcode = header.rcode;
    filler.message.truncated = header.truncated;
    for (section, answers) in [
        (Section::Answer, &dns.answers),
        (Section::Authority, &dns.authorities),
        (Section::Additional, &dns.additionals),
    ] {
        for answer in answers.iter().flatten() {
            enter(&mut filler, section, answer)?;
        }
    }
    let grouped = match (&dns.answers, &dns.grouped) {
        (None, Some(grouped)) => grouped.0,
        _ => 0,
    };
    let mut lost = filler.cut_short;
    lost.hides_answer |= grouped > 0;
    Ok((lost, grouped))
}

fn enter<'a>(filler: &mut Filler<'a, '_>, section: Section, answer: &'a Answer<'_>) -> Result<(), Malformed> {
    let rdtype = answer.rrtype.as_deref().ok_or(Malformed::MissingField)?;
    if rdtype == "OPT" {
        return Ok(()); // EDNS is no record of a name
    }
    if answer.rrname_truncated == Some(true) || answer.rdata_truncated == Some(true) {
        filler.cut_short.add(section, logged_type(rdtype));
        return Ok(());
    }
    let spelt = answer.soa.as_ref().map(Soa::spell).or_else(|| answer.srv.as_ref().map(Srv::spell));
    filler.record(&Logged {
        section,
        owner: answer.rrname.as_deref().ok_or(Malformed::MissingField)?,
        rdtype,
        ttl: answer.ttl.ok_or(Malformed::MissingField)?,
        rdata: answer.rdata.as_deref().or(spelt.as_deref()),
    })
}

/// Add a record of version 1 to the message; without a TTL it is a failure, and names the question.
fn fill_part(dns: &Dns<'_>, header: &Header, message: &mut Message) -> Result<CutShort, Malformed> {
    let owner = dns.rrname.as_deref().ok_or(Malformed::MissingField)?;
    (message.rcode, message.truncated) = (header.rcode, header.truncated);
    let mut filler = Filler::more(message);
    if header.rcode != 0 && dns.ttl.is_none() {
        filler.ask(owner, dns.rrtype.as_deref())?;
        return Ok(CutShort::default());
    }
    let before = filler.message.records.len();
    filler.record(&Logged {
        section: Section::Answer,
        owner,
        rdtype: dns.rrtype.as_deref().ok_or(Malformed::MissingField)?,
        ttl: dns.ttl.ok_or(Malformed::MissingField)?,
        rdata: dns.rdata.as_deref(),
    })?;
    let lost = filler.cut_short;
    if message.records.len() > before && !is_answer(message) {
        message.records[before].section = Section::Authority;
    }
    Ok(lost)
}

/// Does the last record's owner stand on the chain that begins with the question, or with the
/// first record where the question was not logged? SOA records nearly always are authority.
fn is_answer(message: &Message) -> bool {
    let Some((last, before)) = message.records.split_last() else { return false };
    if last.rdtype == rdtype::SOA {
        return false;
    }
    let owner = message.name(last.owner);
    let first = message.question.map(|(qname, _)| qname).or(before.first().map(|record| record.owner));
    let targets = before.iter().filter_map(|record| match (record.rdtype, record.rdata) {
        (rdtype::CNAME, Rdata::Name(target)) => Some(target),
        _ => None,
    });
    first.is_none_or(|first| targets.chain([first]).any(|name| message.name(name) == owner))
}

/// The root's name is empty here.
fn or_root(name: &str) -> &str {
    if name.is_empty() { "." } else { name }
}

impl Soa<'_> {
    fn spell(&self) -> String {
        let Soa { mname, rname, serial, refresh, retry, expire, minimum } = self;
        format!("{} {} {serial} {refresh} {retry} {expire} {minimum}", or_root(mname), or_root(rname))
    }
}

impl Srv<'_> {
    fn spell(&self) -> String {
        let Srv { priority, weight, port, name } = self;
        format!("{priority} {weight} {port} {}", or_root(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::Pieces;
    use crate::report::Report;
    use crate::source::Options;
    use proptest::prelude::*;

    type Response = (Vec<(Section, u16, u32)>, Option<u16>, u16);

    #[derive(Default)]
    struct Kept(Vec<Response>);

    impl Sink for Kept {
        fn response(&mut self, message: &Message, _seen: &Seen<'_>) {
            let records = message.records.iter().map(|record| (record.section, record.rdtype, record.ttl)).collect();
            self.0.push((records, message.question.map(|(_, qtype)| qtype), message.rcode));
        }
    }

    fn read(lines: &[&str]) -> (Kept, Report) {
        let (options, mut kept) = (Options::default(), Kept::default());
        let mut desk = Desk::new(&options, &mut kept, Pieces::default());
        let mut eve = Eve::default();
        for (index, line) in lines.iter().enumerate() {
            if let Err(kind) = eve.line(line, index as u64 + 1, &mut desk) {
                desk.report.malformed(kind, index as u64 + 1);
            }
        }
        eve.end(&mut desk);
        let report = desk.report;
        (kept, report)
    }

    fn event(dns: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-09-21T14:13:20.250000+0200","flow_id":7,"event_type":"dns","src_ip":"198.18.0.1","src_port":4711,"dest_ip":"198.18.0.53","dest_port":53,"proto":"UDP","dns":{dns}}}"#
        )
    }

    #[test]
    fn version_3_has_all_sections() {
        let line = event(
            r#"{"version":3,"type":"response","flags":"8180","opcode":0,"rcode":"NOERROR","queries":[{"rrname":"a.test","rrtype":"A"}],"answers":[{"rrname":"a.test","rrtype":"A","ttl":60,"rdata":"198.18.1.1"}],"grouped":{"A":["198.18.1.1"]},"authorities":[{"rrname":"test","rrtype":"SOA","ttl":9,"soa":{"mname":"ns.test","rname":"","serial":1,"refresh":2,"retry":3,"expire":4,"minimum":5}}],"additionals":[{"rrname":"","rrtype":"OPT","ttl":0},{"rrname":"a.test","rrtype":"TXT","ttl":1,"rdata":"x"}]}"#,
        );
        let (kept, report) = read(&[&line]);
        let records = vec![(Section::Answer, rdtype::A, 60), (Section::Authority, rdtype::SOA, 9)];
        assert_eq!(kept.0, [(records, Some(rdtype::A), 0)]);
        assert_eq!(report.records_left_out[logged::CUT_SHORT].count, 1);
    }

    #[test]
    fn grouped_alone_is_left_out_and_claims_no_failure() {
        let line = event(
            r#"{"version":2,"type":"answer","rcode":"NOERROR","rrname":"a.test","rrtype":"A","grouped":{"CNAME":["b.test"],"A":["198.18.1.1","198.18.1.2"]}}"#,
        );
        let (kept, report) = read(&[&line]);
        assert_eq!(kept.0, [(vec![], None, 0)]);
        assert_eq!(report.records_left_out[GROUPED].count, 3);
    }

    #[test]
    fn records_of_version_1_become_one_response() {
        let part = |name: &str, rdtype: &str, rdata: &str, id: u64| {
            event(&format!(
                r#"{{"type":"answer","id":{id},"rcode":"NOERROR","rrname":"{name}","rrtype":"{rdtype}","ttl":60,"rdata":"{rdata}"}}"#
            ))
        };
        let lines = [
            part("www.a.test", "CNAME", "b.test", 1),
            part("b.test", "A", "198.18.1.1", 1),
            part("test", "NS", "ns.test", 1),
            part("b.test", "A", "198.18.1.1", 2),
            event(r#"{"type":"answer","id":3,"rcode":"NXDOMAIN","rrname":"gone.test"}"#),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (kept, report) = read(&lines);
        let first = vec![
            (Section::Answer, rdtype::CNAME, 60),
            (Section::Answer, rdtype::A, 60),
            (Section::Authority, rdtype::NS, 60),
        ];
        assert_eq!(kept.0[0], (first, None, 0));
        assert_eq!((kept.0.len(), kept.0[2].2), (3, 3));
        assert_eq!((report.items, report.assembled, report.decoded), (8, 3, 3));
    }

    #[test]
    fn a_response_of_version_1_is_not_parted() {
        let other = b"{\"event_type\":\"flow\"}\n";
        let part = |flow| format!("{{\"flow_id\":{flow},\"dns\":{{\"type\":\"answer\"}}}}\n").into_bytes();
        let bytes = [&other[..], &part(1), &part(2), &part(2)].concat();
        assert_eq!(Eve::default().whole(&bytes), other.len() + part(1).len());
        assert_eq!(Eve::default().whole(&part(2).repeat(3)), 0);
        assert_eq!(Eve::default().whole(other), other.len());
        assert_eq!(Eve::default().whole(&part(2).repeat(9000)), 9000 * part(2).len());
    }

    #[test]
    fn a_dns_of_another_shape_in_another_event_is_another_log() {
        let (_, report) =
            read(&[r#"{"event_type":"alert","dns":{"query":[{"type":"query"}],"answers":7}}"#, "{", "{}"]);
        assert_eq!(report.skipped[&Skip::OtherLog].count, 1);
        assert_eq!(report.malformed.keys().copied().collect::<Vec<_>>(), [Malformed::NotJson, Malformed::MissingField]);
    }

    proptest! {
        #[test]
        fn any_line_is_a_row_or_one_oddity(dns in "\\PC*", rdata in "\\PC*", ttl in any::<i64>(), version in 0u8..4) {
            let rdata = serde_json::to_string(&rdata).unwrap();
            let answer = format!(r#"{{"rrname":{rdata},"rrtype":"CNAME","ttl":{ttl},"rdata":{rdata}}}"#);
            let whole = format!(
                r#"{{"version":{version},"type":"answer","rcode":"NOERROR","rrname":{rdata},"rrtype":"A","answers":[{answer}]}}"#
            );
            let part = format!(
                r#"{{"type":"answer","rcode":"NOERROR","rrname":{rdata},"rrtype":"NS","ttl":{ttl},"rdata":{rdata}}}"#
            );
            let (_, report) = read(&[&event(&dns), &event(&whole), &event(&part), &dns]);
            let passed: u64 = report.skipped.values().chain(report.malformed.values()).map(|tally| tally.count).sum();
            prop_assert_eq!(report.items, report.decoded + passed);
            prop_assert_eq!(report.items - report.assembled, 4);
        }
    }
}
