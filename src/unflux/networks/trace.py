"""Where does an agent get what it serves? Upstreams out of captures, hop by hop.

Read-only: it looks at packets that were captured, and contacts nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from unflux.networks.exchanges import ROLES, Host, host_of, nothing
from unflux.networks.packets import Capture
from unflux.networks.upstreams import Upstream, upstreams_of

PROXY, NOT_FOUND = "proxy", "not_found"
MAX_HOPS = 16


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
    upstreams, candidates = upstreams_of(best, inbound, outbound, seed)
    return _Found(best, upstreams, candidates, len(inbound), len(outbound))


def _shows(host: Host) -> tuple[bool, int]:
    """A capture beside the host shows both directions of it, not only its talk with one other."""
    inbound = np.asarray(host.exchanges.inbound, bool)
    return bool(inbound.any() and (~inbound).any()), host.n_packets


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
