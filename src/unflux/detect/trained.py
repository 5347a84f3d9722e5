"""Published methods whose trained parts were not published: re-fitted here, as data.

`trained.json` is written by `tools/fit_score.py` from the training split: a tree for Perdisci's
clusters, Gaussians for SSFD. Scored by SQL; the training library is not needed.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

from unflux.detect.fluxor import log_density
from unflux.detect.perdisci import F1, F2_DROPS, F3
from unflux.detect.published import PublishedRule

TRAINED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "trained.json").read_text(encoding="utf-8")
)

CLUSTER_FEATURES = (
    "cluster_addresses",
    "cluster_names",
    "cluster_ttl_s",
    "cluster_prefix_ratio",
    "cluster_reach",
    "cluster_growth_ratio",
)
"""φ1 to φ6."""
MIN_ADDRESSES = 10
SSFD_FEATURES = ("answers_max", "n_addresses - answers_max", "tz_entropy_bits", "n_asns")


def tree_sql(node: dict[str, Any]) -> str:
    """A tree as nested CASE: `{"feature", "at", "low", "high"}` or `{"flux_ratio"}`."""
    if "flux_ratio" in node:
        return f"{node['flux_ratio']!r}"
    low, high = tree_sql(node["low"]), tree_sql(node["high"])
    return f"CASE WHEN {node['feature']} <= {node['at']!r} THEN {low} ELSE {high} END"


class Perdisci2009(PublishedRule):
    """Filters, clustering, and a tree over the passive features of clusters."""

    id: ClassVar[str] = "perdisci2009"
    title: ClassVar[str] = "Perdisci et al., ACSAC 2009: filters, clusters, tree re-fitted"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "ttl_max_s")
    score: ClassVar[str] = (
        f"CASE WHEN cluster_addresses >= {MIN_ADDRESSES} AND {F1} AND NOT {F2_DROPS} AND {F3} "
        f"THEN {tree_sql(TRAINED['perdisci2009'])} ELSE 0 END"
    )
    flux: ClassVar[str] = f"{score} > 0.5"


def log_odds(gaussians: dict[str, Any]) -> str:
    """ln of how much likelier flux is, by Gaussians; unknown values count for none."""
    terms = [
        f"coalesce({log_density(f'({name})', *of['flux'])}"
        f" - {log_density(f'({name})', *of['benign'])}, 0)"
        for name, of in gaussians["features"].items()
    ]
    prior = math.log(gaussians["flux_prior"] / (1 - gaussians["flux_prior"]))
    return f"({prior!r} + {' + '.join(terms)})"


class Ssfd2010(PublishedRule):
    """Spatial snapshot: time zones of a response, without a second look-up.

    The paper's distances between services and name servers need coordinates that a country table
    does not have: they are left out. Names of one or two addresses have no time-zone entropy.
    """

    id: ClassVar[str] = "ssfd2010"
    title: ClassVar[str] = "SSFD, ASIACCS 2010: time-zone entropy, Bayes re-fitted"
    needs: ClassVar[tuple[str, ...]] = ("n_addresses", "answers_max")
    flux: ClassVar[str] = f"{log_odds(TRAINED['ssfd2010'])} > 0"
    score: ClassVar[str] = (
        f"1 / (1 + exp(-greatest(-700, least(700, {log_odds(TRAINED['ssfd2010'])}))))"
    )
