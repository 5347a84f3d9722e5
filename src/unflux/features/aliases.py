"""Names that lead to others: what is known of the addresses at the end of a CNAME chain.

Who asks for a name gets the addresses at its end, so they are the name's addresses in the sense of
every published detector; the roll-up counts by owner, where an alias has none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unflux.sightings import History

Numbers = npt.NDArray[np.int64]

MAX_HOPS = 6
"""Longer chains are given up, as resolvers do (unbound: 11)."""


def follow(features: pa.Table, history: History, of_addresses: list[str]) -> pa.Table:
    """Give names without addresses the columns `of_addresses` of the name their CNAMEs lead to.

    Of several ends the one with most fresh answers counts. Adds `address_name_id`: the name whose
    addresses a row is about.
    """
    edges = alias_edges(history)
    if not edges.num_rows:
        return features.append_column("address_name_id", features.column("name_id"))
    alias, target = _ends(features, edges)
    ids = features.column("name_id").to_numpy()
    place = np.full(int(ids.max()) + 1, -1, np.int64)
    """Row of each name."""
    place[ids] = np.arange(len(ids))
    named = (alias < len(place)) & (place[np.minimum(alias, len(place) - 1)] >= 0)
    source = np.arange(len(ids))
    source[place[alias[named]]] = place[target[named]]
    rows = pa.array(source)
    for number, name in enumerate(features.column_names):
        if name in of_addresses:
            column = features.column(number).combine_chunks()
            features = features.set_column(number, name, pc.take(column, rows))
    return features.append_column("address_name_id", pa.array(ids[source]))


def _ends(features: pa.Table, edges: pa.Table) -> tuple[Numbers, Numbers]:
    """Aliases and the end of each, found from the ends backwards: a round over the edges a hop."""
    ids = features.column("name_id").to_numpy()
    alias, target = edges.column("alias").to_numpy(), edges.column("target").to_numpy()
    size = int(max(ids.max(), alias.max(), target.max())) + 1
    weight = np.full(size, -1, np.int64)
    """Fresh answers of the end that a name has; -1: none is known."""
    end = np.full(size, -1, np.int64)
    has = pc.greater(features.column("n_addresses"), 0).to_numpy(zero_copy_only=False)
    end[ids[has]] = ids[has]
    weight[ids[has]] = pc.fill_null(features.column("n_fresh"), 0).to_numpy()[has]
    open_ = end[alias] < 0
    alias, target = alias[open_], target[open_]
    for _ in range(MAX_HOPS):
        known = end[target] >= 0
        # The last of equal aliases wins an assignment, so the best one is put last.
        order = np.lexsort((end[target], weight[target], alias))
        order = order[known[order]]
        ends, weights = end[target[order]], weight[target[order]]
        end[alias[order]], weight[alias[order]] = ends, weights
    found = np.unique(alias[end[alias] >= 0])
    return found, end[found]


def alias_edges(history: History) -> pa.Table:
    """(alias, target) of every CNAME seen, as numbers of names."""
    rows = history.pairs("CNAME")
    targets = pc.index_in(pc.take(history.rdata, rows.column("rdata")), history.names)
    edges = pa.table({"alias": rows.column("owner"), "target": targets})
    return edges.filter(pc.is_valid(edges.column("target")))
