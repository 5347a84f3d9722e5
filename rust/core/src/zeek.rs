//! Zeek's `dns.log`: tab-separated or JSON lines, plain or gzip.
//!
//! A row has the question and a list of answers as bare strings, without owner, type or section.
//! The owner follows from the chain: the question's name first, then each CNAME's target. Answers
//! of types that Zeek cuts short (MX without preference, TXT, SOA…) are left out and counted. So
//! are `auth` and `addl` (policy/protocols/dns/auth-addl): strings without owner, type and TTL.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::logged::{self, CutShort};
use crate::message::{Message, Rdata, Record, Section};
use crate::rdtype::{self, rcode_code, rdtype_code};
use crate::report::{Malformed, Skip};
use crate::source::{Desk, Seen, Sink};
use crate::text::{LineFormat, TakeLine, in_calendar, parse_address, parse_iso8601, parse_seconds};

/// The fields of a row that matter, whichever shape it came in.
#[derive(Default)]
struct Row<'a> {
    ts: Cow<'a, str>,
    client: Cow<'a, str>,
    server: Cow<'a, str>,
    query: Option<Cow<'a, str>>,
    qclass: Option<u64>,
    qtype: Option<u16>,
    rcode: Option<u16>,
    truncated: bool,
    answers: Vec<Cow<'a, str>>,
    ttls: Vec<f64>,
    other_log: bool,
    /// Authoritative answer, recursion available.
    flags: (Option<bool>, Option<bool>),
    n_auth: u64,
    n_addl: u64,
}

#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow, rename = "_path")]
    path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow, rename = "id.orig_h")]
    client: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "id.resp_h")]
    server: Option<Cow<'a, str>>,
    #[serde(borrow)]
    query: Option<Cow<'a, str>>,
    qclass: Option<u64>,
    qtype: Option<u16>,
    #[serde(borrow)]
    qtype_name: Option<Cow<'a, str>>,
    rcode: Option<u16>,
    #[serde(borrow)]
    rcode_name: Option<Cow<'a, str>>,
    #[serde(rename = "TC")]
    truncated: Option<bool>,
    #[serde(rename = "AA")]
    authoritative: Option<bool>,
    #[serde(rename = "RA")]
    recursion: Option<bool>,
    auth: Option<Vec<IgnoredAny>>,
    addl: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    answers: Option<Vec<Cow<'a, str>>>,
    #[serde(rename = "TTLs")]
    ttls: Option<Vec<f64>>,
}

impl<'a> Json<'a> {
    fn into_row(self) -> Result<Row<'a>, Malformed> {
        Ok(Row {
            other_log: self.path.is_some_and(|path| path != "dns"),
            ts: Cow::Borrowed(self.ts.ok_or(Malformed::MissingField)?.get().trim_matches('"')),
            client: self.client.ok_or(Malformed::MissingField)?,
            server: self.server.ok_or(Malformed::MissingField)?,
            query: self.query,
            qclass: self.qclass,
            qtype: self.qtype.or_else(|| rdtype_code(&self.qtype_name?)),
            rcode: self.rcode.or_else(|| rcode_code(&self.rcode_name?)),
            truncated: self.truncated.unwrap_or_default(),
            flags: (self.authoritative, self.recursion),
            n_auth: self.auth.map_or(0, |list| list.len() as u64),
            n_addl: self.addl.map_or(0, |list| list.len() as u64),
            answers: self.answers.unwrap_or_default(),
            ttls: self.ttls.unwrap_or_default(),
        })
    }
}

/// A log: what the `#` lines of a tab-separated one say.
#[derive(Clone)]
pub struct Zeek {
    separator: char,
    set_separator: String,
    empty: String,
    unset: String,
    fields: Arc<[String]>,
}

impl Default for Zeek {
    fn default() -> Self {
        Zeek {
            separator: '\t',
            set_separator: ",".to_owned(),
            empty: "(empty)".to_owned(),
            unset: "-".to_owned(),
            fields: Arc::default(),
        }
    }
}

