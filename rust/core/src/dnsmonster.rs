//! dnsmonster's JSON lines: whole messages, as miekg/dns names their fields.
//!
//! Its Parquet, CSV and most databases hold only the question and the response code, so that they
//! show no answers at all (`unflux.sources.dnsmonster_parquet` reads the failures in them).

use serde::Deserialize;

use crate::link::{Address, UNKNOWN_ADDRESS};
use crate::logged::{self, CutShort, Filler, Logged};
use crate::message::{Message, Section};
use crate::rdtype::{OPT, rdtype_text};
use crate::report::{Malformed, Skip};
use crate::source::{Desk, Seen, Sink};
use crate::text::{LineFormat, TakeLine, Word, in_calendar, parse_address, parse_iso8601};

const CLASS_IN: u16 = 1;

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, rename = "Timestamp")]
    timestamp: Option<Word<'a>>,
    #[serde(borrow, rename = "DNS")]
    dns: Option<Dns<'a>>,
    #[serde(borrow, rename = "SrcIP")]
    source: Option<Word<'a>>,
    #[serde(borrow, rename = "DstIP")]
    target: Option<Word<'a>>,
    #[serde(borrow, rename = "Identity")]
    identity: Option<Word<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dns<'a> {
    response: bool,
    opcode: u8,
    #[serde(default)]
    truncated: bool,
    rcode: u16,
    #[serde(borrow)]
    question: Option<Vec<Question<'a>>>,
    #[serde(borrow)]
    answer: Option<Vec<Rr<'a>>>,
    #[serde(borrow)]
    ns: Option<Vec<Rr<'a>>>,
    #[serde(borrow)]
    extra: Option<Vec<Rr<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Question<'a> {
    #[serde(borrow)]
    name: Word<'a>,
    qtype: u16,
    qclass: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Hdr<'a> {
    #[serde(borrow)]
    name: Word<'a>,
    rrtype: u16,
    class: u16,
    ttl: u64,
}

/// A record: its header, and the fields of the types that are read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rr<'a> {
    #[serde(borrow)]
    hdr: Hdr<'a>,
    #[serde(borrow)]
    a: Option<Word<'a>>,
    #[serde(borrow, rename = "AAAA")]
    aaaa: Option<Word<'a>>,
    #[serde(borrow)]
    target: Option<Word<'a>>,
    #[serde(borrow)]
    ns: Option<Word<'a>>,
    #[serde(borrow)]
    ptr: Option<Word<'a>>,
    #[serde(borrow)]
    mx: Option<Word<'a>>,
    preference: Option<u16>,
    priority: Option<u16>,
    weight: Option<u16>,
    port: Option<u16>,
    #[serde(borrow)]
    mbox: Option<Word<'a>>,
    serial: Option<u32>,
    refresh: Option<u32>,
    retry: Option<u32>,
    expire: Option<u32>,
    minttl: Option<u32>,
}

impl Rr<'_> {
    /// Presentation form of the types whose rdata is not one field.
    fn spell(&self) -> Option<String> {
        if let (Some(preference), Some(mx)) = (self.preference, &self.mx) {
            return Some(format!("{preference} {}", &**mx));
        }
        if let (Some(priority), Some(weight), Some(port), Some(target)) =
            (self.priority, self.weight, self.port, &self.target)
        {
            return Some(format!("{priority} {weight} {port} {}", &**target));
        }
        let (ns, mbox) = (self.ns.as_deref()?, self.mbox.as_deref()?);
        let (serial, refresh, retry) = (self.serial?, self.refresh?, self.retry?);
        Some(format!("{ns} {mbox} {serial} {refresh} {retry} {} {}", self.expire?, self.minttl?))
    }
}

/// Does the file begin like dnsmonster's JSON?
pub fn is_dnsmonster(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| {
        let keys = ["\"Timestamp\"", "\"DNS\"", "\"Opcode\"", "\"SrcIP\"", "\"PacketLength\""];
        line.starts_with('{') && keys.iter().all(|key| line.contains(key))
    })
}

/// A log of dnsmonster, a message a line.
#[derive(Clone, Copy, Debug)]
pub struct DnsMonster;

impl LineFormat for DnsMonster {}

