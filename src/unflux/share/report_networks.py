"""The networks of a scan, as a section of its HTML report."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from unflux import networks
from unflux.errors import UnfluxError
from unflux.networks import Network
from unflux.networks.size import Size
from unflux.pipeline import Scan
from unflux.share import network_pictures
from unflux.share.case import AGENT_NOTE
from unflux.share.html import Html, el, join
from unflux.share.svg import Svg
from unflux.share.text import visible

MAX_PICTURED = 12
"""Networks that are drawn, those with most names; the others are in the table."""
MAX_LISTED = 200
MAX_NAMES = 20
"""Of a network that are written out."""
MAX_FLUX = 20_000
"""Names called flux up to which networks are worked out for a report: it takes minutes beyond."""
TITLE = "Networks"
LEFT = {
    "Graph": network_pictures.graph,
    "Accumulation": network_pictures.accumulation,
    "Countries": network_pictures.countries,
    "ASes": network_pictures.ases,
}
RIGHT = {"Timeline": network_pictures.timeline}


def section(scan: Scan) -> Html:
    """Who belongs together, how big, where; a sentence where that cannot be said."""
    title = el("h2", TITLE, id="networks")
    found = _found(scan)
    if isinstance(found, str):
        return join(title, el("p", found, class_="box"))
    return join(title, _table(found), *(_network(one) for one in found[:MAX_PICTURED]))


def _found(scan: Scan) -> list[Network] | str:
    """The networks, or the sentence that says why there are none."""
    if not scan.n_flux:
        return "No name was called flux, so there is no network."
    if scan.n_flux > MAX_FLUX:
        return "So many names are left to unflux networks."
    try:
        found = networks.find_networks(scan.judged).networks
    except UnfluxError as error:  # its package is not installed
        return f"Not worked out: {error}."
    return found or "The flux names share nothing."


def _table(found: list[Network]) -> Html:
    numbers = (el("th", says, class_="n") for says in ("names", "addresses seen", "at a time"))
    head = el("tr", el("th", "network"), el("th", "kind"), *numbers,
              el("th", "last seen", class_="wide n"),
              el("th", "for example", class_="wide"))  # fmt: skip
    rows = [
        el(
            "tr",
            el("td", el("a", one.id, href=f"#{one.id}") if place < MAX_PICTURED else one.id),
            el("td", one.kind.replace("_", " ")),
            el("td", len(one.names), class_="n"),
            el("td", len(one.agents), class_="n"),
            el("td", _size(one.size), class_="n"),
            el("td", (one.last_seen or "?")[:16].replace("T", " "), class_="wide n"),
            el("td", visible(one.names[0].name), class_="wide"),
        )
        for place, one in enumerate(found[:MAX_LISTED])
    ]
    more = len(found) - len(rows)
    left = el("p", f"{more} more are told by unflux networks.", class_="soft") if more else None
    table = el("table", el("thead", head), el("tbody", *rows))
    return join(el("div", table, class_="box scroll"), left, Html("<br/>"))


def _size(size: Size) -> str:
    if size.estimate is None or size.low is None or size.high is None:
        return "no estimate"
    return f"{size.estimate:.0f} ({size.low:.0f}–{size.high:.0f})"


def _network(one: Network) -> Html:
    names = [name.name for name in one.names[:MAX_NAMES]]
    more = f" and {len(one.names) - MAX_NAMES} more" if len(one.names) > MAX_NAMES else ""
    subs = len(one.sub_networks)
    facts = [
        f"{len(one.names)} names",
        f"{len(one.agents)} addresses seen",
        f"at a time {_size(one.size)}",
        f"{subs} sub-network{'' if subs == 1 else 's'}",
    ]
    return el(
        "article",
        el("h2", one.id),
        el("p", " · ".join(facts), class_="facts"),
        el("p", el("bdi", ", ".join(names) + more), class_="any"),
        el("div", *(_column(one, pictures) for pictures in (LEFT, RIGHT)), class_="grid"),
        el("p", f"{one.size.note}. {AGENT_NOTE}", class_="soft"),
        id=one.id,
    )


def _column(one: Network, pictures: Mapping[str, Callable[[Network], Svg]]) -> Html:
    return el("div", *(_figure(title, draw(one)) for title, draw in pictures.items()))


def _figure(title: str, picture: Svg) -> Html:
    says = picture.label.partition(": ")[2]
    return el("figure", el("figcaption", el("b", title), f" {says}"), picture.inline())
