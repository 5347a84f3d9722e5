"""What published rules have in common: a condition, a score, and the values they rest on."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa

from unflux import engine
from unflux.detect import base
from unflux.detect.base import Explanation, Reason, Row


class PublishedRule:
    """A rule over the features of one name, as its paper has it; nulls make it false.

    A subclass names its feature expressions (DuckDB SQL) and what it needs to know at all.
    """

    id: ClassVar[str]
    version: ClassVar[int] = 1
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    """Features without which nothing can be said."""
    flux: ClassVar[str]
    """When a name is called flux."""
    score: ClassVar[str]
    """0…1, for ranking; one half at the published threshold where there is one."""

    def judge(self, features: pa.Table) -> pa.Table:
        """See `unflux.detect.base.Detector`."""
        known = " AND ".join(f"{name} IS NOT NULL" for name in self.needs)
        query = f"""
            SELECT *, CASE
                WHEN NOT ({known}) OR n_addresses = 0 THEN '{base.INSUFFICIENT}'
                WHEN coalesce({self.flux}, false) THEN '{base.SINGLE_FLUX}'
                ELSE '{base.NOT_FLUX}' END AS verdict,
                CASE WHEN {known} AND n_addresses > 0
                    THEN round(greatest(0, least(1, coalesce({self.score}, 0))), 6)
                    ELSE 0 END AS score,
                'low' AS confidence
            FROM features"""
        return engine.query(query, features=features)

    def reasons(self, row: Row) -> list[Reason]:
        """The values that the rule looks at, with equal weights: it gives none itself."""
        return [
            Reason(name, row[name], f"{name} is {row[name]}", round(1 / len(self.needs), 4))
            for name in self.needs
            if row[name] is not None
        ]

    def explanations(self, row: Row) -> list[Explanation]:
        """Published rules try none."""
        return []
