"""A rule of thumb after the CISA advisory on fast flux (AA25-093A, April 2025).

A TTL of at most 300 s and ten addresses and more in a day: what an analyst can write as one query.
The advisory describes both signs and names no numbers; the thresholds are those in common use.
"""

from __future__ import annotations

from typing import ClassVar

from unflux.detect.published import PublishedRule

MAX_TTL_S = 300
MIN_ADDRESSES = 10


class CisaRule(PublishedRule):
    """Short TTL and many addresses."""

    id: ClassVar[str] = "cisa_rule"
    title: ClassVar[str] = "rule of thumb after CISA AA25-093A: TTL ≤ 300 and ≥ 10 addresses"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "ttl_max_s")
    flux: ClassVar[str] = f"ttl_max_s <= {MAX_TTL_S} AND n_addresses >= {MIN_ADDRESSES}"
    score: ClassVar[str] = (
        f"CASE WHEN ttl_max_s <= {MAX_TTL_S} "
        f"THEN n_addresses / (n_addresses + {MIN_ADDRESSES - 0.5}) ELSE 0 END"
    )
