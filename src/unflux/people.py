"""Who stands in a finding: addresses that answered (agents), and clients that asked.

Both are put together by the embedded engine, as JSON: a large capture has millions of them, and
most leave the program as JSON anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine
from unflux.detect.base import AMBIGUOUS, FLUX_VERDICTS, Row
from unflux.features.hosts import address_rows
from unflux.sightings import History

AGENTS = """
WITH seen AS (
    SELECT name_id, code, min(first_us) AS first_us, max(last_us) AS last_us, sum(n) AS n
    FROM rows GROUP BY name_id, code
), used AS (
    SELECT code, count(*) AS n_flux FROM seen JOIN names USING (name_id) WHERE is_flux GROUP BY code
), told AS (
    SELECT name_id, first_us, struct_pack(
        address := address,
        evidence := CASE WHEN NOT is_flux THEN 'unproven' WHEN n_flux > 1 THEN 'shared'
                         WHEN rotates THEN 'rotated' ELSE 'answered' END,
        origin_asn := origin_asn, organisation := organisation, country := country,
        special := special,
        first_seen := strftime(make_timestamp(first_us), '%Y-%m-%dT%H:%M:%S.%fZ'),
        last_seen := strftime(make_timestamp(last_us), '%Y-%m-%dT%H:%M:%S.%fZ'),
        count := least(n, 9223372036854775807)::BIGINT) AS agent
    FROM seen JOIN names USING (name_id) JOIN places USING (code) LEFT JOIN used USING (code)
)
SELECT name_id, encode(to_json(list(agent ORDER BY first_us, agent.address))::VARCHAR) AS agents
FROM told GROUP BY name_id
"""

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
    names = pa.table(
        {
            "name_id": pa.array([row["address_name_id"] for row in accused], pa.int32()),
            "is_flux": pa.array([row["verdict"] in FLUX_VERDICTS for row in accused], pa.bool_()),
            "rotates": pa.array([bool(row["n_pairs"]) for row in accused], pa.bool_()),
        }
    )
    seen = address_rows(history, names.column("name_id"))
    codes = pc.unique(seen.column("code"))
    located = pa.table(places.take(codes)).append_column("code", codes)
    located = located.append_column("address", pc.take(history.rdata, codes))
    names = names.group_by("name_id", use_threads=False).aggregate(
        [("is_flux", "any"), ("rotates", "any")]
    )
    names = names.rename_columns(["name_id", "is_flux", "rotates"])
    found = engine.query(AGENTS, rows=seen, names=names, places=located).to_pydict()
    by_owner = dict(zip(found["name_id"], found["agents"], strict=True))
    return {
        row["name_id"]: by_owner[row["address_name_id"]]
        for row in accused
        if row["address_name_id"] in by_owner
    }


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
