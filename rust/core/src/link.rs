//! From a captured frame to the UDP payload that may hold DNS: link layers, IPv4, IPv6.

use std::borrow::Cow;

use crate::message::{Refused, be16, be32};
use crate::report::{Malformed, Skip};

/// An address of either family; IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
pub type Address = [u8; 16];

/// Stands where a source does not tell an address; no host has it.
pub const UNKNOWN_ADDRESS: Address = [0; 16];

/// Who sent a packet to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    pub source: Address,
    pub destination: Address,
}

/// What a frame holds for us.
#[derive(Debug)]
pub enum Found<'a> {
    /// The payload of a UDP datagram to or from a DNS port.
    Datagram(Ends, &'a [u8]),
    /// A part of something that must be put together first.
    Part(Part<'a>),
}

/// A fragment of an IP packet, or a segment of a TCP stream on a DNS port.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    pub ends: Ends,
    pub kind: PartKind,
    pub bytes: Cow<'a, [u8]>,
}

#[derive(Clone, Copy, Debug)]
pub enum PartKind {
    /// Bytes from offset `at` of the IP packet `id`; `more` follow.
    Fragment { id: u32, protocol: u8, at: u32, more: bool },
    /// `ports`: of source and destination; `flags`: the header's last eight (RFC 9293 §3.1).
    Segment { ports: (u16, u16), seq: u32, flags: u8 },
}

/// Link layers that are understood, by their number in the capture's header (tcpdump.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    Ethernet,
    LinuxCooked,
    LinuxCooked2,
    RawIp,
    Loopback,
}

impl LinkType {
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Ethernet,
            113 => Self::LinuxCooked,
            276 => Self::LinuxCooked2,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            0 | 108 => Self::Loopback,
            _ => return None,
        })
    }
}

const MAX_TAGS: usize = 8;
/// Packets inside packets, at most.
const MAX_TUNNELS: u8 = 4;
const IP_IN_IP: u8 = 4;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
/// Ports on which UDP carries Ethernet: VXLAN (RFC 7348, and Linux' old default), GENEVE (RFC 8926).
const VXLAN: [u16; 2] = [4789, 8472];
const GENEVE: u16 = 6081;
const ETHERNET_BRIDGED: u16 = 0x6558;
const ERSPAN_2: u16 = 0x88BE;
const ERSPAN_3: u16 = 0x22EB;

/// Find what is of DNS in a frame of which `frame` was captured (`cut`: and more was not).
///
/// # Errors
/// Why there is nothing: another protocol ([`Refused::Skip`]) or a fault ([`Refused::Malformed`]).
pub fn find<'a>(link: LinkType, frame: &'a [u8], cut: bool, ports: &[u16]) -> Result<Found<'a>, Refused> {
    Finder { cut, ports, depth: 0 }.ip(network(link, frame)?)
}

/// The same for the body of an IP packet that was put together.
///
/// # Errors
/// As [`find`].
pub fn find_in_body<'a>(ends: Ends, protocol: u8, body: &'a [u8], ports: &[u16]) -> Result<Found<'a>, Refused> {
    Finder { cut: false, ports, depth: 0 }.transport(protocol, body, false, || ends)
}

/// The IP packet in a frame.
pub(crate) fn network(link: LinkType, frame: &[u8]) -> Result<&[u8], Refused> {
    match link {
        LinkType::Ethernet => tagged(frame, 12),
        LinkType::LinuxCooked => tagged(frame, 14),
        LinkType::LinuxCooked2 => {
            let protocol = be16(frame, 0).ok_or(Malformed::LinkHeader)?;
            by_ethertype(protocol, frame, 20)
        }
        LinkType::RawIp => Ok(frame),
        LinkType::Loopback => frame.get(4..).ok_or(Malformed::LinkHeader.into()),
    }
}

/// The ethertype is at `at`; VLAN and QinQ tags may stand before it.
fn tagged(frame: &[u8], mut at: usize) -> Result<&[u8], Refused> {
    let mut ethertype = be16(frame, at).ok_or(Malformed::LinkHeader)?;
    for _ in 0..MAX_TAGS {
        if !matches!(ethertype, 0x8100 | 0x88A8 | 0x9100) {
            break;
        }
        at += 4;
        ethertype = be16(frame, at).ok_or(Malformed::LinkHeader)?;
    }
    by_ethertype(ethertype, frame, at + 2)
}

