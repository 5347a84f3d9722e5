"""Perdisci et al. (ACSAC 2009): single linkage on the similarity of address sets, as published.

``sim = |A ∩ B| / |A ∪ B| · 1 / (1 + exp(γ - min(|A|, |B|)))`` with γ = 3, dendrogram cut at a
distance of 0.6. Single linkage cut at a height is the same as connected components below it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unflux import engine
from unflux.networks.candidates import Incidence
from unflux.networks.clusters import components

GAMMA = 3.0
CUT = 0.6

SIMILAR = f"""
WITH sizes AS (SELECT node, count(*)::DOUBLE AS size FROM edges GROUP BY node),
common AS (
    SELECT a.node AS a, b.node AS b, count(*)::DOUBLE AS n
    FROM edges a JOIN edges b USING (code) WHERE a.node < b.node GROUP BY a.node, b.node
)
SELECT a, b FROM common
JOIN sizes one ON one.node = a JOIN sizes other ON other.node = b
WHERE n / (one.size + other.size - n) / (1 + exp({GAMMA} - least(one.size, other.size)))
    >= 1 - {CUT}
ORDER BY a, b
"""


def perdisci(incidence: Incidence) -> npt.NDArray[np.int64]:
    """The cluster of each node. Every pair is compared: for tens of thousands of nodes at most."""
    edges = pa.table({"node": incidence.node, "code": incidence.code})
    near = engine.query(SIMILAR, edges=edges)
    a, b = (near.column(name).to_numpy() for name in ("a", "b"))
    return components(a, b, incidence.n_nodes)
