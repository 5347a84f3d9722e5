"""What unflux raises on purpose: the caller's mistakes are `ValueError` and `TypeError`."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something in the input that should not be there. Counted and kept; `strict` raises it."""

    kind: str
    """Stable identifier, such as ``label_forward_pointer``."""
    source: str
    """The input it was found in."""
    position: int
    """Byte offset in a capture, line number (from 1) in a text file."""
    count: int
    """How often it was found; `position` is the first place."""


class UnfluxError(Exception):
    """Root of all; its text is one sentence for the user."""


class MalformedInput(UnfluxError):
    """The data is wrong, not the caller."""

    def __init__(self, oddity: Oddity) -> None:
        super().__init__(f"{oddity.source}: {oddity.kind} at {oddity.position}")
        self.oddity = oddity


class Unavailable(UnfluxError):
    """A file, table or service could not be had; a retry may help."""


def plain_error(error: object) -> str:
    """What the core says of a file, without what only its authors read.

    >>> plain_error("No such file or directory (os error 2)")
    'No such file or directory'
    """
    text = re.sub(r" \(os error \d+\)$", "", str(error))
    return re.sub(r"(the zstd data is broken): .*", r"\1", text, flags=re.DOTALL)
