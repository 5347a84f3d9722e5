//! Line by line through text files, plain or gzip, and addresses as text.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use crate::link::Address;
use crate::report::{Malformed, Report, Skip};

/// Longest line that is read; a longer one is counted as malformed and passed over.
pub const MAX_LINE: usize = 4 << 20;

/// Seen from outside while a file is read: how far it is, and whether to stop.
#[derive(Default)]
pub struct Progress {
    /// Bytes of the input files consumed so far, compressed ones as stored.
    pub bytes: AtomicU64,
    pub cancel: AtomicBool,
}

impl Progress {
    pub fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    pub fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A file whose reads are counted in [`Progress`].
pub struct Counted<'a> {
    file: File,
    progress: &'a Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.progress.advance(n as u64);
        Ok(n)
    }
}

/// One line, or what stands in its place.
pub enum Line<'a> {
    Text(&'a [u8]),
    /// Over [`MAX_LINE`] bytes.
    TooLong,
}

/// Lines of a plain or gzip file.
pub struct Lines<'a> {
    reader: Box<dyn BufRead + 'a>,
    buffer: Vec<u8>,
    /// Number of the line read last, from 1.
    pub number: u64,
}

impl<'a> Lines<'a> {
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn open(path: &std::path::Path, progress: &'a Progress) -> io::Result<Self> {
        let mut source = BufReader::with_capacity(1 << 18, Counted { file: File::open(path)?, progress });
        let gzip = source.fill_buf()?.starts_with(&[0x1F, 0x8B]);
        let reader: Box<dyn BufRead + 'a> = if gzip {
            Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(source)))
        } else {
            Box::new(source)
        };
        Ok(Lines { reader, buffer: Vec::new(), number: 0 })
    }

    /// The next line without its end, `None` at the end of the file.
    ///
    /// # Errors
    /// When reading or unpacking fails (a cut gzip file, for instance).
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let n = (&mut self.reader).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        if n == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.buffer.last() != Some(&b'\n') && n > MAX_LINE {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        Ok(Some(Line::Text(line.strip_suffix(b"\r").unwrap_or(line))))
    }
}

/// Hand every line of a text file to `take`, with its number; enter the rest in `report`.
///
/// # Errors
/// A sentence when the file cannot be read or unpacked; the lines before that place were taken.
pub fn each_line(
    path: &std::path::Path,
    progress: &Progress,
    report: &mut Report,
    mut take: impl FnMut(&str, u64, &mut Report) -> Result<(), Malformed>,
) -> Result<(), String> {
    let mut lines = Lines::open(path, progress).map_err(|error| error.to_string())?;
    while !progress.cancelled() {
        let number = lines.number + 1;
        let outcome = match lines.next_line().map_err(|error| error.to_string())? {
            None => break,
            Some(Line::TooLong) => Err(Malformed::RecordLength),
            Some(Line::Text(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) if text.trim().is_empty() => {
                    report.skip(Skip::Comment, number);
                    Ok(())
                }
                Ok(text) => take(text, number, report),
                Err(_) => Err(Malformed::NotUtf8),
            },
        };
        if let Err(kind) = outcome {
            report.malformed(kind, number);
        }
    }
    Ok(())
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
