//! Domain names: from wire (or text) to lower-case wire form, and to presentation form.
//!
//! Inside the core a name is its uncompressed wire form in lower case (RFC 4343), which makes
//! 0x20-mixed queries equal and comparison a byte comparison. Text appears only at the edges.

use crate::report::Malformed;

/// Longest name on the wire, root label included (RFC 1035 §3.1).
pub const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// A legal name has at most 127 labels, so no honest name needs more jumps than that.
const MAX_JUMPS: usize = 127;

/// Append the lower-case wire form of the name at `pos` to `out`; returns where reading goes on.
///
/// `out` may hold a partial name after an error: callers drop it with the message.
///
/// # Errors
/// One [`Malformed`] kind for each way a name can be wrong. Pointers must go strictly backwards,
/// so a loop is impossible, and at most 127 of them are followed.
pub fn read(wire: &[u8], pos: usize, out: &mut Vec<u8>) -> Result<usize, Malformed> {
    let start = out.len();
    let (mut at, mut run) = (pos, pos); // labels from `run` on are not copied yet
    let mut floor = pos;
    let mut next = None;
    let mut jumps = 0;
    loop {
        let length = usize::from(*wire.get(at).ok_or(Malformed::ShortMessage)?);
        match length {
            0 => {
                out.extend_from_slice(&wire[run..=at]);
                out[start..].make_ascii_lowercase(); // length bytes are below b'A'
                return Ok(next.unwrap_or(at + 1));
            }
            1..=MAX_LABEL => {
                at += 1 + length;
                if at > wire.len() {
                    return Err(Malformed::ShortMessage);
                }
                if out.len() - start + (at - run) >= MAX_NAME {
                    return Err(Malformed::NameLength);
                }
            }
            0xC0.. => {
                let low = *wire.get(at + 1).ok_or(Malformed::ShortMessage)?;
                let target = (length & 0x3F) << 8 | usize::from(low);
                if target >= floor {
                    return Err(Malformed::PointerForward);
                }
                jumps += 1;
                if jumps > MAX_JUMPS {
                    return Err(Malformed::PointerLoop);
                }
                out.extend_from_slice(&wire[run..at]);
                next.get_or_insert(at + 2);
                floor = target;
                (at, run) = (target, target);
            }
            _ => return Err(Malformed::LabelType),
        }
    }
}

/// Append the presentation form of a wire name, absolute, with RFC 1035 §5.1 escapes.
pub fn present(wire: &[u8], out: &mut String) {
    if wire.len() <= 1 {
        out.push('.');
        return;
    }
    let mut rest = wire;
    while let Some((&length, tail)) = rest.split_first() {
        if length == 0 {
            break;
        }
        let (label, tail) = tail.split_at(usize::from(length).min(tail.len()));
        escape(label, b"\"().;\\@$", out);
        out.push('.');
        rest = tail;
    }
}

/// Append bytes as text: `special` ones behind a backslash, unprintable ones as `\DDD`.
pub fn escape(bytes: &[u8], special: &[u8], out: &mut String) {
    for &byte in bytes {
        if special.contains(&byte) {
            out.push('\\');
            out.push(char::from(byte));
        } else if (0x21..=0x7E).contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('\\');
            out.push_str(&format!("{byte:03}"));
        }
    }
}

/// Append the lower-case wire form of a name in text, with or without the final dot.
///
/// # Errors
/// [`Malformed::BadField`] when a label is empty or over 63 bytes, an escape is broken, or the
/// name is over 255 bytes.
pub fn parse(text: &str, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    if text != "." && !text.is_empty() {
        let mut label = start;
        out.push(0);
        let mut bytes = text.bytes();
        let mut open = true;
        while let Some(byte) = bytes.next() {
            if byte == b'.' {
                close_label(out, label)?;
                label = out.len();
                out.push(0);
                open = false;
                continue;
            }
            open = true;
            out.push(if byte == b'\\' { unescape(&mut bytes)? } else { byte });
        }
        if open {
            close_label(out, label)?;
        } else {
            out.truncate(label); // the final dot opened a label that is not there
        }
    }
    out.push(0);
    if out.len() - start > MAX_NAME {
        return Err(Malformed::BadField);
    }
    out[start..].make_ascii_lowercase();
    Ok(())
}

fn close_label(out: &mut [u8], label: usize) -> Result<(), Malformed> {
    let length = out.len() - label - 1;
    if length == 0 || length > MAX_LABEL {
        return Err(Malformed::BadField);
    }
    out[label] = length as u8;
    Ok(())
}

/// What stands behind a backslash: three digits, or a byte that means itself.
pub(crate) fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, Malformed> {
    let first = bytes.next().ok_or(Malformed::BadField)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(Malformed::BadField)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| Malformed::BadField)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(wire: &[u8]) -> String {
        let mut out = String::new();
        present(wire, &mut out);
        out
    }

    #[test]
    fn mixed_case_folds_and_escapes_are_kept() {
        let mut out = Vec::new();
        let end = read(b"\x03WwW\x04a.b\x01\x00", 0, &mut out).unwrap();
        assert_eq!(end, 10);
        assert_eq!(text(&out), "www.a\\.b\\001.");
    }

    #[test]
    fn pointers_go_backwards_only() {
        let mut out = Vec::new();
        assert_eq!(read(b"\xC0\x00", 0, &mut out), Err(Malformed::PointerForward));
        assert_eq!(read(b"\x01a\x00\xC0\x05\x00", 3, &mut out), Err(Malformed::PointerForward));
        out.clear();
        assert_eq!(read(b"\x01a\x00\x01b\xC0\x00", 3, &mut out), Ok(7));
        assert_eq!(text(&out), "b.a.");
    }

    #[test]
    fn a_chain_of_pointers_is_cut() {
        let mut wire = vec![0u8];
        wire.extend((0..200u16).flat_map(|i| (0xC000 | if i == 0 { 0 } else { 2 * i - 1 }).to_be_bytes()));
        let last = wire.len() - 2;
        assert_eq!(read(&wire, last, &mut Vec::new()), Err(Malformed::PointerLoop));
    }

    #[test]
    fn names_end_at_255_bytes() {
        let mut wire: Vec<u8> = (0..4).flat_map(|_| [&[63u8][..], &[b'a'; 63]].concat()).collect();
        wire.push(0);
        assert_eq!(read(&wire, 0, &mut Vec::new()), Err(Malformed::NameLength));
        wire.splice(192..256, [&[61u8][..], &[b'a'; 61]].concat());
        assert_eq!(read(&wire, 0, &mut Vec::new()), Ok(255));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(wire in prop::collection::vec(any::<u8>(), 0..300), pos in 0usize..300) {
            let mut out = Vec::new();
            if let Ok(next) = read(&wire, pos, &mut out) {
                prop_assert!(next <= wire.len() && out.len() <= MAX_NAME);
                let mut again = Vec::new();
                parse(&text(&out), &mut again).unwrap();
                prop_assert_eq!(out, again);
            }
        }
    }
}
