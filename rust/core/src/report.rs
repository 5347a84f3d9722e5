//! What became of every item of an input: decoded, skipped (why) or malformed (kind, first place).

use std::collections::BTreeMap;

/// Why an item gave no answers although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// A query: unflux judges what was answered, not what was asked.
    Query,
    /// Opcode other than QUERY (NOTIFY, UPDATE, STATUS…).
    Opcode,
    /// A packet of an interface whose link layer is not understood (radio, USB…).
    LinkLayer,
    /// A packet without a time (pcapng's simple packet block).
    NoTime,
    /// A dnstap message of a kind that holds no response.
    OtherMessage,
    /// A frame that holds no IP packet (ARP, LLDP, 802.3…).
    NotIp,
    /// IP without UDP, TCP port 53 aside.
    NotUdp,
    /// UDP, but on no port that was asked for.
    OtherPort,
    /// A segment of TCP on a DNS port: messages of the stream are counted by themselves.
    TcpSegment,
    /// A piece of a fragmented IP packet, which is counted by itself once it is whole.
    IpFragment,
    /// A log row of one record: the response it belongs to is counted by itself once it is whole.
    ResponsePart,
    /// A text line that is a comment, a header or blank.
    Comment,
    /// A log row of a query that nobody answered.
    Unanswered,
    /// A log row of another record class than IN.
    OtherClass,
    /// A row of another log in a mixed stream.
    OtherLog,
    /// Outside `--since` … `--until`.
    OutsideTime,
}

/// What is wrong with an item. Each gives one counted oddity and no answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Malformed {
    /// The file ends inside this record.
    CutFile,
    /// A record header that cannot be true (length over the limit): reading stops there.
    RecordLength,
    /// The capture kept fewer bytes than the packet had (snaplen).
    CutBySnaplen,
    LinkHeader,
    IpHeader,
    UdpLength,
    TcpHeader,
    TunnelHeader,
    /// Packets inside packets inside packets, deeper than anybody needs.
    TunnelDepth,
    /// A fragmented IP packet of which a piece never came.
    FragmentLost,
    /// Pieces of an IP packet that contradict each other (RFC 5722).
    FragmentOverlap,
    /// Bytes of a TCP stream are missing: the messages in them are lost.
    StreamGap,
    /// A block of a capture that contradicts itself.
    Block,
    /// A packet of an interface that the capture never described.
    Interface,
    /// A dnstap frame that is no protocol buffer of its kind.
    Protobuf,
    ShortHeader,
    ShortMessage,
    LabelType,
    NameLength,
    PointerForward,
    PointerLoop,
    NameOverrun,
    RdataLength,
    NotUtf8,
    NotJson,
    MissingField,
    BadField,
    FieldCount,
}

macro_rules! names {
    ($kind:ident { $($variant:ident => $name:literal),* $(,)? }) => {
        impl $kind {
            pub const ALL: &[$kind] = &[$($kind::$variant),*];

            /// Stable identifier, as printed in summaries.
            pub fn name(self) -> &'static str {
                match self { $($kind::$variant => $name),* }
            }
        }
    };
}

names!(Skip {
    Query => "query", Opcode => "opcode_not_query", LinkLayer => "link_layer", NoTime => "no_time", OtherMessage => "other_message",
    NotIp => "not_ip", NotUdp => "not_udp",
    OtherPort => "other_port", TcpSegment => "tcp_segment", IpFragment => "ip_fragment",
    ResponsePart => "response_part", Comment => "comment", Unanswered => "unanswered_query", OtherClass => "class_not_in",
    OtherLog => "other_log", OutsideTime => "outside_time",
});

