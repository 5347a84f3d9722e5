"""Policy zones: composed, served and taken over by dnspython as a secondary."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.xfr
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_servers import free_port
from unflux.share import rpz
from unflux.share.rpz import Entry, Policy
from unflux.watch.zone_server import TsigKey, ZoneServer

NOW_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000


def entry(trigger: str = "evil.test", kind: str = rpz.QNAME, hours: float = 12) -> Entry:
    return Entry(trigger, kind, "rotates; a lot", NOW_US, NOW_US + int(hours * HOUR_US))


def parsed(
    entries: list[Entry], policy: Policy | None = None, allow: tuple[str, ...] = ()
) -> dns.zone.Zone:
    """The zone file as dnspython reads it."""
    text = "".join(rpz.zone_text(entries, policy or Policy(action="nxdomain"), 7, NOW_US, allow))
    return dns.zone.from_file(io.StringIO(text), "rpz.unflux.", relativize=True)


def target(zone: dns.zone.Zone, name: str, rdtype: str = "CNAME") -> list[str]:
    found = zone.get_rdataset(name, rdtype)
    return sorted(rdata.to_text() for rdata in found) if found else []


@pytest.mark.parametrize(
    ("action", "expected"), [("nxdomain", "."), ("nodata", "*."), ("monitor", "rpz-passthru.")]
)
def test_a_name_is_listed_with_all_below_it(action: str, expected: str) -> None:
    zone = parsed([entry()], Policy(action=action))
    assert target(zone, "evil.test") == target(zone, "*.evil.test") == [expected]


def test_a_walled_garden_is_a_name_or_addresses() -> None:
    by_name = parsed([entry()], Policy(action="garden", garden=("garden.example",)))
    assert target(by_name, "evil.test") == ["garden.example."]
    addresses = ("198.18.0.1", "2001:db8::1")
    by_address = parsed([entry()], Policy(action="garden", garden=addresses))
    assert target(by_address, "evil.test", "A") == ["198.18.0.1"]
    assert target(by_address, "*.evil.test", "AAAA") == ["2001:db8::1"]
    with pytest.raises(ValueError, match="needs a name"):
        Policy(action="garden")
    with pytest.raises(ValueError, match="one name, or addresses"):
        Policy(action="garden", garden=("a.example", "b.example"))
    with pytest.raises(ValueError, match="not 'drop'"):
        Policy(action="drop")


def test_an_allowed_name_passes_even_below_a_listed_one() -> None:
    zone = parsed([entry(), entry("a.good.test")], allow=("good.test", "ok.evil.test."))
    assert target(zone, "ok.evil.test") == target(zone, "*.ok.evil.test") == ["rpz-passthru."]
    assert target(zone, "*.good.test") == ["rpz-passthru."]
    assert target(zone, "a.good.test") == []
    assert target(zone, "evil.test") == ["."]


def test_addresses_and_name_servers_are_spelled_as_rpz_wants_them() -> None:
    assert rpz.address_label("198.18.2.4") == "32.4.2.18.198"
    assert rpz.address_label("2001:db8::1") == "128.1.zz.db8.2001"
    assert rpz.address_label("2001:db8:1:2:3:4:5:6") == "128.6.5.4.3.2.1.db8.2001"
    zone = parsed([entry("198.18.2.4", rpz.ADDRESS), entry("ns1.evil.test", rpz.NSDNAME)])
    assert target(zone, "32.4.2.18.198.rpz-ip") == ["."]
    assert target(zone, "ns1.evil.test.rpz-nsdname") == ["."]


def test_a_secondary_that_is_cut_off_forgets_no_entry_before_its_time() -> None:
    [soa] = parsed([entry(hours=100)]).find_rdataset("@", "SOA")
    assert soa.expire == 100 * 3600 + 60
    assert soa.serial == 7
    [soa] = parsed([]).find_rdataset("@", "SOA")
    assert soa.expire == 86_400


@given(st.integers(0, 2**33), st.none() | st.integers(0, 2**32 - 1))
def test_a_serial_never_goes_back(now_s: int, previous: int | None) -> None:
    serial = rpz.serial_at(now_s, previous)
    assert 0 <= serial < 2**32
    if previous is not None:
        assert 0 < (serial - previous) % 2**32 <= 2**31


@given(st.text(max_size=60))
def test_a_reason_cannot_break_out_of_its_comment(reason: str) -> None:
    one = Entry("evil.test", rpz.QNAME, reason, NOW_US, NOW_US + HOUR_US)
    lines = list(rpz.zone_text([one], Policy(), 1, NOW_US))
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines)
    dns.zone.from_file(io.StringIO("".join(lines)), "rpz.unflux.")


def test_a_name_too_long_for_the_zone_is_left_out() -> None:
    long = ".".join(["a" * 60] * 4)
    assert target(parsed([entry(long), entry()]), "evil.test") == ["."]


KEY = TsigKey.parse("hmac-sha256:watch.:c2VjcmV0LXNlY3JldC1zZWNyZXQ=")
KEYRING = dns.tsigkeyring.from_text({"watch.": ("hmac-sha256", "c2VjcmV0LXNlY3JldC1zZWNyZXQ=")})


@pytest.fixture(params=[None, KEY], ids=["open", "signed"])
def server(request: pytest.FixtureRequest) -> Iterator[ZoneServer]:
    one = ZoneServer("127.0.0.1", 0, key=request.param)
    one.start()
    yield one
    one.stop()


def publish(server: ZoneServer, entries: list[Entry], serial: int) -> None:
    policy = Policy(action="nxdomain")
    soa = rpz.soa(entries, policy, serial, NOW_US)
    server.publish(policy.origin, soa, rpz.records(entries, policy), serial)


def take_over(server: ZoneServer, zone: dns.zone.Zone) -> str:
    """Bring a secondary's zone up to date; returns what was used: AXFR or IXFR."""
    serial = None
    try:
        [soa] = zone.find_rdataset("@", "SOA")
        serial = soa.serial
    except KeyError:
        pass
    signed = server.keyring is not None
    query, _ = dns.xfr.make_query(zone, serial=serial or 0, keyring=KEYRING if signed else None)
    before = dict(server.counters)
    dns.query.inbound_xfr("127.0.0.1", zone, query, port=server.port, timeout=10)
    return "AXFR" if server.counters["axfr"] > before["axfr"] else "IXFR"


