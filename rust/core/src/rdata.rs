//! Rdata: canonical bytes (names inside decompressed and in lower case), and presentation form.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::message::{be16, be32};
use crate::name;
use crate::rdtype::{AAAA, HTTPS, MX, SOA, SRV, SVCB, TXT};
use crate::report::Malformed;

const SPF: u16 = 99;

/// Where the names are in rdata that holds some: fixed bytes, names, then bytes of a known or
/// open number. Only the types of RFC 1035 and a few old ones may compress (RFC 3597 §4).
struct Layout {
    head: usize,
    names: usize,
    tail: Tail,
}

enum Tail {
    Exactly(usize),
    Any,
}

fn layout(rdtype: u16) -> Option<Layout> {
    let (head, names, tail) = match rdtype {
        SOA => (0, 2, Tail::Exactly(20)),
        7..=9 => (0, 1, Tail::Exactly(0)),        // MB, MG, MR
        14 | 17 => (0, 2, Tail::Exactly(0)),      // MINFO, RP
        MX | 18 | 36 => (2, 1, Tail::Exactly(0)), // MX, AFSDB, KX
        SRV => (6, 1, Tail::Exactly(0)),
        SVCB | HTTPS => (2, 1, Tail::Any),
        _ => return None,
    };
    Some(Layout { head, names, tail })
}

/// Append the canonical form of `wire[start..end]` to `out`.
///
/// # Errors
/// [`Malformed::RdataLength`] when the rdata is shorter or longer than its type says.
pub fn canonical(wire: &[u8], rdtype: u16, start: usize, end: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let Some(Layout { head, names, tail }) = layout(rdtype) else {
        check(rdtype, &wire[start..end])?;
        out.extend_from_slice(&wire[start..end]);
        return Ok(());
    };
    if start + head > end {
        return Err(Malformed::RdataLength);
    }
    out.extend_from_slice(&wire[start..start + head]);
    let mut at = start + head;
    for _ in 0..names {
        at = name::read(&wire[..end], at, out).map_err(|kind| match kind {
            Malformed::ShortMessage => Malformed::NameOverrun,
            other => other,
        })?;
    }
    let rest = end.checked_sub(at).ok_or(Malformed::RdataLength)?;
    if let Tail::Exactly(expected) = tail
        && rest != expected
    {
        return Err(Malformed::RdataLength);
    }
    out.extend_from_slice(&wire[at..end]);
    if matches!(rdtype, SVCB | HTTPS) {
        check_params(&wire[at..end])?;
    }
    Ok(())
}

/// Types whose presentation needs a shape of their own must have it.
fn check(rdtype: u16, bytes: &[u8]) -> Result<(), Malformed> {
    let good = match rdtype {
        AAAA => bytes.len() == 16,
        TXT | SPF => !bytes.is_empty() && Strings(bytes).all(|piece| piece.is_some()),
        _ => true,
    };
    if good { Ok(()) } else { Err(Malformed::RdataLength) }
}

fn check_params(bytes: &[u8]) -> Result<(), Malformed> {
    if Params(bytes).all(|param| param.is_some_and(|(key, value)| param_is_sound(key, value))) {
        Ok(())
    } else {
        Err(Malformed::RdataLength)
    }
}

fn param_is_sound(key: u16, value: &[u8]) -> bool {
    match key {
        0 => !value.is_empty() && value.len().is_multiple_of(2),
        1 => !value.is_empty() && Strings(value).all(|piece| piece.is_some_and(|id| !id.is_empty())),
        2 => value.is_empty(),
        3 => value.len() == 2,
        4 => !value.is_empty() && value.len().is_multiple_of(4),
        6 => !value.is_empty() && value.len().is_multiple_of(16),
        _ => true,
    }
}

/// Length-prefixed strings; `None` once when the last one is cut.
struct Strings<'a>(&'a [u8]);

impl<'a> Iterator for Strings<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&length, rest) = self.0.split_first()?;
        let piece = rest.get(..usize::from(length));
        self.0 = rest.get(usize::from(length)..).unwrap_or_default();
        Some(piece)
    }
}

/// SvcParams of RFC 9460 §2.2 as (key, value); `None` once when the last one is cut.
struct Params<'a>(&'a [u8]);

