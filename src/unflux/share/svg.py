"""A small SVG writer: shapes and texts, nothing that runs.

Every text goes through XML escaping, characters that XML forbids are replaced, and there is no way
to write a script, a link, a style sheet or anything from elsewhere: names of flux networks are
chosen by their operators.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

COLOURS = {
    "name": "#222222",
    "web": "#d1495b",
    "dns": "#00798c",
    "both": "#edae49",
    "line": "#30638e",
    "band": "#9ec1e0",
    "faint": "#b8b8b8",
}
FONT = "system-ui, sans-serif"


def clean(text: str) -> str:
    """A text without the characters that XML 1.0 forbids (control characters, surrogates)."""
    return "".join(
        one
        if one in "\t\n" or 0x20 <= ord(one) <= 0xD7FF or 0xE000 <= ord(one) <= 0xFFFD
        or ord(one) >= 0x10000
        else "\ufffd"
        for one in text
    )  # fmt: skip


class Svg:
    """A picture of a fixed size, in pixels from the upper left corner."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height = width, height
        self.parts = [f"<title>{escape(clean(title))}</title>"]

    def add(self, tag: str, text: str | None = None, **attributes: float | str) -> None:
        """An element; ``_`` in attribute names stands for ``-``."""
        written = "".join(
            f" {name.replace('_', '-')}={quoteattr(clean(_number(value)))}"
            for name, value in attributes.items()
        )
        if text is None:
            self.parts.append(f"<{tag}{written}/>")
        else:
            self.parts.append(f"<{tag}{written}>{escape(clean(text))}</{tag}>")

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1
    ) -> None:
        """A straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width)

    def path(self, points: Iterable[tuple[float, float]], colour: str, width: float = 2) -> None:
        """Straight lines through points."""
        joined = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self.add("polyline", points=joined, fill="none", stroke=colour, stroke_width=width)

    def box(
        self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1
    ) -> None:
        """A filled rectangle."""
        self.add(
            "rect", x=x, y=y, width=max(width, 0), height=max(height, 0), fill=colour,
            fill_opacity=opacity,
        )  # fmt: skip

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        """A filled circle."""
        self.add("circle", cx=x, cy=y, r=radius, fill=colour)

    def text(self, x: float, y: float, text: str, size: float = 11, anchor: str = "start") -> None:
        """A text; `anchor` is start, middle or end."""
        self.add("text", text, x=x, y=y, font_size=size, font_family=FONT, text_anchor=anchor)

    def render(self) -> str:
        """The whole file."""
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" role="img">\n'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
        )


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
