//! Line by line through text files, and times and addresses as text.

use std::net::{IpAddr, Ipv6Addr};

use memchr::{memchr, memrchr};

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
}

/// A line format that `S` can take in.
pub trait TakeLine<S>: LineFormat {
    /// Take in one line that is neither blank nor a header, and enter it in the books if all is well.
    ///
    /// # Errors
    /// What is wrong with it.
    fn line(&mut self, text: &str, number: u64, desk: &mut Desk<'_, S>) -> Result<(), Malformed>;
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
            Some(end) => end + 1,
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
    }
}

/// IPv4 as it is, not as the mapped IPv6 address it is kept as.
pub fn address(address: &Address) -> String {
    Ipv6Addr::from(*address).to_canonical().to_string()
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

/// Decimal seconds (or milliseconds, which the caller tells apart) since the epoch, digit by digit
/// to microseconds: no rounding on the way.
pub fn parse_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 18 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) || whole.starts_with(['-', '+']) {
        return None;
    }
    let micros = format!("{fraction:0<6}");
    whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros[..6].parse().ok()?)
}

/// `2018-03-24T17:15:20.865716Z`, or the same without fraction, to microseconds.
pub fn parse_iso8601(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z').unwrap_or(text).split_once(['T', ' '])?;
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
    let second = parse_seconds(parts.next()?)?;
    let sane = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && second <= 60_999_999
        && (1900..10_000).contains(&year);
    // Checked first: the arithmetic below must not meet a year that somebody made up.
    sane.then(|| ((days_from_civil(year, month, day) * 24 + hour) * 3600 + minute * 60) * 1_000_000 + second)
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
    }

    proptest! {
        #[test]
        fn any_time_is_read_or_refused(parts in prop::collection::vec("[0-9]{1,19}", 6), fraction in "[0-9]{0,20}") {
            let [year, month, day, hour, minute, second] = &parts[..] else { unreachable!() };
            let _ = parse_iso8601(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}.{fraction}Z"));
            let _ = parse_iso8601(&format!("{year}-03-24T17:15:{second}Z"));
            let _ = parse_seconds(&format!("{year}.{fraction}")).and_then(in_calendar);
        }
    }

    #[test]
    fn addresses_go_both_ways() {
        for text in ["198.18.0.1", "2001:db8::1"] {
            assert_eq!(address(&parse_address(text).unwrap()), text);
        }
        assert_eq!(parse_address("198.18.0.256"), None);
    }
}
