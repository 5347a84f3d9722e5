"""Where does an agent get what it serves? Upstreams out of captures, hop by hop.

Read-only: it looks at packets that were captured, and contacts nobody.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from unflux.networks import pairing
from unflux.networks.exchanges import ROLES, Exchanges, Host, host_of, nothing
from unflux.networks.packets import Capture
from unflux.pipeline import iso

I64 = npt.NDArray[np.int64]

PROXY, NOT_FOUND = "proxy", "not_found"
MAX_FALSE_MATCH = 1e-4
"""Probability of a false match, over all candidates of a host, up to which one is named."""
MIN_SCORE = 0.3
"""Share of the exchanges with an upstream that inbound ones must explain."""
MAX_PAIRS = 100
"""Pairs listed as evidence."""
MAX_HOPS = 16
MAX_CANDIDATES = 2_000
"""Upstreams looked at: those with most exchanges."""


class Pair(msgspec.Struct, frozen=True):
    """A client's request, and the agent's own that goes with it."""

    at: str
    client: str
    delay_ms: float
    """From the first byte of the one to that of the other."""
    inbound_bytes: int
    """Of the reply to the client; the next is that of the reply of the upstream."""
    outbound_bytes: int
    question: str | None
    content_length: int | None


class Upstream(msgspec.Struct, frozen=True):
    """Whom the agent asks for what it is asked."""

    address: str
    port: int
    role: str
    """Of the exchanges with it: ``http``, ``dns``, ``tls`` or ``other``."""
    score: float
    """Share of the exchanges with it that inbound ones explain, beyond chance, 0…1."""
    false_match_probability: float
    """That a host whose outbound traffic has nothing to do with the inbound one shows as much, over
    all candidates and windows; 1e-300 where it is smaller than can be written."""
    n_pairs: int
    n_exchanges: int
    expected_by_chance: float
    """Of these, matched with times shifted round the capture (mean)."""
    window_ms: float
    median_delay_ms: float
    inbound_ports: dict[str, int]
    """Ports of the agent that the paired requests came to."""
    n_clients: int
    next_hop: bool
    """The captures show that it passes on itself."""
    pairs: list[Pair]


class Hop(msgspec.Struct, frozen=True):
    """A host on the way, as far as the captures show."""

    agent: str
    verdict: str
    upstreams: list[Upstream]


class Trace(msgspec.Struct, frozen=True):
    """The result of `unflux trace`."""

    agent: str
    verdict: str
    upstreams: list[Upstream]
    """Most pairs first."""
    hops: list[Hop]
    """Hosts that the agent passes on to and that pass on themselves, from near to far."""
    path: list[str]
    """From the agent to the last host that is known, following the first upstream of each."""
    n_packets: int
    n_inbound: int
    n_outbound: int
    candidates: int
    """Upstreams that were tried."""
    reason: str
    """Why it is a proxy, or why none was found."""
    blind_spots: list[str]


def trace(captures: Sequence[Capture], agent: str, *, seed: int = 1) -> Trace:
    """Find the upstreams of an agent, and theirs where captures show them.

    Parameters
    ----------
    captures
        Read with `unflux.networks.packets.read_captures`; of the agent, and of hosts behind it.
    agent
        Its address as the captures have it.
    seed
        Of the shifted counts.

    Raises
    ------
    ValueError
        When `agent` is no address.
    """
    try:
        agent = _as_captured(agent)
    except ValueError:
        raise ValueError(
            f"{agent!r} is no IP address: name the agent's (--agent 198.18.0.7)"
        ) from None
    found: dict[str, _Found] = {}
    waiting = [agent]
    while waiting and len(found) < MAX_HOPS:
        address = waiting.pop(0)
        if address not in found:
            found[address] = _trace_one(captures, address, seed)
            waiting += [one.address for one in found[address].upstreams]
    proxies = {address for address, one in found.items() if one.upstreams}
    hops = [
        Hop(address, PROXY, _marked(one.upstreams, proxies))
        for address, one in found.items()
        if address != agent and one.upstreams
    ]
    first = found[agent]
    return Trace(
        agent, PROXY if first.upstreams else NOT_FOUND, _marked(first.upstreams, proxies), hops,
        list(_path(agent, found)), first.host.n_packets, first.n_inbound, first.n_outbound,
        first.candidates, _reason(first, agent), _blind_spots(first),
    )  # fmt: skip


def _as_captured(text: str) -> str:
    """The address as the core writes it: no zone, IPv4 not mapped into IPv6."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


class _Found(msgspec.Struct):
    host: Host
    upstreams: list[Upstream]
    candidates: int
    n_inbound: int
    n_outbound: int


def _trace_one(captures: Sequence[Capture], address: str, seed: int) -> _Found:
    """The capture that shows most of a host says what it does."""
    hosts = [host_of(one.packets, address) for one in captures if one.packets.num_columns]
    best = max(hosts, key=_shows, default=None)
    if best is None:
        best = Host(nothing(), [], [], 0, 0, (0, 0))
    inbound = best.exchanges.take(np.asarray(best.exchanges.inbound, bool))
    outbound = best.exchanges.take(~np.asarray(best.exchanges.inbound, bool))
    upstreams, candidates = _upstreams(best, inbound, outbound, seed)
    return _Found(best, upstreams, candidates, len(inbound), len(outbound))


def _shows(host: Host) -> tuple[bool, int]:
    """A capture beside the host shows both directions of it, not only its talk with one other."""
    inbound = np.asarray(host.exchanges.inbound, bool)
    return bool(inbound.any() and (~inbound).any()), host.n_packets


