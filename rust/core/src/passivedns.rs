//! The log of gamelinux/passivedns: `ts||client||server||class||query||type||answer||ttl||count`,
//! or the same fields as JSON lines.
//!
//! A line is not a response but news of a record: the first time it is seen, then once a day, then
//! when it is forgotten, each with how often it was seen since the line before, the time of the last
//! time and the highest TTL. So it becomes history, as passive DNS does.

use memchr::memmem;
use serde::Deserialize;

use crate::logged::{CUT_SHORT, logged_type, whole_rdata};
use crate::rdtype::{self, rcode_code};
use crate::reduce::{Failure, HOUR_US, N_FAILURES, Reducer, SavedActivity, Seen, Sighting, Vantage};
use crate::report::{Malformed, Skip};
use crate::source::Desk;
use crate::text::{LineFormat, TakeLine, Word, in_calendar, parse_seconds};

/// The fields of a line, whichever shape it came in.
struct Row<'a> {
    time_us: i64,
    class: Word<'a>,
    query: Word<'a>,
    rdtype: Word<'a>,
    answer: Word<'a>,
    ttl: u64,
    /// Version 0 did not count.
    count: Option<u64>,
}

#[derive(Deserialize)]
struct Json<'a> {
    timestamp_s: Option<i64>,
    /// Microseconds, whatever the name says.
    timestamp_ms: Option<i64>,
    #[serde(borrow)]
    class: Option<Word<'a>>,
    #[serde(borrow)]
    query: Option<Word<'a>>,
    #[serde(borrow, rename = "type")]
    rdtype: Option<Word<'a>>,
    #[serde(borrow)]
    answer: Option<Word<'a>>,
    ttl: Option<u64>,
    count: Option<u64>,
}

/// Does the file begin like passivedns's log?
pub fn is_passivedns(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).is_some_and(|line| {
        let keys = ["\"query\"", "\"answer\"", "\"ttl\"", "\"timestamp_s\""];
        let is_json = line.starts_with('{') && keys.iter().all(|key| line.contains(key));
        is_json || split(line).is_some_and(|fields| parse_seconds(fields[0]).is_some() && !fields[4].is_empty())
    })
}

/// The nine fields (eight before version 1.0). An answer may have `||` in it: the rest is counted
/// from the end.
fn split(line: &str) -> Option<[&str; 9]> {
    let mut fields = [""; 9];
    let mut rest = line;
    for field in &mut fields[..6] {
        let place = memmem::find(rest.as_bytes(), b"||")?;
        (*field, rest) = (&rest[..place], &rest[place + 2..]);
    }
    let (head, last) = rest.rsplit_once("||")?;
    match head.rsplit_once("||").filter(|(_, ttl)| !ttl.is_empty() && ttl.bytes().all(|byte| byte.is_ascii_digit())) {
        Some((answer, ttl)) => (fields[6], fields[7], fields[8]) = (answer, ttl, last),
        None => (fields[6], fields[7]) = (head, last),
    }
    Some(fields)
}

fn parse(line: &str) -> Result<Row<'_>, Malformed> {
    if line.starts_with('{') {
        return serde_json::from_str::<Json<'_>>(line).map_err(|_| Malformed::NotJson)?.into_row();
    }
    let [ts, _client, _server, class, query, rdtype, answer, ttl, count] = split(line).ok_or(Malformed::FieldCount)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| Malformed::BadField);
    Ok(Row {
        time_us: parse_seconds(ts).ok_or(Malformed::BadField)?,
        class: Word(class.into()),
        query: Word(query.into()),
        rdtype: Word(rdtype.into()),
        answer: Word(answer.into()),
        ttl: number(ttl)?,
        count: if count.is_empty() { None } else { Some(number(count)?) },
    })
}

