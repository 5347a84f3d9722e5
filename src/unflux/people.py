"""Who stands in a finding: addresses that answered (agents), and clients that asked.

Both are put together as JSON: a large capture has millions of them, and most leave the program as
JSON anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from unflux import _native, engine
from unflux.detect.base import AMBIGUOUS, FLUX_VERDICTS, Row
from unflux.sightings import History

CLIENTS = """
SELECT name_id, encode(to_json(list(client ORDER BY client))::VARCHAR) AS clients, count(*) AS n
FROM (SELECT DISTINCT name_id, client FROM rows) GROUP BY name_id
"""


def agents(history: History, places: pa.RecordBatch, rows: Sequence[Row]) -> dict[int, bytes]:
    """`list[Agent]` as JSON, by number of the name, in the order they were first seen.

    An agent is a claim: only names judged flux or ambiguous have any, and what kind of evidence
    there is stands beside each.
    """
    accused = [row for row in rows if row["verdict"] in (*FLUX_VERDICTS, AMBIGUOUS)]
    known: dict[int, tuple[bool, bool]] = {}
    for row in accused:
        is_flux, rotates = known.get(row["address_name_id"], (False, False))
        known[row["address_name_id"]] = (
            is_flux or row["verdict"] in FLUX_VERDICTS,
            rotates or bool(row["n_pairs"]),
        )
    is_flux_of, rotates_of = ([flags[place] for flags in known.values()] for place in (0, 1))
    listed = _native.agents(history.sightings, places, list(known), is_flux_of, rotates_of)
    by_owner = dict(zip(known, listed, strict=True))
    found = {row["name_id"]: by_owner[row["address_name_id"]] for row in accused}
    return {name: agents for name, agents in found.items() if agents is not None}


def clients(history: History, rows: Sequence[Row]) -> dict[int, tuple[bytes, int]]:
    """Clients that asked, as JSON, and their number; up to 64 per name, type and hour are kept."""
    wanted = pa.array([row["name_id"] for row in rows], pa.int32())
    parts = []
    for batch in history.activity:
        part = batch.filter(pc.is_in(batch.column("owner").indices, wanted))
        lists = part.column("clients")
        owners = pc.take(part.column("owner").indices, pc.list_parent_indices(lists))
        flat = pc.list_flatten(lists)
        parts.append(pa.table({"name_id": owners, "client": flat.cast(pa.string())}))
    found = engine.query(CLIENTS, rows=pa.concat_tables(parts)).to_pydict()
    pairs = zip(found["clients"], found["n"], strict=True)
    return dict(zip(found["name_id"], pairs, strict=True))
