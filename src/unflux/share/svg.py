"""The one writer of SVG: shapes and texts, nothing that runs, for pages and for files of their own.

Every text and attribute goes through `html.el`, and there is no way to write a script, a link or
anything from elsewhere: names of flux networks are chosen by their operators. A shape says what it
is (`paint`), not which colour it has: inside a page colours are those of `CSS`, for light and dark;
a file of its own has those of `PAINTS`.
"""

from __future__ import annotations

from collections.abc import Iterator

from unflux.errors import UnfluxError
from unflux.share.html import Html, el

FONT = "system-ui, 'DejaVu Sans', sans-serif"
HEADING = 20
"""Units above a picture that is a file of its own, for its label."""
INSTALL = "PNG pictures need resvg-py: pip install 'unflux[pictures]'"
SERIES = ("#4269d0", "#e0a30e", "#f0624d", "#45b39d", "#3ca951", "#f074a6", "#a463f2", "#7fa6ee",
          "#9c6b4e", "#8d929c")  # fmt: skip
PAINTS: dict[str, dict[str, object]] = {
    "text": {"fill": "#3c4350"},
    "end": {"text-anchor": "end"},
    "mid": {"text-anchor": "middle"},
    "title": {"font-weight": "bold"},
    "grid": {"stroke": "#e3e6ea", "stroke-width": 1, "fill": "none"},
    "line": {"stroke": "#c2362b", "stroke-width": 2, "fill": "none", "stroke-linejoin": "round"},
    "thin": {"stroke": "#8d929c", "stroke-width": 1.2, "fill": "none"},
    "link": {"stroke": "#8d929c", "stroke-width": 0.6, "stroke-opacity": 0.45, "fill": "none"},
    "faint": {"stroke": "#8d929c", "stroke-width": 0.5, "stroke-opacity": 0.16, "fill": "none"},
    "dash": {"stroke": "#5b6270", "stroke-width": 1.2, "stroke-dasharray": "5 4", "fill": "none"},
    "soft": {"fill": "#c2362b", "fill-opacity": 0.18},
    "bar": {"fill": "#4269d0"},
    "land": {"fill": "#dfe3e8", "stroke": "#ffffff", "stroke-width": 0.4},
    "full": {"fill": "#4269d0", "stroke": "#ffffff", "stroke-width": 0.4},
    "lane": {"fill": "none"},
    "red": {"fill": "#c2362b"},
    "amber": {"fill": "#d99000"},
    "green": {"fill": "#3c9a55"},
    "grey": {"fill": "#9aa1ac"},
    **{f"s{number}": {"stroke": colour} for number, colour in enumerate(SERIES)},
    **{f"f{number}": {"fill": colour} for number, colour in enumerate(SERIES)},
}
"""What each paint is on white; of several, the later ones go before."""
_DARK: dict[str, dict[str, object]] = {
    "text": {"fill": "#a9b1bd"},
    "grid": {"stroke": "#343a44"},
    "line": {"stroke": "#ff8a7a"},
    "dash": {"stroke": "#a9b1bd"},
    "soft": {"fill": "#ff8a7a"},
    "bar": {"fill": "#7f9df0"},
    "land": {"fill": "#343a44", "stroke": "#16191f"},
    "full": {"fill": "#7f9df0", "stroke": "#16191f"},
}


def _rules(paints: dict[str, dict[str, object]]) -> Iterator[str]:
    for name, shown in paints.items():
        chosen = ".uf text" if name == "text" else f".uf .{name}"
        yield chosen + "{" + ";".join(f"{key}:{value}" for key, value in shown.items()) + "}"


CSS = "\n".join(
    [
        "",
        f".uf{{display:block;width:100%;height:auto;font:12px {FONT}}}",
        *_rules(PAINTS),
        "@media (prefers-color-scheme:dark){",
        *_rules(_DARK),
        "}",
        "",
    ]
)
"""For pages that hold pictures."""