impl<'a> Iterator for Params<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let (Some(key), Some(length)) = (be16(bytes, 0), be16(bytes, 2)) else {
            return Some(None);
        };
        let value = bytes.get(4..4 + usize::from(length));
        self.0 = bytes.get(4 + usize::from(length)..).unwrap_or_default();
        Some(value.map(|value| (key, value)))
    }
}

/// Canonical bytes from presentation form, for the types that hold numbers, names and strings.
///
/// `None` when the type is another one, or the text is none of it: the caller keeps the text.
pub fn parse(rdtype: u16, text: &str) -> Option<Vec<u8>> {
    if let Some(generic) = text.strip_prefix("\\# ") {
        return parse_generic(generic).filter(|bytes| canonical_again(rdtype, bytes));
    }
    match rdtype {
        TXT | SPF => parse_strings(text),
        SVCB | HTTPS => parse_service(rdtype, text),
        _ => parse_layout(&layout(rdtype)?, text),
    }
}

/// Bytes that come with the `\#` form may still be wrong for their type.
fn canonical_again(rdtype: u16, bytes: &[u8]) -> bool {
    let mut again = Vec::with_capacity(bytes.len());
    canonical(bytes, rdtype, 0, bytes.len(), &mut again).is_ok() && again == bytes
}

fn parse_generic(text: &str) -> Option<Vec<u8>> {
    let (length, digits) = text.split_once(' ').unwrap_or((text, ""));
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes: Option<Vec<u8>> =
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    bytes.filter(|bytes| length.parse() == Ok(bytes.len()) && digits.len().is_multiple_of(2))
}

fn parse_layout(layout: &Layout, text: &str) -> Option<Vec<u8>> {
    let mut words = text.split_ascii_whitespace();
    let mut out = Vec::new();
    for _ in 0..layout.head / 2 {
        out.extend(words.next()?.parse::<u16>().ok()?.to_be_bytes());
    }
    for _ in 0..layout.names {
        name::parse(words.next()?, &mut out).ok()?;
    }
    if let Tail::Exactly(length) = layout.tail {
        for _ in 0..length / 4 {
            out.extend(words.next()?.parse::<u32>().ok()?.to_be_bytes());
        }
    }
    words.next().is_none().then_some(out)
}

/// A service binding (RFC 9460 §2.1). What does not read back as the same text (ECH, escapes inside
/// escapes) is left to the caller as text.
fn parse_service(rdtype: u16, text: &str) -> Option<Vec<u8>> {
    let mut words = text.split(' ');
    let mut out = words.next()?.parse::<u16>().ok()?.to_be_bytes().to_vec();
    name::parse(words.next()?, &mut out).ok()?;
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let key = param_key(key)?;
        let value = parse_param(key, value.trim_matches('"'))?;
        out.extend(key.to_be_bytes());
        out.extend(u16::try_from(value.len()).ok()?.to_be_bytes());
        out.extend(value);
    }
    let mut again = String::new();
    present(rdtype, &out, &mut again);
    (again == text && canonical_again(rdtype, &out)).then_some(out)
}

fn param_key(name: &str) -> Option<u16> {
    match PARAM_NAMES.iter().position(|known| *known == name) {
        Some(key) => Some(key as u16),
        None => name.strip_prefix("key")?.parse().ok(),
    }
}

fn parse_param(key: u16, value: &str) -> Option<Vec<u8>> {
    let list = || value.split(',').filter(|part| !part.is_empty());
    let mut out = Vec::new();
    match key {
        0 => {
            for part in list() {
                out.extend(param_key(part)?.to_be_bytes());
            }
        }
        1 => list().try_for_each(|part| {
            out.push(u8::try_from(part.len()).ok()?);
            out.extend(part.bytes());
            Some(())
        })?,
        3 if !value.is_empty() => out.extend(value.parse::<u16>().ok()?.to_be_bytes()),
        4 => {
            for part in list() {
                out.extend(part.parse::<Ipv4Addr>().ok()?.octets());
            }
        }
        6 => {
            for part in list() {
                out.extend(part.parse::<Ipv6Addr>().ok()?.octets());
            }
        }
        _ => out.extend(value.bytes()),
    }
    Some(out)
}

