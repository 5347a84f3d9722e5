"""FluxBuster (Perdisci, Corona, Giacinto, TDSC 2012): the tree that comes with the released code.

The J48 tree as it decodes from the released file, over clusters of names that share addresses: IP
growth, TTL, number of addresses and of names, names per network, normalised /16 entropy
("diversity"). Released clusters are of 30 addresses and more, cut at 0.75; these are the paper's of
2009, cut at 0.6. Names per network is how many names ever resolved into the cluster's addresses.
"""

from __future__ import annotations

from typing import ClassVar

from unflux.detect.published import PublishedRule

MIN_ADDRESSES = 30
TREE = """CASE
    WHEN cluster_growth_ratio <= 0.122066 THEN 0
    WHEN cluster_ttl_s <= 30.18 THEN CASE
        WHEN cluster_growth_ratio <= 0.968504
            THEN CASE WHEN cluster_addresses BETWEEN 31 AND 34 THEN 1 ELSE 0 END
        WHEN cluster_reach > 24 THEN 1 ELSE 0 END
    WHEN cluster_entropy_ratio <= 0.411765
        THEN CASE WHEN cluster_reach > 1220 THEN 1 ELSE 0 END
    WHEN cluster_reach > 108 THEN 1
    WHEN cluster_growth_ratio > 0.707831 THEN 1
    WHEN cluster_names > 32 THEN 1
    WHEN cluster_ttl_s <= 234.8 THEN 1 ELSE 0 END"""


class FluxBuster(PublishedRule):
    """The frozen tree."""

    id: ClassVar[str] = "fluxbuster"
    title: ClassVar[str] = "FluxBuster, TDSC 2012: the released tree over clusters"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "ttl_max_s")
    flux: ClassVar[str] = f"cluster_addresses >= {MIN_ADDRESSES} AND {TREE} = 1"
    score: ClassVar[str] = (
        f"CASE WHEN cluster_addresses >= {MIN_ADDRESSES} AND {TREE} = 1 THEN 1 ELSE 0 END"
    )
