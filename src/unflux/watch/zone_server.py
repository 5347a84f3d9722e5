"""Serve policy zones to resolvers: SOA, AXFR, IXFR (with deltas), NOTIFY, TSIG.

Loopback by default; on any other address a TSIG key is needed, because the zone tells what is
known.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import dns.tsig
import dns.tsigkeyring

from unflux.errors import Unavailable
from unflux.share.rpz import Record

MAX_DELTAS = 200
"""Changes that are remembered for IXFR; who is further behind gets the whole zone (counted as
`ixfr_as_axfr`: also who comes back after a restart of ours)."""
MESSAGE_BYTES = 16_000
MAX_CONNECTIONS = 64
"""Open at once; more are hung up, and counted."""
IDLE_S = 30.0
NOTIFY_TRIES, NOTIFY_WAIT_S = 4, 2.0
COUNTERS = (
    "axfr",
    "ixfr",
    "refused",
    "notify_sent",
    "notify_acknowledged",
    "notify_lost",
    "connections_refused",
    "ixfr_as_axfr",
)


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A shared secret: ``ALGORITHM:NAME:BASE64``, as dig's -y takes it."""

    algorithm: str
    name: str
    secret: str

    @classmethod
    def parse(cls, text: str) -> TsigKey:
        """From ``hmac-sha256:name:secret``; the algorithm may be left out.

        Raises
        ------
        ValueError
            When it is none.
        """
        parts = text.strip().split(":")
        if len(parts) == 2:
            parts = ["hmac-sha256", *parts]
        if len(parts) != 3 or not all(parts):
            raise ValueError("a TSIG key is ALGORITHM:NAME:BASE64")
        return cls(parts[0], parts[1].rstrip(".") + ".", parts[2])


@dataclass(frozen=True, slots=True)
class Version:
    """A zone at one serial; rrsets in the order in which they are sent."""

    serial: int
    soa: Any
    rrsets: tuple[Any, ...]


@dataclass(slots=True)
class _Delta:
    before: Version
    removed: list[Any]
    added: list[Any]
    after: Version


@dataclass(slots=True)
class _Zone:
    origin: str
    current: Version | None = None
    keys: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    deltas: deque[_Delta] = field(default_factory=lambda: deque(maxlen=MAX_DELTAS))


