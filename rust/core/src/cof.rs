//! Passive DNS in the Common Output Format (draft-dulaunoy-dnsop-passive-dns-cof), JSON lines: as
//! dnsdbq and most servers give it, or as DNSDB API 2 wraps it (`{"obj":{…}}` between conditions).
//!
//! One line is history already: it becomes sightings of vantage `history`, in the hour in which
//! it was first seen. An array in `rdata` is one rrset, so it also tells answers per response.

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::rdtype::rdtype_code;
use crate::reduce::{HOUR_US, N_FAILURES, Reducer, SavedActivity, Seen, Sighting, Vantage};
use crate::report::{Malformed, Skip};
use crate::sightings::rdata_from_text;
use crate::source::Desk;
use crate::text::{LineFormat, TakeLine, Word, in_calendar, parse_iso8601, parse_seconds};

/// One record, or the records of an rrset.
struct Values<'a> {
    list: Vec<Word<'a>>,
    is_rrset: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Values<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Values<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a string or a list of strings")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Values<'de>, E> {
                Ok(Values { list: vec![Word(text.into())], is_rrset: false })
            }

            fn visit_str<E>(self, text: &str) -> Result<Values<'de>, E> {
                Ok(Values { list: vec![Word(text.to_owned().into())], is_rrset: false })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Values<'de>, A::Error> {
                let mut list = Vec::new();
                while let Some(word) = seq.next_element()? {
                    list.push(word);
                }
                Ok(Values { list, is_rrset: true })
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    rrname: Option<Word<'a>>,
    #[serde(borrow)]
    rrtype: Option<&'a RawValue>,
    #[serde(borrow)]
    rdata: Option<Values<'a>>,
    #[serde(borrow)]
    time_first: Option<&'a RawValue>,
    #[serde(borrow)]
    time_last: Option<&'a RawValue>,
    #[serde(borrow)]
    zone_time_first: Option<&'a RawValue>,
    #[serde(borrow)]
    zone_time_last: Option<&'a RawValue>,
    count: Option<u64>,
}

/// A line of DNSDB API 2 (Streaming API Framing): a row, or how the answer goes.
#[derive(Deserialize)]
struct Framed<'a> {
    #[serde(borrow)]
    cond: Option<Word<'a>>,
    #[serde(borrow)]
    obj: Option<Row<'a>>,
}

/// Does the file begin like passive DNS in COF?
pub fn is_cof(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with(';'));
    lines.next().is_some_and(|line| {
        let has_row = ["\"rrname\"", "\"rrtype\"", "\"rdata\""].iter().all(|key| line.contains(key));
        line.starts_with('{') && (has_row || is_framed(line) && line.contains("\"begin\""))
    })
}

fn is_framed(line: &str) -> bool {
    let key = line.trim_start_matches(['{', ' ']);
    key.starts_with("\"cond\"") || key.starts_with("\"obj\"")
}

/// Passive DNS, a row a line.
#[derive(Clone, Copy, Debug)]
pub struct Cof;

impl LineFormat for Cof {
    /// dnsdbq writes comments behind `;;`.
    const HEADER: Option<u8> = Some(b';');
}

impl TakeLine<Reducer> for Cof {
    fn line(&mut self, text: &str, number: u64, desk: &mut Desk<'_, Reducer>) -> Result<(), Malformed> {
        take(text, number, desk)
    }
}

fn take(text: &str, number: u64, desk: &mut Desk<'_, Reducer>) -> Result<(), Malformed> {
    if !is_framed(text) {
        return take_row(&serde_json::from_str(text).map_err(|_| Malformed::NotJson)?, number, desk);
    }
    let framed: Framed<'_> = serde_json::from_str(text).map_err(|_| Malformed::NotJson)?;
    match (framed.obj, framed.cond.as_deref()) {
        (Some(row), _) => take_row(&row, number, desk)?,
        (None, Some(cond)) => {
            desk.report.skip(Skip::Comment, number);
            match cond {
                "limited" => desk.report.oddity("answer_limited_by_server", number),
                "failed" => desk.report.oddity("answer_failed_at_server", number),
                _ => {}
            }
        }
        (None, None) => return Err(Malformed::MissingField),
    }
    Ok(())
}

