"""Who connected to whom lately, out of Zeek's conn.log or Suricata's flow events: bounded.

An alert says who asked for a flux name; here stands who then connected to its addresses. What was
seen before the verdict is remembered for it; what comes after it is news, and told at once.
"""

from __future__ import annotations

import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

import msgspec

from unflux.times import us_of_iso
from unflux.watch.tailing import Tail

MAX_DESTINATIONS = 50_000
"""Destinations that are remembered; beyond, the one that was connected to longest ago goes."""
MAX_CLIENTS = 64
"""Clients that are remembered of a destination; connections of more are only counted (and told
where the destination is a known agent)."""
MAX_NEWS = 10_000
"""News between two rounds; beyond, the oldest are lost, and counted."""
MAX_AGENTS = 200_000
"""Addresses of flux names that are looked out for; beyond, those found longest ago go, counted."""
MAX_LINE = 1 << 20
"""A longer line is malformed."""
US = 1_000_000


class Connection(msgspec.Struct):
    """What one client did with one destination."""

    client: str
    destination: str
    first_us: int
    last_us: int
    count: int = 0
    n_answered: int = 0
    """Connections in which the destination sent something."""


@dataclass(frozen=True, slots=True)
class News:
    """A client's first connection to an agent of a name that is known to be flux."""

    name: str
    connection: Connection


class Connections:
    """The memory; filled by the readers' threads, asked by the loop.

    What goes at the bounds is counted: `n_forgotten` destinations, `n_over` connections whose
    client was one too many of its destination, `n_news_lost`, and `n_agents_forgotten`.
    """

    def __init__(self) -> None:
        self.n_rows = self.n_forgotten = self.n_over = 0
        self.n_news_lost = self.n_agents_forgotten = 0
        self._by_destination: OrderedDict[str, dict[str, Connection]] = OrderedDict()
        self._agents: OrderedDict[str, str] = OrderedDict()
        self._news: deque[News] = deque()
        self._lock = threading.Lock()

    def add(self, client: str, destination: str, at_us: int, *, answered: bool) -> None:
        """Remember a connection."""
        with self._lock:
            self.n_rows += 1
            clients = self._by_destination.setdefault(destination, {})
            self._by_destination.move_to_end(destination)
            one = clients.get(client)
            if one is None:
                one = Connection(client, destination, at_us, at_us)
                if len(clients) < MAX_CLIENTS:
                    clients[client] = one
                else:
                    self.n_over += 1
                self._tell(one)  # who is not remembered is told, too: perhaps once more
            one.first_us, one.last_us = min(one.first_us, at_us), max(one.last_us, at_us)
            one.count += 1
            one.n_answered += answered
            while len(self._by_destination) > MAX_DESTINATIONS:
                self._by_destination.popitem(last=False)
                self.n_forgotten += 1

    def _tell(self, one: Connection) -> None:
        """It is news where its destination is a known agent."""
        name = self._agents.get(one.destination)
        if name is None:
            return
        self._news.append(News(name, one))
        while len(self._news) > MAX_NEWS:
            self._news.popleft()
            self.n_news_lost += 1

    def look_out(self, name: str, agents: Iterable[str]) -> list[Connection]:
        """From now on connections to these addresses are news; returns those there were."""
        with self._lock:
            found: list[Connection] = []
            for address in agents:
                self._agents[address] = name
                self._agents.move_to_end(address)
                found += self._by_destination.get(address, {}).values()
            while len(self._agents) > MAX_AGENTS:
                self._agents.popitem(last=False)
                self.n_agents_forgotten += 1
            return sorted(found, key=lambda one: (-one.last_us, one.client, one.destination))

    def take_news(self) -> list[News]:
        """What came to agents since the last call."""
        with self._lock:
            news = list(self._news)
            self._news.clear()
            return news


class _Flow(msgspec.Struct):
    start: str | None = None
    pkts_toclient: int = 0


class _Row(msgspec.Struct):
    """A line of JSON, Zeek's or Suricata's."""

    ts: float | str | None = None
    orig: str | None = msgspec.field(default=None, name="id.orig_h")
    resp: str | None = msgspec.field(default=None, name="id.resp_h")
    resp_pkts: int | None = None
    event_type: str | None = None
    timestamp: str | None = None
    src_ip: str | None = None
    dest_ip: str | None = None
    flow: _Flow | None = None


class ConnectionLog(Tail):
    """A growing conn.log (TSV or JSON) or eve.json, read into `Connections`."""

    def __init__(self, connections: Connections, path: Path, *, from_start: bool = False) -> None:
        super().__init__(path, from_start=from_start)
        self.connections = connections
        self.n_malformed = 0
        self._rest = b""
        self._columns: list[str] = []
        self._decoder = msgspec.json.Decoder(_Row)

    def recognise(self, head: bytes) -> bool:
        """Any file will do: what is no connection is counted line by line."""
        return b"\n" in head

    def take(self, data: bytes, *, last: bool) -> None:
        """Lines that are whole; a longer one than a megabyte is none."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if last or len(self._rest) > MAX_LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in filter(None, lines):
            try:
                self._take_line(line)
            except (ValueError, IndexError, OSError, OverflowError):
                self.n_malformed += 1

    def _take_line(self, line: bytes) -> None:
        if line.startswith(b"{"):
            self._take_json(self._decoder.decode(line))
        elif line.startswith(b"#fields"):
            self._columns = line.decode().rstrip("\r").split("\t")[1:]
        elif not line.startswith(b"#"):
            values = line.decode().rstrip("\r").split("\t")
            row = dict(zip(self._columns, values, strict=True))
            if "id.orig_h" not in row:
                raise ValueError("no log of connections")
            self._add(
                row["id.orig_h"],
                row["id.resp_h"],
                _us(float(row["ts"])),
                answered=row.get("resp_pkts", "-") not in ("-", "0"),
            )

    def _take_json(self, row: _Row) -> None:
        if row.orig and row.resp:
            at = row.ts if row.ts is not None else ""
            at_us = _us(at) if isinstance(at, float) else us_of_iso(at)
            self._add(row.orig, row.resp, at_us, answered=bool(row.resp_pkts))
        elif row.event_type == "flow" and row.src_ip and row.dest_ip:
            flow = row.flow or _Flow()
            at_us = us_of_iso(flow.start or row.timestamp or "")
            self._add(row.src_ip, row.dest_ip, at_us, answered=flow.pkts_toclient > 0)
        elif row.event_type is None:
            raise ValueError("no log of connections")

    def _add(self, client: str, destination: str, at_us: int, *, answered: bool) -> None:
        self.connections.add(_address(client), _address(destination), at_us, answered=answered)


def _us(seconds: float) -> int:
    return int(seconds * US)


def _address(text: str) -> str:
    """As findings spell it; Suricata writes IPv6 with all its zeros."""
    if ":" in text:
        return str(IPv6Address(text))
    return socket.inet_ntop(socket.AF_INET, socket.inet_pton(socket.AF_INET, text))
