"""Pictures as SVG: pure functions of data, without script or style of their own.

Each gives one ``<svg class="uf">`` that grows with its container; colours and fonts are those of
`CSS`, for light and dark. What a picture shows is also in its label, for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from unflux.share.html import Html, el, join

WIDTH = 480
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 8, 22
N_COLOURS = 10
MAX_LANES = 110
"""Lines of a strip; of more, every second, third, … is drawn, and the label says so."""
MAX_STRIP_HEIGHT = 230
MAX_POINTS = 240
MAX_TICKS = 5
STEPS_S = (60, 300, 600, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
           2_592_000, 7_776_000, 31_536_000)  # fmt: skip

CSS = """
:root{--uf-ink:#5b6270;--uf-grid:#e3e6ea;--uf-line:#c2362b;--uf-soft:#c2362b2e;--uf-bar:#4269d0}
@media (prefers-color-scheme:dark){
:root{--uf-ink:#a9b1bd;--uf-grid:#343a44;--uf-line:#ff8a7a;--uf-soft:#ff8a7a33;--uf-bar:#7f9df0}}
.uf{display:block;width:100%;height:auto;font:12px system-ui,sans-serif}
.uf text{fill:var(--uf-ink)}.uf .end{text-anchor:end}.uf .mid{text-anchor:middle}
.uf .grid{stroke:var(--uf-grid);stroke-width:1;fill:none}
.uf .line{stroke:var(--uf-line);stroke-width:2;fill:none;stroke-linejoin:round}
.uf .dash{stroke:var(--uf-ink);stroke-width:1.2;stroke-dasharray:5 4;fill:none}
.uf .soft{fill:var(--uf-soft)}.uf .bar{fill:var(--uf-bar)}.uf .lane{fill:none}
.uf .s0{stroke:#4269d0}.uf .s1{stroke:#e0a30e}.uf .s2{stroke:#f0624d}.uf .s3{stroke:#45b39d}
.uf .s4{stroke:#3ca951}.uf .s5{stroke:#f074a6}.uf .s6{stroke:#a463f2}.uf .s7{stroke:#7fa6ee}
.uf .s8{stroke:#9c6b4e}.uf .s9{stroke:#8d929c}
.uf .red{fill:#c2362b}.uf .amber{fill:#d99000}.uf .green{fill:#3c9a55}.uf .grey{fill:#9aa1ac}
"""


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

    @classmethod
    def around(cls, first_us: int, last_us: int) -> TimeScale:
        """A scale for a span, with a minute at least."""
        return cls(first_us, max(last_us, first_us + 60_000_000))

    def x(self, at_us: int) -> float:
        """Units from the left edge of the picture."""
        share = (at_us - self.from_us) / (self.until_us - self.from_us)
        return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)

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


def strip(lanes: Sequence[Lane], scale: TimeScale, label: str) -> Html:
    """Which address answered when: one line each, in the order given, a dash per spell."""
    every = -(-len(lanes) // MAX_LANES) if lanes else 1
    drawn = lanes[::every]
    row = max(2.0, min(9.0, MAX_STRIP_HEIGHT / max(1, len(drawn))))
    height = row * len(drawn)
    parts = [_time_axis(scale, height)]
    for number, lane in enumerate(drawn):
        y = TOP + row * (number + 0.5)
        dashes = "".join(
            f"M{_n(scale.x(first))} {_n(y)}h{_n(max(2.4, scale.x(last) - scale.x(first)))}"
            for first, last in lane.spells
        )
        parts.append(
            el("path", el("title", lane.label), class_=f"lane s{lane.colour % N_COLOURS}",
               d=dashes, stroke_width=_n(row * 0.78))
        )  # fmt: skip
    parts.append(_y_label(TOP + min(height, 9), 1))
    if len(lanes) > 1 and height > 22:
        parts.append(_y_label(TOP + height, len(lanes)))
    note = f"{label}; one line in {every} is drawn" if every > 1 else label
    return _svg(height, note, parts)


def growth(
    points: Sequence[tuple[int, int]],
    scale: TimeScale,
    label: str,
    estimate: tuple[float, float, float] | None = None,
) -> Html:
    """A count that only grows, with an estimate of where it ends (value, low, high)."""
    height = 130.0
    seen = points[-1][1] if points else 0
    top = 1.12 * max(seen, 1, estimate[0] if estimate else 0)
    parts = [_time_axis(scale, height)]

    def y(count: float) -> float:
        return TOP + height * (1 - min(1.0, count / top))

    if estimate:
        value, low, high = estimate
        parts.append(
            el("rect", class_="soft", x=LEFT, y=_n(y(high)), width=WIDTH - LEFT - RIGHT,
               height=_n(max(1.0, y(low) - y(high))))
        )  # fmt: skip
        parts.append(el("path", class_="dash", d=f"M{LEFT} {_n(y(value))}H{WIDTH - RIGHT}"))
        says = f"estimate {value:.0f} ({low:.0f}–{high:.0f})"
        parts.append(el("text", says, x=LEFT + 4, y=_n(y(value) + 14)))
    steps, thin = [], max(1, len(points) // MAX_POINTS)
    for number, (at_us, count) in enumerate(points):
        if number % thin == 0 or number == len(points) - 1:
            steps.append(f"{_n(scale.x(at_us))} {_n(y(count))}")
    if steps:
        path = (
            "M" + steps[0] + "".join(f"H{step.split()[0]}V{step.split()[1]}" for step in steps[1:])
        )
        parts.append(el("path", class_="line", d=f"{path}H{WIDTH - RIGHT}"))
    parts += [_y_label(TOP + height, 0), _y_label(y(seen) + 4, seen)]
    return _svg(height, label, parts)


def levels(
    bands: Sequence[tuple[int, int, int]], length_us: int, scale: TimeScale, label: str
) -> Html:
    """A value between a low and a high in each period: (start, low, high)."""
    height = 56.0
    top = max((high for _, _, high in bands), default=1) or 1
    parts = [_time_axis(scale, height)]
    for start_us, low, high in bands:
        left, right = scale.x(start_us), scale.x(start_us + length_us)
        y_high, y_low = (TOP + height * (1 - value / top) for value in (high, low))
        parts.append(
            el("rect", class_="soft", x=_n(left), y=_n(y_high), width=_n(max(1.0, right - left)),
               height=_n(max(1.0, y_low - y_high)))
        )  # fmt: skip
        parts.append(el("path", class_="line", d=f"M{_n(left)} {_n(y_high)}H{_n(right)}"))
    parts += [_y_label(TOP + height, 0), _y_label(TOP + 8, top)]
    return _svg(height, label, parts)


def bars(items: Sequence[tuple[str, int]], label: str, most: int = 8) -> Html:
    """The largest counts as bars with their names, the others as one number below."""
    ranked = sorted(items, key=lambda item: (-item[1], item[0]))
    shown, others = ranked[:most], ranked[most:]
    row = 19
    longest = max((len(name) for name, _ in shown), default=0)
    name_width = 16 + min(180, 7 * longest)
    top = max((value for _, value in shown), default=0) or 1
    parts = []
    for number, (name, value) in enumerate(shown):
        y = TOP + row * number
        width = (WIDTH - name_width - 56) * value / top
        parts += [
            el("text", el("title", name), _short(name, 25), x=name_width - 8, y=y + 12,
               class_="end"),
            el("rect", class_="bar", x=name_width, y=y + 2, width=_n(max(1.0, width)), height=12),
            el("text", value, x=_n(name_width + width + 6), y=y + 12),
        ]  # fmt: skip
    height = row * len(shown)
    if others:
        says = f"and {len(others)} more with {sum(value for _, value in others)}"
        parts.append(el("text", says, x=name_width, y=TOP + height + 12))
        height += row
    return _svg(height - BOTTOM + 4, label, parts)


def shares(items: Iterable[tuple[str, int, str]], label: str) -> Html:
    """One bar cut into shares: (name, count, colour: red, amber, green or grey)."""
    listed = [(name, value, colour) for name, value, colour in items if value]
    total = sum(value for _, value, _ in listed) or 1
    parts, x = [], 0.0
    for name, value, colour in listed:
        width = max(3.0, WIDTH * value / total)
        parts.append(
            el("rect", el("title", f"{value} {name}"), class_=colour, x=_n(x), y=0,
               width=_n(max(1.0, width - 1)), height=12)
        )  # fmt: skip
        x += width
    return el("svg", *parts, class_="uf", role="img", aria_label=label,
              viewBox=f"0 0 {_n(max(x, 1.0))} 12")  # fmt: skip


def _time_axis(scale: TimeScale, height: float) -> Html:
    bottom = TOP + height
    parts = [el("path", class_="grid", d=f"M{LEFT} {_n(bottom + 1)}H{WIDTH - RIGHT}")]
    for at_us, text in scale.ticks():
        x = scale.x(at_us)
        parts.append(el("path", class_="grid", d=f"M{_n(x)} {TOP}V{_n(bottom + 4)}"))
        anchor = "mid" if x < WIDTH - 34 else "end"
        place = x if anchor == "mid" else WIDTH - 1
        parts.append(el("text", text, x=_n(place), y=_n(bottom + 17), class_=anchor))
    return join(*parts)


def _y_label(y: float, value: int) -> Html:
    return el("text", value, x=LEFT - 6, y=_n(y), class_="end")


def _svg(height: float, label: str, parts: Iterable[Html]) -> Html:
    box = f"0 0 {WIDTH} {_n(TOP + height + BOTTOM)}"
    return el("svg", *parts, class_="uf", role="img", aria_label=label, viewBox=box)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _n(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")
