//! Packets with fragments and segments in any order: memory bounded, every item in the books.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unflux_core::capture::Packet;
use unflux_core::link::LinkType;
use unflux_core::message::Message;
use unflux_core::pieces::{Assembler, Pieces};
use unflux_core::source::{Desk, Options, Seen, Sink};

struct Nobody;

impl Sink for Nobody {
    fn response(&mut self, _: &Message, _: &Seen<'_>) {}
}

// Frames are cut out of the input: a byte for the link layer, two for the length.
fuzz_target!(|data: &[u8]| {
    let (options, mut sink) = (Options::default(), Nobody);
    let mut desk = Desk::new(&options, &mut sink, Pieces::Here(Assembler::default()));
    let (mut rest, mut n_packets) = (data, 0);
    while let [kind, low, high, tail @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
        let (frame, behind) = tail.split_at(length);
        let numbers = [101, 1, 113, 276, 0];
        let link =
            LinkType::from_number(numbers[usize::from(*kind) % numbers.len()]).expect("known");
        desk.packet(&Packet {
            link,
            frame,
            cut: kind & 0x80 != 0,
            ts_us: n_packets * 1000,
            place: n_packets as u64,
        });
        n_packets += 1;
        rest = behind;
    }
    desk.finish();
    let report = desk.report;
    let passed_over: u64 = report
        .skipped
        .values()
        .chain(report.malformed.values())
        .map(|tally| tally.count)
        .sum();
    assert_eq!(report.items, report.decoded + passed_over);
    assert_eq!(report.items - report.assembled, n_packets as u64);
});