/// `"one" "two"`, with escapes; bare words are taken as strings too.
fn parse_strings(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b' ' {
            continue;
        }
        let quoted = byte == b'"';
        let mut piece = Vec::new();
        let mut next = if quoted { bytes.next() } else { Some(byte) };
        while let Some(byte) = next.filter(|byte| if quoted { *byte != b'"' } else { *byte != b' ' }) {
            piece.push(if byte == b'\\' { name::unescape(&mut bytes).ok()? } else { byte });
            next = bytes.next();
        }
        if quoted && next.is_none() {
            return None;
        }
        out.push(u8::try_from(piece.len()).ok()?);
        out.extend(piece);
    }
    (!out.is_empty()).then_some(out)
}

pub fn present_a(address: u32, out: &mut String) {
    // Millions of them are written into the dictionary: the formatting machinery costs more than the digits.
    for (place, byte) in address.to_be_bytes().into_iter().enumerate() {
        if place > 0 {
            out.push('.');
        }
        if byte >= 100 {
            out.push(char::from(b'0' + byte / 100));
        }
        if byte >= 10 {
            out.push(char::from(b'0' + byte / 10 % 10));
        }
        out.push(char::from(b'0' + byte % 10));
    }
}

/// Append the presentation form of canonical bytes; unknown types as `\# length hex` (RFC 3597).
pub fn present(rdtype: u16, bytes: &[u8], out: &mut String) {
    if present_known(rdtype, bytes, out).is_none() {
        let _ = write!(out, "\\# {}", bytes.len());
        if !bytes.is_empty() {
            out.push(' ');
        }
        for byte in bytes {
            let _ = write!(out, "{byte:02x}");
        }
    }
}

fn present_known(rdtype: u16, bytes: &[u8], out: &mut String) -> Option<()> {
    match rdtype {
        AAAA => {
            let octets: [u8; 16] = bytes.try_into().ok()?;
            let _ = write!(out, "{}", Ipv6Addr::from(octets));
        }
        TXT | SPF => present_strings(bytes, out),
        _ => {
            let Layout { head, names, .. } = layout(rdtype)?;
            let start = out.len();
            for at in (0..head).step_by(2) {
                let _ = write!(out, "{} ", be16(bytes, at)?);
            }
            let mut rest = bytes.get(head..)?;
            for _ in 0..names {
                let (owner, tail) = split_name(rest)?;
                name::present(owner, out);
                out.push(' ');
                rest = tail;
            }
            present_tail(rdtype, rest, out)?;
            let trimmed = out.trim_end().len().max(start);
            out.truncate(trimmed);
        }
    }
    Some(())
}

fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(bytes.split_at(at));
        }
    }
}

fn present_tail(rdtype: u16, rest: &[u8], out: &mut String) -> Option<()> {
    match rdtype {
        SOA => (0..20).step_by(4).try_for_each(|at| {
            let _ = write!(out, "{} ", be32(rest, at)?);
            Some(())
        }),
        SVCB | HTTPS => Params(rest).try_for_each(|param| {
            let (key, value) = param?;
            present_param(key, value, out);
            out.push(' ');
            Some(())
        }),
        _ => Some(()),
    }
}

fn present_strings(bytes: &[u8], out: &mut String) {
    for (index, piece) in Strings(bytes).flatten().enumerate() {
        out.push_str(if index == 0 { "\"" } else { " \"" });
        quoted(piece, out);
        out.push('"');
    }
}

/// As [`name::escape`], but a space needs no escape between quotes.
fn quoted(bytes: &[u8], out: &mut String) {
    for part in bytes.split_inclusive(|byte| *byte == b' ') {
        let (body, space) = match part.split_last() {
            Some((b' ', body)) => (body, " "),
            _ => (part, ""),
        };
        name::escape(body, b"\"\\", out);
        out.push_str(space);
    }
}

const PARAM_NAMES: [&str; 7] = ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint"];

fn param_name(key: u16) -> String {
    PARAM_NAMES.get(usize::from(key)).map_or_else(|| format!("key{key}"), |name| (*name).to_owned())
}

fn present_param(key: u16, value: &[u8], out: &mut String) {
    out.push_str(&param_name(key));
    if value.is_empty() {
        return;
    }
    out.push('=');
    let list: Vec<String> = match key {
        0 => value.chunks(2).filter_map(|pair| be16(pair, 0)).map(param_name).collect(),
        3 => be16(value, 0).iter().map(u16::to_string).collect(),
        4 => value.chunks(4).filter_map(|part| be32(part, 0)).map(|a| Ipv4Addr::from(a).to_string()).collect(),
        6 => value
            .chunks(16)
            .filter_map(|part| part.try_into().ok())
            .map(|octets: [u8; 16]| Ipv6Addr::from(octets).to_string())
            .collect(),
        _ => Vec::new(),
    };
    match key {
        1 => present_alpn(value, out),
        5 => base64(value, out),
        _ if !list.is_empty() => out.push_str(&list.join(",")),
        _ => {
            out.push('"');
            quoted(value, out);
            out.push('"');
        }
    }
}