impl<S: Sink> TakeLine<S> for DnsMonster {
    fn line(&mut self, text: &str, number: u64, desk: &mut Desk<'_, S>) -> Result<(), Malformed> {
        let row = serde_json::from_str::<Row<'_>>(text).map_err(|_| Malformed::NotJson)?;
        let dns = row.dns.as_ref().ok_or(Malformed::MissingField)?;
        let other_class = dns.question.iter().flatten().next().is_some_and(|question| question.qclass != CLASS_IN);
        let skip = match dns {
            Dns { response: false, .. } => Some(Skip::Query),
            Dns { opcode, .. } if *opcode != 0 => Some(Skip::Opcode),
            _ => other_class.then_some(Skip::OtherClass),
        };
        if let Some(skip) = skip {
            desk.report.skip(skip, number);
            return Ok(());
        }
        let time = row.timestamp.as_deref().ok_or(Malformed::MissingField)?;
        let seen = Seen {
            ts_us: parse_iso8601(time).and_then(in_calendar).ok_or(Malformed::BadField)?,
            client: address(row.target.as_deref())?,
            server: address(row.source.as_deref())?,
            vantage: desk.options.vantage,
            sensor: row.identity.as_deref().filter(|identity| !identity.is_empty()),
        };
        if desk.in_time(seen.ts_us, number) {
            let lost = fill(dns, &mut desk.message)?;
            logged::deliver(desk, &seen, lost, number);
        }
        Ok(())
    }
}

fn address(text: Option<&str>) -> Result<Address, Malformed> {
    let known = text.filter(|text| !text.is_empty());
    known.map_or(Ok(UNKNOWN_ADDRESS), |text| parse_address(text).ok_or(Malformed::BadField))
}

fn fill(dns: &Dns<'_>, message: &mut Message) -> Result<CutShort, Malformed> {
    let questions = dns.question.as_deref().unwrap_or_default();
    let mut filler = match questions.first() {
        Some(first) => Filler::new(message, Some(&first.name), Some(&rdtype_text(first.qtype)))?,
        None => Filler::new(message, None, None)?,
    };
    filler.message.n_questions = questions.len() as u16;
    filler.message.rcode = dns.rcode;
    filler.message.truncated = dns.truncated;
    for (section, list) in
        [(Section::Answer, &dns.answer), (Section::Authority, &dns.ns), (Section::Additional, &dns.extra)]
    {
        for rr in list.iter().flatten().filter(|rr| rr.hdr.rrtype != OPT) {
            if rr.hdr.class & 0x7FFF != CLASS_IN {
                filler.message.n_other_class += 1;
                continue;
            }
            let spelt = rr.spell();
            let one = [&rr.a, &rr.aaaa, &rr.target, &rr.ns, &rr.ptr].into_iter().find_map(|field| field.as_deref());
            filler.record(&Logged {
                section,
                owner: &rr.hdr.name,
                rdtype: &rdtype_text(rr.hdr.rrtype),
                ttl: rr.hdr.ttl,
                rdata: spelt.as_deref().or(one),
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

    const LINE: &str = r#"{"Timestamp":"2026-09-21T14:13:20.25+00:00","DNS":{"Id":7,"Response":true,"Opcode":0,"Truncated":false,"Rcode":0,"Question":[{"Name":"a.test.","Qtype":1,"Qclass":1}],"Answer":[{"Hdr":{"Name":"a.test.","Rrtype":1,"Class":1,"Ttl":60,"Rdlength":4},"A":"198.18.1.1"}],"Ns":[{"Hdr":{"Name":"test.","Rrtype":6,"Class":1,"Ttl":9,"Rdlength":40},"Ns":"ns.test.","Mbox":"h.test.","Serial":1,"Refresh":2,"Retry":3,"Expire":4,"Minttl":5}],"Extra":[{"Hdr":{"Name":".","Rrtype":41,"Class":1232,"Ttl":0,"Rdlength":0},"Option":null}]},"IPVersion":4,"SrcIP":"198.18.0.53","DstIP":"198.18.0.1","Protocol":"udp","PacketLength":100}"#;

    fn read(line: &str) -> (Report, usize) {
        let (options, mut reducer) = (Options::default(), Reducer::default());
        let mut desk = Desk::new(&options, &mut reducer, Pieces::default());
        if let Err(kind) = DnsMonster.line(line, 1, &mut desk) {
            desk.report.malformed(kind, 1);
        }
        let report = desk.report;
        (report, reducer.finish(1).0.iter().map(|bucket| bucket.rows.len()).sum())
    }

    #[test]
    fn a_message_is_read_whole() {
        assert!(is_dnsmonster(LINE.as_bytes()));
        let (report, rows) = read(LINE);
        assert_eq!((report.decoded, report.records, rows), (1, 2, 2));
        assert!(report.records_left_out.is_empty());
        assert_eq!(read(&LINE.replace("\"Response\":true", "\"Response\":false")).0.skipped[&Skip::Query].count, 1);
        assert_eq!(read(&LINE.replace("198.18.1.1", "x")).0.malformed[&Malformed::BadField].count, 1);
    }

    proptest! {
        #[test]
        fn any_line_is_a_row_or_one_oddity(line in "\\PC*", place in 0usize..800, text in "\\PC{0,3}") {
            let at = place.min(LINE.len() - 1);
            for line in [line, format!("{}{text}{}", &LINE[..at], &LINE[at + 1..])] {
                prop_assert_eq!(read(&line).0.items, 1);
            }
        }
    }
}
