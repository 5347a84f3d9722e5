"""The modified Holz score of E. Stalmans' fast-flux scripts, for a single look at a name.

``1.32·addresses + 18.54·ASNs + 5·[TTL ≤ 300] − 50 > 0``. Three ASes are enough (55.6 + 4.0 > 50):
it was meant for single responses, where benign names rarely have three.
"""

from __future__ import annotations

from typing import ClassVar

from unflux.detect.holz2008 import PER_ADDRESS, PER_ASN, as_share
from unflux.detect.published import PublishedRule

SHORT_TTL_S = 300
SHORT_TTL = 5
LIMIT = 50

VALUE = (
    f"({PER_ADDRESS} * n_addresses + {PER_ASN} * n_asns "
    f"+ CASE WHEN ttl_max_s <= {SHORT_TTL_S} THEN {SHORT_TTL} ELSE 0 END)"
)


class Stalmans(PublishedRule):
    """Holz for one response, with a bonus for a short TTL."""

    id: ClassVar[str] = "stalmans"
    title: ClassVar[str] = "Stalmans' modified Holz: 1.32·A + 18.54·ASN + 5·[TTL ≤ 300] > 50"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "n_asns")
    flux: ClassVar[str] = f"{VALUE} > {LIMIT}"
    score: ClassVar[str] = as_share(VALUE, LIMIT)