fn take_row(row: &Row<'_>, number: u64, desk: &mut Desk<'_, Reducer>) -> Result<(), Malformed> {
    let Desk { options, sink: reducer, report, message, .. } = desk;
    let time = |value: Option<&RawValue>, or: Option<&RawValue>| {
        let text = value.or(or).ok_or(Malformed::MissingField)?.get();
        time_us(text.trim_matches('"')).ok_or(Malformed::BadField)
    };
    let first = time(row.time_first, row.zone_time_first)?;
    let last = time(row.time_last, row.zone_time_last)?;
    if last < first {
        return Err(Malformed::BadField);
    }
    if last < options.since_us || first >= options.until_us {
        report.skip(Skip::OutsideTime, number);
        return Ok(());
    }
    let rdtype =
        rdtype_code(row.rrtype.ok_or(Malformed::MissingField)?.get().trim_matches('"')).ok_or(Malformed::BadField)?;
    let Values { list, is_rrset } = row.rdata.as_ref().ok_or(Malformed::MissingField)?;
    let count = row.count.unwrap_or(1);
    message.clear();
    let owner = message.add_name(row.rrname.as_ref().ok_or(Malformed::MissingField)?)?;
    let sightings: Result<Vec<Sighting>, Malformed> = list
        .iter()
        .map(|value| {
            Ok(Sighting {
                owner,
                rdtype,
                rdata: rdata_from_text(message, rdtype, value)?,
                hour: first.div_euclid(HOUR_US),
                seen: Seen { time_first: first, time_last: last, count_raw: count },
                fresh_minutes: 0,
                ttl: None,
                vantage: Vantage::History,
            })
        })
        .collect();
    let sightings = sightings?;
    for sighting in &sightings {
        reducer.add_sighting(message, sighting);
    }
    if *is_rrset && !sightings.is_empty() {
        reducer.add_activity(
            message.name(owner),
            &SavedActivity {
                rdtype,
                hour: first.div_euclid(HOUR_US),
                vantage: Vantage::History,
                responses: count,
                fresh_minutes: 0,
                answers_sum: count.saturating_mul(sightings.len() as u64),
                answers_max: sightings.len() as u32,
                failures: [0; N_FAILURES],
                clients: &[],
                sampled: false,
            },
        );
    }
    report.decoded(first, sightings.len() as u64);
    Ok(())
}

fn time_us(text: &str) -> Option<i64> {
    let time = if text.contains(['T', '-']) { parse_iso8601(text) } else { parse_seconds(text) };
    time.and_then(in_calendar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::Pieces;
    use crate::report::Report;
    use crate::source::Options;
    use proptest::prelude::*;

    fn reduce(line: &str) -> (Result<(), Malformed>, Report, Vec<crate::reduce::Bucket>) {
        let (options, mut reducer) = (Options::default(), Reducer::default());
        let mut desk = Desk::new(&options, &mut reducer, Pieces::default());
        let result = take(line, 1, &mut desk);
        let report = desk.report;
        (result, report, reducer.finish(1).0)
    }

    #[test]
    fn an_array_is_one_rrset_and_a_scalar_one_record() {
        let (_, report, buckets) = reduce(
            r#"{"rrname":"A.test.","rrtype":"A","rdata":["198.18.0.1","198.18.0.2"],"time_first":7200,"time_last":9000,"count":3}"#,
        );
        assert_eq!((report.decoded, report.records), (1, 2));
        assert_eq!((buckets[0].hour, buckets[0].rows.len()), (2, 2));
        assert_eq!(buckets[0].activity.answers_max, [2]);
        let (_, _, buckets) =
            reduce(r#"{"rrname":"a.test","rrtype":"NS","rdata":"ns.test","time_first":1,"time_last":1}"#);
        assert_eq!((buckets[0].rows.count_raw[0], buckets[0].activity.len()), (1, 0));
    }

    #[test]
    fn the_frame_of_dnsdb_is_taken_off() {
        let row = r#"{"obj":{"count":2,"zone_time_first":1,"zone_time_last":2,"rrname":"a.test.","rrtype":"NS","bailiwick":"test.","rdata":["ns.test."]}}"#;
        let (_, report, buckets) = reduce(row);
        assert_eq!((report.records, buckets[0].rows.count_raw[0]), (1, 2));
        let (_, report, _) = reduce(r#"{"cond":"limited","msg":"Result limit reached"}"#);
        assert_eq!((report.items, report.oddities["answer_limited_by_server"].count), (1, 1));
        assert_eq!(reduce(r#"{"cond":null}"#).0, Err(Malformed::MissingField));
        assert!(is_cof(b"{\"cond\":\"begin\"}\n") && is_cof(row.as_bytes()) && !is_cof(b"{\"cond\":1}"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(reduce("{").0, Err(Malformed::NotJson));
        assert_eq!(reduce("{}").0, Err(Malformed::MissingField));
        assert_eq!(
            reduce(r#"{"rrname":"a","rrtype":"A","rdata":"x","time_first":1,"time_last":1}"#).0,
            Err(Malformed::BadField)
        );
        assert_eq!(
            reduce(r#"{"rrname":"a","rrtype":"A","rdata":"198.18.0.1","time_first":2,"time_last":1}"#).0,
            Err(Malformed::BadField)
        );
    }

    proptest! {
        #[test]
        fn any_line_is_a_row_or_malformed(line in "\\PC*") {
            let (result, report, _) = reduce(&line);
            prop_assert_eq!(result.is_ok() as u64, report.items);
        }
    }
}
