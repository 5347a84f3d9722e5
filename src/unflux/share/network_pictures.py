"""Pictures of flux networks: graph, ASes, countries, accumulation, timeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unflux.networks import views
from unflux.networks.model import Network, Networks
from unflux.share import pictures
from unflux.share.pictures import NAMED_LEFT, WIDTH, Band, Lane, TimeScale
from unflux.share.svg import Svg
from unflux.share.text import counted
from unflux.sightings import whole_file

MAX_NETWORKS = 200
"""Networks that get pictures: those with most names."""
HOUR_US = 3_600_000_000
ROLE_COLOURS = {"web": 2, "dns": 0, "both": 1}
"""Of `svg.SERIES`, by what an address does."""
RADIUS, MIDDLE = 138, 153
"""Of the circle of names, and how far below the upper edge its middle is."""
MANY_LINKS = 800
"""Of a graph, beyond which they are drawn fainter: they would hide each other."""


def graph(network: Network) -> Svg:
    """Names around, addresses inside near those that have them, coloured by role."""
    data = views.graph(network)
    n_names = sum(node.kind == "name" for node in data.nodes)
    label = (
        f"{network.id}: {_drawn(n_names, len(network.names), 'name')} around, "
        f"{_drawn(len(data.nodes) - n_names, len(network.agents), 'address')} inside"
    )
    link = "faint" if len(data.edges) > MANY_LINKS else "link"
    picture = Svg(WIDTH, 2 * MIDDLE + 26, label)
    places = [(WIDTH / 2 + RADIUS * node.x, MIDDLE + RADIUS * node.y) for node in data.nodes]
    for one, other in data.edges:
        (x1, y1), (x2, y2) = places[one], places[other]
        picture.path(f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", link)
    for node, (x, y) in zip(data.nodes, places, strict=True):
        if node.kind != "name":
            said = f"{node.label} {node.kind} {node.note}"
            picture.dot(x, y, 2.2, f"f{ROLE_COLOURS[node.kind]}", said)
            continue
        picture.dot(x, y, 4, "grey", f"{node.label}, sub-network {node.group}")
        right = node.x >= 0
        name = pictures.short(node.label, 20)
        picture.text(x + (7 if right else -7), y + 3, name, "" if right else "end", size=8,
                     title=node.label)  # fmt: skip
    _legend(picture, 2 * MIDDLE + 20)
    return picture


def _drawn(n: int, of: int, what: str) -> str:
    """``25 names``, or ``300 of 412 addresses``."""
    return counted(n, what) if n == of else f"{n} of {counted(of, what)}"


def _legend(picture: Svg, y: float) -> None:
    kinds = [("name", "grey"), ("web proxy", "f2"), ("DNS proxy", "f0"), ("both", "f1")]
    for place, (title, paint) in enumerate(kinds):
        picture.dot(14 + 90 * place, y - 4, 4, paint)
        picture.text(22 + 90 * place, y, title)


def ases(network: Network) -> Svg:
    """Addresses by origin AS."""
    counted = [(f"AS{asn}" if asn.isdigit() else asn, n) for asn, n in network.asns.items()]
    return pictures.bars(counted, f"{network.id}: addresses by origin AS", views.MAX_BARS)


def countries(network: Network) -> Svg:
    """Addresses by country, on a map."""
    known = {country: n for country, n in network.countries.items() if len(country) == 2}
    most = ", ".join(f"{country} {n}" for country, n in list(known.items())[:6])
    return pictures.world(known, f"{network.id}: addresses by country; most: {most or 'unknown'}")


def accumulation(network: Network) -> Svg:
    """Distinct addresses over time; bands are how many there are at a time, with 95 %."""
    data = views.accumulation(network)
    start_us = data.from_s * 1_000_000

    def at(hour: float) -> int:
        return start_us + round(hour * HOUR_US)

    points = [(at(one.hour), round(one.value)) for one in data.total]
    seen = [(at(one.hour), round(one.value)) for one in data.seen]
    bands = [Band(at(one.from_h), at(one.to_h), one.low, one.estimate, one.high)
             for one in data.bands]  # fmt: skip
    label = (
        f"{network.id}: {points[-1][1]} distinct addresses so far (line), in each hour (thin), and "
        "how many are in use at a time (95 %)"
    )
    scale = TimeScale.around(points[0][0], points[-1][0])
    return pictures.growth(points, scale, label, bands, seen)


def timeline(network: Network) -> Svg:
    """One line per address, from its first answer to its last, coloured by role."""
    spans = views.timeline(network)
    start_us = network.growth.from_s * 1_000_000
    lanes = [
        Lane(
            f"{one.address} ({one.role})",
            ROLE_COLOURS[one.role],
            [(start_us + round(one.from_h * HOUR_US), start_us + round(one.to_h * HOUR_US))],
        )
        for one in spans
    ]
    moments = [moment for lane in lanes for spell in lane.spells for moment in spell]
    first_us, last_us = min(moments, default=start_us), max(moments, default=start_us)
    scale = TimeScale.around(first_us, last_us, NAMED_LEFT)
    label = (
        f"{network.id}: who answered when, first to last ({len(spans)} of {len(network.agents)} "
        "addresses)"
    )
    return pictures.strip(lanes, scale, label)


PICTURES: dict[str, Callable[[Network], Svg]] = {
    "graph": graph,
    "ases": ases,
    "countries": countries,
    "accumulation": accumulation,
    "timeline": timeline,
}


def write_networks(found: Networks, directory: Path, *, png: bool = False) -> list[Path]:
    """Write ``ID-graph.svg`` and so on, with `png` ``ID-graph.png`` too.

    Ids are ours, so they are safe as file names.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for network in found.networks[:MAX_NETWORKS]:
        for name, draw in PICTURES.items():
            picture = draw(network)
            files = {f"{network.id}-{name}.svg": picture.file().encode()}
            if png:
                files[f"{network.id}-{name}.png"] = picture.png()
            for file_name, content in files.items():
                with whole_file(directory / file_name) as temporary:
                    temporary.write_bytes(content)
                written.append(directory / file_name)
    return written
