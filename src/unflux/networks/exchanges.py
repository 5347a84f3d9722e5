"""Packets of one host as exchanges: a request to a server and its reply, in or out.

A connection that is kept open carries many exchanges; each time the direction turns from reply to
request, another begins. For TLS these are records whose content nobody reads, which pair as well.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ROLES = ("http", "dns", "tls", "other")
SYN, ACK = 0x02, 0x10
IDLE_US = 60_000_000
"""UDP between the same ports after so long a silence is another flow."""


@dataclass(frozen=True, slots=True)
class Exchanges:
    """One entry per exchange, by the time of its first byte. Times in µs since the epoch."""

    inbound: Mask
    """Others asked the host; false: the host asked others."""
    remote: I64
    """Number of the other side's address in `addresses`."""
    port: I64
    """Port of the server's side, whoever that is."""
    remote_port: I64
    role: I64
    """Place in `ROLES`."""
    start: I64
    reply_start: I64
    reply_end: I64
    up: I64
    """Bytes of payload of the request."""
    down: I64
    """Bytes of payload of the reply."""
    content_length: I64
    """As the reply's HTTP head says; -1: not known."""
    question: I64
    """Number of the name asked for; -1: not known."""
    recursion: I64
    """1: the question asks for recursion; 0: it does not; -1: no question."""

    def __len__(self) -> int:
        return len(self.start)

    def take(self, rows: I64 | Mask) -> Exchanges:
        """Some of them."""
        return Exchanges(*(getattr(self, one.name)[rows] for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Host:
    """Everything a capture shows of one host."""

    exchanges: Exchanges
    addresses: list[str]
    questions: list[str]
    n_packets: int
    n_peers: int
    span_us: tuple[int, int]
    """First and last time of the whole capture: when the host was silent tells as well."""


def host_of(packets: pa.Table, address: str) -> Host:
    """Exchanges of a host in a capture; none when it has no packets."""
    span = _span(packets.column("ts"))
    source, destination = packets.column("source"), packets.column("destination")
    mine = pc.xor(pc.equal(source, address), pc.equal(destination, address))
    packets = packets.filter(mine)
    if not packets.num_rows:
        return Host(nothing(), [], [], 0, 0, span)
    rows = _Rows.of(packets, address)
    return Host(
        _exchanges(rows), rows.addresses, rows.questions, packets.num_rows,
        len(np.unique(rows.remote)), span,
    )  # fmt: skip


def _span(times: pa.ChunkedArray) -> tuple[int, int]:
    found = pc.min_max(times.cast(pa.int64()))
    return found["min"].as_py() or 0, found["max"].as_py() or 0


def nothing() -> Exchanges:
    """No exchanges."""
    empty = np.zeros(0, np.int64)
    return Exchanges(np.zeros(0, bool), *(empty for _ in fields(Exchanges)[1:]))


@dataclass(slots=True)
class _Rows:
    """Packets of the host as arrays, sorted by flow and time."""

    flow: I64
    ts: I64
    to_host: Mask
    remote: I64
    remote_port: I64
    local_port: I64
    is_tcp: Mask
    seq: I64
    flags: I64
    length: I64
    question: I64
    recursion: I64
    is_http: Mask
    is_tls: Mask
    content_length: I64
    addresses: list[str]
    questions: list[str]

    @classmethod
    def of(cls, packets: pa.Table, address: str) -> _Rows:
        def numbers(name: str) -> I64:
            return np.asarray(packets.column(name).cast(pa.int64()).to_numpy(), np.int64)

        to_host = pc.equal(packets.column("destination"), address).to_numpy(zero_copy_only=False)
        other = pc.if_else(
            pa.array(to_host), packets.column("source").cast(pa.string()),
            packets.column("destination").cast(pa.string()),
        )  # fmt: skip
        remote, addresses = _coded(other)
        question, questions = _coded(packets.column("qname"))
        recursion = pc.fill_null(packets.column("recursion").cast(pa.int64()), -1).to_numpy()
        source_port, destination_port = numbers("source_port"), numbers("destination_port")
        protocol = packets.column("protocol").cast(pa.string())
        content = pc.fill_null(packets.column("content_length"), -1).to_numpy()
        rows = cls(
            np.zeros(0, np.int64), numbers("ts"), to_host, remote,
            np.where(to_host, source_port, destination_port),
            np.where(to_host, destination_port, source_port),
            pc.equal(protocol, "tcp").to_numpy(zero_copy_only=False),
            numbers("seq"), numbers("flags"), numbers("length"), question, recursion,
            pc.is_valid(packets.column("http_line")).to_numpy(zero_copy_only=False),
            packets.column("tls").to_numpy(zero_copy_only=False), content.astype(np.int64),
            addresses, questions,
        )  # fmt: skip
        rows.flow = _flows(rows)
        return rows._sorted()

    def _sorted(self) -> _Rows:
        order = np.lexsort((self.ts, self.flow))
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray):
                setattr(self, one.name, value[order])
        return self

    def keep(self, mask: Mask) -> None:
        """Forget the other packets."""
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray):
                setattr(self, one.name, value[mask])


def _coded(texts: pa.ChunkedArray) -> tuple[I64, list[str]]:
    """Texts as numbers, -1 for null, and the texts by number."""
    coded = pc.dictionary_encode(texts).combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.unify_dictionaries().chunk(0)
    number = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    return number.astype(np.int64), coded.dictionary.to_pylist()


