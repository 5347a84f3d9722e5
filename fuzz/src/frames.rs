//! A live dnstap stream, arriving in pieces: the same steps as if it came at once, bounded waiting.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unflux_core::frames::{Conversation, Fault, MAX_FRAME, Step};

/// What the reader took and said, and why it hung up. Bytes come `piece` at a time.
fn run(bytes: &[u8], piece: usize) -> (u64, Vec<u8>, Option<Fault>, bool) {
    let (mut conversation, mut frames, mut replies) = (Conversation::default(), 0, Vec::new());
    let (mut taken, mut come) = (0, 0);
    loop {
        match conversation.step(&bytes[taken..come]) {
            Ok(Step::Data { bytes, frames: more }) => {
                assert!(bytes > 4 && more > 0 && taken + bytes <= come);
                (taken, frames) = (taken + bytes, frames + more);
            }
            Ok(Step::Control { bytes, reply }) => {
                assert!(bytes >= 12 && taken + bytes <= come);
                taken += bytes;
                replies.extend(reply);
            }
            Ok(Step::End { reply }) => {
                replies.extend(reply);
                return (frames, replies, None, true);
            }
            Ok(Step::Wait) => {
                assert!(come - taken < MAX_FRAME + 4);
                if come == bytes.len() {
                    return (frames, replies, None, false);
                }
                come = (come + piece).min(bytes.len());
            }
            Err(fault) => return (frames, replies, Some(fault), false),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else {
        return;
    };
    let whole = run(stream, stream.len().max(1));
    assert_eq!(whole, run(stream, usize::from(*size).max(1)));
    assert!(whole.1.len() <= 12 * (stream.len() + 8));
});
