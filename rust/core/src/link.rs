//! From a captured frame to the UDP payload that may hold DNS: link layers, IPv4, IPv6.

use crate::message::{Refused, be16};
use crate::report::{Malformed, Skip};

/// An address of either family; IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
pub type Address = [u8; 16];

/// Stands where a source does not tell an address; no host has it.
pub const UNKNOWN_ADDRESS: Address = [0; 16];

/// One UDP datagram to or from a DNS port.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub source: Address,
    pub destination: Address,
    pub payload: &'a [u8],
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
const UDP: u8 = 17;
const TCP: u8 = 6;

/// Find the DNS datagram in a frame of which `frame` was captured (`cut`: and more was not).
///
/// # Errors
/// Why there is none: another protocol ([`Refused::Skip`]) or a fault ([`Refused::Malformed`]).
pub fn datagram<'a>(link: LinkType, frame: &'a [u8], cut: bool, ports: &[u16]) -> Result<Datagram<'a>, Refused> {
    let packet = network(link, frame)?;
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(packet, cut, ports),
        Some(6) => ipv6(packet, cut, ports),
        Some(_) => Err(Refused::Skip(Skip::NotIp)),
        None => Err(Malformed::LinkHeader.into()),
    }
}

fn network(link: LinkType, frame: &[u8]) -> Result<&[u8], Refused> {
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

fn ipv4<'a>(packet: &'a [u8], cut: bool, ports: &[u16]) -> Result<Datagram<'a>, Refused> {
    let header: &[u8; 20] = packet.first_chunk().ok_or(Malformed::IpHeader)?;
    let header_length = usize::from(header[0] & 0xF) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_length < 20 || (total != 0 && total < header_length) {
        return Err(Malformed::IpHeader.into());
    }
    if u16::from_be_bytes([header[6], header[7]]) & 0x3FFF != 0 {
        return Err(Refused::Skip(Skip::IpFragment));
    }
    let end = if total == 0 { packet.len() } else { total }; // 0: left to the network card (TSO)
    let body = packet.get(header_length..end.min(packet.len())).ok_or(Malformed::IpHeader)?;
    let mapped = |at: usize| {
        let mut address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0];
        address[12..].copy_from_slice(&header[at..at + 4]);
        address
    };
    transport(header[9], body, cut || end > packet.len(), ports, || (mapped(12), mapped(16)))
}

fn ipv6<'a>(packet: &'a [u8], cut: bool, ports: &[u16]) -> Result<Datagram<'a>, Refused> {
    let header: &[u8; 40] = packet.first_chunk().ok_or(Malformed::IpHeader)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let end = if length == 0 { packet.len() } else { 40 + length };
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
        if next == 44 && be16(body, 2).ok_or(Malformed::IpHeader)? & 0xFFF9 != 0 {
            return Err(Refused::Skip(Skip::IpFragment));
        }
        body = body.get(size..).ok_or(Malformed::IpHeader)?;
        next = following;
    }
    let address = |at: usize| <Address>::try_from(&header[at..at + 16]).unwrap_or_default();
    transport(next, body, cut || end > packet.len(), ports, || (address(8), address(24)))
}

fn transport<'a>(
    protocol: u8,
    body: &'a [u8],
    cut: bool,
    ports: &[u16],
    addresses: impl FnOnce() -> (Address, Address),
) -> Result<Datagram<'a>, Refused> {
    let is_dns = |body: &[u8]| {
        let port = |at| be16(body, at).is_some_and(|port| ports.contains(&port));
        port(0) || port(2)
    };
    match protocol {
        UDP => {}
        TCP if is_dns(body) => return Err(Refused::Skip(Skip::DnsOverTcp)),
        _ => return Err(Refused::Skip(Skip::NotUdp)),
    }
    let length = usize::from(be16(body, 4).ok_or(Malformed::UdpLength)?);
    if !is_dns(body) {
        return Err(Refused::Skip(Skip::OtherPort));
    }
    if length < 8 || body.len() < 8 {
        return Err(Malformed::UdpLength.into());
    }
    let payload = body.get(8..length).ok_or(if cut { Malformed::CutBySnaplen } else { Malformed::UdpLength })?;
    let (source, destination) = addresses();
    Ok(Datagram { source, destination, payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PORTS: &[u16] = &[53];

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
            let found = datagram(link, &frame, false, PORTS).unwrap();
            assert_eq!(found.payload, b"dns", "{link:?}");
        }
    }

    #[test]
    fn what_is_not_dns_says_why() {
        let refusal = |frame: &[u8]| datagram(LinkType::RawIp, frame, false, PORTS).map(|_| ()).unwrap_err();
        let change = |at: usize, value: u8| {
            let mut frame = ip4(b"dns");
            frame[at] = value;
            refusal(&frame)
        };
        assert_eq!(change(6, 0x20), Refused::Skip(Skip::IpFragment));
        assert_eq!(change(9, 6), Refused::Skip(Skip::DnsOverTcp));
        assert_eq!(change(9, 1), Refused::Skip(Skip::NotUdp));
        assert_eq!(change(21, 54), Refused::Skip(Skip::OtherPort));
        assert_eq!(change(25, 200), Refused::Malformed(Malformed::UdpLength));
        assert_eq!(change(0, 0x55), Refused::Skip(Skip::NotIp));
        assert_eq!(change(0, 0x41), Refused::Malformed(Malformed::IpHeader));
    }

    #[test]
    fn a_frame_cut_by_snaplen_is_told_from_a_lying_length() {
        let frame = ip4(b"dns");
        let cut = datagram(LinkType::RawIp, &frame[..frame.len() - 1], true, PORTS).unwrap_err();
        assert_eq!(cut, Refused::Malformed(Malformed::CutBySnaplen));
    }

    proptest! {
        #[test]
        fn any_frame_is_read_or_refused(frame in prop::collection::vec(any::<u8>(), 0..120), number in 0u32..300) {
            if let Some(link) = LinkType::from_number(number) {
                let _ = datagram(link, &frame, false, PORTS);
            }
        }
    }
}
