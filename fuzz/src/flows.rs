//! A capture as rows of packets: the same rows and books whatever the chunk size, every item counted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unflux_core::flows::Packets;
use unflux_core::formats::{Format, read_stream};
use unflux_core::input::Progress;
use unflux_core::report::Report;
use unflux_core::source::Options;

fn run(format: Format, bytes: &[u8], chunk: usize) -> (usize, String, String) {
    let (options, progress, mut report) = (
        Options::default(),
        Progress::default(),
        Report::default(),
    );
    let (mut rows, mut said) = (0, String::new());
    let mut sink = Packets::new(|batch| {
        rows += batch.num_rows();
        said += &format!("{batch:?}");
    });
    // What cannot be read to its end is said; what came before it counts.
    let _ = read_stream(
        format,
        Box::new(bytes),
        bytes,
        chunk,
        &options,
        &mut sink,
        &mut report,
        &progress,
    );
    sink.finish().expect("our own columns");
    let passed_over: u64 = report
        .skipped
        .values()
        .chain(report.malformed.values())
        .map(|tally| tally.count)
        .sum();
    assert_eq!(report.items, report.decoded + passed_over);
    assert_eq!(rows as u64, report.decoded);
    (rows, said, format!("{report:?}"))
}

fuzz_target!(|data: &[u8]| {
    for format in [Format::Pcap, Format::Pcapng] {
        assert_eq!(run(format, data, 61), run(format, data, 1 << 18));
    }
});
