"""Pictures of flux networks as SVG: graph, distributions, accumulation, timeline."""

from __future__ import annotations

from pathlib import Path

from unflux.networks import views
from unflux.networks.model import Network, Networks
from unflux.share.svg import COLOURS, Svg
from unflux.sightings import whole_file

MAX_NETWORKS = 200
"""Networks that get pictures: those with most names."""
LEFT, TOP, RIGHT, BOTTOM = 60, 40, 20, 40


def graph(network: Network) -> str:
    """Names inside, addresses around, lines between those that answered for each other."""
    picture = Svg(720, 740, f"{network.id}: names and addresses")
    data = views.graph(network)
    places = [(360 + 300 * node.x, 370 + 300 * node.y) for node in data.nodes]
    for a, b in data.edges:
        picture.line(*places[a], *places[b], COLOURS["faint"], 0.4)
    for node, (x, y) in zip(data.nodes, places, strict=True):
        picture.dot(x, y, 5 if node.kind == "name" else 3, COLOURS[node.kind])
    for node, (x, y) in zip(data.nodes, places, strict=True):
        if node.kind == "name":
            picture.text(x + 7, y + 4, node.label, 9)
    picture.text(
        10, 20, f"{network.id}: {len(network.names)} names, {len(network.agents)} addresses", 14
    )
    _legend(picture, 10, 725)
    if data.n_left_out:
        picture.text(710, 725, f"{data.n_left_out} more are not drawn", 11, "end")
    return picture.render()


def _legend(picture: Svg, x: float, y: float) -> None:
    for kind, title in (
        ("name", "name"),
        ("web", "web proxy"),
        ("dns", "DNS proxy"),
        ("both", "both"),
    ):
        picture.dot(x + 5, y - 4, 4, COLOURS[kind])
        picture.text(x + 13, y, title)
        x += 85


def distribution(network: Network) -> str:
    """Addresses by country and by origin AS, side by side."""
    countries, asns = views.distribution(network.countries), views.distribution(network.asns)
    rows = max(len(countries), len(asns), 1)
    picture = Svg(720, 60 + 20 * rows, f"{network.id}: where its addresses are")
    picture.text(10, 20, f"{network.id}: addresses by country and origin AS", 14)
    for left, bars in ((10, countries), (370, asns)):
        most = max((bar.n for bar in bars), default=1)
        for row, bar in enumerate(bars):
            y = 40 + 20 * row
            picture.text(left + 85, y + 12, bar.label, 11, "end")
            picture.box(left + 92, y + 2, 190 * bar.n / most, 14, COLOURS["line"])
            picture.text(left + 97 + 190 * bar.n / most, y + 13, str(bar.n), 10)
    return picture.render()


def accumulation(network: Network) -> str:
    """Distinct addresses over time; boxes are how many there are at a time, with 95 %."""
    data = views.accumulation(network)
    picture = Svg(720, 400, f"{network.id}: addresses over time")
    picture.text(10, 20, f"{network.id}: distinct addresses, and how many at a time (95 %)", 14)
    hours = max([data.total[-1].hour, *(band.to_h for band in data.bands)], default=1.0) or 1.0
    most = max([data.total[-1].value, *(band.high for band in data.bands)], default=1.0) or 1.0

    def x(hour: float) -> float:
        return LEFT + (720 - LEFT - RIGHT) * max(hour, 0) / hours

    def y(value: float) -> float:
        return 400 - BOTTOM - (400 - TOP - BOTTOM) * value / most

    _axes(picture, hours, most, x(hours), y(most))
    for band in data.bands:
        low, high = y(band.low), y(band.high)
        picture.box(
            x(band.from_h), high, x(band.to_h) - x(band.from_h), low - high, COLOURS["band"], 0.7
        )
        middle = y(band.estimate)
        picture.line(x(band.from_h), middle, x(band.to_h), middle, COLOURS["dns"], 2)
    picture.path([(x(one.hour), y(one.value)) for one in data.total], COLOURS["web"])
    picture.path([(x(one.hour), y(one.value)) for one in data.seen], COLOURS["faint"], 1.5)
    return picture.render()


def _axes(picture: Svg, hours: float, most: float, right: float, top: float) -> None:
    bottom = picture.height - BOTTOM
    picture.line(LEFT, bottom, right, bottom, COLOURS["name"])
    picture.line(LEFT, bottom, LEFT, top, COLOURS["name"])
    for share in (0, 0.25, 0.5, 0.75, 1):
        at_x, at_y = LEFT + (right - LEFT) * share, bottom + (top - bottom) * share
        picture.text(at_x, bottom + 16, f"{hours * share:g} h", 10, "middle")
        picture.text(LEFT - 6, at_y + 4, f"{most * share:.0f}", 10, "end")


def timeline(network: Network) -> str:
    """One line per address, from its first answer to its last."""
    spans = views.timeline(network)
    height = 80 + 10 * len(spans)
    picture = Svg(720, height, f"{network.id}: who answered when")
    title = f"{network.id}: who answered when ({len(spans)} of {len(network.agents)} addresses)"
    picture.text(10, 20, title, 14)
    hours = max((span.to_h for span in spans), default=1.0) or 1.0
    left = 130
    for row, span in enumerate(spans):
        at = 40 + 10 * row
        begin = left + (700 - left) * max(span.from_h, 0) / hours
        end = left + (700 - left) * span.to_h / hours
        picture.text(left - 6, at + 7, span.address, 8, "end")
        picture.box(begin, at, max(end - begin, 1.5), 7, COLOURS[span.role])
    for share in (0, 0.25, 0.5, 0.75, 1):
        at_x = left + (700 - left) * share
        picture.text(at_x, height - 22, f"{hours * share:.3g} h", 10, "middle")
    _legend(picture, 10, height - 6)
    return picture.render()


PICTURES = {
    "graph": graph,
    "distribution": distribution,
    "accumulation": accumulation,
    "timeline": timeline,
}


def write_networks(found: Networks, directory: Path) -> list[Path]:
    """Write ``ID-graph.svg`` and so on; ids are ours, so they are safe as file names."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for network in found.networks[:MAX_NETWORKS]:
        for name, draw in PICTURES.items():
            path = directory / f"{network.id}-{name}.svg"
            with whole_file(path) as temporary:
                temporary.write_text(draw(network), encoding="utf-8")
            written.append(path)
    return written
