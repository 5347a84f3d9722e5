//! Line by line through text files, and times and addresses as text.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Deref;

use memchr::{memchr, memrchr};
use serde::Deserialize;

use crate::chunks::{Broken, Framing, Records};
use crate::link::Address;
use crate::report::{Malformed, Skip};
use crate::source::Desk;

/// Longest line that is read; a longer one is counted as malformed and passed over.
pub const MAX_LINE: usize = 4 << 20;

/// A format of one record a line.
pub trait LineFormat: Clone + Send {
    /// What begins a line that says something about the lines behind it (`#` in Zeek's logs).
    const HEADER: Option<u8> = None;

    fn learn(&mut self, _header: &str) {}

    /// How many of `bytes`, which are whole lines, may be read by themselves: for formats in which
    /// several lines make one response. What is left waits for more, so 0 is not for long lines.
    fn whole(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

/// A line format that `S` can take in.
pub trait TakeLine<S>: LineFormat {
    /// Take in one line that is neither blank nor a header, and enter it in the books if all is well.
    ///
    /// # Errors
    /// What is wrong with it.
    fn line(&mut self, text: &str, number: u64, desk: &mut Desk<'_, S>) -> Result<(), Malformed>;

    /// No line follows that belongs to those before: hand over what was put together from several.
    fn end(&mut self, _desk: &mut Desk<'_, S>) {}
}

/// A JSON string, borrowed from the line unless it has escapes in it.
///
/// Serde borrows a `Cow` only where it is a field by itself: inside an `Option` or a `Vec` it would
/// be copied, which costs one allocation a field.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Word<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Word<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Lines as records of a file; places are line numbers from 1.
#[derive(Clone)]
pub struct Lines<L> {
    format: L,
    /// Lines before this place.
    before: u64,
    /// In the middle of a line that is too long.
    skipping: bool,
}

impl<L: LineFormat> Lines<L> {
    pub fn new(format: L) -> Self {
        Lines { format, before: 0, skipping: false }
    }

    /// Walk over the lines of `bytes`: each is learned from if it is a header, and given to `each`.
    fn walk(&mut self, bytes: &[u8], mut each: impl FnMut(&mut L, &[u8], u64)) {
        let mut at = 0;
        while at < bytes.len() {
            let end = memchr(b'\n', &bytes[at..]);
            let line = &bytes[at..end.map_or(bytes.len(), |end| at + end)];
            at += line.len() + 1;
            if std::mem::replace(&mut self.skipping, end.is_none() && line.len() > MAX_LINE) {
                if end.is_none() {
                    self.skipping = true;
                }
                continue; // its beginning was counted
            }
            self.before += 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            each(&mut self.format, line, self.before);
        }
    }

    fn learn(format: &mut L, line: &[u8]) -> bool {
        let is_header = line.first().is_some_and(|first| Some(*first) == L::HEADER);
        if is_header && let Ok(text) = std::str::from_utf8(line) {
            format.learn(text);
        }
        is_header
    }
}

impl<L: LineFormat> Framing for Lines<L> {
    fn cut(&mut self, bytes: &[u8], last: bool) -> Result<usize, Broken> {
        let end = match memrchr(b'\n', bytes) {
            Some(end) if last => end + 1,
            Some(end) => self.format.whole(&bytes[..=end]),
            None if last || bytes.len() > MAX_LINE => bytes.len(),
            None => 0,
        };
        self.walk(&bytes[..end], |format, line, _| {
            Self::learn(format, line);
        });
        Ok(end)
    }

    fn place(&self, _byte: u64) -> u64 {
        self.before + 1
    }
}

impl<S, L: TakeLine<S>> Records<S> for Lines<L> {
    fn read(&mut self, bytes: &[u8], _place: u64, desk: &mut Desk<'_, S>) {
        self.walk(bytes, |format, line, number| {
            let outcome = if line.len() > MAX_LINE {
                Err(Malformed::RecordLength)
            } else if Self::learn(format, line) {
                desk.report.skip(Skip::Comment, number);
                Ok(())
            } else {
                match std::str::from_utf8(line) {
                    Ok(text) if text.trim().is_empty() => {
                        desk.report.skip(Skip::Comment, number);
                        Ok(())
                    }
                    Ok(text) => format.line(text, number, desk),
                    Err(_) => Err(Malformed::NotUtf8),
                }
            };
            if let Err(kind) = outcome {
                desk.report.malformed(kind, number);
            }
        });
        self.format.end(desk);
    }
}

/// IPv4 as it is, not as the mapped IPv6 address it is kept as.
pub fn address(address: &Address) -> String {
    Ipv6Addr::from(*address).to_canonical().to_string()
}

/// Is it an IPv4 address in its mapped form?
pub fn is_ipv4(address: &Address) -> bool {
    address.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF])
}

pub fn parse_address(text: &str) -> Option<Address> {
    Some(match text.parse().ok()? {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    })
}

/// A time between 1970 and the year 9999, which is what every tool downstream can show.
pub fn in_calendar(time_us: i64) -> Option<i64> {
    const YEAR_10000_US: i64 = 253_402_300_800_000_000;
    Some(time_us).filter(|time_us| (0..YEAR_10000_US).contains(time_us))
}

/// Digits alone, of a number that fits.
fn number(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 18 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.bytes().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// Decimal seconds (or milliseconds, which the caller tells apart) since the epoch, digit by digit
/// to microseconds: no rounding on the way.
pub fn parse_seconds(text: &str) -> Option<i64> {
    let Some(dot) = memchr(b'.', text.as_bytes()) else { return number(text)?.checked_mul(1_000_000) };
    let fraction = &text[dot + 1..];
    let micros = if fraction.is_empty() {
        0
    } else {
        number(fraction)?; // digits alone, so that cutting them is safe
        let kept = &fraction[..fraction.len().min(6)];
        number(kept)? * 10_i64.pow(6 - kept.len() as u32)
    };
    number(&text[..dot])?.checked_mul(1_000_000)?.checked_add(micros)
}

/// `2018-03-24T17:15:20.865716Z` to microseconds; also without fraction, and with an offset from
/// UTC (`+0200`, `-03:30`). A time that names no zone is taken as UTC.
pub fn parse_iso8601(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let (time, offset_minutes) = split_offset(time)?;
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    let second = parse_seconds(parts.next()?)?;
    let sane = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && second <= 60_999_999
        && (1900..10_000).contains(&year);
    // Checked first: the arithmetic below must not meet a year that somebody made up.
    sane.then(|| {
        let minutes = (days_from_civil(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
        minutes * 60_000_000 + second
    })
}

/// A time of day and the minutes by which its zone is ahead of UTC.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(place) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (time, zone) = time.split_at(place);
    let (sign, zone) = (if zone.starts_with('-') { -1 } else { 1 }, &zone[1..]);
    let (hours, minutes) = match zone.split_once(':') {
        Some(parts) => parts,
        None => zone.split_at_checked(2)?,
    };
    let minutes = if minutes.is_empty() { 0 } else { number(minutes)? };
    let hours = number(hours).filter(|hours| *hours < 24 && minutes < 60)?;
    Some((time, sign * (hours * 60 + minutes)))
}

/// Days since 1970-01-01 in the Gregorian calendar (H. Hinnant, `chrono`-compatible algorithms).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_exact_to_the_microsecond() {
        assert_eq!(parse_seconds("1521911720.865716"), Some(1_521_911_720_865_716));
        assert_eq!(parse_seconds("1521911720.8"), Some(1_521_911_720_800_000));
        assert_eq!(parse_seconds("1521911720"), Some(1_521_911_720_000_000));
        assert_eq!(parse_seconds("1e9"), None);
        assert_eq!(parse_iso8601("2018-03-24T17:15:20.865716Z"), Some(1_521_911_720_865_716));
        assert_eq!(parse_iso8601("2018-13-24T17:15:20Z"), None);
        for (text, expected) in [("+0200", -120), ("-03:30", 210), ("+00:00", 0), ("", 0), ("-05", 300)] {
            let ahead = parse_iso8601(&format!("2018-03-24T17:15:20.865716{text}"));
            assert_eq!(ahead, Some(1_521_911_720_865_716 + expected * 60_000_000), "{text}");
        }
        assert_eq!(parse_iso8601("2018-03-24T17:15:20+2"), None);
        assert_eq!(parse_seconds("1."), Some(1_000_000));
        assert_eq!(parse_seconds("1.1234567"), Some(1_123_456));
        assert_eq!((parse_seconds("1.+2"), parse_seconds("+1.2"), parse_seconds("")), (None, None, None));
    }

    proptest! {
        #[test]
        fn any_time_is_read_or_refused(parts in prop::collection::vec("[0-9]{1,19}", 6), fraction in "[0-9]{0,20}") {
            let [year, month, day, hour, minute, second] = &parts[..] else { unreachable!() };
            let _ = parse_iso8601(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}.{fraction}Z"));
            let _ = parse_iso8601(&format!("{year}-03-24T17:15:{second}Z"));
            let _ = parse_iso8601(&format!("2026-03-24T17:15:20+{hour}:{minute}"));
            let _ = parse_iso8601(&format!("2026-03-24T17:15:20-{year}"));
            let _ = parse_seconds(&format!("{year}.{fraction}")).and_then(in_calendar);
        }

        #[test]
        fn any_text_is_a_time_or_refused(text in "\\PC*", tail in "\\PC{0,9}") {
            for text in [text, format!("1.{tail}"), format!("2026-09-21T14:13:20{tail}"), format!("2026{tail}-1T1:1:1")] {
                let _ = (parse_seconds(&text), parse_iso8601(&text));
            }
        }
    }

    #[test]
    fn words_are_borrowed_unless_they_have_escapes() {
        #[derive(Deserialize)]
        struct Row<'a> {
            #[serde(borrow)]
            plain: Option<Word<'a>>,
            #[serde(borrow)]
            list: Vec<Word<'a>>,
        }
        let row: Row<'_> = serde_json::from_str(r#"{"plain":"a.test","list":["b","c\u0064"]}"#).unwrap();
        assert!(matches!(row.plain, Some(Word(Cow::Borrowed("a.test")))));
        assert!(matches!(&row.list[..], [Word(Cow::Borrowed("b")), Word(Cow::Owned(text))] if text == "cd"));
    }

    #[test]
    fn addresses_go_both_ways() {
        for text in ["198.18.0.1", "2001:db8::1"] {
            assert_eq!(address(&parse_address(text).unwrap()), text);
        }
        assert_eq!(parse_address("198.18.0.256"), None);
    }
}
