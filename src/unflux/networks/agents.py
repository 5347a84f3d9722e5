"""The addresses of networks: who they are, where, what they did. Put together by the engine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine
from unflux.networks.layers import Layers
from unflux.pipeline import Judged

AGENTS = """
WITH rows AS (
    SELECT network, code, name_id, first_us, last_us, n, true AS is_web FROM web
    UNION ALL SELECT network, code, name_id, first_us, last_us, n, false AS is_web FROM dns
), seen AS (
    SELECT network, code, bool_or(is_web) AS is_web, bool_or(NOT is_web) AS is_dns,
        count(DISTINCT name_id) AS n_names, min(first_us) AS first_us, max(last_us) AS last_us,
        sum(n) AS n FROM rows GROUP BY network, code
)
SELECT network, code, address,
    CASE WHEN is_web AND is_dns THEN 'both' WHEN is_web THEN 'web' ELSE 'dns' END AS role,
    CASE WHEN n_names > 1 THEN 'shared' ELSE 'rotated' END AS evidence, n_names,
    origin_asn, organisation, country,
    strftime(make_timestamp(first_us), '%Y-%m-%dT%H:%M:%S.%fZ') AS first_seen,
    strftime(make_timestamp(last_us), '%Y-%m-%dT%H:%M:%S.%fZ') AS last_seen,
    least(n, 9223372036854775807)::BIGINT AS count
FROM seen JOIN places USING (code) ORDER BY network, first_us, address
"""

OVERLAPS = """
WITH sizes AS (SELECT network, count(*) AS size FROM agents GROUP BY network),
few AS (SELECT code FROM agents GROUP BY code HAVING count(*) BETWEEN 2 AND 50)
SELECT a.network AS network, b.network AS other, count(*) AS n,
    count(*) / any_value(size) AS share
FROM agents a JOIN few USING (code) JOIN agents b USING (code)
JOIN sizes ON sizes.network = a.network
WHERE a.network <> b.network GROUP BY a.network, b.network ORDER BY a.network, n DESC, other
"""


def with_network(rows: pa.Table, network: npt.NDArray[np.int64]) -> pa.Table:
    """Rows of members that belong to a network, with its number; those of others left out."""
    of_row = network[rows.column("node").to_numpy()]
    return rows.append_column("network", pa.array(of_row)).filter(pa.array(of_row >= 0))


def agents_of(judged: Judged, layers: Layers, network: npt.NDArray[np.int64]) -> pa.Table:
    """One row per network and address, see `NetworkAgent`, beside `network` and `code`."""
    columns = ["network", "code", "name_id", "first_us", "last_us", "n"]
    web = with_network(layers.ip_rows, network).select(columns)
    dns = with_network(layers.ns_rows, network).select(columns)
    codes = pc.unique(pa.concat_tables([web, dns]).column("code"))
    places = pa.table(judged.places.take(codes))
    places = places.append_column("code", codes)
    places = places.append_column("address", pc.take(judged.history.rdata, codes))
    return engine.query(AGENTS, web=web, dns=dns, places=places)


def overlaps_of(agents: pa.Table) -> pa.Table:
    """Pairs of networks with addresses in common (those on 50 networks and more say nothing)."""
    return engine.query(OVERLAPS, agents=agents.select(["network", "code"]))
