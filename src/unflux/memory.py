"""What the C library keeps of memory that was given back. Only glibc can be told."""

from __future__ import annotations

import ctypes

_ARENA_MAX = -8
"""glibc's `M_ARENA_MAX`."""


def keep_little() -> None:
    """Let all threads take memory from one place, before they are started.

    Large columns are made on one thread and given back on another. With a place for each thread,
    what one gave back is of no use to the others, and the program grows to twice of what it holds.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
