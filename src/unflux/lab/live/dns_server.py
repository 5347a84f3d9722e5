"""Every DNS server of the lab behind one port 53: the address that was asked decides who answers.

Root, top level, fixed name servers and motherships answer from their zones; agents of double-flux
networks forward to their mothership, from their own address, and pass its answer on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message

from unflux.lab.live.authority import Authority
from unflux.lab.live.roles import Network, Roles
from unflux.lab.live.sockets import WildcardUdp, number_of, wildcard_tcp
from unflux.lab.model.plan import SINKHOLE, canonical, is_v6, of_family, text_of

MAX_PENDING = 4_096
"""Forwarded questions that wait for the mothership; more are dropped, as a small device would."""
PENDING_S = 5.0
TCP_IDLE_S = 10.0
UDP_LIMIT = 1_232
"""Longest UDP answer (the DNS flag day's value): longer ones are truncated, TCP has them whole."""


@dataclass(slots=True)
class Forwarded:
    """A question that an agent passed on."""

    agent: int
    asker: tuple[str, int]
    message_id: bytes
    mothership: int
    sent_at_s: float


class DnsServers:
    """All of them."""

    def __init__(self, authority: Authority, roles: Roles, now: Callable[[], float]) -> None:
        self.authority, self.roles, self.now = authority, roles, now
        self.counts = {"answered": 0, "forwarded": 0, "silent": 0, "malformed": 0, "dropped": 0}
        self.pending: dict[int, Forwarded] = {}
        self.udp: dict[bool, WildcardUdp] = {}
        """By whether it is IPv6's."""
        self.upstream: dict[bool, WildcardUdp] = {}
        self._open: list[WildcardUdp | asyncio.Server] = []

    async def start(self) -> None:
        """Open the sockets, of both families."""
        for v6 in (False, True):
            self.udp[v6] = WildcardUdp(53, self._on_query, v6=v6)
            self.upstream[v6] = WildcardUdp(0, self._on_reply, v6=v6)
            tcp = await asyncio.start_server(self._on_connection, sock=wildcard_tcp(53, v6=v6))
            self._open += [self.udp[v6], self.upstream[v6], tcp]

    def close(self) -> None:
        """Close them."""
        for one in self._open:
            one.close()

    def respond(self, payload: bytes, address: int) -> dns.message.Message | None:
        """The answer of a host that serves zones itself; None when it is silent."""
        address = canonical(address)
        served = self.roles.zones_at(address)
        if not served:
            return None
        query = dns.message.from_wire(payload)
        if query.flags & dns.flags.QR or not query.question:
            return None
        if address == SINKHOLE:
            return self.authority.sinkhole(query)
        return self.authority.respond(query, served, self.now())

    def _on_query(self, payload: bytes, address: int, sender: tuple[str, int]) -> None:
        try:
            network = self._forwards(payload, address)
            if network:
                self._forward(payload, address, sender, network)
                return
            response = self.respond(payload, address)
        except (dns.exception.DNSException, ValueError):
            self.counts["malformed"] += 1
            return
        if response is None:
            self.counts["silent"] += 1
            return
        self.counts["answered"] += 1
        self._send(self.udp, _udp_wire(response), address, sender)

    def _send(
        self, sockets: dict[bool, WildcardUdp], payload: bytes, source: int, to: tuple[str, int]
    ) -> None:
        sockets[is_v6(source)].send(payload, source, to)

    def _forwards(self, payload: bytes, address: int) -> Network | None:
        if not self.roles.is_agent(address):
            return None
        question = dns.message.from_wire(payload, question_only=True).question
        return (
            self.roles.forwards_to(address, question[0].name.to_text().lower())
            if question
            else None
        )

    def _forward(
        self, payload: bytes, agent: int, asker: tuple[str, int], network: Network
    ) -> None:
        """Pass a question on under a number of our own."""
        if len(self.pending) >= MAX_PENDING:
            self._expire()
        number = random.randrange(1 << 16)  # noqa: S311  no secret: nobody else is in the lab
        if len(self.pending) >= MAX_PENDING or number in self.pending:
            self.counts["dropped"] += 1
            return
        self.counts["forwarded"] += 1
        self.pending[number] = Forwarded(
            agent, asker, payload[:2], network.mothership, time.monotonic()
        )
        to = (text_of(of_family(network.mothership, agent)), 53)
        self._send(self.upstream, number.to_bytes(2) + payload[2:], agent, to)

    def _expire(self) -> None:
        late = time.monotonic() - PENDING_S
        for number in [one for one, held in self.pending.items() if held.sent_at_s < late]:
            del self.pending[number]

    def _on_reply(self, payload: bytes, address: int, sender: tuple[str, int]) -> None:
        """The mothership answered an agent: pass it on as the agent's own."""
        waiting = self.pending.get(int.from_bytes(payload[:2]))
        if not waiting or waiting.agent != address:
            return
        if canonical(number_of(sender[0])) == waiting.mothership:
            del self.pending[int.from_bytes(payload[:2])]
            self._send(self.udp, waiting.message_id + payload[2:], address, waiting.asker)

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        address = number_of(writer.get_extra_info("sockname")[0])
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
            while True:
                async with asyncio.timeout(TCP_IDLE_S):
                    payload = await read_framed(reader)
                    answer = await self._tcp_answer(payload, address)
                if answer is None:
                    break
                writer.write(len(answer).to_bytes(2) + answer)
                await writer.drain()
        writer.close()

    async def _tcp_answer(self, payload: bytes, address: int) -> bytes | None:
        try:
            network = self._forwards(payload, address)
            if network:
                self.counts["forwarded"] += 1
                mothership = of_family(network.mothership, address)
                return await ask_tcp(payload, text_of(mothership), text_of(address))
            response = self.respond(payload, address)
        except dns.exception.DNSException:
            self.counts["malformed"] += 1
            return None
        if response is None:
            self.counts["silent"] += 1
            return None
        self.counts["answered"] += 1
        return response.to_wire(max_size=65_535)


def _udp_wire(response: dns.message.Message) -> bytes:
    """At most `UDP_LIMIT` bytes: extra glue is left out first, then the answer is truncated."""
    wire = response.to_wire(max_size=65_535)
    if len(wire) <= UDP_LIMIT:
        return wire
    response.additional = []
    wire = response.to_wire(max_size=65_535)
    if len(wire) <= UDP_LIMIT:
        return wire
    response.answer, response.authority = [], []
    response.flags |= dns.flags.TC
    return response.to_wire(max_size=65_535)


async def read_framed(reader: asyncio.StreamReader) -> bytes:
    """One DNS message from a TCP stream (RFC 1035 §4.2.2)."""
    length = int.from_bytes(await reader.readexactly(2))
    return await reader.readexactly(length)


async def ask_tcp(payload: bytes, server: str, source: str) -> bytes:
    """Ask a server over TCP, from a lab address."""
    reader, writer = await asyncio.open_connection(server, 53, local_addr=(source, 0))
    try:
        writer.write(len(payload).to_bytes(2) + payload)
        await writer.drain()
        return await read_framed(reader)
    finally:
        writer.close()
