"""Upstreams of a host: with whom its exchanges go with what it is asked, each with its pairs.

Each is judged by itself. Where visits are spread over many, so that none has enough exchanges,
those of one port and role are judged together, and then each against chance in the group.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from unflux.networks import pairing
from unflux.networks.exchanges import ROLES, Exchanges, Host
from unflux.times import iso

I64 = npt.NDArray[np.int64]

MAX_FALSE_MATCH = 1e-4
"""Probability of a false match, over all candidates of a host, up to which one is named."""
MIN_SCORE = 0.3
"""Share of the exchanges with an upstream that inbound ones must explain."""
MAX_FALSE_IN_GROUP = 0.01
"""The same for one of several that are asked too seldom to tell from each alone, but together show
(with `MAX_FALSE_MATCH`) that the host passes on: where visits are spread over many next hops."""
MIN_PAIRS_IN_GROUP = 2
MAX_PAIRS = 100
"""Pairs listed as evidence."""
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


def upstreams_of(
    host: Host, inbound: Exchanges, outbound: Exchanges, seed: int
) -> tuple[list[Upstream], int]:
    """Whom a host passes on to, most pairs first, and how many it talks to.

    Parameters
    ----------
    host
        With everything that was captured of it.
    inbound, outbound
        Its exchanges, those that others asked for and those that it asked for.
    seed
        Of the shifted counts.
    """
    if not len(inbound) or not len(outbound):
        return [], 0
    every = np.stack([outbound.remote, outbound.port, outbound.role], axis=1)
    keys, inverse, counts = np.unique(every, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)
    order = [one for one in np.argsort(-counts, kind="stable").tolist()
             if counts[one] >= pairing.MIN_PAIRS][:MAX_CANDIDATES]  # fmt: skip
    talk = _Talk(host, inbound, outbound, keys, inverse)
    groups = _groups(keys[:, 1:], counts)
    log_tests = math.log(max(len(order) + len(groups), 1))
    found, named = [], set()
    for number in order:
        theirs = outbound.take(np.flatnonzero(inverse == number))
        match = pairing.match(inbound, theirs, host.span_us, seed)
        log_p = min(0.0, match.log_p + log_tests)
        if _shows_passing_on(match, log_p):
            found.append(_upstream(talk, theirs, number, match, log_p))
            named.add(number)
    for group in groups:
        found += _of_group(talk, [one for one in group if one not in named], seed, log_tests)
    found.sort(key=lambda one: (-(one.n_pairs - one.expected_by_chance), one.address, one.port))
    return found, len(keys)


class _Talk(NamedTuple):
    """All exchanges of a host, and with whom the outbound ones are."""

    host: Host
    inbound: Exchanges
    outbound: Exchanges
    keys: I64
    """(address, port, role) of each upstream."""
    with_whom: I64
    """Row in `keys` of each outbound exchange."""


def _shows_passing_on(match: pairing.Match, log_p: float) -> bool:
    enough = match.n_matched >= pairing.MIN_PAIRS and len(match.pairs) >= pairing.MIN_PAIRS
    return enough and log_p <= math.log(MAX_FALSE_MATCH) and match.score >= MIN_SCORE


def _groups(kinds: I64, counts: I64) -> list[list[int]]:
    """Upstreams of one port and role, where there are several: tried together, too."""
    _, of = np.unique(kinds, axis=0, return_inverse=True)
    of = of.reshape(-1)
    groups = [np.flatnonzero(of == one) for one in range(int(of.max()) + 1)]
    return [
        group.tolist() for group in groups
        if len(group) > 1 and counts[group].sum() >= pairing.MIN_PAIRS
    ]  # fmt: skip


def _of_group(talk: _Talk, group: list[int], seed: int, log_tests: float) -> list[Upstream]:
    """Those of a group that passes on as a whole who have pairs beyond chance."""
    rows = np.flatnonzero(np.isin(talk.with_whom, np.array(group, np.int64)))
    if len(rows) < pairing.MIN_PAIRS:
        return []
    theirs = talk.outbound.take(rows)
    whole = pairing.match(talk.inbound, theirs, talk.host.span_us, seed)
    log_whole = min(0.0, whole.log_p + log_tests)
    if not _shows_passing_on(whole, log_whole):
        return []
    found = []
    for number in group:
        mine = np.flatnonzero(talk.with_whom[rows] == number)
        place = {one: at for at, one in enumerate(mine.tolist())}
        pairs = [(one, place[other]) for one, other in whole.pairs if other in place]
        by_chance = whole.by_chance * len(mine) / whole.n_out
        tail = pairing.log_tail(np.array([float(len(pairs))]), np.array([by_chance]), len(mine))
        log_p = min(0.0, max(log_whole, float(tail[0]) + math.log(len(group))))
        match = dataclasses.replace(
            whole, n_out=len(mine), n_matched=len(pairs), by_chance=by_chance, pairs=pairs
        )
        if (
            len(pairs) >= MIN_PAIRS_IN_GROUP
            and log_p <= math.log(MAX_FALSE_IN_GROUP)
            and match.score >= MIN_SCORE
        ):
            found.append(_upstream(talk, theirs.take(mine), number, match, log_p))
    return found


def _upstream(
    talk: _Talk, outbound: Exchanges, number: int, match: pairing.Match, log_p: float
) -> Upstream:
    host, inbound = talk.host, talk.inbound
    key = [int(one) for one in talk.keys[number]]
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
