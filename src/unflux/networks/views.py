"""The data of pictures, as plain values: for SVG, the HTML report and the web page alike."""

from __future__ import annotations

import math
from datetime import datetime
from typing import NamedTuple

from unflux.networks.model import Network

MAX_BARS = 12
MAX_TIMELINE = 80
MAX_GRAPH_AGENTS = 150
MAX_GRAPH_NAMES = 60


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
    """A node of the graph, placed in a circle of radius 1 around (0, 0)."""

    label: str
    kind: str
    """``name``, or the role of an address."""
    x: float
    y: float


class Graph(NamedTuple):
    """Names inside, addresses around them."""

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
    """Names on an inner circle in the order of their sub-networks, addresses near their names."""
    by_sub = sorted(range(len(network.names)), key=lambda place: network.names[place].sub_network)
    names = by_sub[:MAX_GRAPH_NAMES]
    busiest = sorted(
        range(len(network.agents)),
        key=lambda place: (-network.agents[place].n_names, -network.agents[place].count, place),
    )[:MAX_GRAPH_AGENTS]
    angle_of = {
        place: 2 * math.pi * number / max(len(names), 1) for number, place in enumerate(names)
    }
    chosen = set(busiest)
    links = [(a, b) for a, b, _ in network.links if a in angle_of and b in chosen]
    pull: dict[int, tuple[float, float]] = dict.fromkeys(busiest, (0.0, 0.0))
    for name, agent in links:
        x, y = pull[agent]
        pull[agent] = (x + math.cos(angle_of[name]), y + math.sin(angle_of[name]))
    around = sorted(busiest, key=lambda place: (math.atan2(pull[place][1], pull[place][0]), place))
    nodes = [
        Node(network.names[place].name, "name", 0.55 * math.cos(angle), 0.55 * math.sin(angle))
        for place, angle in angle_of.items()
    ]
    number = {("n", place): index for index, place in enumerate(names)}
    for index, place in enumerate(around):
        angle = 2 * math.pi * index / len(around) - math.pi
        one = network.agents[place]
        number["a", place] = len(nodes)
        nodes.append(Node(one.address, one.role, math.cos(angle), math.sin(angle)))
    edges = [(number["n", name], number["a", agent]) for name, agent in links]
    left = len(network.names) - len(names) + len(network.agents) - len(busiest)
    return Graph(nodes, edges, left)
