//! The formats by name: how each is told by its first bytes, and one way to read them all.

use std::io::Read;
use std::path::Path;

use crate::chunks;
use crate::cof::{self, Cof};
use crate::dnscollector::{self, DnsCollector};
use crate::dnsmonster::{self, DnsMonster};
use crate::dnstap::{self, Dnstap};
use crate::eve::{self, Eve};
use crate::input::{self, Progress};
use crate::passivedns::{self, PassiveDns};
use crate::pcap::{self, Pcap};
use crate::pcapng::{self, Pcapng};
use crate::reduce::Reducer;
use crate::report::Report;
use crate::source::{Options, Sink};
use crate::text::Lines;
use crate::zeek::{self, Zeek};

/// Enough to know a format, and to read a pcap file's header.
const HEAD: usize = 1 << 16;

/// A format that this crate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Pcap,
    Pcapng,
    Dnstap,
    Zeek,
    Eve,
    DnsCollector,
    DnsMonster,
    PassiveDns,
    Cof,
}

impl Format {
    pub const ALL: &[Format] = &[
        Format::Pcap,
        Format::Pcapng,
        Format::Dnstap,
        Format::Zeek,
        Format::Eve,
        Format::DnsCollector,
        Format::DnsMonster,
        Format::PassiveDns,
        Format::Cof,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Format::Pcap => "pcap",
            Format::Pcapng => "pcapng",
            Format::Dnstap => "dnstap",
            Format::Zeek => "zeek",
            Format::Eve => "eve",
            Format::DnsCollector => "dnscollector",
            Format::DnsMonster => "dnsmonster",
            Format::PassiveDns => "passivedns",
            Format::Cof => "cof",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.name() == name)
    }

    /// The format of a file by its first (unpacked) bytes.
    pub fn sniff(head: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| match format {
            Format::Pcap => pcap::is_pcap(head),
            Format::Pcapng => pcapng::is_pcapng(head),
            Format::Dnstap => dnstap::is_dnstap(head),
            Format::Zeek => zeek::is_zeek(head),
            Format::Eve => eve::is_eve(head),
            Format::DnsCollector => dnscollector::is_dnscollector(head),
            Format::DnsMonster => dnsmonster::is_dnsmonster(head),
            Format::PassiveDns => passivedns::is_passivedns(head),
            Format::Cof => cof::is_cof(head),
        })
    }
}

/// Read a file of single responses into `sink` on this thread.
///
/// # Errors
/// A sentence when the file cannot be read (to its end); what came before is in `sink`.
pub fn read<S: Sink>(
    format: Format,
    path: &Path,
    options: &Options,
    sink: &mut S,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), String> {
    let sentence = |error: std::io::Error| error.to_string();
    let head = input::head(path, HEAD).map_err(sentence)?;
    let stream = input::open(path, progress).map_err(sentence)?;
    read_stream(format, stream, &head, chunks::CHUNK, options, sink, report, progress)
}

/// The same for unpacked bytes that begin with `head`, read `chunk` at a time.
///
/// # Errors
/// As [`read`].
#[allow(clippy::too_many_arguments)] // what is read, how, and to whom it goes
pub fn read_stream<'a, S: Sink>(
    format: Format,
    stream: Box<dyn Read + 'a>,
    head: &[u8],
    chunk: usize,
    options: &Options,
    sink: &mut S,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), String> {
    macro_rules! read {
        ($framing:expr) => {
            chunks::read_stream(stream, chunk, $framing, options, sink, report, progress)
        };
    }
    match format {
        Format::Pcap => read!(Pcap::new(head)?),
        Format::Pcapng => read!(Pcapng::default()),
        Format::Dnstap => read!(Dnstap),
        Format::Zeek => read!(Lines::new(Zeek::default())),
        Format::Eve => read!(Lines::new(Eve::default())),
        Format::DnsCollector => read!(Lines::new(DnsCollector)),
        Format::DnsMonster => read!(Lines::new(DnsMonster)),
        Format::PassiveDns | Format::Cof => Err("passive DNS holds no single responses".to_owned()),
    }
}

/// Reduce a file of any format, on several threads where it is large.
///
/// # Errors
/// As [`read`].
pub fn reduce(
    format: Format,
    path: &Path,
    options: &Options,
    reducer: &mut Reducer,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), String> {
    match format {
        Format::Pcap => chunks::reduce(path, pcap(path)?, options, reducer, report, progress),
        Format::Pcapng => chunks::reduce(path, Pcapng::default(), options, reducer, report, progress),
        Format::Dnstap => chunks::reduce(path, Dnstap, options, reducer, report, progress),
        Format::Zeek => chunks::reduce(path, Lines::new(Zeek::default()), options, reducer, report, progress),
        Format::Eve => chunks::reduce(path, Lines::new(Eve::default()), options, reducer, report, progress),
        Format::DnsCollector => chunks::reduce(path, Lines::new(DnsCollector), options, reducer, report, progress),
        Format::DnsMonster => chunks::reduce(path, Lines::new(DnsMonster), options, reducer, report, progress),
        Format::PassiveDns => chunks::reduce(path, Lines::new(PassiveDns), options, reducer, report, progress),
        Format::Cof => chunks::reduce(path, Lines::new(Cof), options, reducer, report, progress),
    }
}

fn pcap(path: &Path) -> Result<Pcap, String> {
    Pcap::new(&input::head(path, HEAD).map_err(|error| error.to_string())?)
}