class ZoneServer:
    """One thread with a loop of its own; `publish` may be called from any other."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        key: TsigKey | None = None,
        notify: Sequence[tuple[str, int]] = (),
    ) -> None:
        if not ipaddress.ip_address(host).is_loopback and key is None:
            raise ValueError(f"serving zones on {host} needs a TSIG key (--rpz-key)")
        self.host, self.port, self.notify_to = host, port, list(notify)
        self.keyring, self.keyname = self._keyring(key)
        self.zones: dict[str, _Zone] = {}
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="unflux-zones", daemon=True)
        self._ready = threading.Event()
        self._fault: OSError | None = None
        self._notices: set[asyncio.Task[None]] = set()
        self._n_connections = 0

    def _keyring(self, key: TsigKey | None) -> tuple[Any, Any]:
        if key is None:
            return None, None
        try:
            ring = dns.tsigkeyring.from_text({key.name: (key.algorithm, key.secret)})
        except Exception as error:
            raise ValueError(f"the TSIG key cannot be used: {error}") from None
        return ring, next(iter(ring))

    def start(self) -> int:
        """Open the sockets; returns the port.

        Raises
        ------
        Unavailable
            When they cannot be opened.
        """
        self._thread.start()
        self._ready.wait()
        if self._fault is not None:
            why = os.strerror(self._fault.errno) if self._fault.errno else self._fault
            raise Unavailable(f"zones on {self.host}:{self.port}: {why}")
        return self.port

    def stop(self) -> None:
        """Close everything."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def publish(self, origin: str, soa: Record, records: Sequence[Record], serial: int) -> None:
        """Make this the zone's content, remember the difference, and notify the secondaries."""
        with self._lock:
            zone = self.zones.setdefault(origin.rstrip(".").lower() + ".", _Zone(origin))
            keys = {
                record.key: zone.keys.get(record.key) or self._rrset(record) for record in records
            }
            after = Version(serial, self._rrset(soa), tuple(keys.values()))
            if zone.current is not None:
                removed = [rrset for key, rrset in zone.keys.items() if key not in keys]
                added = [rrset for key, rrset in keys.items() if key not in zone.keys]
                zone.deltas.append(_Delta(zone.current, removed, added, after))
            zone.current, zone.keys = after, keys
        self._loop.call_soon_threadsafe(self._notify_all, origin)

    def _rrset(self, record: Record) -> Any:
        return dns.rrset.from_text(record.owner, record.ttl_s, "IN", record.rdtype, record.rdata)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            server = self._loop.run_until_complete(self._open())
        except OSError as error:
            self._fault = error
            self._ready.set()
            return
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._hang_up())
        self._loop.close()

    async def _hang_up(self) -> None:
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _open(self) -> asyncio.Server:
        server = await asyncio.start_server(self._talk, self.host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        await self._loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=(self.host, self.port)
        )
        return server

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._n_connections >= MAX_CONNECTIONS:
            self.counters["connections_refused"] += 1
            writer.close()
            return
        self._n_connections += 1
        try:
            while True:
                [length] = struct.unpack(
                    ">H", await asyncio.wait_for(reader.readexactly(2), IDLE_S)
                )
                wire = await asyncio.wait_for(reader.readexactly(length), IDLE_S)
                for reply in self.answer(wire, datagram=False):
                    writer.write(struct.pack(">H", len(reply)) + reply)
                    await asyncio.wait_for(writer.drain(), IDLE_S)
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass
        finally:
            self._n_connections -= 1
            writer.close()

    def answer(self, wire: bytes, *, datagram: bool) -> Iterator[bytes]:
        """The messages that answer one; nothing for what is no question."""
        try:
            query = dns.message.from_wire(wire, keyring=self.keyring, ignore_trailing=True)
        except dns.exception.DNSException as error:
            yield from self._fault_reply(wire, error)
            return
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return
        question = query.question[0]
        with self._lock:
            zone = self.zones.get(question.name.to_text().lower())
            current = zone.current if zone else None
            deltas = list(zone.deltas) if zone else []
        kind = dns.rdatatype.to_text(question.rdtype)
        if self.keyring is not None and not query.had_tsig:
            self.counters["refused"] += 1
            yield self._refusal(query, "REFUSED")
        elif current is None or kind not in ("SOA", "AXFR", "IXFR", "NS"):
            yield self._refusal(query, "REFUSED" if current is None else "NOTIMP")
        elif kind == "SOA" or (datagram and kind == "IXFR"):
            yield from self._send(query, [current.soa])
        elif datagram:
            yield self._refusal(query, "FORMERR")
        elif kind == "NS":
            yield from self._send(query, list(current.rrsets[:1]))
        elif kind == "IXFR" and (rrsets := self._changes(query, current, deltas)) is not None:
            self.counters["ixfr"] += 1
            yield from self._send(query, rrsets)
        else:
            self.counters["axfr"] += 1
            yield from self._send(query, [current.soa, *current.rrsets, current.soa])

    def _changes(self, query: Any, current: Version, deltas: list[_Delta]) -> list[Any] | None:
        """What IXFR sends (RFC 1995 §4), None where only the whole zone helps."""
        try:
            serial = query.authority[0][0].serial
        except (IndexError, AttributeError):
            return None
        if serial == current.serial:
            return [current.soa]
        start = next((at for at, one in enumerate(deltas) if one.before.serial == serial), None)
        if start is None:
            self.counters["ixfr_as_axfr"] += 1
            return None
        sent: list[Any] = [current.soa]
        for delta in deltas[start:]:
            sent += [delta.before.soa, *delta.removed, delta.after.soa, *delta.added]
        return [*sent, current.soa]

    def _refusal(self, query: Any, code: str) -> bytes:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.from_text(code))
        return bytes(reply.to_wire())

    def _fault_reply(self, wire: bytes, error: Exception) -> Iterator[bytes]:
        """A key that is unknown or wrong gets NOTAUTH, garbage gets nothing."""
        self.counters["refused"] += 1
        tsig = (dns.message.UnknownTSIGKey, dns.tsig.BadSignature, dns.tsig.BadTime)
        if not isinstance(error, tsig):
            return
        try:
            query = dns.message.from_wire(wire, keyring=False, continue_on_error=True)
        except Exception:
            return
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.NOTAUTH)
        yield bytes(reply.to_wire())

    def _send(self, query: Any, rrsets: Sequence[Any]) -> Iterator[bytes]:
        """Rrsets as signed messages of bounded size, in order (one rrset may come twice)."""
        context: Any = None
        batch: list[Any] = []
        size = 0
        groups: list[list[Any]] = []
        for rrset in rrsets:
            cost = len(rrset.name) * 2 + 60
            if batch and size + cost > MESSAGE_BYTES:
                groups.append(batch)
                batch, size = [], 0
            batch.append(rrset)
            size += cost
        groups.append(batch)
        for group in groups:
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.AA
            reply.answer = group
            if query.had_tsig and len(groups) > 1:
                reply.use_tsig(self.keyring, query.keyname, algorithm=query.keyalgorithm)
                wire = reply.to_wire(max_size=65_535, multi=True, tsig_ctx=context)
                context = reply.tsig_ctx
            else:
                wire = reply.to_wire(max_size=65_535)
            yield bytes(wire)

    def _notify_all(self, origin: str) -> None:
        for host, port in self.notify_to:
            task = self._loop.create_task(self._notify(origin, host, port))
            self._notices.add(task)
            task.add_done_callback(self._notices.discard)

    async def _notify(self, origin: str, host: str, port: int) -> None:
        """RFC 1996, with some tries: a lost one only means waiting for the refresh."""
        message = dns.message.make_query(origin.rstrip(".") + ".", "SOA")
        message.flags = dns.flags.AA
        message.set_opcode(dns.opcode.NOTIFY)
        with self._lock:
            zone = self.zones.get(origin.rstrip(".").lower() + ".")
            if zone and zone.current:
                message.answer = [zone.current.soa]
        if self.keyring is not None:
            message.use_tsig(self.keyring, self.keyname)
        wire = message.to_wire()
        for attempt in range(NOTIFY_TRIES):
            answered: asyncio.Future[None] = self._loop.create_future()
            transport: asyncio.DatagramTransport | None = None
            try:
                transport, _ = await self._loop.create_datagram_endpoint(
                    partial(_Answered, answered), remote_addr=(host, port)
                )
                self.counters["notify_sent"] += 1
                transport.sendto(wire)
                await asyncio.wait_for(answered, NOTIFY_WAIT_S)
                self.counters["notify_acknowledged"] += 1
                return
            except (TimeoutError, OSError):
                await asyncio.sleep(attempt)
            finally:
                if transport is not None:
                    transport.close()
        self.counters["notify_lost"] += 1


class _Datagrams(asyncio.DatagramProtocol):
    """Questions over UDP."""

    def __init__(self, server: ZoneServer) -> None:
        self.server = server
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for reply in self.server.answer(data, datagram=True):
            self.transport.sendto(reply, addr)


class _Answered(asyncio.DatagramProtocol):
    """Waits for any answer."""

    def __init__(self, answered: asyncio.Future[None]) -> None:
        self.answered = answered

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self.answered.done():
            self.answered.set_result(None)

    def error_received(self, exc: Exception) -> None:
        if not self.answered.done():
            self.answered.set_exception(exc)