names!(Malformed {
    CutFile => "file_cut_in_record", RecordLength => "record_length",
    CutBySnaplen => "cut_by_snaplen", LinkHeader => "link_header", IpHeader => "ip_header",
    UdpLength => "udp_length", TcpHeader => "tcp_header", TunnelHeader => "tunnel_header",
    TunnelDepth => "tunnel_depth", FragmentLost => "fragment_lost",
    FragmentOverlap => "fragment_overlap", StreamGap => "stream_gap", Block => "block",
    Interface => "interface_unknown", Protobuf => "protobuf", ShortHeader => "short_dns_header", ShortMessage => "short_message",
    LabelType => "label_type", NameLength => "name_length",
    PointerForward => "label_forward_pointer", PointerLoop => "label_pointer_loop",
    NameOverrun => "name_beyond_rdata", RdataLength => "rdata_length", NotUtf8 => "not_utf8",
    NotJson => "not_json", MissingField => "missing_field", BadField => "bad_field",
    FieldCount => "field_count",
});

/// How often something was seen, and where first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    /// Byte offset in the (uncompressed) file for captures, line number from 1 for text.
    pub first: u64,
}

/// The books of one input. `items == decoded + skipped + malformed`, always.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Packets of a capture, or lines of a text file.
    pub items: u64,
    /// Those of the items that were put together from others: IP packets from fragments, messages
    /// from TCP segments, and what could not be. `items - assembled` is what the file holds.
    pub assembled: u64,
    /// DNS responses (or passive-DNS rows) that were taken in.
    pub decoded: u64,
    /// Resource records inside them, OPT left out.
    pub records: u64,
    /// Records not taken in although their response was: another class, or rdata a log cut short.
    pub records_left_out: BTreeMap<&'static str, Tally>,
    pub skipped: BTreeMap<Skip, Tally>,
    pub malformed: BTreeMap<Malformed, Tally>,
    /// Accepted, but worth a look (bytes after the message, TTL with the top bit set…).
    pub oddities: BTreeMap<&'static str, Tally>,
    /// First and last time seen among decoded responses, microseconds since the epoch.
    pub time_range_us: Option<(i64, i64)>,
}

fn bump<K: Ord>(map: &mut BTreeMap<K, Tally>, key: K, count: u64, place: u64) {
    let tally = map.entry(key).or_insert(Tally { count: 0, first: place });
    tally.count += count;
    tally.first = tally.first.min(place);
}

impl Report {
    pub fn skip(&mut self, kind: Skip, place: u64) {
        self.items += 1;
        bump(&mut self.skipped, kind, 1, place);
    }

    pub fn malformed(&mut self, kind: Malformed, place: u64) {
        self.items += 1;
        bump(&mut self.malformed, kind, 1, place);
    }

    /// One response taken in, seen at `ts_us`, with `records` resource records.
    pub fn decoded(&mut self, ts_us: i64, records: u64) {
        self.items += 1;
        self.decoded += 1;
        self.records += records;
        let (first, last) = self.time_range_us.unwrap_or((ts_us, ts_us));
        self.time_range_us = Some((first.min(ts_us), last.max(ts_us)));
    }

    pub fn oddity(&mut self, kind: &'static str, place: u64) {
        bump(&mut self.oddities, kind, 1, place);
    }

    pub fn left_out(&mut self, kind: &'static str, count: u64, place: u64) {
        bump(&mut self.records_left_out, kind, count, place);
    }

    /// The books of two parts of one input together.
    pub fn merge(&mut self, other: &Report) {
        self.items += other.items;
        self.assembled += other.assembled;
        self.decoded += other.decoded;
        self.records += other.records;
        for (kind, tally) in &other.skipped {
            bump(&mut self.skipped, *kind, tally.count, tally.first);
        }
        for (kind, tally) in &other.malformed {
            bump(&mut self.malformed, *kind, tally.count, tally.first);
        }
        for (kind, tally) in &other.oddities {
            bump(&mut self.oddities, kind, tally.count, tally.first);
        }
        for (kind, tally) in &other.records_left_out {
            bump(&mut self.records_left_out, kind, tally.count, tally.first);
        }
        self.time_range_us = match (self.time_range_us, other.time_range_us) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (range, None) | (None, range) => range,
        };
    }
}