impl<'a> Json<'a> {
    fn into_row(self) -> Result<Row<'a>, Malformed> {
        let seconds = self.timestamp_s.ok_or(Malformed::MissingField)?;
        let micros = Some(self.timestamp_ms.unwrap_or_default()).filter(|micros| (0..1_000_000).contains(micros));
        let time_us = seconds.checked_mul(1_000_000).zip(micros).and_then(|(whole, micros)| whole.checked_add(micros));
        Ok(Row {
            time_us: time_us.ok_or(Malformed::BadField)?,
            class: self.class.ok_or(Malformed::MissingField)?,
            query: self.query.ok_or(Malformed::MissingField)?,
            rdtype: self.rdtype.ok_or(Malformed::MissingField)?,
            answer: self.answer.ok_or(Malformed::MissingField)?,
            ttl: self.ttl.ok_or(Malformed::MissingField)?,
            count: self.count,
        })
    }
}

/// A log of passivedns.
#[derive(Clone, Copy, Debug)]
pub struct PassiveDns;

impl LineFormat for PassiveDns {
    const HEADER: Option<u8> = Some(b'#');
}

impl TakeLine<Reducer> for PassiveDns {
    fn line(&mut self, text: &str, number: u64, desk: &mut Desk<'_, Reducer>) -> Result<(), Malformed> {
        let row = parse(text)?;
        let time_us = in_calendar(row.time_us).ok_or(Malformed::BadField)?;
        if !desk.in_time(time_us, number) {
            return Ok(());
        }
        if &*row.class != "IN" {
            desk.report.skip(Skip::OtherClass, number);
            return Ok(());
        }
        let rdtype = logged_type(&row.rdtype);
        desk.message.clear();
        match failure(&row.answer) {
            Some(failure) => fail(&row, rdtype, failure, time_us, desk)?,
            None => see(&row, rdtype, time_us, number, desk)?,
        }
        Ok(())
    }
}

/// Answers end with a dot or are addresses; a response code stands for a failure.
fn failure(answer: &str) -> Option<Failure> {
    match answer {
        "NOTIMPL" => Some(Failure::Other),
        _ if answer.starts_with("UNKNOWN-ERROR-") => Some(Failure::Other),
        _ => match rcode_code(answer)? {
            0 => None,
            2 => Some(Failure::ServFail),
            3 => Some(Failure::NxDomain),
            5 => Some(Failure::Refused),
            _ => Some(Failure::Other),
        },
    }
}

fn see(
    row: &Row<'_>,
    rdtype: Option<u16>,
    time_us: i64,
    number: u64,
    desk: &mut Desk<'_, Reducer>,
) -> Result<(), Malformed> {
    let Desk { sink: reducer, report, message, .. } = desk;
    let ttl = u32::try_from(row.ttl).map_err(|_| Malformed::BadField)?;
    let owner = message.add_name(&row.query)?;
    // Of MX, SOA, SRV and TXT one field of several is logged.
    let rdata = match rdtype {
        Some(rdtype) if is_whole(rdtype) => whole_rdata(message, rdtype, &row.answer)?,
        _ => None,
    };
    let (Some(rdtype), Some(rdata)) = (rdtype, rdata) else {
        report.decoded(time_us, 0);
        report.left_out(CUT_SHORT, 1, number);
        return Ok(());
    };
    let seen = Seen { time_first: time_us, time_last: time_us, count_raw: row.count.unwrap_or(1) };
    let sighting = Sighting {
        owner,
        rdtype,
        rdata,
        hour: time_us.div_euclid(HOUR_US),
        seen,
        fresh_minutes: 0,
        ttl: Some((ttl, ttl)),
        vantage: Vantage::History,
    };
    reducer.add_sighting(message, &sighting);
    report.decoded(time_us, 1);
    Ok(())
}

fn is_whole(rdtype: u16) -> bool {
    matches!(rdtype, rdtype::A | rdtype::AAAA) || rdtype::is_name_type(rdtype)
}

