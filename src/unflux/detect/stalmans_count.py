"""Stalmans' second score ("Jaroslaw/Patrycja" in his code): a weighted count.

``A + NS + 1.5·/24s + 1.5·ASNs + [TTL ≤ 300] + 2·countries ≥ 18``. Meant for one response; here the
window's totals are scored, so any name that is seen for long grows past 18.
"""

from __future__ import annotations

from typing import ClassVar

from unflux.detect.holz2008 import as_share
from unflux.detect.published import PublishedRule

LIMIT = 18
VALUE = (
    "(n_addresses + coalesce(n_ns, 0) + 1.5 * coalesce(n_subnets, 0) + 1.5 * n_asns "
    "+ CASE WHEN ttl_max_s <= 300 THEN 1 ELSE 0 END + 2 * coalesce(n_countries, 0))"
)


class StalmansCount(PublishedRule):
    """A count of everything, with weights."""

    id: ClassVar[str] = "stalmans_count"
    title: ClassVar[str] = "Stalmans' second: A + NS + 1.5·/24 + 1.5·ASN + [TTL ≤ 300] + 2·CC ≥ 18"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "n_asns")
    flux: ClassVar[str] = f"{VALUE} >= {LIMIT}"
    score: ClassVar[str] = as_share(VALUE, LIMIT)
