"""A life line as a picture: time to the right, one lane for each record; text or SVG."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html import escape
from typing import Any

MAX_LANES = 400
MAX_TEXT_LANES = 40
TEXT_COLUMNS = 64
LANE_PX, LABEL_PX, PLOT_PX = 12, 330, 760
COLOURS = {"address": "#c2410c", "server": "#1d4ed8", "alias": "#047857"}
STATE_COLOURS = {
    "active": "#c2410c",
    "sleeping": "#a8a29e",
    "failing": "#ca8a04",
    "dead": "#111827",
}


Lane = tuple[str, str, list[tuple[float, float]]]
"""What it is, its label, and when it was seen, in seconds."""


def lanes(story: dict[str, Any]) -> list[Lane]:
    """A lane of every record: aliases, addresses, name servers, earliest first each."""
    found = []
    for what, key in (("alias", "aliases"), ("address", "addresses"), ("server", "name_servers")):
        for one in story[key]:
            place = f"AS{one['origin_asn']}" if one.get("origin_asn") else ""
            label = f"{one['rdata']} {place} {one.get('country') or ''}".strip()
            if what == "server":
                label = f"{one['owner']} {one['rdtype']} {label}"
            spans = [(_seconds(first), _seconds(last)) for first, last in one["spans"]]
            found.append((what, label, spans))
    return found


def some(every: list[Lane], limit: int) -> list[Lane]:
    """So many lanes at most, from all of the time; a quarter of them is for name servers."""
    servers = [one for one in every if one[0] == "server"]
    others = [one for one in every if one[0] != "server"]
    n_servers = min(len(servers), max(limit // 4, limit - len(others)))
    return _spread(others, limit - n_servers) + _spread(servers, n_servers)


def _spread(rows: list[Lane], n: int) -> list[Lane]:
    if len(rows) <= n:
        return rows
    return [rows[place * (len(rows) - 1) // max(n - 1, 1)] for place in range(n)]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _bounds(found: list[Lane]) -> tuple[float, float]:
    times = [time for _, _, spans in found for span in spans for time in span]
    return min(times), max(*times, min(times) + 60)


def text(story: dict[str, Any]) -> Iterator[str]:
    """Lines for a terminal: a mark where a record was seen."""
    every = lanes(story)
    if not every:
        return
    first, last = _bounds(every)
    scale = TEXT_COLUMNS / (last - first)
    found = some(every, MAX_TEXT_LANES)
    for what, label, spans in found:
        row = [" "] * TEXT_COLUMNS
        for begin, end in spans:
            left = min(int((begin - first) * scale), TEXT_COLUMNS - 1)
            right = min(int((end - first) * scale), TEXT_COLUMNS - 1)
            row[left : right + 1] = "█" * (right - left + 1)
        mark = {"address": "A", "server": "S", "alias": "→"}[what]
        yield f"{mark} {label[:44]:44} |{''.join(row)}|"
    if len(every) > len(found):
        yield f"… and {len(every) - len(found)} more records (--json, --svg)"


def svg(story: dict[str, Any]) -> str:
    """The same as an SVG document; records beyond `MAX_LANES` are counted below it."""
    every = lanes(story)
    found = some(every, MAX_LANES)
    height = 60 + LANE_PX * max(len(found), 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL_PX + PLOT_PX + 20}" '
        f'height="{height}" font-family="sans-serif" font-size="9">',
        f'<text x="6" y="16" font-size="13">{escape(_title(story))}</text>',
    ]
    if found:
        first, last = _bounds(every)
        scale = PLOT_PX / (last - first)
        parts += _states(story, first, last, scale)
        for number, (what, label, spans) in enumerate(found):
            y = 40 + LANE_PX * number
            parts.append(f'<text x="6" y="{y + 8}">{escape(label[:64])}</text>')
            for begin, end in spans:
                x = LABEL_PX + (begin - first) * scale
                width = max((end - begin) * scale, 1.5)
                parts.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{LANE_PX - 3}" '
                    f'fill="{COLOURS[what]}"/>'
                )
    if left_out := len(every) - len(found):
        parts.append(f'<text x="6" y="{height - 6}">and {left_out} more records</text>')
    return "\n".join([*parts, "</svg>\n"])


def _title(story: dict[str, Any]) -> str:
    finding = story["finding"]
    verdict = f"{finding['verdict']} {finding['score']:.2f}" if finding else "not judged yet"
    return f"{story['name']}: {verdict}, {story['state']} since {story['since']}"


def _states(story: dict[str, Any], first: float, last: float, scale: float) -> Iterator[str]:
    """A bar above the lanes: what state the name was in."""
    changes = [
        (_seconds(one["at"]), one["to"]) for one in story["events"] if one["kind"] == "state"
    ]
    ends = [at for at, _ in changes[1:]] + [last]
    for (begin, state), end in zip(changes, ends, strict=bool(changes)):
        x = LABEL_PX + (max(begin, first) - first) * scale
        width = max((min(end, last) - max(begin, first)) * scale, 1.0)
        yield (
            f'<rect x="{x:.1f}" y="26" width="{width:.1f}" height="8" '
            f'fill="{STATE_COLOURS.get(state, "#e7e5e4")}"><title>{escape(state)}</title></rect>'
        )
