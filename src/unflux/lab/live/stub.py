"""A stub resolver for the lab's clients: asks the resolver from the client's own address."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from unflux.lab.live.dns_server import ask_tcp
from unflux.lab.live.sockets import WildcardUdp
from unflux.lab.model.plan import text_of

MAX_WAITING = 2_048


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client learned."""

    rcode: str
    """A mnemonic, or TIMEOUT when nothing came back."""
    addresses: list[str]
    """A and AAAA records, in the order of the answer; those behind aliases too."""


class Stub:
    """One socket for all clients; questions are told apart by client and message id.

    Bound: `MAX_WAITING` questions; more count as timeouts.
    """

    def __init__(self, resolver: str) -> None:
        self.resolver = resolver
        self.waiting: dict[tuple[int, int], asyncio.Future[bytes]] = {}
        self.socket = WildcardUdp(0, self._on_reply)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    async def resolve(
        self, name: str, client: int, rdtype: str = "A", timeout_s: float = 5.0
    ) -> Answer:
        """Ask once; what a busy or dead resolver does not answer in time is a TIMEOUT."""
        query = dns.message.make_query(name, rdtype, use_edns=False)
        query.id = random.randrange(1 << 16)  # noqa: S311
        key = (client, query.id)
        if len(self.waiting) >= MAX_WAITING or key in self.waiting:
            return Answer("TIMEOUT", [])
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting[key] = future
        try:
            async with asyncio.timeout(timeout_s):
                self.socket.send(query.to_wire(), client, (self.resolver, 53))
                wire = await future
                if wire[2] & 0x02:  # truncated
                    wire = await ask_tcp(query.to_wire(), self.resolver, text_of(client))
            return _answer(wire)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, dns.exception.DNSException):
            return Answer("TIMEOUT", [])
        finally:
            del self.waiting[key]

    def _on_reply(self, payload: bytes, address: int, sender: tuple[str, int]) -> None:
        future = self.waiting.get((address, int.from_bytes(payload[:2])))
        if future and not future.done() and sender[0] == self.resolver:
            future.set_result(payload)


def _answer(wire: bytes) -> Answer:
    message = dns.message.from_wire(wire)
    addresses = [
        record.address
        for rrset in message.answer
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for record in rrset
    ]
    return Answer(dns.rcode.to_text(message.rcode()), addresses)