fn by_ethertype(ethertype: u16, frame: &[u8], at: usize) -> Result<&[u8], Refused> {
    let skip = match ethertype {
        0x0800 | 0x86DD => 0,
        0x8864 => match be16(frame, at + 6).ok_or(Malformed::LinkHeader)? {
            0x0021 | 0x0057 => 8, // PPPoE header and PPP protocol: IPv4, IPv6
            _ => return Err(Refused::Skip(Skip::NotIp)),
        },
        _ => return Err(Refused::Skip(Skip::NotIp)),
    };
    frame.get(at + skip..).ok_or(Malformed::LinkHeader.into())
}

#[derive(Clone, Copy)]
struct Finder<'p> {
    cut: bool,
    ports: &'p [u16],
    depth: u8,
}

/// An IP packet without its headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Internet<'a> {
    pub ends: Ends,
    pub protocol: u8,
    /// What was captured of the body.
    pub body: &'a [u8],
    /// Bytes that the body has and the capture has not.
    pub missing: usize,
    /// For a fragment: its packet's number, where it begins, and whether more follow.
    pub fragment: Option<(u32, u32, bool)>,
}

/// Read the IP header(s) of a packet.
///
/// # Errors
/// When it is no IP, or its headers contradict themselves.
#[inline]
pub(crate) fn internet(packet: &[u8]) -> Result<Internet<'_>, Refused> {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(packet),
        Some(6) => ipv6(packet),
        Some(_) => Err(Refused::Skip(Skip::NotIp)),
        None => Err(Malformed::LinkHeader.into()),
    }
}

#[inline]
fn ipv4(packet: &[u8]) -> Result<Internet<'_>, Refused> {
    let header: &[u8; 20] = packet.first_chunk().ok_or(Malformed::IpHeader)?;
    let header_length = usize::from(header[0] & 0xF) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_length < 20 || (total != 0 && total < header_length) {
        return Err(Malformed::IpHeader.into());
    }
    let end = if total == 0 { packet.len() } else { total }; // 0: left to the network card (TSO)
    let body = packet.get(header_length..end.min(packet.len())).ok_or(Malformed::IpHeader)?;
    let mapped = |at: usize| {
        let mut address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0];
        address[12..].copy_from_slice(&header[at..at + 4]);
        address
    };
    let ends = Ends { source: mapped(12), destination: mapped(16) };
    let missing = end.saturating_sub(packet.len());
    let flags = u16::from_be_bytes([header[6], header[7]]);
    let fragment = (flags & 0x3FFF != 0).then(|| {
        let id = u32::from(u16::from_be_bytes([header[4], header[5]]));
        (id, u32::from(flags & 0x1FFF) * 8, flags & 0x2000 != 0)
    });
    Ok(Internet { ends, protocol: header[9], body, missing, fragment })
}

#[inline]
fn ipv6(packet: &[u8]) -> Result<Internet<'_>, Refused> {
    let header: &[u8; 40] = packet.first_chunk().ok_or(Malformed::IpHeader)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let end = if length == 0 { packet.len() } else { 40 + length };
    let missing = end.saturating_sub(packet.len());
    let address = |at: usize| <Address>::try_from(&header[at..at + 16]).unwrap_or_default();
    let ends = Ends { source: address(8), destination: address(24) };
    let mut body = &packet[40..end.min(packet.len())];
    let mut next = header[6];
    // Hop-by-hop, routing, destination options, fragment, authentication (RFC 8200 §4).
    while matches!(next, 0 | 43 | 44 | 51 | 60) {
        let (&following, &units) = body.first().zip(body.get(1)).ok_or(Malformed::IpHeader)?;
        let size = match next {
            44 => 8,
            51 => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        let rest = body.get(size..).ok_or(Malformed::IpHeader)?;
        let flags = be16(body, 2).ok_or(Malformed::IpHeader)?;
        if next == 44 && flags & 0xFFF9 != 0 {
            let id = be32(body, 4).ok_or(Malformed::IpHeader)?;
            let fragment = Some((id, u32::from(flags & 0xFFF8), flags & 1 != 0));
            return Ok(Internet { ends, protocol: following, body: rest, missing, fragment });
        }
        body = rest;
        next = following;
    }
    Ok(Internet { ends, protocol: next, body, missing, fragment: None })
}

