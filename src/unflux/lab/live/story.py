"""A walk told from its capture: numbered steps, each arrow with the real packet behind it."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from unflux.errors import UnfluxError
from unflux.lab.model.plan import ROOT_SERVER, TLD_SERVER, text_of

if TYPE_CHECKING:
    from unflux.lab.live.walk import Visit

TCP, UDP = 6, 17


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays whom."""

    infected: str
    resolver: str
    mothership: str
    name_servers: list[str]
    """The fixed ones (single flux)."""


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 packet of the capture."""

    number: int
    """From 1, as capture tools count."""
    at_s: float
    source: str
    target: str
    protocol: int
    ports: tuple[int, int]
    payload: bytes

    @property
    def message(self) -> dns.message.Message | None:
        """Its DNS message, when it is one over UDP."""
        if self.protocol != UDP or 53 not in self.ports:
            return None
        try:
            return dns.message.from_wire(self.payload, ignore_trailing=True)
        except dns.exception.DNSException:
            return None


def read_packets(path: Path) -> Iterator[Packet]:
    """The IPv4 TCP and UDP packets of one of our own captures."""
    content = path.read_bytes()
    at, number = 24, 0
    while at + 16 <= len(content):
        seconds, nanos, kept, _ = struct.unpack_from("<IIII", content, at)
        frame, number = content[at + 16 : at + 16 + kept], number + 1
        at += 16 + kept
        if frame[12:14] != b"\x08\x00" or frame[23] not in (TCP, UDP):
            continue
        transport = 14 + (frame[14] & 15) * 4
        ports = struct.unpack_from(">HH", frame, transport)
        head = (frame[transport + 12] >> 4) * 4 if frame[23] == TCP else 8
        yield Packet(
            number, seconds + nanos / 1e9, socket.inet_ntoa(frame[26:30]),
            socket.inet_ntoa(frame[30:34]), frame[23], (ports[0], ports[1]),
            frame[transport + head :],
        )  # fmt: skip


def tell(kind: str, name: str, cast: Cast, visits: Sequence[Visit], path: Path) -> dict[str, Any]:
    """The whole story, as `unflux lab walk --json` prints it.

    Raises
    ------
    UnfluxError
        When the capture does not show an arrow: nothing is told that was not there.
    """
    packets = list(read_packets(path))
    teller = _Teller(name, cast, visits[0], [one for one in packets if one.at_s >= visits[0].at_s])
    before, after = visits[0].registered, visits[1].registered
    return {
        "walk": kind,
        "name": name.rstrip("."),
        "cast": {
            "infected_host": cast.infected,
            "resolver": cast.resolver,
            "root": text_of(ROOT_SERVER),
            "registry": text_of(TLD_SERVER),
            "name_server": teller.name_server,
            "name_server_is": "agent" if kind == "double" else "fixed",
            "agent": visits[0].agent,
            "mothership": cast.mothership,
        },
        "steps": teller.single() if kind == "single" else teller.double(),
        "registrations": {"before": before, "after": after},
        "second_visit": {"agent": visits[1].agent, "status": visits[1].got.status},
        "proof": _proof(cast, packets),
        "capture": str(path),
    }


def _proof(cast: Cast, packets: Sequence[Packet]) -> dict[str, Any]:
    """Packets by pairs of hosts, counted in the capture."""
    pairs = Counter(frozenset((one.source, one.target)) for one in packets)
    with_mothership = {
        next(iter(pair - {cast.mothership})): n
        for pair, n in pairs.items()
        if cast.mothership in pair and len(pair) == 2
    }
    return {
        "packets": len(packets),
        "infected_host_and_mothership": pairs[frozenset((cast.infected, cast.mothership))],
        "infected_host_and_others": sum(
            n for pair, n in pairs.items() if cast.infected in pair and cast.mothership not in pair
        ),
        "mothership_and_others": dict(sorted(with_mothership.items())),
        "addresses_that_dns_answers_held": _answered(packets),
        "mothership_in_any_dns_answer": cast.mothership in _answered(packets),
    }


def _answered(packets: Iterable[Packet]) -> list[str]:
    """Addresses in answer sections of all DNS messages."""
    found: set[str] = set()
    for one in packets:
        message = one.message
        for rrset in message.answer if message else ():
            if rrset.rdtype == dns.rdatatype.A:
                found |= {record.address for record in rrset}
    return sorted(found)


class _Teller:
    """Finds the packet behind each arrow of the first visit."""

    def __init__(self, name: str, cast: Cast, visit: Visit, packets: Sequence[Packet]) -> None:
        self.name, self.cast, self.visit, self.packets = name, cast, visit, packets
        known = {text_of(ROOT_SERVER), text_of(TLD_SERVER), cast.infected}
        asked = self._find(
            "the resolver asks a name server",
            lambda one: one.source == cast.resolver and one.target not in known
            and self._is_dns(one, response=False),
        )  # fmt: skip
        self.name_server = asked.target

    def single(self) -> list[dict[str, Any]]:
        """(1) to (4)."""
        cast, server = self.cast, self.name_server
        return [
            {"step": 1, "what": "The infected host asks for the name; root and registry refer to "
             "the domain's fixed name servers", "arrows": self._asking()},
            {"step": 2, "what": "The fixed name server answers with agents, for a short time",
             "arrows": [
                 self._dns(cast.resolver, server, response=False),
                 self._dns(server, cast.resolver, response=True),
                 self._dns(cast.resolver, cast.infected, response=True),
             ]},
            {"step": 3, "what": "The infected host turns to the first agent of the answer",
             "arrows": [self._http(cast.infected, self.visit.agent, b"GET ")]},
            {"step": 4, "what": "The agent fetches from the mothership and passes the answer on",
             "arrows": self._relaying()},
        ]  # fmt: skip

    def double(self) -> list[dict[str, Any]]:
        """(1) to (5)."""
        cast, server = self.cast, self.name_server
        return [
            {"step": 1, "what": "The infected host asks for the name; the registry refers to name "
             "servers that are agents themselves", "arrows": self._asking()},
            {"step": 2, "what": "The agent that serves as name server forwards the question to the "
             "mothership", "arrows": [
                 self._dns(cast.resolver, server, response=False),
                 self._dns(server, cast.mothership, response=False),
             ]},
            {"step": 3, "what": "The mothership's answer comes back the same way: again agents",
             "arrows": [
                 self._dns(cast.mothership, server, response=True),
                 self._dns(server, cast.resolver, response=True),
                 self._dns(cast.resolver, cast.infected, response=True),
             ]},
            {"step": 4, "what": "The infected host turns to the first agent of the answer",
             "arrows": [self._http(cast.infected, self.visit.agent, b"GET ")]},
            {"step": 5, "what": "The agent fetches from the mothership and passes the answer on",
             "arrows": self._relaying()},
        ]  # fmt: skip

    def _asking(self) -> list[dict[str, Any]]:
        cast, root, registry = self.cast, text_of(ROOT_SERVER), text_of(TLD_SERVER)
        return [
            self._dns(cast.infected, cast.resolver, response=False),
            self._dns(cast.resolver, root, response=False),
            self._dns(root, cast.resolver, response=True),
            self._dns(cast.resolver, registry, response=False),
            self._dns(registry, cast.resolver, response=True),
        ]

    def _relaying(self) -> list[dict[str, Any]]:
        agent, mothership = self.visit.agent, self.cast.mothership
        return [
            self._http(agent, mothership, b"GET "),
            self._http(mothership, agent, b"HTTP/1.1 200"),
            self._http(agent, self.cast.infected, b"HTTP/1.1 200"),
        ]

    def _find(self, what: str, test: Callable[[Packet], bool]) -> Packet:
        for one in self.packets:
            if test(one):
                return one
        raise UnfluxError(f"the capture does not show that {what}")

    def _is_dns(self, packet: Packet, *, response: bool) -> bool:
        message = packet.message
        if message is None or not message.question:
            return False
        asked = message.question[0].name.to_text().lower()
        is_response = bool(message.flags & dns.flags.QR)
        return asked == self.name and is_response == response

    def _dns(self, source: str, target: str, *, response: bool) -> dict[str, Any]:
        packet = self._find(
            f"{source} {'answers' if response else 'asks'} {target}",
            lambda one: one.source == source and one.target == target
            and self._is_dns(one, response=response),
        )  # fmt: skip
        says = _describe(packet.message, response=response) if packet.message else ""
        return self._arrow(packet, "DNS", says)

    def _http(self, source: str, target: str, start: bytes) -> dict[str, Any]:
        packet = self._find(
            f"{source} sends {start.decode()}… to {target}",
            lambda one: one.source == source and one.target == target
            and one.protocol == TCP and one.payload.startswith(start),
        )  # fmt: skip
        lines = packet.payload.split(b"\r\n\r\n")[0].decode(errors="replace").split("\r\n")
        host = [line for line in lines[1:] if line.lower().startswith("host:")]
        return self._arrow(packet, "HTTP", ", ".join([lines[0], *host]))

    def _arrow(self, packet: Packet, protocol: str, what: str) -> dict[str, Any]:
        return {
            "from": packet.source,
            "to": packet.target,
            "from_port": packet.ports[0],
            "to_port": packet.ports[1],
            "protocol": protocol,
            "says": what,
            "packet": packet.number,
            "ms": round((packet.at_s - self.visit.at_s) * 1000, 1),
        }


def _describe(message: dns.message.Message, *, response: bool) -> str:
    """A message in a line."""
    question = message.question[0]
    asked = f"{question.name} {dns.rdatatype.to_text(question.rdtype)}"
    if not response:
        return f"{asked}?"
    if message.answer:
        rrset = message.answer[0]
        kind = "answer"
    elif message.authority:
        rrset = message.authority[0]
        kind = "referral"
    else:
        return f"{asked}: {dns.rcode.to_text(message.rcode())}"
    values = ", ".join(sorted(record.to_text() for record in rrset))
    text = f"{kind}: {rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {values}"
    glue = [
        f"{one.name} {record.address}"
        for one in message.additional
        if one.rdtype == dns.rdatatype.A
        for record in one
    ]
    return text + (f"; glue: {', '.join(sorted(glue))}" if glue and kind == "referral" else "")
