"""HTML and SVG put together so that text can only ever be text."""

from __future__ import annotations

from unflux.share.text import markup

VOID = frozenset({"br", "hr", "link", "meta", "path", "rect", "line", "circle"})
"""Elements without content; those of SVG are closed in place."""


class Html(str):
    """Markup that was put together by `el` (or is a constant of this package)."""

    __slots__ = ()


Child = str | int | float | None


def el(name: str, /, *children: Child, **attributes: object) -> Html:
    """An element. Children that are no `Html` are escaped; so are all attributes.

    ``class_`` stands for ``class``, an underscore inside a name for a hyphen; an attribute that is
    None is left out.

    >>> el("b", "<i>", class_="x")
    '<b class="x">&lt;i&gt;</b>'
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{markup(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not children:
        return Html(f"<{name}{shown}/>")
    return Html(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """Children one after the other, escaped where they are no `Html`; None is nothing."""
    return Html(
        "".join(
            child if isinstance(child, Html) else markup(child)
            for child in children
            if child is not None
        )
    )
