"""The flux score of Holz, Gorecki, Rieck and Freiling (NDSS 2008), as published.

``1.32·addresses + 18.54·ASNs > 142.38``, for names whose TTL is below 1800 s. The paper takes two
look-ups; here all answers of the window count. Known to flag time pools and peer-to-peer seeds,
and to miss flux of one address per answer: unflux keeps it as a baseline.
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa

from unflux import engine
from unflux.detect import base
from unflux.detect.base import Explanation, Reason, Row

PER_ADDRESS = 1.32
PER_ASN = 18.54
THRESHOLD = 142.38
MAX_TTL_S = 1800

SCORE = f"({PER_ADDRESS} * n_addresses + {PER_ASN} * coalesce(n_asns, 0))"
"""0 and up; one AS more weighs as much as 14 addresses."""


def as_share(score: str, threshold: float) -> str:
    """A positive score on 0…1 with its threshold at one half."""
    return f"{score} / ({score} + {threshold})"


def judge_by_threshold(features: pa.Table, score: str, threshold: float) -> pa.Table:
    """Verdicts of a published score with a TTL limit and a threshold."""
    applies = f"n_asns IS NOT NULL AND coalesce(ttl_max_s, {MAX_TTL_S}) < {MAX_TTL_S}"
    query = f"""
        SELECT *, CASE
            WHEN n_asns IS NULL THEN '{base.INSUFFICIENT}'
            WHEN {applies} AND {score} > {threshold} THEN '{base.SINGLE_FLUX}'
            ELSE '{base.NOT_FLUX}' END AS verdict,
            CASE WHEN {applies} THEN round({as_share(score, threshold)}, 4) ELSE 0 END AS score,
            'low' AS confidence
        FROM features"""
    return engine.query(query, features=features)


class Holz2008:
    """Flux score of NDSS 2008."""

    id: ClassVar[str] = "holz2008"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "Holz et al., NDSS 2008: 1.32·A + 18.54·ASN > 142.38"

    def judge(self, features: pa.Table) -> pa.Table:
        return judge_by_threshold(features, SCORE, THRESHOLD)

    def reasons(self, row: Row) -> list[Reason]:
        addresses, asns = row["n_addresses"], row["n_asns"] or 0
        total = PER_ADDRESS * addresses + PER_ASN * asns
        return [
            Reason("n_asns", asns, f"{asns} ASes · {PER_ASN}", PER_ASN * asns / (total or 1)),
            Reason(
                "n_addresses",
                addresses,
                f"{addresses} addresses · {PER_ADDRESS}; {total:.1f} in all, limit {THRESHOLD}",
                PER_ADDRESS * addresses / (total or 1),
            ),
        ]

    def explanations(self, row: Row) -> list[Explanation]:
        return []