impl Finder<'_> {
    fn ip<'a>(self, packet: &'a [u8]) -> Result<Found<'a>, Refused> {
        let Internet { ends, protocol, body, missing, fragment } = internet(packet)?;
        match fragment {
            Some((id, at, more)) => self.fragment(ends, (id, protocol), at, more, body, missing > 0),
            None => self.transport(protocol, body, missing > 0, || ends),
        }
    }

    fn fragment<'a>(
        self,
        ends: Ends,
        (id, protocol): (u32, u8),
        at: u32,
        more: bool,
        body: &'a [u8],
        short: bool,
    ) -> Result<Found<'a>, Refused> {
        match protocol {
            UDP | TCP | GRE | IP_IN_IP | IPV6_IN_IP => {}
            _ => return Err(Refused::Skip(Skip::NotUdp)),
        }
        if short {
            return Err(self.shortened(Malformed::IpHeader));
        }
        let kind = PartKind::Fragment { id, protocol, at, more };
        Ok(Found::Part(Part { ends, kind, bytes: Cow::Borrowed(body) }))
    }

    /// Bytes are missing at the end: because the capture has no more of them, or by a lying length.
    fn shortened(self, otherwise: Malformed) -> Refused {
        if self.cut { Malformed::CutBySnaplen.into() } else { otherwise.into() }
    }

    fn transport<'a>(
        self,
        protocol: u8,
        body: &'a [u8],
        short: bool,
        ends: impl FnOnce() -> Ends,
    ) -> Result<Found<'a>, Refused> {
        match protocol {
            UDP => self.udp(body, ends),
            TCP => self.tcp(body, short, ends),
            GRE => self.gre(body),
            IP_IN_IP | IPV6_IN_IP => self.inside()?.ip(body),
            _ => Err(Refused::Skip(Skip::NotUdp)),
        }
    }

    fn is_dns(self, body: &[u8]) -> bool {
        let port = |at| be16(body, at).is_some_and(|port| self.ports.contains(&port));
        port(0) || port(2)
    }

    fn udp<'a>(self, body: &'a [u8], ends: impl FnOnce() -> Ends) -> Result<Found<'a>, Refused> {
        let length = usize::from(be16(body, 4).ok_or(Malformed::UdpLength)?);
        if !self.is_dns(body) {
            return self.tunnel(body);
        }
        if length < 8 || body.len() < 8 {
            return Err(Malformed::UdpLength.into());
        }
        let payload = body.get(8..length).ok_or_else(|| self.shortened(Malformed::UdpLength))?;
        Ok(Found::Datagram(ends(), payload))
    }

    fn tcp<'a>(self, body: &'a [u8], short: bool, ends: impl FnOnce() -> Ends) -> Result<Found<'a>, Refused> {
        if !self.is_dns(body) {
            return Err(Refused::Skip(Skip::NotUdp));
        }
        let header: &[u8; 20] = body.first_chunk().ok_or_else(|| self.shortened(Malformed::TcpHeader))?;
        let header_length = usize::from(header[12] >> 4) * 4;
        if header_length < 20 {
            return Err(Malformed::TcpHeader.into());
        }
        let bytes = body.get(header_length..).ok_or_else(|| self.shortened(Malformed::TcpHeader))?;
        if short {
            return Err(self.shortened(Malformed::IpHeader));
        }
        let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let kind = PartKind::Segment { ports: (number(0), number(2)), seq, flags: header[13] };
        Ok(Found::Part(Part { ends: ends(), kind, bytes: Cow::Borrowed(bytes) }))
    }

    fn inside(self) -> Result<Self, Refused> {
        let deeper = Finder { depth: self.depth + 1, ..self };
        if deeper.depth > MAX_TUNNELS { Err(Malformed::TunnelDepth.into()) } else { Ok(deeper) }
    }

    /// UDP on another port: Ethernet or IP inside, or nothing for us.
    fn tunnel<'a>(self, body: &'a [u8]) -> Result<Found<'a>, Refused> {
        let port = be16(body, 2).unwrap_or_default();
        if VXLAN.contains(&port) && body.get(8).is_some_and(|flags| flags & 0x08 != 0) {
            return self.carried(ETHERNET_BRIDGED, body, 16);
        }
        if port == GENEVE && body.get(8).is_some_and(|version| version >> 6 == 0) {
            let options = usize::from(body[8] & 0x3F) * 4;
            return self.carried(be16(body, 10).ok_or(Malformed::TunnelHeader)?, body, 16 + options);
        }
        Err(Refused::Skip(Skip::OtherPort))
    }

    /// RFC 2784 and 2890, and ERSPAN inside (draft-foschiano-erspan).
    fn gre<'a>(self, body: &'a [u8]) -> Result<Found<'a>, Refused> {
        let flags = be16(body, 0).ok_or(Malformed::TunnelHeader)?;
        let protocol = be16(body, 2).ok_or(Malformed::TunnelHeader)?;
        if flags & 7 != 0 {
            return Err(Refused::Skip(Skip::NotUdp)); // version 1 is PPTP
        }
        let has = |bit: u16| usize::from(flags & bit != 0) * 4;
        let at = 4 + has(0x8000) + has(0x2000) + has(0x1000);
        let sequenced = flags & 0x1000 != 0;
        match protocol {
            ERSPAN_2 => self.carried(ETHERNET_BRIDGED, body, at + if sequenced { 8 } else { 0 }), // type I: none
            ERSPAN_3 => {
                let optional = body.get(at + 11).ok_or(Malformed::TunnelHeader)? & 1;
                self.carried(ETHERNET_BRIDGED, body, at + 12 + usize::from(optional) * 8)
            }
            _ => self.carried(protocol, body, at),
        }
    }

    fn carried<'a>(self, protocol: u16, body: &'a [u8], at: usize) -> Result<Found<'a>, Refused> {
        let inner = body.get(at..).ok_or_else(|| self.shortened(Malformed::TunnelHeader))?;
        let packet = match protocol {
            ETHERNET_BRIDGED => network(LinkType::Ethernet, inner)?,
            0x0800 | 0x86DD => inner,
            _ => return Err(Refused::Skip(Skip::NotIp)),
        };
        self.inside()?.ip(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PORTS: &[u16] = &[53];

    fn payload<'a>(found: Result<Found<'a>, Refused>) -> &'a [u8] {
        match found {
            Ok(Found::Datagram(_, payload)) => payload,
            other => panic!("no datagram: {other:?}"),
        }
    }

    /// An IPv4 packet with any body.
    fn around(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = ip4(b"");
        packet.truncate(20);
        packet[9] = protocol;
        packet[2..4].copy_from_slice(&(20 + body.len() as u16).to_be_bytes());
        [&packet[..], body].concat()
    }

    #[test]
    fn tunnels_are_looked_into() {
        let ethernet = |ip: Vec<u8>| [&[2; 12][..], &[8, 0], &ip].concat();
        let datagram = |port: u16, body: Vec<u8>| {
            [&[0xC0, 0][..], &port.to_be_bytes(), &(8 + body.len() as u16).to_be_bytes(), &[0, 0], &body].concat()
        };
        let inner = || ip4(b"dns");
        let cases = [
            around(GRE, &[&[0, 0, 8, 0][..], &inner()].concat()),
            around(GRE, &[&[0xB0, 0, 8, 0][..], &[0; 12], &inner()].concat()),
            around(GRE, &[&[0, 0, 0x65, 0x58][..], &ethernet(inner())].concat()),
            around(GRE, &[&[0, 0, 0x88, 0xBE][..], &ethernet(inner())].concat()),
            around(GRE, &[&[0x10, 0, 0x88, 0xBE][..], &[0; 12], &ethernet(inner())].concat()),
            around(GRE, &[&[0x10, 0, 0x22, 0xEB][..], &[0; 15], &[1], &[0; 8], &ethernet(inner())].concat()),
            around(IP_IN_IP, &inner()),
            around(IPV6_IN_IP, &ip6(b"dns", true)),
            around(UDP, &datagram(4789, [&[8, 0, 0, 0, 0, 0, 1, 0][..], &ethernet(inner())].concat())),
            around(
                UDP,
                &datagram(6081, [&[1, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 0][..], &ethernet(inner())].concat()),
            ),
        ];
        for (number, frame) in cases.iter().enumerate() {
            assert_eq!(payload(find(LinkType::RawIp, frame, false, PORTS)), b"dns", "case {number}");
        }
    }

    #[test]
    fn tunnels_in_tunnels_end() {
        let frame = (0..6).fold(ip4(b"dns"), |inner, _| around(IP_IN_IP, &inner));
        let refused = find(LinkType::RawIp, &frame, false, PORTS).unwrap_err();
        assert_eq!(refused, Refused::Malformed(Malformed::TunnelDepth));
    }

    fn udp(payload: &[u8]) -> Vec<u8> {
        [&[0, 53, 0x12, 0x34, 0, 8 + payload.len() as u8, 0, 0][..], payload].concat()
    }

    fn ip4(payload: &[u8]) -> Vec<u8> {
        let body = udp(payload);
        let head = [0x45, 0, 0, 20 + body.len() as u8, 0, 0, 0x40, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2];
        [&head[..], &body].concat()
    }

    fn ip6(payload: &[u8], extension: bool) -> Vec<u8> {
        let mut body = udp(payload);
        if extension {
            body.splice(0..0, [17, 0, 1, 4, 0, 0, 0, 0]);
        }
        let mut packet = vec![0x60, 0, 0, 0, 0, body.len() as u8, if extension { 60 } else { 17 }, 64];
        packet.extend([0x20; 32]);
        packet.extend(body);
        packet
    }

    #[test]
    fn every_link_layer_leads_to_the_payload() {
        let ethernet = |ethertypes: &[u8], ip: Vec<u8>| [&[2; 12][..], ethertypes, &ip].concat();
        let pppoe = [&[0x88, 0x64, 0x11, 0, 0, 1, 0, 40, 0, 0x21][..]].concat();
        let cases: Vec<(LinkType, Vec<u8>)> = vec![
            (LinkType::Ethernet, ethernet(&[8, 0], ip4(b"dns"))),
            (LinkType::Ethernet, ethernet(&[0x86, 0xDD], ip6(b"dns", false))),
            (LinkType::Ethernet, ethernet(&[0x88, 0xA8, 0, 1, 0x81, 0, 0, 2, 0x86, 0xDD], ip6(b"dns", true))),
            (LinkType::Ethernet, ethernet(&pppoe, ip4(b"dns"))),
            (LinkType::LinuxCooked, [&[0; 14][..], &[8, 0], &ip4(b"dns")].concat()),
            (LinkType::LinuxCooked2, [&[8, 0][..], &[0; 18], &ip4(b"dns")].concat()),
            (LinkType::RawIp, ip4(b"dns")),
            (LinkType::RawIp, ip6(b"dns", true)),
            (LinkType::Loopback, [&[2, 0, 0, 0][..], &ip4(b"dns")].concat()),
        ];
        for (link, frame) in cases {
            assert_eq!(payload(find(link, &frame, false, PORTS)), b"dns", "{link:?}");
        }
    }

    #[test]
    fn what_is_not_dns_says_why() {
        let refusal = |frame: &[u8]| find(LinkType::RawIp, frame, false, PORTS).map(|_| ()).unwrap_err();
        let change = |at: usize, value: u8| {
            let mut frame = ip4(b"dns");
            frame[at] = value;
            refusal(&frame)
        };
        assert_eq!(change(9, 6), Refused::Malformed(Malformed::TcpHeader));
        assert_eq!(change(9, 1), Refused::Skip(Skip::NotUdp));
        assert_eq!(change(21, 54), Refused::Skip(Skip::OtherPort));
        assert_eq!(change(25, 200), Refused::Malformed(Malformed::UdpLength));
        assert_eq!(change(0, 0x55), Refused::Skip(Skip::NotIp));
        assert_eq!(change(0, 0x41), Refused::Malformed(Malformed::IpHeader));
    }

    #[test]
    fn a_frame_cut_by_snaplen_is_told_from_a_lying_length() {
        let frame = ip4(b"dns");
        let cut = find(LinkType::RawIp, &frame[..frame.len() - 1], true, PORTS).unwrap_err();
        assert_eq!(cut, Refused::Malformed(Malformed::CutBySnaplen));
    }

    proptest! {
        #[test]
        fn any_frame_is_read_or_refused(frame in prop::collection::vec(any::<u8>(), 0..120), number in 0u32..300) {
            if let Some(link) = LinkType::from_number(number) {
                let _ = find(link, &frame, false, PORTS);
            }
        }
    }
}
