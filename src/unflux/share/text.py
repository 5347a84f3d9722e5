"""Text from outside made harmless: what it says stays, what it does to a reader's screen goes."""

from __future__ import annotations

import html
import re
import unicodedata

PLAIN_NAME = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that are not seen, or change how others are (right-to-left marks)."""


def visible(text: str) -> str:
    r"""Control, format and unassigned characters as escapes, all others as they are.

    >>> visible("a\u202eb\x1b[31m")
    'a\\u202eb\\x1b[31m'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(one) for one in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN:
        return character
    return (
        character.encode("ascii", "backslashreplace").decode()
        if ord(character) > 127
        else (f"\\x{ord(character):02x}")
    )


def counted(n: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "file"), counted(2, "file"), counted(0, "address")
    ('1 file', '2 files', '0 addresses')
    """
    plural = "es" if what.endswith("s") else "s"
    return f"{n} {what}{'' if n == 1 else plural}"


def markup(text: object) -> str:
    """Any value as HTML or SVG text, also inside a quoted attribute."""
    return html.escape(visible(str(text)), quote=True)


def is_plain_name(name: str) -> bool:
    """Whether a name is written as all tools write it: letters, digits, hyphens, two labels."""
    return PLAIN_NAME.fullmatch(name) is not None