/// A comma or backslash inside an id is escaped twice (RFC 9460 appendix A.1).
fn present_alpn(value: &[u8], out: &mut String) {
    out.push('"');
    for (index, id) in Strings(value).flatten().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let mut inner = Vec::with_capacity(id.len());
        for &byte in id {
            if matches!(byte, b',' | b'\\') {
                inner.push(b'\\');
            }
            inner.push(byte);
        }
        quoted(&inner, out);
    }
    out.push('"');
}

fn base64(bytes: &[u8], out: &mut String) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(rdtype: u16, wire: &[u8]) -> Result<String, Malformed> {
        let mut canon = Vec::new();
        canonical(wire, rdtype, 0, wire.len(), &mut canon)?;
        let mut out = String::new();
        present(rdtype, &canon, &mut out);
        Ok(out)
    }

    #[test]
    fn service_bindings_are_read_back() {
        for text in [
            "1 . alpn=\"h2\" ipv4hint=198.18.0.1,198.18.0.2",
            "1 svc.test. mandatory=port alpn=\"h3,h2\" port=8443 ipv6hint=2001:db8::1",
            "0 other.test.",
            "16 . no-default-alpn key667=\"hello\"",
        ] {
            let bytes = parse(HTTPS, text).unwrap();
            let mut again = String::new();
            present(HTTPS, &bytes, &mut again);
            assert_eq!(again, text);
        }
        assert_eq!(parse(HTTPS, "1 . alpn=h2"), None); // another spelling: kept as it is
    }

    #[test]
    fn known_types_have_their_text() {
        assert_eq!(text(AAAA, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap(), "2001:db8::1");
        assert_eq!(text(MX, b"\0\x0A\x02mX\x01a\0").unwrap(), "10 mx.a.");
        assert_eq!(text(TXT, b"\x03a\"b\x02c ").unwrap(), "\"a\\\"b\" \"c \"");
        assert_eq!(text(SOA, &[&b"\x01a\0\x01b\0"[..], &[0, 0, 0, 7].repeat(5)].concat()).unwrap(), "a. b. 7 7 7 7 7");
        assert_eq!(
            text(HTTPS, b"\0\x01\0\0\x01\0\x06\x02h3\x02h2\0\x04\0\x04\xC6\x12\0\x01\0\x05\0\x02hi").unwrap(),
            "1 . alpn=\"h3,h2\" ipv4hint=198.18.0.1 ech=aGk="
        );
        assert_eq!(text(65280, b"\xAB\x01").unwrap(), "\\# 2 ab01");
        assert_eq!(text(65280, b"").unwrap(), "\\# 0");
    }

    #[test]
    fn a_wrong_length_is_named() {
        for (rdtype, wire) in [
            (AAAA, &b"123"[..]),
            (MX, b"\0"),
            (TXT, b"\x05ab"),
            (TXT, b""),
            (SOA, b"\0\0\0"),
            (HTTPS, b"\0\x01\0\0\x04\0\x03abc"),
        ] {
            assert_eq!(text(rdtype, wire), Err(Malformed::RdataLength), "type {rdtype}");
        }
        assert_eq!(text(MX, b"\0\x01\x05ab"), Err(Malformed::NameOverrun));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(rdtype in 1u16..70, wire in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut canon = Vec::new();
            if canonical(&wire, rdtype, 0, wire.len(), &mut canon).is_ok() {
                let mut shown = String::new();
                present(rdtype, &canon, &mut shown);
                if let Some(again) = parse(rdtype, &shown) {
                    prop_assert_eq!(again, canon);
                }
            }
        }

        #[test]
        fn any_rdata_is_shown_or_refused(rdtype in 0u16..70, wire in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(shown) = text(rdtype, &wire) {
                prop_assert!(shown.chars().all(|c| (' '..='~').contains(&c)));
            }
        }
    }
}
