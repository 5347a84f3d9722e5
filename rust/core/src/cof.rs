//! Passive DNS in the Common Output Format (draft-dulaunoy-dnsop-passive-dns-cof), JSON lines.
//!
//! One line is history already: it becomes sightings of vantage `history`, in the hour in which
//! it was first seen. An array in `rdata` is one rrset, so it also tells answers per response.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::rdtype::rdtype_code;
use crate::reduce::{HOUR_US, N_FAILURES, Reducer, SavedActivity, Seen, Sighting, Vantage};
use crate::report::{Malformed, Skip};
use crate::sightings::rdata_from_text;
use crate::source::Desk;
use crate::text::{LineFormat, TakeLine, in_calendar, parse_iso8601, parse_seconds};

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    rrname: Option<Cow<'a, str>>,
    #[serde(borrow)]
    rrtype: Option<&'a RawValue>,
    #[serde(borrow)]
    rdata: Option<OneOrMany<'a>>,
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

/// Does the file begin like passive DNS in COF?
pub fn is_cof(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| {
        line.starts_with('{') && ["\"rrname\"", "\"rrtype\"", "\"rdata\""].iter().all(|key| line.contains(key))
    })
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
    let Desk { options, sink: reducer, report, message, .. } = desk;
    let row: Row<'_> = serde_json::from_str(text).map_err(|_| Malformed::NotJson)?;
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
    let (values, is_rrset): (Vec<Cow<'_, str>>, bool) = match row.rdata.ok_or(Malformed::MissingField)? {
        OneOrMany::One(value) => (vec![value], false),
        OneOrMany::Many(values) => (values.into_iter().map(Cow::Owned).collect(), true),
    };
    let count = row.count.unwrap_or(1);
    message.clear();
    let owner = message.add_name(&row.rrname.ok_or(Malformed::MissingField)?)?;
    let sightings: Result<Vec<Sighting>, Malformed> = values
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
    if is_rrset && !sightings.is_empty() {
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
    let time = if text.contains('T') { parse_iso8601(text) } else { parse_seconds(text) };
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
        (result, report, reducer.finish().0)
    }

    #[test]
    fn an_array_is_one_rrset_and_a_scalar_one_record() {
        let (_, report, buckets) = reduce(
            r#"{"rrname":"A.test.","rrtype":"A","rdata":["198.18.0.1","198.18.0.2"],"time_first":7200,"time_last":9000,"count":3}"#,
        );
        assert_eq!((report.decoded, report.records), (1, 2));
        assert_eq!((buckets[0].hour, buckets[0].rows.len()), (2, 2));
        assert_eq!(buckets[0].activity[0].answers_max, 2);
        let (_, _, buckets) =
            reduce(r#"{"rrname":"a.test","rrtype":"NS","rdata":"ns.test","time_first":1,"time_last":1}"#);
        assert_eq!((buckets[0].seen(0).count_raw, buckets[0].activity.len()), (1, 0));
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
