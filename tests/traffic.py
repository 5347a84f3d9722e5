"""Captures at a host that many ask at once: a proxy of flux, or one that only looks busy.

Made to be hard where reality is: clients interleave, the host's own network surfs behind the same
address (NAT), scanners knock, neighbours exchange files, upstream connections are kept open, and
replies of different clients have sizes alike. Segments keep only their first bytes, as captures
with a snap length have them.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import dns.message

AGENT, MOTHERSHIP = "198.18.7.7", "198.19.200.9"
RESOLVER = "198.19.255.53"
KEPT = 160
"""Bytes kept of each frame."""
MSS = 1448
START_S = 1_767_600_000.0


@dataclass
class Capture:
    """Frames of a capture, in any order until it is written."""

    random: random.Random
    frames: list[tuple[float, int, bytes]] = field(default_factory=list)

    def frame(
        self, at: float, source: str, to: str, protocol: int, body: bytes, length: int
    ) -> None:
        """IPv4 around `body`, of which the frame keeps the beginning; `length` is all of it."""
        ends = ip_address(source).packed + ip_address(to).packed
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, protocol, 0)
        packet = (b"\x02" * 12 + b"\x08\x00" + head + ends + body)[:KEPT]
        self.frames.append((START_S + at, 14 + 20 + length, packet))

    def udp(self, at: float, source: str, sport: int, to: str, dport: int, payload: bytes) -> None:
        head = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0)
        self.frame(at, source, to, 17, head + payload, 8 + len(payload))

    def write(self, path: Path) -> Path:
        """A pcap in microseconds."""
        with path.open("wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, KEPT, 1))
            for at, length, packet in sorted(self.frames, key=lambda one: one[0]):
                seconds, micros = divmod(round(at * 1e6), 1_000_000)
                out.write(struct.pack("<IIII", seconds, micros, len(packet), length) + packet)
        return path


class Tcp:
    """One connection, from the first SYN on."""

    def __init__(self, capture: Capture, at: float, client: str, server: str, port: int) -> None:
        self.capture, self.client, self.server, self.port = capture, client, server, port
        self.sport = capture.random.randrange(20_000, 60_000)
        self.seq = [capture.random.randrange(1 << 31), capture.random.randrange(1 << 31)]
        self.send(at, True, b"", 0, 0x02)
        self.send(at + 0.0005, False, b"", 0, 0x12)
        self.seq = [self.seq[0] + 1, self.seq[1] + 1]

    def send(self, at: float, up: bool, head: bytes, length: int, flags: int = 0x18) -> float:
        """Bytes in one direction, `head` first; returns when the last segment was there."""
        ends = (self.client, self.server) if up else (self.server, self.client)
        ports = (self.sport, self.port) if up else (self.port, self.sport)
        side = 0 if up else 1
        done, sent = 0, head
        while True:
            size = min(MSS, length - done)
            fixed = struct.pack(
                ">HHIIBBHHH", *ports, self.seq[side] & 0xFFFFFFFF, 0, 0x50, flags, 512, 0, 0
            )
            self.capture.frame(at, *ends, 6, fixed + sent.ljust(min(size, KEPT), b"x"), 20 + size)
            self.seq[side] += size
            done += size
            sent = b""
            if done >= length:
                return at
            at += self.capture.random.uniform(0.0001, 0.002)


def http_request(host: str, path: str, extra: int = 0) -> bytes:
    filler = "x" * extra
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nVia: {filler}\r\n\r\n".encode()


def http_reply(length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"


def client_address(number: int) -> str:
    return f"198.18.{100 + number // 200}.{1 + number % 200}"


@dataclass
class Busy:
    """A host with `n_clients` at a time, over `seconds`; what passes on goes to `mothership`."""

    capture: Capture
    agent: str = AGENT
    mothership: str | None = MOTHERSHIP
    n_clients: int = 50
    seconds: float = 60.0
    first_client: int = 0
    clients: list[str] | None = None

    def starts(self) -> list[tuple[float, str]]:
        """Each client asks again and again, with pauses as people make them."""
        chance = self.capture.random
        found = []
        for number in range(self.n_clients):
            address = (
                self.clients[number] if self.clients else client_address(self.first_client + number)
            )
            at = chance.uniform(0, 4)
            while at < self.seconds - 3:
                found.append((at, address))
                at += chance.expovariate(1 / 6) + 0.2
        return sorted(found)

    def rtt(self) -> float:
        return self.capture.random.uniform(0.03, 0.09)

    def size(self) -> int:
        """Few kinds of pages that all clients get, so that sizes alone tell little."""
        chance = self.capture.random
        return chance.choice((512, 2_310, 2_311, 8_190, 14_600, 40_000)) + chance.randrange(8)

    def http(self) -> None:
        """A reverse proxy; every other upstream connection is one that was kept open."""
        kept: Tcp | None = None
        chance, capture = self.capture.random, self.capture
        for at, client in self.starts():
            length, host = self.size(), "shop.pills.test"
            path = f"/{chance.randrange(20)}"
            inward = Tcp(capture, at, client, self.agent, 80)
            asked = at + self.rtt()
            inward.send(asked, True, http_request(host, path), len(http_request(host, path)))
            if self.mothership is None:
                answered = asked + chance.uniform(0.001, 0.03)
            else:
                out = asked + chance.uniform(0.0005, 0.006)
                answered = out + self.rtt()
                if kept is None or chance.random() < 0.5:
                    kept = Tcp(capture, out - 0.0002, self.agent, self.mothership, 8080)
                request = http_request(host, path, 40)
                kept.send(out, True, request, len(request))
                answered = kept.send(answered, False, http_reply(length), 60 + length)
                kept = kept if chance.random() < 0.5 else None
            inward.send(
                answered + chance.uniform(0.0003, 0.003), False, http_reply(length), 90 + length
            )

    def tls(self) -> None:
        """Streams passed on byte by byte."""
        chance, capture = self.capture.random, self.capture
        for at, client in self.starts():
            inward = Tcp(capture, at, client, self.agent, 443)
            outward = None
            if self.mothership is not None:
                outward = Tcp(capture, at + 0.002, self.agent, self.mothership, 443)
            asked = at + self.rtt()
            turns = [(517, 3_100 + chance.randrange(40)), (80, 250)]
            turns += [
                (300 + chance.randrange(200), self.size()) for _ in range(chance.randrange(1, 3))
            ]
            for number, (up, down) in enumerate(turns):
                hello, server = (
                    (HELLO, SERVER_HELLO) if number == 0 else (b"\x17\x03\x03", b"\x17\x03\x03")
                )
                inward.send(asked, True, hello, up)
                answered = asked + chance.uniform(0.001, 0.02)
                if outward is not None:
                    out = asked + chance.uniform(0.0003, 0.004)
                    answered = outward.send(out, True, hello, up) + self.rtt()
                    answered = outward.send(answered, False, server, down)
                asked = (
                    inward.send(answered + chance.uniform(0.0002, 0.002), False, server, down)
                    + self.rtt()
                )

    def dns(self) -> None:
        """A DNS proxy: few names, asked again and again."""
        chance, capture = self.capture.random, self.capture
        for at, client in self.starts():
            name = f"{chance.choice(('www', 'c2', 'a', 'b'))}.mother{chance.randrange(5)}.test"
            query = dns.message.make_query(name, "A", id=chance.randrange(65_536)).to_wire()
            reply = query[:2] + b"\x81\x80\x00\x01\x00\x01" + query[8:] + b"\0" * 16
            sport = chance.randrange(20_000, 60_000)
            capture.udp(at, client, sport, self.agent, 53, query)
            answered = at + chance.uniform(0.0003, 0.01)
            if self.mothership is not None:
                out, port = at + chance.uniform(0.0002, 0.004), chance.randrange(20_000, 60_000)
                capture.udp(out, self.agent, port, self.mothership, 53, query)
                answered = out + self.rtt()
                capture.udp(answered, self.mothership, 53, self.agent, port, reply)
                answered += chance.uniform(0.0002, 0.001)
            capture.udp(answered, self.agent, 53, client, sport, reply)


def terminated(busy: Busy) -> None:
    """TLS ends at the agent; what it asks the mothership is plain HTTP, and it takes its time."""
    chance, capture = busy.capture.random, busy.capture
    for at, client in busy.starts():
        length, inward = busy.size(), Tcp(capture, at, client, busy.agent, 443)
        inward.send(at + busy.rtt(), True, HELLO, 517)
        asked = inward.send(at + 0.1, False, SERVER_HELLO, 3_000) + busy.rtt()
        inward.send(asked, True, b"\x17\x03\x03", 330)
        out = asked + chance.uniform(0.02, 0.6)
        outward = Tcp(capture, out - 0.001, busy.agent, MOTHERSHIP, 80)
        outward.send(out, True, http_request("shop.test", "/"), 250)
        answered = outward.send(out + busy.rtt(), False, http_reply(length), 60 + length)
        records = 29 * (length // 16_000 + 1)
        inward.send(answered + 0.002, False, b"\x17\x03\x03", 90 + length + records)


def with_database(busy: Busy) -> None:
    """A web server that makes each page out of some queries to its database: no proxy."""
    chance, capture = busy.capture.random, busy.capture
    for at, client in busy.starts():
        length, inward = busy.size(), Tcp(capture, at, client, busy.agent, 80)
        asked = at + busy.rtt()
        inward.send(asked, True, http_request("shop.test", "/"), 60)
        done = asked + 0.001
        outward = Tcp(capture, done - 0.0005, busy.agent, "198.19.3.3", 5432)
        for _ in range(chance.randrange(1, 5)):
            outward.send(done, True, b"Q", chance.randrange(60, 300))
            size = int(chance.lognormvariate(6.5, 1.2)) + 1
            done = outward.send(done + 0.001, False, b"D", size) + 0.0005
        inward.send(done + 0.002, False, http_reply(length), 90 + length)


def with_lookups(busy: Busy) -> None:
    """A web server that looks up who its clients are: no proxy."""
    busy.mothership = None
    busy.http()
    capture = busy.capture
    for at, client in busy.starts():
        name = ".".join(reversed(client.split("."))) + ".in-addr.arpa"
        query = dns.message.make_query(name, "PTR").to_wire()
        port = capture.random.randrange(20_000, 60_000)
        capture.udp(at + 0.1, busy.agent, port, RESOLVER, 53, query)
        reply = query[:2] + b"\x81\x83" + query[4:]
        capture.udp(at + 0.12, RESOLVER, 53, busy.agent, port, reply)


def resolver(busy: Busy) -> None:
    """A recursive resolver: asked with RD, it asks up to three name servers without. No proxy."""
    chance, capture = busy.capture.random, busy.capture
    cached: dict[str, float] = {}
    for started, client in busy.starts():
        for turn in range(chance.randrange(1, 4)):
            at = started + turn * chance.uniform(0.001, 0.1)
            number = int(40 * chance.random() ** 2)
            name, number_of_zone = f"www{number}.zone{number % 7}.test", number % 7
            query = dns.message.make_query(name, "A", id=chance.randrange(65_536)).to_wire()
            sport, answered = chance.randrange(20_000, 60_000), at + 0.0002
            capture.udp(at, client, sport, busy.agent, 53, query)
            if cached.get(name, 0) < at:
                cached[name] = at + 5
                servers = ["198.19.1.1", f"198.19.2.{1 + number_of_zone}"]
                for server in servers[chance.randrange(2) :]:
                    number = chance.randrange(65_536)
                    own = dns.message.make_query(name, "A", id=number, flags=0).to_wire()
                    out, port = answered + 0.0003, chance.randrange(20_000, 60_000)
                    capture.udp(out, busy.agent, port, server, 53, own)
                    answered = out + busy.rtt()
                    reply = own[:2] + b"\x80\x00\x00\x01\x00\x01" + own[8:] + b"\0" * 16
                    capture.udp(answered, server, 53, busy.agent, port, reply)
            reply = query[:2] + b"\x81\x80\x00\x01\x00\x01" + query[8:] + b"\0" * 16
            capture.udp(answered + 0.0005, busy.agent, 53, client, sport, reply)


def browser(busy: Busy) -> None:
    """One who only fetches: many pages, from few sites, over plain HTTP and TLS. No proxy."""
    background(busy.capture, busy.agent, busy.seconds, visits=900)


def peer(busy: Busy) -> None:
    """A busy node of a peer-to-peer network: pieces of one size, in and out, all the time.

    It asks for pieces and hands pieces out, to the same peers, over connections kept open.
    """
    chance, capture = busy.capture.random, busy.capture
    for number in range(busy.n_clients):
        other = client_address(number)
        inward = number % 2 == 0
        ends = (other, busy.agent) if inward else (busy.agent, other)
        at = chance.uniform(0, 2)
        tcp = Tcp(capture, at, *ends, 51_413)
        tcp.send(at + 0.05, True, b"\x13BitTorrent protocol", 68)
        at = tcp.send(at + 0.1, False, b"\x13BitTorrent protocol", 68)
        while at < busy.seconds - 3:
            at += chance.expovariate(1 / 2)
            tcp.send(at, True, b"\0\0\0\x0d\x06", 17)
            at = tcp.send(at + busy.rtt(), False, b"\0\0\x40\x09\x07", 16_397)


def background(
    capture: Capture, agent: str = AGENT, seconds: float = 60.0, visits: int = 150
) -> None:
    """The network behind the host surfs through it (NAT), resolves names; others scan, and share."""
    chance = capture.random
    for _ in range(visits):
        at, server = chance.uniform(0, seconds - 3), f"198.19.{10 + chance.randrange(12)}.80"
        port = chance.choice((443, 443, 80))
        outward = Tcp(capture, at, agent, server, port)
        for _ in range(chance.randrange(1, 4)):
            length = int(chance.lognormvariate(8, 1.4))
            at += chance.uniform(0.01, 0.4)
            request = http_request("news.example", "/") if port == 80 else HELLO
            outward.send(at, True, request, max(len(request), chance.randrange(90, 600)))
            at += chance.uniform(0.02, 0.1)
            outward.send(at, False, http_reply(length) if port == 80 else SERVER_HELLO, 60 + length)
        name = f"host{chance.randrange(60)}.example"
        query = dns.message.make_query(name, "A", id=chance.randrange(65_536)).to_wire()
        sport = chance.randrange(20_000, 60_000)
        capture.udp(at - 0.05, agent, sport, RESOLVER, 53, query)
        capture.udp(at - 0.03, RESOLVER, 53, agent, sport, query[:2] + b"\x81\x80" + query[4:])
    for number in range(60):
        scanner = Tcp(capture, chance.uniform(0, seconds - 1), f"198.19.77.{1 + number}", agent, 23)
        assert scanner.port == 23
    for _ in range(40):  # neighbours share files with it
        peer = Tcp(
            capture,
            chance.uniform(0, seconds - 2),
            f"198.18.55.{1 + chance.randrange(200)}",
            agent,
            51_413,
        )
        at = chance.uniform(0, seconds - 2)
        peer.send(at, True, b"\x13BitTorrent protocol", 68)
        peer.send(at + 0.04, False, b"\x13BitTorrent protocol", 68 + chance.randrange(20_000))


def capture_at(seed: int, role: str, *, proxies: bool = True, **settings) -> Capture:
    """A busy host of a role (http, dns, tls) with background; it passes on, or serves itself."""
    capture = Capture(random.Random(seed))  # noqa: S311  a test's
    busy = Busy(capture, mothership=MOTHERSHIP if proxies else None, **settings)
    getattr(busy, role)()
    background(capture, busy.agent, busy.seconds)
    return capture