impl Zeek {
    fn list<'a>(&self, value: &'a str) -> Vec<Cow<'a, str>> {
        if value == self.empty { Vec::new() } else { value.split(&self.set_separator).map(unescape).collect() }
    }

    fn count(&self, value: &str) -> u64 {
        if value == self.empty { 0 } else { value.split(&self.set_separator).count() as u64 }
    }

    fn row<'a>(&self, line: &'a str) -> Result<Row<'a>, Malformed> {
        let mut row = Row::default();
        let mut n = 0;
        for value in line.split(self.separator) {
            let field = self.fields.get(n).ok_or(Malformed::FieldCount)?;
            n += 1;
            if value != self.unset {
                self.fill(&mut row, field, value)?;
            }
        }
        let whole = n == self.fields.len();
        if !whole {
            return Err(Malformed::FieldCount);
        }
        if row.ts.is_empty() || row.client.is_empty() || row.server.is_empty() {
            return Err(Malformed::MissingField);
        }
        Ok(row)
    }

    fn fill<'a>(&self, row: &mut Row<'a>, field: &str, value: &'a str) -> Result<(), Malformed> {
        let number = || value.parse::<u64>().map_err(|_| Malformed::BadField);
        match field {
            "ts" => row.ts = Cow::Borrowed(value),
            "id.orig_h" => row.client = Cow::Borrowed(value),
            "id.resp_h" => row.server = Cow::Borrowed(value),
            "query" => row.query = Some(unescape(value)),
            "qclass" => row.qclass = Some(number()?),
            "qtype" => row.qtype = Some(u16::try_from(number()?).map_err(|_| Malformed::BadField)?),
            "qtype_name" if row.qtype.is_none() => row.qtype = rdtype_code(value),
            "rcode" => row.rcode = Some(u16::try_from(number()?).map_err(|_| Malformed::BadField)?),
            "rcode_name" if row.rcode.is_none() => row.rcode = rcode_code(value),
            "TC" => row.truncated = value == "T",
            "AA" => row.flags.0 = Some(value == "T"),
            "RA" => row.flags.1 = Some(value == "T"),
            "auth" => row.n_auth = self.count(value),
            "addl" => row.n_addl = self.count(value),
            "answers" => row.answers = self.list(value),
            "TTLs" => {
                let ttls: Result<_, _> = self.list(value).iter().map(|ttl| ttl.parse()).collect();
                row.ttls = ttls.map_err(|_| Malformed::BadField)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Zeek writes bytes that would break the line as `\xHH`.
fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains("\\x") {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(1..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match code.filter(|_| byte == b'\\' && tail[0] == b'x') {
            Some(code) => {
                out.push(code);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Does the file begin like a Zeek DNS log?
pub fn is_zeek(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let is_dns_header = text.lines().any(|line| line == "#path\tdns")
        || text
            .lines()
            .any(|line| line.starts_with("#fields") && line.contains("\tquery\t") && line.contains("\tTTLs"));
    is_dns_header
        || text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| {
            line.starts_with('{')
                && line.contains("\"id.orig_h\"")
                && (line.contains("\"qtype") || line.contains("\"trans_id\""))
        })
}

impl LineFormat for Zeek {
    const HEADER: Option<u8> = Some(b'#');

    /// From a header line; `#separator` itself is followed by a space.
    fn learn(&mut self, line: &str) {
        if let Some(value) = line.strip_prefix("#separator ") {
            self.separator = unescape(value).chars().next().unwrap_or('\t');
            return;
        }
        let (key, value) = line.split_once(self.separator).unwrap_or((line, ""));
        match key {
            "#set_separator" => value.clone_into(&mut self.set_separator),
            "#empty_field" => value.clone_into(&mut self.empty),
            "#unset_field" => value.clone_into(&mut self.unset),
            "#fields" => self.fields = value.split(self.separator).map(str::to_owned).collect::<Vec<_>>().into(),
            _ => {}
        }
    }
}

impl<S: Sink> TakeLine<S> for Zeek {
    fn line(&mut self, text: &str, number: u64, desk: &mut Desk<'_, S>) -> Result<(), Malformed> {
        take(&parse(text, self)?, number, desk)
    }
}

fn parse<'a>(line: &'a str, layout: &Zeek) -> Result<Row<'a>, Malformed> {
    if line.starts_with('{') {
        serde_json::from_str::<Json<'a>>(line).map_err(|_| Malformed::NotJson)?.into_row()
    } else if layout.fields.is_empty() {
        Err(Malformed::FieldCount)
    } else {
        layout.row(line)
    }
}

fn take<S: Sink>(row: &Row<'_>, number: u64, desk: &mut Desk<'_, S>) -> Result<(), Malformed> {
    if row.other_log {
        desk.report.skip(Skip::OtherLog, number);
        return Ok(());
    }
    let seen = Seen {
        ts_us: time_us(&row.ts).ok_or(Malformed::BadField)?,
        client: parse_address(&row.client).ok_or(Malformed::BadField)?,
        server: parse_address(&row.server).ok_or(Malformed::BadField)?,
        vantage: desk.options.vantage,
        sensor: None,
    };
    if !desk.in_time(seen.ts_us, number) {
        return Ok(());
    }
    if row.qclass.is_some_and(|class| class & 0x7FFF != 1) {
        desk.report.skip(Skip::OtherClass, number);
    } else if row.rcode.is_none() && row.answers.is_empty() {
        desk.report.skip(Skip::Unanswered, number);
    } else {
        let left_out = fill(row, &mut desk.message)?;
        let lost = CutShort { count: left_out, hides_answer: left_out > 0 || row.may_refer() };
        logged::deliver(desk, &seen, lost, number);
        for (kind, count) in
            [("authority_without_owner_and_ttl", row.n_auth), ("additional_without_owner_and_ttl", row.n_addl)]
        {
            if count > 0 {
                desk.report.left_out(kind, count, number);
            }
        }
    }
    Ok(())
}

impl Row<'_> {
    /// May this be a referral? Its `auth` may be name servers then, and lack of answers no failure.
    fn may_refer(&self) -> bool {
        self.n_auth > 0 && self.flags == (Some(false), Some(false))
    }
}

/// Make a message of a row; returns how many answers had to be left out.
fn fill(row: &Row<'_>, message: &mut Message) -> Result<u64, Malformed> {
    message.clear();
    message.n_questions = 1;
    message.rcode = row.rcode.unwrap_or_default();
    message.truncated = row.truncated;
    let Some(query) = &row.query else { return Ok(row.answers.len() as u64) };
    let qname = message.add_name(query)?;
    let qtype = row.qtype.unwrap_or_default();
    message.question = row.qtype.map(|qtype| (qname, qtype));
    if row.answers.len() != row.ttls.len() {
        return Err(Malformed::FieldCount);
    }
    let mut owner = qname;
    let mut left_out = 0;
    for (answer, ttl) in row.answers.iter().zip(&row.ttls) {
        let Some((rdtype, rdata)) = classify(answer, qtype, message) else {
            left_out += 1;
            continue;
        };
        let ttl = *ttl as u32; // `as` saturates; Zeek's intervals are whole seconds here
        message.records.push(Record { section: Section::Answer, owner, rdtype, ttl, rdata });
        if let (rdtype::CNAME, Rdata::Name(target)) = (rdtype, rdata) {
            owner = target;
        }
    }
    Ok(left_out)
}

/// The type and rdata of a bare answer string, `None` when the log does not hold all of it.
fn classify(answer: &str, qtype: u16, message: &mut Message) -> Option<(u16, Rdata)> {
    match answer.parse() {
        Ok(IpAddr::V4(address)) => return Some((rdtype::A, Rdata::A(address.into()))),
        Ok(IpAddr::V6(address)) => {
            return Some((rdtype::AAAA, Rdata::Bytes(message.add_bytes(&address.octets()))));
        }
        Err(_) => {}
    }
    let rdtype = match qtype {
        rdtype::A | rdtype::AAAA | rdtype::CNAME => rdtype::CNAME,
        _ if rdtype::is_name_type(qtype) => qtype,
        _ => return None,
    };
    if answer.contains(' ') {
        return None; // "RRSIG 1 …", "TXT 18 …": a description, not rdata
    }
    message.add_name(answer).ok().map(|name| (rdtype, Rdata::Name(name)))
}

/// Zeek writes seconds, milliseconds (`json_timestamps=JSON::TS_MILLIS`) or ISO 8601.
fn time_us(text: &str) -> Option<i64> {
    const YEAR_5138_S: i64 = 100_000_000_000;
    if text.contains('T') {
        return parse_iso8601(text);
    }
    let us = parse_seconds(text)?;
    in_calendar(if us / 1_000_000 >= YEAR_5138_S { us / 1000 } else { us })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIELDS: &str =
        "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tquery\tqclass\tqtype\trcode\tanswers\tTTLs";

    fn message_of(line: &str) -> (Message, u64) {
        let mut layout = Zeek::default();
        layout.learn(FIELDS);
        let mut message = Message::default();
        let left_out = fill(&parse(line, &layout).unwrap(), &mut message).unwrap();
        (message, left_out)
    }

    #[test]
    fn the_owner_follows_the_chain() {
        let (message, left_out) = message_of(
            "1.5\tC1\t198.18.0.1\t1\t198.18.0.2\t53\twww.a.test\t1\t1\t0\tb.test,RRSIG 5 b.test,198.18.1.1\t60,60,30",
        );
        assert_eq!(left_out, 1);
        let owners: Vec<_> = message.records.iter().map(|record| message.name(record.owner).to_vec()).collect();
        assert_eq!(owners, [b"\x03www\x01a\x04test\0".to_vec(), b"\x01b\x04test\0".to_vec()]);
        assert_eq!(message.records[1].rdata, Rdata::A(0xC612_0101));
    }

    #[test]
    fn json_and_tsv_say_the_same() {
        let (tsv, _) = message_of("1.5\tC1\t198.18.0.1\t1\t198.18.0.2\t53\ta.test\t1\t1\t0\t198.18.1.1\t30.0");
        let (json, _) = message_of(
            r#"{"ts":1.5,"id.orig_h":"198.18.0.1","id.resp_h":"198.18.0.2","query":"A.test","qclass":1,"qtype_name":"A","rcode_name":"NOERROR","answers":["198.18.1.1"],"TTLs":[30.0]}"#,
        );
        assert_eq!(tsv.records[0].rdata, json.records[0].rdata);
        assert_eq!(tsv.name(0), json.name(0));
    }

    #[test]
    fn auth_and_addl_are_counted_and_a_referral_is_no_failure() {
        let mut layout = Zeek::default();
        layout.learn("#fields\tts\tid.orig_h\tid.resp_h\tquery\tAA\tRA\tauth\taddl");
        let line = "1.5\t198.18.0.1\t198.18.0.2\ta.test\tF\tF\tns1.a.test,ns2.a.test\t198.18.1.1";
        let row = parse(line, &layout).unwrap();
        assert_eq!((row.n_auth, row.n_addl, row.may_refer()), (2, 1, true));
        let row = parse(
            r#"{"ts":1.5,"id.orig_h":"198.18.0.1","id.resp_h":"198.18.0.2","AA":true,"RA":false,"auth":["a"],"addl":[]}"#,
            &layout,
        );
        let row = row.unwrap();
        assert_eq!((row.n_auth, row.n_addl, row.may_refer()), (1, 0, false));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape("a\\x09b\\x"), "a\tb\\x");
    }

    proptest! {
        #[test]
        fn any_line_is_a_row_or_malformed(line in "\\PC*") {
            let mut layout = Zeek::default();
            layout.learn(FIELDS);
            if let Ok(row) = parse(&line, &layout) {
                let _ = fill(&row, &mut Message::default());
            }
        }
    }
}