def test_a_zone_is_taken_over_whole_and_then_by_its_changes(server: ZoneServer) -> None:
    names = [f"n{number}.test" for number in range(3_000)]
    publish(server, [entry(name) for name in names], 10)
    zone = dns.zone.Zone("rpz.unflux.")
    assert take_over(server, zone) == "AXFR"
    assert target(zone, "*.n2999.test") == ["."]
    publish(server, [entry(name) for name in names[1:]], 11)
    publish(server, [entry(name) for name in [*names[2:], "new.test"]], 12)
    assert take_over(server, zone) == "IXFR"
    assert target(zone, "new.test") == ["."]
    assert target(zone, "n0.test") == target(zone, "n1.test") == []
    assert len(zone.nodes) == 2 * 2_999 + 1
    assert take_over(server, zone) == "IXFR"  # nothing new: a lone SOA


def test_who_is_too_far_behind_gets_the_whole_zone(server: ZoneServer) -> None:
    publish(server, [entry()], 10)
    zone = dns.zone.Zone("rpz.unflux.")
    take_over(server, zone)
    for serial in range(11, 11 + 250):
        publish(server, [entry(f"n{serial}.test")], serial)
    assert take_over(server, zone) == "AXFR"
    assert target(zone, "n260.test") == ["."]


def test_a_zone_is_refused_without_the_key_and_with_a_wrong_one() -> None:
    server = ZoneServer("127.0.0.1", 0, key=KEY)
    server.start()
    publish(server, [entry()], 1)
    query = dns.message.make_query("rpz.unflux.", "SOA")
    reply = dns.query.udp(query, "127.0.0.1", port=server.port, timeout=3)
    assert reply.rcode() == dns.rcode.REFUSED
    wrong = dns.tsigkeyring.from_text({"watch.": ("hmac-sha256", "d3Jvbmctd3Jvbmctd3Jvbmc=")})
    query.use_tsig(wrong)
    with pytest.raises(
        (dns.tsig.PeerError, dns.tsig.BadSignature, dns.message.UnknownTSIGKey, Exception)
    ):
        answer = dns.query.udp(query, "127.0.0.1", port=server.port, timeout=3)
        assert answer.rcode() == dns.rcode.NOERROR
    assert server.counters["refused"] == 2
    server.stop()


def test_other_zones_garbage_and_updates_do_no_harm(server: ZoneServer) -> None:
    publish(server, [entry()], 1)
    signed = server.keyring is not None
    for name, kind in (("other.test.", "SOA"), ("rpz.unflux.", "A")):
        query = dns.message.make_query(name, kind)
        if signed:
            query.use_tsig(KEYRING)
        reply = dns.query.udp(query, "127.0.0.1", port=server.port, timeout=3)
        assert reply.rcode() in (dns.rcode.REFUSED, dns.rcode.NOTIMP)
    for junk in (b"", b"\0" * 12, b"\xff" * 40, b"GET / HTTP/1.1\r\n\r\n"):
        assert list(server.answer(junk, datagram=True)) == []
    zone = dns.zone.Zone("rpz.unflux.")
    take_over(server, zone)
    assert target(zone, "evil.test") == ["."]


def test_a_secondary_is_notified() -> None:
    import socket

    with socket.socket(type=socket.SOCK_DGRAM) as secondary:
        secondary.bind(("127.0.0.1", 0))
        secondary.settimeout(5)
        server = ZoneServer("127.0.0.1", 0, notify=[secondary.getsockname()])
        server.start()
        publish(server, [entry()], 77)
        wire, sender = secondary.recvfrom(4096)
        message = dns.message.from_wire(wire)
        assert message.opcode() == dns.opcode.NOTIFY
        assert message.answer[0][0].serial == 77
        secondary.sendto(dns.message.make_response(message).to_wire(), sender)
        end = time.monotonic() + 5
        while not server.counters["notify_acknowledged"] and time.monotonic() < end:
            time.sleep(0.02)
        assert server.counters["notify_acknowledged"] == 1
        server.stop()


def test_a_zone_is_not_served_to_the_world_without_a_key() -> None:
    with pytest.raises(ValueError, match="TSIG key"):
        ZoneServer("0.0.0.0", free_port())  # noqa: S104  is refused
    with pytest.raises(ValueError, match="ALGORITHM:NAME:BASE64"):
        TsigKey.parse("nothing")
