"""Names that lead to others: what is known of the addresses at the end of a CNAME chain.

Who asks for a name gets the addresses at its end, so they are the name's addresses in the sense of
every published detector; the roll-up counts by owner, where an alias has none.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine
from unflux.sightings import History

MAX_HOPS = 6
"""Longer chains are given up, as resolvers do (unbound: 11)."""

ENDS = f"""
WITH RECURSIVE chain AS (
    SELECT alias, target, 1 AS hop FROM edges
    UNION
    SELECT chain.alias, edges.target, hop + 1 FROM chain JOIN edges ON chain.target = edges.alias
    WHERE hop < {MAX_HOPS} AND edges.target <> chain.alias
), ends AS (
    SELECT alias, max_by(target, (coalesce(n_fresh, 0), target)) AS target
    FROM chain JOIN features ON name_id = target WHERE n_addresses > 0 GROUP BY alias
)
"""


def follow(features: pa.Table, history: History, of_addresses: list[str]) -> pa.Table:
    """Give names without addresses the columns `of_addresses` of the name their CNAMEs lead to.

    Of several ends the one with most fresh answers counts. Adds `address_name_id`: the name whose
    addresses a row is about.
    """
    edges = _edges(history)
    if not edges.num_rows:
        return features.append_column("address_name_id", features.column("name_id"))
    replaced = ", ".join(
        f"CASE WHEN ended.name_id IS NOT NULL THEN ended.{name} ELSE own.{name} END AS {name}"
        for name in of_addresses
    )
    query = f"""{ENDS}
        SELECT own.* REPLACE ({replaced}),
            coalesce(ended.name_id, own.name_id) AS address_name_id
        FROM features own
        LEFT JOIN ends ON ends.alias = own.name_id AND coalesce(own.n_addresses, 0) = 0
        LEFT JOIN features ended ON ended.name_id = ends.target
        ORDER BY own.name_id
    """
    return engine.query(query, features=features, edges=edges)


def _edges(history: History) -> pa.Table:
    """(alias, target) of every CNAME seen, as numbers of names."""
    parts = []
    for batch in history.sightings:
        part = batch.filter(pc.equal(batch.column("rdtype"), "CNAME"))
        parts.append(
            pa.table({"alias": part.column("owner").indices, "code": part.column("rdata").indices})
        )
    rows = pa.concat_tables(parts).group_by(["alias", "code"], use_threads=False).aggregate([])
    targets = pc.index_in(pc.take(history.rdata, rows.column("code")), history.names)
    edges = pa.table({"alias": rows.column("alias"), "target": targets})
    return edges.filter(pc.is_valid(edges.column("target")))