fn fail(
    row: &Row<'_>,
    rdtype: Option<u16>,
    failure: Failure,
    time_us: i64,
    desk: &mut Desk<'_, Reducer>,
) -> Result<(), Malformed> {
    let Desk { sink: reducer, report, message, .. } = desk;
    let owner = message.add_name(&row.query)?;
    let count = row.count.unwrap_or(1);
    let mut failures = [0; N_FAILURES];
    failures[failure as usize] = count;
    reducer.add_activity(
        message.name(owner),
        &SavedActivity {
            rdtype: rdtype.ok_or(Malformed::BadField)?,
            hour: time_us.div_euclid(HOUR_US),
            vantage: Vantage::History,
            responses: count,
            fresh_minutes: 0,
            answers_sum: 0,
            answers_max: 0,
            failures,
            clients: &[], // only the last one is logged
            sampled: false,
        },
    );
    report.decoded(time_us, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pieces::Pieces;
    use crate::reduce::Bucket;
    use crate::report::Report;
    use crate::source::Options;
    use proptest::prelude::*;

    fn read(line: &str) -> (Result<(), Malformed>, Report, Vec<Bucket>) {
        let (options, mut reducer) = (Options::default(), Reducer::default());
        let mut desk = Desk::new(&options, &mut reducer, Pieces::default());
        let result = PassiveDns.line(line, 1, &mut desk);
        let report = desk.report;
        (result, report, reducer.finish(1).0)
    }

    #[test]
    fn a_line_is_a_sighting_of_history() {
        for line in [
            "1322849924.408856||198.18.0.1||198.18.0.53||IN||a.test.||A||198.18.1.1||46587||5",
            r#"{"timestamp_s":1322849924,"timestamp_ms":408856,"client":"198.18.0.1","server":"198.18.0.53","class":"IN","query":"a.test.","type":"A","answer":"198.18.1.1","ttl":46587,"count":5}"#,
        ] {
            assert!(is_passivedns(line.as_bytes()));
            let (_, report, buckets) = read(line);
            assert_eq!((report.decoded, report.records), (1, 1));
            let rows = &buckets[0].rows;
            assert_eq!((rows.time_last[0], rows.count_raw[0]), (1_322_849_924_408_856, 5));
            assert_eq!(buckets[0].rows.ttl_max[0], 46587);
        }
        let (_, _, buckets) = read("1322849924||198.18.0.1||198.18.0.53||IN||a.test.||A||198.18.1.1||60");
        assert_eq!((buckets[0].rows.count_raw[0], buckets[0].rows.ttl_max[0]), (1, 60));
    }

    #[test]
    fn a_failure_is_activity_and_what_is_cut_short_is_counted() {
        let (_, report, buckets) = read("1.5||198.18.0.1||198.18.0.53||IN||gone.test.||A||NXDOMAIN||0||1");
        assert_eq!((report.decoded, report.records), (1, 0));
        assert_eq!(buckets[0].activity.failures_of(0)[Failure::NxDomain as usize], 1);
        let (_, report, _) = read("1.5||198.18.0.1||198.18.0.53||IN||a.test.||TXT||\"a||b\"||60||1");
        assert_eq!((report.decoded, report.records_left_out[CUT_SHORT].count), (1, 1));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(read("1.5||a||b").0, Err(Malformed::FieldCount));
        assert_eq!(read("x||198.18.0.1||198.18.0.53||IN||a.test.||A||198.18.1.1||1||1").0, Err(Malformed::BadField));
        assert_eq!(read("1||198.18.0.1||198.18.0.53||IN||a.test.||A||nonsense||1||1").0, Err(Malformed::BadField));
        assert_eq!(read("{").0, Err(Malformed::NotJson));
        assert_eq!(read("{}").0, Err(Malformed::MissingField));
    }

    proptest! {
        #[test]
        fn any_line_is_a_row_or_malformed(line in "\\PC*", fields in prop::collection::vec("[0-9a-zA.|]{0,6}", 9)) {
            for line in [line.clone(), fields.join("||"), format!("1||198.18.0.1||::1||IN||{line}||NS||{line}||1||1")] {
                let (result, report, _) = read(&line);
                prop_assert_eq!(result.is_ok() as u64, report.items);
            }
        }
    }
}
