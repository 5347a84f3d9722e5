"""The rule of the Zeek package anomalous-dns (J. Baggs), after Seth Hall's script.

``ASNs/addresses · (1.32·addresses + 18.54·ASNs) > 142.38`` for TTLs up to 30 minutes. Stricter
than Holz: the score falls when a pool grows inside the same networks. The package scores a name
as its answers arrive and forgets it after 31 minutes; here the window's totals are scored.
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa

from unflux.detect.base import Explanation, Reason, Row
from unflux.detect.holz2008 import PER_ADDRESS, PER_ASN, SCORE, THRESHOLD, judge_by_threshold

DISPARITY = "coalesce(n_asns, 0) / nullif(n_addresses, 0)::DOUBLE"


class AnomalousDns:
    """Zeek package anomalous-dns 2.0.3."""

    id: ClassVar[str] = "anomalous_dns"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "Zeek anomalous-dns 2.0.3: (ASN/A)·(1.32·A + 18.54·ASN) > 142.38"

    def judge(self, features: pa.Table) -> pa.Table:
        return judge_by_threshold(features, f"coalesce({DISPARITY} * {SCORE}, 0)", THRESHOLD)

    def reasons(self, row: Row) -> list[Reason]:
        addresses, asns = row["n_addresses"], row["n_asns"] or 0
        score = asns / (addresses or 1) * (PER_ADDRESS * addresses + PER_ASN * asns)
        says = f"{asns} ASes over {addresses} addresses give {score:.1f}, limit {THRESHOLD}"
        return [Reason("n_asns", asns, says, 1.0)]

    def explanations(self, row: Row) -> list[Explanation]:
        return []