class Svg:
    """A picture: shapes from the upper left corner on, in units of a twelfth of a text's height."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height = width, height
        self.label = label
        """What the picture shows, for those who cannot see it."""
        self._shapes: list[tuple[str, str, str | None, str | None, dict[str, object]]] = []

    def add(
        self,
        tag: str,
        paint: str,
        *,
        text: object = None,
        title: str | None = None,
        **attributes: object,
    ) -> None:
        """An element; `paint` names entries of `PAINTS`, `title` shows when it is pointed at."""
        said = None if text is None else str(text)
        self._shapes.append((tag, paint, said, title, attributes))

    def path(self, d: str, paint: str, *, title: str | None = None, **attributes: object) -> None:
        """A line or an outline."""
        self.add("path", paint, title=title, d=d, **attributes)

    def box(
        self, x: float, y: float, width: float, height: float, paint: str, title: str | None = None
    ) -> None:
        """A filled rectangle, so large that it is seen."""
        self.add(
            "rect", paint, title=title, x=n(x), y=n(y), width=n(max(1.0, width)),
            height=n(max(1.0, height)),
        )  # fmt: skip

    def dot(self, x: float, y: float, radius: float, paint: str, title: str | None = None) -> None:
        """A filled circle."""
        self.add("circle", paint, title=title, cx=n(x), cy=n(y), r=n(radius))

    def text(
        self, x: float, y: float, says: object, paint: str = "", *, size: float | None = None,
        title: str | None = None,
    ) -> None:  # fmt: skip
        """A text; `paint` is `end` or `mid` where it does not begin at `x`."""
        size_ = None if size is None else n(size)
        self.add("text", paint, text=says, title=title, x=n(x), y=n(y), font_size=size_)

    def inline(self) -> Html:
        """For a page that has `CSS`: grows with its container."""
        shapes = (
            el(tag, *_inside(text, title), class_=paint or None, **attributes)
            for tag, paint, text, title, attributes in self._shapes
        )
        box = f"0 0 {n(self.width)} {n(self.height)}"
        return el("svg", *shapes, class_="uf", role="img", aria_label=self.label, viewBox=box)

    def file(self) -> str:
        """A file of its own: colours in the shapes, on white, its label above."""
        parts = []
        for tag, paint, text, title, attributes in self._shapes:
            painted: dict[str, object] = {}
            for one in (["text"] if tag == "text" else []) + paint.split():
                painted |= PAINTS[one]
            shown = painted | attributes
            parts.append(el(tag, *_inside(text, title), **shown))
        height = self.height + HEADING
        return el(
            "svg",
            el("title", self.label),
            el("rect", width="100%", height="100%", fill="#ffffff"),
            el("text", self.label, x=8, y=14, font_size=n(self._heading()), **PAINTS["text"]),
            el("g", *parts, transform=f"translate(0 {HEADING})"),
            xmlns="http://www.w3.org/2000/svg", role="img", font_size=12, font_family=FONT,
            width=n(2 * self.width), height=n(2 * height),
            viewBox=f"0 0 {n(self.width)} {n(height)}",
        )  # fmt: skip

    def _heading(self) -> float:
        """Height of the label's letters, so that it fits: they are about half as wide."""
        return max(5.0, min(9.0, 2 * (self.width - 16) / max(1, len(self.label))))

    def png(self) -> bytes:
        """The file as pixels, two a unit.

        Raises
        ------
        UnfluxError
            When resvg-py is not installed.
        """
        try:
            from resvg_py import svg_to_bytes
        except ModuleNotFoundError:
            raise UnfluxError(INSTALL) from None
        return bytes(svg_to_bytes(svg_string=self.file(), font_family="DejaVu Sans"))


def _inside(text: str | None, title: str | None) -> Iterator[Html | str]:
    if title is not None:
        yield el("title", title)
    if text is not None:
        yield text


def n(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")