def _upstreams(
    host: Host, inbound: Exchanges, outbound: Exchanges, seed: int
) -> tuple[list[Upstream], int]:
    if not len(inbound) or not len(outbound):
        return [], 0
    every = np.stack([outbound.remote, outbound.port, outbound.role], axis=1)
    keys, inverse, counts = np.unique(every, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)
    order = [one for one in np.argsort(-counts, kind="stable").tolist()
             if counts[one] >= pairing.MIN_PAIRS][:MAX_CANDIDATES]  # fmt: skip
    found = []
    for number in order:
        theirs = outbound.take(np.flatnonzero(inverse == number))
        match = pairing.match(inbound, theirs, host.span_us, seed)
        log_p = min(0.0, match.log_p + math.log(max(len(order), 1)))
        enough = match.n_matched >= pairing.MIN_PAIRS and len(match.pairs) >= pairing.MIN_PAIRS
        if enough and log_p <= math.log(MAX_FALSE_MATCH) and match.score >= MIN_SCORE:
            remote, port, role = (int(one) for one in keys[number])
            found.append(_upstream(host, inbound, theirs, (remote, port, role), match, log_p))
    found.sort(key=lambda one: (-(one.n_pairs - one.expected_by_chance), one.address, one.port))
    return found, len(order)


def _upstream(
    host: Host,
    inbound: Exchanges,
    outbound: Exchanges,
    key: tuple[int, int, int],
    match: pairing.Match,
    log_p: float,
) -> Upstream:
    ins = np.array([one for one, _ in match.pairs], np.int64)
    outs = np.array([other for _, other in match.pairs], np.int64)
    delays = (outbound.start[outs] - inbound.start[ins]) / 1000
    ports, counts = np.unique(inbound.port[ins], return_counts=True)
    return Upstream(
        address=host.addresses[key[0]],
        port=key[1],
        role=ROLES[key[2]],
        score=round(match.score, 4),
        false_match_probability=max(math.exp(log_p), 1e-300),
        n_pairs=len(match.pairs),
        n_exchanges=len(outbound),
        expected_by_chance=round(match.by_chance * len(outbound) / max(match.n_out, 1), 2),
        window_ms=match.window_us / 1000,
        median_delay_ms=round(float(np.median(delays)), 3),
        inbound_ports={str(port): int(n) for port, n in zip(ports, counts, strict=True)},
        n_clients=len(np.unique(inbound.remote[ins])),
        next_hop=False,
        pairs=[_pair(host, inbound, outbound, *one) for one in match.pairs[:MAX_PAIRS]],
    )


def _pair(host: Host, inbound: Exchanges, outbound: Exchanges, one: int, other: int) -> Pair:
    question, length = int(inbound.question[one]), int(inbound.content_length[one])
    return Pair(
        at=iso(int(inbound.start[one])) or "",
        client=host.addresses[int(inbound.remote[one])],
        delay_ms=round(int(outbound.start[other] - inbound.start[one]) / 1000, 3),
        inbound_bytes=int(inbound.down[one]),
        outbound_bytes=int(outbound.down[other]),
        question=host.questions[question].removesuffix(".") if question >= 0 else None,
        content_length=length if length >= 0 else None,
    )


def _marked(upstreams: list[Upstream], proxies: set[str]) -> list[Upstream]:
    return [msgspec.structs.replace(one, next_hop=one.address in proxies) for one in upstreams]


def _path(agent: str, found: dict[str, _Found]) -> Iterator[str]:
    """The agent, its first upstream, that one's first, until one is not known to pass on."""
    seen: set[str] = set()
    address: str | None = agent
    while address is not None and address not in seen:
        seen.add(address)
        yield address
        upstreams = found[address].upstreams if address in found else []
        address = upstreams[0].address if upstreams else None


def _reason(found: _Found, agent: str) -> str:
    if found.upstreams:
        one = found.upstreams[0]
        return (
            f"{one.n_pairs} of its {one.n_exchanges} exchanges with {one.address} port {one.port} "
            f"go with requests that clients made of it {one.median_delay_ms:g} ms before (median); "
            f"chance would give {one.expected_by_chance:g}"
        )
    if not found.host.n_packets:
        return f"no packet of {agent} is in the captures"
    if not found.n_inbound:
        return "nobody asks it for anything in the captures: there is nothing to pass on"
    if not found.n_outbound:
        return "it asks nobody in the captures: what it serves, it has itself"
    if _resolves(found.host):
        return "it resolves names: it asks name servers itself what it is asked to find out"
    return "no other host is asked when it is asked, more often than by chance"


def _resolves(host: Host) -> bool:
    """Asked for recursion, and asks without: a recursive resolver, which passes nothing on."""
    inbound, recursion = np.asarray(host.exchanges.inbound, bool), host.exchanges.recursion
    asked, asks = recursion[inbound & (recursion >= 0)], recursion[~inbound & (recursion >= 0)]
    return len(asked) > 0 and len(asks) > 0 and asked.mean() > 0.5 > asks.mean()


def _blind_spots(found: _Found) -> list[str]:
    spots = [
        "Only exchanges that pass on within three seconds are paired: an agent that stores and "
        "answers later, or has a cache, shows less.",
        "A tunnel between agent and mothership that multiplexes clients shows as no pairs.",
    ]
    roles = found.host.exchanges.role
    if len(roles) and (np.asarray(roles) == ROLES.index("tls")).any():
        spots.append("Of TLS only times and volumes are seen.")
    return spots
