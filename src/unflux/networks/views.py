"""The data of pictures, as plain values: for SVG, the HTML report and the web page alike."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime
from typing import NamedTuple

from unflux.networks.model import Network

MAX_BARS = 12
MAX_TIMELINE = 80
MAX_GRAPH_AGENTS = 300
MAX_GRAPH_NAMES = 60
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
"""Between one point of a spiral and the next: no two lie in a line."""


class Bar(NamedTuple):
    """One bar of a distribution."""

    label: str
    n: int


class Point(NamedTuple):
    """Hours since the beginning, and a number of addresses."""

    hour: float
    value: float


class Band(NamedTuple):
    """An estimate with its 95 % interval, for a window in hours since the beginning."""

    from_h: float
    to_h: float
    low: float
    estimate: float
    high: float


class Curve(NamedTuple):
    """The accumulation curve."""

    from_s: int
    total: list[Point]
    """Distinct addresses so far."""
    seen: list[Point]
    """Distinct addresses in each hour."""
    bands: list[Band]
    """Addresses in use at a time, window by window."""


class Span(NamedTuple):
    """When an address answered: hours since the beginning."""

    address: str
    role: str
    from_h: float
    to_h: float


class Node(NamedTuple):
    """A node of the graph, within a circle of radius 1 around (0, 0)."""

    label: str
    kind: str
    """``name``, or the role of an address."""
    x: float
    y: float
    group: int | None
    """Of a name: its sub-network."""
    note: str
    """Of an address: its origin AS and country."""


class Graph(NamedTuple):
    """Names around, addresses inside near the names that have them."""

    nodes: list[Node]
    edges: list[tuple[int, int]]
    n_left_out: int
    """Names and addresses beyond the bounds."""


def distribution(counts: dict[str, int], limit: int = MAX_BARS) -> list[Bar]:
    """The most frequent entries, and the rest together as ``other``."""
    items = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in items[limit:])
    bars = [Bar(label, count) for label, count in items[:limit]]
    return [*bars, Bar("other", rest)] if rest else bars


def accumulation(network: Network) -> Curve:
    """Distinct addresses over time, with the estimates beside them."""
    growth = network.growth
    total = [Point(hour + 1.0, value) for hour, value in enumerate(growth.total)]
    seen = [Point(hour + 0.5, value) for hour, value in enumerate(growth.seen)]
    bands = [
        Band(
            (one.from_s - growth.from_s) / 3600,
            (one.to_s - growth.from_s) / 3600,
            one.low,
            one.estimate,
            one.high,
        )
        for one in network.size.series
        if one.estimate is not None and one.low is not None and one.high is not None
    ]
    return Curve(growth.from_s, [Point(0.0, 0.0), *total], seen, bands)


def timeline(network: Network, limit: int = MAX_TIMELINE) -> list[Span]:
    """Which address answered from when to when; evenly chosen where there are too many."""
    agents = sorted(network.agents, key=lambda one: (one.first_seen, one.address))
    step = max(1, math.ceil(len(agents) / limit))
    start = network.growth.from_s
    return [
        Span(
            one.address, one.role, _hours(one.first_seen, start), _hours(one.last_seen, start)
        )
        for one in agents[::step]
    ]  # fmt: skip


def _hours(time: str, start_s: int) -> float:
    return (datetime.fromisoformat(time).timestamp() - start_s) / 3600


def graph(network: Network) -> Graph:
    """Names on a circle in the order of their sub-networks, addresses where their names pull them.

    An address of one name lies before it, what all names share in the middle: sub-networks with
    pools of their own fall apart to the eye.
    """
    by_sub = sorted(range(len(network.names)), key=lambda place: network.names[place].sub_network)
    names = by_sub[:MAX_GRAPH_NAMES]
    agents = sorted(
        range(len(network.agents)),
        key=lambda place: (-network.agents[place].n_names, -network.agents[place].count, place),
    )[:MAX_GRAPH_AGENTS]
    angles = {place: 2 * math.pi * at / len(names) for at, place in enumerate(names)}
    nodes = []
    for place, angle in angles.items():
        one = network.names[place]
        nodes.append(Node(one.name, "name", math.cos(angle), math.sin(angle), one.sub_network, ""))
    number = {place: at for at, place in enumerate(names)}
    chosen = set(agents)
    links = [(number[a], b) for a, b, _ in network.links if a in number and b in chosen]
    places = _pulled(nodes, links, agents)
    where = {}
    for place in agents:
        agent = network.agents[place]
        where[place] = len(nodes)
        note = f"AS{agent.origin_asn or '?'} {agent.organisation or ''} {agent.country or ''}"
        nodes.append(Node(agent.address, agent.role, *places[place], None, note.strip()))
    left = len(network.names) - len(names) + len(network.agents) - len(agents)
    return Graph(nodes, [(name, where[agent]) for name, agent in links], left)


def _pulled(
    names: list[Node], links: list[tuple[int, int]], agents: list[int]
) -> dict[int, tuple[float, float]]:
    """A place for each address: the middle of its names, those with the same names in a spiral."""
    pulls: dict[int, list[Node]] = {place: [] for place in agents}
    for name, agent in links:
        pulls[agent].append(names[name])
    alone = len(names) == 1
    middles = {}
    for place, pulling in pulls.items():
        n = max(len(pulling), 1)
        x, y = sum(one.x for one in pulling) / n, sum(one.y for one in pulling) / n
        middles[place] = (0.0, 0.0) if alone else (round(0.7 * x, 2), round(0.7 * y, 2))
    largest = max(Counter(middles.values()).values(), default=1)
    step = (0.8 if alone else min(0.05, 0.26 / math.sqrt(largest))) / (
        math.sqrt(largest) if alone else 1.0
    )
    placed: dict[int, tuple[float, float]] = {}
    before: Counter[tuple[float, float]] = Counter()
    for place, (x, y) in middles.items():
        radius = step * math.sqrt(before[x, y])
        turn = GOLDEN_ANGLE * before[x, y]
        placed[place] = (x + radius * math.cos(turn), y + radius * math.sin(turn))
        before[x, y] += 1
    return placed