def _flows(rows: _Rows) -> I64:
    """A number for each flow; a question of DNS over UDP is a flow of its own."""
    question = np.where(rows.is_tcp, -1, rows.question)
    keys = np.stack(
        [rows.remote, rows.remote_port, rows.local_port, rows.is_tcp.astype(np.int64), question],
        axis=1,
    )
    _, flow = np.unique(keys, axis=0, return_inverse=True)
    flow = flow.reshape(-1)
    order = np.lexsort((rows.ts, flow))
    sorted_flow, ts = flow[order], rows.ts[order]
    begins = np.ones(len(flow), bool)
    begins[1:] = sorted_flow[1:] != sorted_flow[:-1]
    # The same ports again: a new connection, or a silence.
    opened = rows.is_tcp[order] & ((rows.flags[order] & (SYN | ACK)) == SYN)
    silent = np.zeros(len(flow), bool)
    silent[1:] = (ts[1:] - ts[:-1] > IDLE_US) & ~rows.is_tcp[order][1:]
    again = np.zeros(len(flow), bool)
    again[1:] = opened[1:] & ~opened[:-1]
    number = np.cumsum(begins | silent | again) - 1
    result = np.empty(len(flow), np.int64)
    result[order] = number
    return result


def _exchanges(rows: _Rows) -> Exchanges:
    first = np.flatnonzero(np.concatenate([[True], rows.flow[1:] != rows.flow[:-1]]))
    n_flows = int(rows.flow[-1]) + 1
    inbound = _inbound(rows, first)
    role = _roles(rows, n_flows, inbound)
    _drop_repeats(rows)
    if not len(rows.flow):
        return nothing()
    request = rows.to_host == inbound[rows.flow]
    turn = np.ones(len(request), bool)
    turn[1:] = (rows.flow[1:] != rows.flow[:-1]) | (request[1:] & ~request[:-1])
    number = np.cumsum(turn) - 1
    n = int(number[-1]) + 1
    begin = np.flatnonzero(turn)
    up = np.bincount(number, np.where(request, rows.length, 0), n).astype(np.int64)
    down = np.bincount(number, np.where(request, 0, rows.length), n).astype(np.int64)
    far = np.iinfo(np.int64).max
    reply_start = np.full(n, far)
    np.minimum.at(reply_start, number[~request], rows.ts[~request])
    reply_end = np.zeros(n, np.int64)
    np.maximum.at(reply_end, number[~request], rows.ts[~request])
    content = np.full(n, -1, np.int64)
    np.maximum.at(content, number[~request], rows.content_length[~request])
    question = np.full(n, -1, np.int64)
    np.maximum.at(question, number, rows.question)
    recursion = np.full(n, -1, np.int64)
    np.maximum.at(recursion, number, rows.recursion)
    flow = rows.flow[begin]
    server = np.where(inbound[flow], rows.local_port[begin], rows.remote_port[begin])
    found = Exchanges(
        inbound[flow], rows.remote[begin], server, rows.remote_port[begin], role[flow],
        rows.ts[begin], reply_start, reply_end, up, down, content, question,
        recursion,
    )  # fmt: skip
    whole = (up > 0) & (down > 0)
    order = np.argsort(found.start[whole], kind="stable")
    return found.take(np.flatnonzero(whole)[order])


def _inbound(rows: _Rows, first: I64) -> Mask:
    """Whether the other side opened each flow: by SYN, or else by the lower port (a server's) for
    TCP that was open before, and by who spoke first for UDP."""
    opened = rows.to_host[first]
    flags = rows.flags[first] & (SYN | ACK)
    reply = rows.is_tcp[first] & (flags == (SYN | ACK))
    unknown = rows.is_tcp[first] & ((flags & SYN) == 0)
    opened = np.where(reply, ~opened, opened)
    by_port = rows.local_port[first] < rows.remote_port[first]
    answers = ~rows.is_tcp[first] & (rows.remote_port[first] == 53) & rows.to_host[first]
    return np.asarray(np.where(unknown, by_port, opened & ~answers), bool)


def _roles(rows: _Rows, n_flows: int, inbound: Mask) -> I64:
    def any_of(mask: Mask) -> Mask:
        return np.bincount(rows.flow, mask, n_flows) > 0

    role = np.full(n_flows, 3, np.int64)
    role[any_of(rows.is_tls)] = 2
    role[any_of(rows.is_http)] = 0
    role[any_of(rows.question >= 0)] = 1
    first = np.searchsorted(rows.flow, np.arange(n_flows))
    server = np.where(inbound, rows.local_port[first], rows.remote_port[first])
    # A connection that was open before the capture has no greeting: its port is all there is.
    role[(role == 3) & rows.is_tcp[first] & np.isin(server, (443, 8443))] = 2
    return role


def _drop_repeats(rows: _Rows) -> None:
    """Packets without payload, and segments that were sent (or captured) again."""
    rows.keep(rows.length > 0)
    if not len(rows.flow):
        return
    order = np.lexsort((rows.ts, rows.seq, rows.to_host, rows.flow))
    key = np.stack([rows.flow, rows.to_host, rows.seq], axis=1)[order]
    again = np.zeros(len(key), bool)
    again[1:] = (key[1:] == key[:-1]).all(axis=1) & rows.is_tcp[order][1:]
    keep = np.ones(len(key), bool)
    keep[order[again]] = False
    rows.keep(keep)
