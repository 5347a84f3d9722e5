"""Pictures as `Svg`: pure functions of data. What one shows is also in its label, as words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from unflux.share.svg import SERIES, Svg, n

WIDTH = 480
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 8, 22
NAMED_LEFT = 118
"""Where a strip begins whose lines have their names beside them."""
N_COLOURS = len(SERIES)
MAX_LANES = 110
"""Lines of a strip; of more, every second, third, … is drawn, and the label says so."""
MAX_STRIP_HEIGHT = 230
WORLD = Path(__file__).parent / "world.json"
MAX_POINTS = 240
MAX_TICKS = 5
STEPS_S = (60, 300, 600, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
           2_592_000, 7_776_000, 31_536_000)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of a strip."""

    label: str
    colour: int
    """Any number from 0 on; colours repeat after `N_COLOURS`."""
    spells: Sequence[tuple[int, int]]
    """(first, last) in microseconds since the epoch."""


def bridged(spells: Iterable[tuple[int, int]], gap_us: int) -> list[tuple[int, int]]:
    """Spells in order, those that are no further apart than a gap put together."""
    found: list[tuple[int, int]] = []
    for first, last in spells:
        if found and first - found[-1][1] <= gap_us:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Where a time lies on the picture's width."""

    from_us: int
    until_us: int
    left: float = LEFT
    """Where it begins."""

    @classmethod
    def around(cls, first_us: int, last_us: int, left: float = LEFT) -> TimeScale:
        """A scale for a span, with a minute at least."""
        return cls(first_us, max(last_us, first_us + 60_000_000), left)

    def x(self, at_us: int) -> float:
        """Units from the left edge of the picture."""
        share = (at_us - self.from_us) / (self.until_us - self.from_us)
        return self.left + min(1.0, max(0.0, share)) * (WIDTH - self.left - RIGHT)

    def ticks(self) -> list[tuple[int, str]]:
        """At most `MAX_TICKS` round times (UTC) with what to write below."""
        span_s = (self.until_us - self.from_us) / 1e6
        step_s = next((step for step in STEPS_S if span_s / step <= MAX_TICKS), 10 * STEPS_S[-1])
        start = -(-self.from_us // (step_s * 1_000_000))
        times = (number * step_s for number in range(start, start + MAX_TICKS + 1))
        form = "%H:%M" if step_s < 86_400 else "%d %b" if step_s < 31_536_000 else "%Y"
        return [
            (time_s * 1_000_000, datetime.fromtimestamp(time_s, UTC).strftime(form))
            for time_s in times
            if time_s * 1_000_000 <= self.until_us
        ]


class Band(NamedTuple):
    """An estimate and its range, for a time."""

    from_us: int
    until_us: int
    low: float
    value: float
    high: float


def strip(lanes: Sequence[Lane], scale: TimeScale, label: str) -> Svg:
    """Which address answered when: one line each, in the order given, a dash per spell.

    A scale that leaves `NAMED_LEFT` free has the lanes' names beside them, where they are few.
    """
    every = -(-len(lanes) // MAX_LANES) if lanes else 1
    drawn = lanes[::every]
    named = scale.left >= NAMED_LEFT
    row = 9.0 if named else max(2.0, min(9.0, MAX_STRIP_HEIGHT / max(1, len(drawn))))
    height = row * len(drawn)
    picture = _picture(height, f"{label}; one line in {every} is drawn" if every > 1 else label)
    _time_axis(picture, scale, height)
    for number, lane in enumerate(drawn):
        y = TOP + row * (number + 0.5)
        dashes = "".join(
            f"M{n(scale.x(first))} {n(y)}h{n(max(2.4, scale.x(last) - scale.x(first)))}"
            for first, last in lane.spells
        )
        picture.path(dashes, f"lane s{lane.colour % N_COLOURS}", title=lane.label,
                     stroke_width=n(row * 0.78))  # fmt: skip
        if named:
            picture.text(
                scale.left - 6, y + 2.6, short(lane.label.partition(" ")[0], 22), "end", size=8
            )
    if not named:
        _y_label(picture, TOP + min(height, 9), 1)
        if len(lanes) > 1 and height > 22:
            _y_label(picture, TOP + height, len(lanes))
    return picture


def growth(
    points: Sequence[tuple[int, int]],
    scale: TimeScale,
    label: str,
    bands: Sequence[Band] = (),
    beside: Sequence[tuple[int, int]] = (),
) -> Svg:
    """A count that only grows, with estimates and their ranges, and another count beside it."""
    height = 130.0
    seen = points[-1][1] if points else 0
    top = 1.12 * max([seen, 1, *(band.value for band in bands), *(count for _, count in beside)])
    picture = _picture(height, label)
    _time_axis(picture, scale, height)

    def y(count: float) -> float:
        return TOP + height * (1 - min(1.0, count / top))

    for band in bands:
        left, right = scale.x(band.from_us), scale.x(band.until_us)
        picture.box(left, y(band.high), right - left, y(band.low) - y(band.high), "soft")
        picture.path(f"M{n(left)} {n(y(band.value))}H{n(right)}", "dash")
    if len(bands) == 1:
        [band] = bands
        says = f"estimate {band.value:.0f} ({band.low:.0f}–{band.high:.0f})"
        picture.text(LEFT + 4, y(band.value) + 14, says)
    for counts, paint in ((beside, "thin"), (points, "line")):
        if counts:
            picture.path(_steps(counts, scale, y), paint)
    _y_label(picture, TOP + height, 0)
    _y_label(picture, y(seen) + 4, seen)
    return picture


def _steps(counts: Sequence[tuple[int, int]], scale: TimeScale, y: Callable[[float], float]) -> str:
    """Stairs through points, to the right edge; of very many, every second, third, …."""
    thin = max(1, len(counts) // MAX_POINTS)
    kept = [
        one for place, one in enumerate(counts) if place % thin == 0 or place == len(counts) - 1
    ]
    (first_us, first), *others = kept
    stairs = "".join(f"H{n(scale.x(at_us))}V{n(y(count))}" for at_us, count in others)
    return f"M{n(scale.x(first_us))} {n(y(first))}{stairs}H{WIDTH - RIGHT}"


def levels(
    bands: Sequence[tuple[int, int, int]], length_us: int, scale: TimeScale, label: str
) -> Svg:
    """A value between a low and a high in each period: (start, low, high)."""
    height = 56.0
    top = max((high for _, _, high in bands), default=1) or 1
    picture = _picture(height, label)
    _time_axis(picture, scale, height)
    for start_us, low, high in bands:
        left, right = scale.x(start_us), scale.x(start_us + length_us)
        y_high, y_low = (TOP + height * (1 - value / top) for value in (high, low))
        picture.box(left, y_high, right - left, y_low - y_high, "soft")
        picture.path(f"M{n(left)} {n(y_high)}H{n(right)}", "line")
    _y_label(picture, TOP + height, 0)
    _y_label(picture, TOP + 8, top)
    return picture


def bars(items: Sequence[tuple[str, int]], label: str, most: int = 8) -> Svg:
    """The largest counts as bars with their names, the others as one number below."""
    ranked = sorted(items, key=lambda item: (-item[1], item[0]))
    shown, others = ranked[:most], ranked[most:]
    row = 19
    longest = max((len(name) for name, _ in shown), default=0)
    name_width = 16 + min(190, 8 * longest)
    top = max((value for _, value in shown), default=0) or 1
    rows = len(shown) + bool(others)
    picture = Svg(WIDTH, TOP + row * rows + 4, label)
    for number, (name, value) in enumerate(shown):
        y = TOP + row * number
        width = (WIDTH - name_width - 56) * value / top
        picture.text(name_width - 8, y + 12, short(name, 25), "end", title=name)
        picture.box(name_width, y + 2, width, 12, "bar")
        picture.text(name_width + width + 6, y + 12, value)
    if others:
        says = f"and {len(others)} more with {sum(value for _, value in others)}"
        picture.text(name_width, TOP + row * len(shown) + 12, says)
    return picture


def shares(items: Iterable[tuple[str, int, str]], label: str) -> Svg:
    """One bar cut into shares: (name, count, paint)."""
    listed = [(name, value, paint) for name, value, paint in items if value]
    total = sum(value for _, value, _ in listed) or 1
    widths = [max(3.0, WIDTH * value / total) for _, value, _ in listed]
    picture, x = Svg(max(sum(widths), 1.0), 12, label), 0.0
    for (name, value, paint), width in zip(listed, widths, strict=True):
        picture.box(x, 0, width - 1, 12, paint, title=f"{value} {name}")
        x += width
    return picture


def world(counts: Mapping[str, int], label: str) -> Svg:
    """The countries of the world, the more of the count the fuller; names when pointed at."""
    outlines = _outlines()
    factor = WIDTH / outlines.width
    picture = Svg(WIDTH, outlines.height * factor, label)
    top = max(counts.values(), default=0) or 1
    for country, path in outlines.paths.items():
        count = counts.get(country, 0)
        told = f"{country}: {count}" if country else None
        paint, opacity = ("full", 0.25 + 0.75 * count / top) if count else ("land", None)
        picture.path(path, paint, title=told, transform=f"scale({factor:.4f})",
                     fill_opacity=None if opacity is None else f"{opacity:.2f}")  # fmt: skip
    for country, (x, y) in outlines.points.items():
        if country in counts:
            told = f"{country}: {counts[country]}"
            picture.dot(x * factor, y * factor, 2.5, "full", told)
    return picture


class _Outlines(NamedTuple):
    """Countries on a plane (see tools/make_world.mjs), by ISO 3166 code; "" has none."""

    width: int
    height: int
    paths: dict[str, str]
    points: dict[str, tuple[int, int]]
    """The middle of countries that are too small for an outline."""


@cache
def _outlines() -> _Outlines:
    return _Outlines(**json.loads(WORLD.read_text(encoding="utf-8")))


def _time_axis(picture: Svg, scale: TimeScale, height: float) -> None:
    bottom = TOP + height
    picture.path(f"M{n(scale.left)} {n(bottom + 1)}H{WIDTH - RIGHT}", "grid")
    for at_us, text in scale.ticks():
        x = scale.x(at_us)
        picture.path(f"M{n(x)} {TOP}V{n(bottom + 4)}", "grid")
        near_edge = x >= WIDTH - 34
        picture.text(
            WIDTH - 1 if near_edge else x, bottom + 17, text, "end" if near_edge else "mid"
        )


def _y_label(picture: Svg, y: float, value: int) -> None:
    picture.text(LEFT - 6, y, value, "end")


def _picture(height: float, label: str) -> Svg:
    """One with an axis of time below `height`."""
    return Svg(WIDTH, TOP + height + BOTTOM, label)


def short(text: str, most: int) -> str:
    """A text cut to a length, and showing so."""
    return text if len(text) <= most else text[: most - 1] + "…"
