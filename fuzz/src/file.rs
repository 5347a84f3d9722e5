//! A file of any format, in chunks of two sizes: the same answers, the same books, all items counted.

#![no_main]

use std::hash::{DefaultHasher, Hash, Hasher};

use libfuzzer_sys::fuzz_target;
use unflux_core::formats::{Format, read_stream};
use unflux_core::input::Progress;
use unflux_core::message::Message;
use unflux_core::report::Report;
use unflux_core::source::{Options, Seen, Sink};

/// What came out, in its order.
#[derive(Default)]
struct Fingerprint(DefaultHasher);

impl Sink for Fingerprint {
    fn response(&mut self, message: &Message, seen: &Seen<'_>) {
        (
            seen.ts_us,
            seen.client,
            seen.server,
            seen.vantage.name(),
            seen.sensor,
        )
            .hash(&mut self.0);
        (message.arena(), message.records.len(), message.rcode).hash(&mut self.0);
    }
}

fn run(format: Format, bytes: &[u8], chunk: usize) -> (u64, String, bool) {
    let (options, progress) = (Options::default(), Progress::default());
    let (mut sink, mut report) = (Fingerprint::default(), Report::default());
    let outcome = read_stream(
        format,
        Box::new(bytes),
        bytes,
        chunk,
        &options,
        &mut sink,
        &mut report,
        &progress,
    );
    let passed_over: u64 = report
        .skipped
        .values()
        .chain(report.malformed.values())
        .map(|tally| tally.count)
        .sum();
    assert_eq!(report.items, report.decoded + passed_over);
    assert!(report.items <= 2 * bytes.len() as u64 + 2);
    (sink.0.finish(), format!("{report:?}"), outcome.is_ok())
}

fuzz_target!(|data: &[u8]| {
    let Some((selector, bytes)) = data.split_first() else {
        return;
    };
    let format = Format::ALL[usize::from(*selector) % Format::ALL.len()];
    let _ = Format::sniff(bytes);
    assert_eq!(run(format, bytes, 61), run(format, bytes, 1 << 18));
});
