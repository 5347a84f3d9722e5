//! From a log's records to a message: what all logs of whole responses share.

use crate::message::{Message, Rdata, Record, Section};
use crate::rdata;
use crate::rdtype::{self, rdtype_code};
use crate::report::Malformed;
use crate::sightings::rdata_from_text;
use crate::source::{Desk, Seen, Sink};

/// Rdata of which the log has only a part, or writes in a form that cannot be told from another.
pub const CUT_SHORT: &str = "rdata_cut_short_by_log";

/// One record as a log writes it.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a, 'r> {
    pub section: Section,
    pub owner: &'a str,
    pub rdtype: &'r str,
    pub ttl: u64,
    /// Presentation form, `None` where the log has none.
    pub rdata: Option<&'r str>,
}

/// Records that a log did not give whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutShort {
    pub count: u64,
    /// Among them some that tell an answer (or a referral) from the lack of one.
    pub hides_answer: bool,
}

impl CutShort {
    pub fn add(&mut self, section: Section, rdtype: Option<u16>) {
        self.count += 1;
        self.hides_answer |= match section {
            Section::Answer => true,
            Section::Authority => rdtype == Some(rdtype::NS),
            Section::Additional => false,
        };
    }
}

/// Fills a message record by record, and knows what had to be left out.
pub struct Filler<'a, 'm> {
    pub message: &'m mut Message,
    pub cut_short: CutShort,
    /// The owner that was entered last: records of an rrset repeat it.
    last: Option<(&'a str, u32)>,
}

impl<'a, 'm> Filler<'a, 'm> {
    /// Begin a message with one question, or none where the log does not tell it.
    ///
    /// # Errors
    /// [`Malformed::BadField`] when the name is none.
    pub fn new(message: &'m mut Message, qname: Option<&'a str>, qtype: Option<&str>) -> Result<Self, Malformed> {
        message.clear();
        message.n_questions = 1;
        let mut filler = Filler::more(message);
        if let Some(qname) = qname {
            filler.ask(qname, qtype)?;
        }
        Ok(filler)
    }

    /// Note the question; one of an unknown type is none.
    ///
    /// # Errors
    /// [`Malformed::BadField`] when the name is none.
    pub fn ask(&mut self, qname: &'a str, qtype: Option<&str>) -> Result<(), Malformed> {
        let index = self.name(qname)?;
        self.message.question = qtype.and_then(logged_type).map(|qtype| (index, qtype));
        Ok(())
    }

    /// Go on with a message that was begun.
    pub fn more(message: &'m mut Message) -> Self {
        Filler { message, cut_short: CutShort::default(), last: None }
    }

    fn name(&mut self, text: &'a str) -> Result<u32, Malformed> {
        if let Some((last, index)) = self.last
            && last == text
        {
            return Ok(index);
        }
        let index = add_name(self.message, text)?;
        self.last = Some((text, index));
        Ok(index)
    }

