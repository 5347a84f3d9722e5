"""Caglayan, Toothaker, Drapeau, Burke and Eaton (CATCH 2009): TTL, activity and footprint.

They fuse three indices in a Bayesian net whose tables are not printed. Printed are what they
measure and one limit: activity is the change of distinct addresses in ten minutes, footprint the
dispersion of a name, flux above six. Our reading: footprint is the number of networks, and a name
is flux with a footprint above six, activity, and a TTL below an hour; a second net, for name
servers, is read likewise. Both together are double flux.
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa

from unflux import engine
from unflux.detect import base
from unflux.detect.published import PublishedRule

FOOTPRINT = 6
WEB = f"coalesce(n_networks > {FOOTPRINT} AND activity_10min >= 1 AND ttl_max_s < 3600, false)"
NAME_SERVERS = f"coalesce(ns_networks > {FOOTPRINT} AND ns_address_retention < 1, false)"


class Caglayan2009(PublishedRule):
    """Fast-flux monitor: activity and footprint, of addresses and of name servers."""

    id: ClassVar[str] = "caglayan2009"
    title: ClassVar[str] = "Caglayan et al., CATCH 2009: footprint above six, activity, TTL"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "n_networks")
    flux: ClassVar[str] = f"{WEB} OR {NAME_SERVERS}"
    score: ClassVar[str] = (
        f"CASE WHEN {WEB} OR {NAME_SERVERS} "
        f"THEN greatest(n_networks, coalesce(ns_networks, 0)) "
        f"/ (greatest(n_networks, coalesce(ns_networks, 0)) + {FOOTPRINT}.0) ELSE 0 END"
    )

    def judge(self, features: pa.Table) -> pa.Table:
        """See `unflux.detect.base.Detector`."""
        judged = super().judge(features)
        query = f"""SELECT * REPLACE (CASE
            WHEN verdict <> '{base.SINGLE_FLUX}' THEN verdict
            WHEN {WEB} AND {NAME_SERVERS} THEN '{base.DOUBLE_FLUX}'
            WHEN {NAME_SERVERS} THEN '{base.NS_FLUX}' ELSE verdict END AS verdict) FROM judged"""
        return engine.query(query, judged=judged)