    /// Enter a record, or count it as cut short.
    ///
    /// # Errors
    /// [`Malformed::BadField`] when an owner, an address, a TTL or a name is none.
    pub fn record(&mut self, logged: &Logged<'a, '_>) -> Result<(), Malformed> {
        let Logged { section, rdtype, ttl, .. } = *logged;
        let code = logged_type(rdtype);
        let (Some(rdtype), Some(text)) = (code, logged.rdata) else {
            self.cut_short.add(section, code);
            return Ok(());
        };
        let ttl = u32::try_from(ttl).map_err(|_| Malformed::BadField)?;
        let owner = self.name(logged.owner)?;
        match whole_rdata(self.message, rdtype, text)? {
            Some(rdata) => self.message.records.push(Record { section, owner, rdtype, ttl, rdata }),
            None => self.cut_short.add(section, code),
        }
        Ok(())
    }
}

/// A type's mnemonic, or its bare number.
pub fn logged_type(text: &str) -> Option<u16> {
    rdtype_code(text).or_else(|| text.parse().ok())
}

/// Hand over the message that was filled last, without the records that were `lost`.
///
/// A response whose answers are missing is no failure to answer: it then tells nothing about its
/// question, instead of the wrong thing ("no data").
pub fn deliver<S: Sink>(desk: &mut Desk<'_, S>, seen: &Seen<'_>, lost: CutShort, place: u64) {
    let answered = desk.message.records.iter().any(|record| record.section == Section::Answer);
    if lost.hides_answer && !answered && desk.message.rcode == 0 {
        desk.message.question = None;
    }
    desk.deliver(seen, place);
    if lost.count > 0 {
        desk.report.left_out(CUT_SHORT, lost.count, place);
    }
}

/// Rdata that a log gives whole, `None` where the form of its type loses something in logs: strings
/// without their borders (TXT), parameters that each tool writes its own way (SVCB).
///
/// # Errors
/// [`Malformed::BadField`] when an address or a name is none.
pub fn whole_rdata(message: &mut Message, rdtype: u16, text: &str) -> Result<Option<Rdata>, Malformed> {
    match rdtype {
        rdtype::A | rdtype::AAAA => rdata_from_text(message, rdtype, text).map(Some),
        _ if rdtype::is_name_type(rdtype) => add_name(message, text).map(|name| Some(Rdata::Name(name))),
        rdtype::MX | rdtype::SRV | rdtype::SOA => {
            Ok(rdata::parse(rdtype, text).map(|bytes| Rdata::Bytes(message.add_bytes(&bytes))))
        }
        _ => Ok(None),
    }
}

/// A name as tools write it that know no RFC 1035 escapes: `\xHH` is a byte, any other backslash
/// is itself.
fn add_name(message: &mut Message, text: &str) -> Result<u32, Malformed> {
    if !text.contains('\\') {
        return message.add_name(text);
    }
    message.add_name(&escaped(text))
}

/// The same name with RFC 1035 escapes (`\DDD`), where it has some already: those.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(place) = rest.find('\\') {
        let (before, tail) = rest.split_at(place);
        out.push_str(before);
        let code = tail.get(2..4).filter(|_| tail.as_bytes()[1] == b'x');
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                out.push_str(&format!("\\{code:03}"));
                rest = &tail[4..];
            }
            None if is_escape(tail) => {
                out.push_str(&tail[..2]);
                rest = &tail[2..];
            }
            None => {
                out.push_str("\\\\");
                rest = &tail[1..];
            }
        }
    }
    out + rest
}

/// `\DDD`, or a backslash before something that needs one.
fn is_escape(tail: &str) -> bool {
    let bytes = tail.as_bytes();
    let digits = bytes.get(1..4).is_some_and(|digits| digits.iter().all(u8::is_ascii_digit));
    digits || bytes.get(1).is_some_and(|byte| b"\\.\"();@$".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_of_logs_become_bytes() {
        let mut message = Message::default();
        for (text, wire) in [
            ("a\\xff.test", &b"\x02a\xff\x04test\0"[..]),
            ("a\\b", b"\x03a\\b\0"),
            ("a\\.b\\009\\\\c", b"\x06a.b\x09\\c\0"),
        ] {
            let index = add_name(&mut message, text).unwrap();
            assert_eq!(message.name(index), wire, "{text}");
        }
    }

    #[test]
    fn what_a_log_cuts_short_is_counted() {
        let mut message = Message::default();
        let mut filler = Filler::new(&mut message, Some("a.test"), Some("MX")).unwrap();
        for (rdtype, rdata) in [
            ("MX", Some("mx.a.test")),
            ("MX", Some("10 mx.a.test")),
            ("TXT", Some("a b")),
            ("HTTPS", None),
            ("ND", None),
        ] {
            let logged = Logged { section: Section::Answer, owner: "a.test", rdtype, ttl: 5, rdata };
            filler.record(&logged).unwrap();
        }
        assert_eq!(filler.cut_short, CutShort { count: 4, hides_answer: true });
        assert_eq!(message.records.len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_refused(text in "\\PC*") {
            let _ = add_name(&mut Message::default(), &text);
            let _ = add_name(&mut Message::default(), &text.replace('a', "\\x"));
        }
    }
}
