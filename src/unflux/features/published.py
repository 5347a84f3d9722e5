"""What only published detectors ask for: distances, time zones, SOA, clusters by shared addresses.

Each is as its paper has it, so that the baselines are the papers' and not ours; for names with
fewer than three addresses nothing of this can matter and nothing is computed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine
from unflux.features.components import components
from unflux.features.pools import SAMPLE
from unflux.sightings import History

IPV4 = r"^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$"
CUT_HEIGHT = 0.6
"""Perdisci et al. 2009: single linkage on 1 − sim, cut at 0.6."""
GAMMA = 3

OWN = """
WITH placed AS (
    SELECT row, number, number // 256 AS subnet, prefix, utc_offset
    FROM hosts JOIN places USING (code)
), zones AS (
    SELECT row, sum(-n / whole * log2(n / whole)) AS tz_entropy_bits FROM (
        SELECT row, utc_offset, count(*)::DOUBLE AS n,
            sum(count(*)) OVER (PARTITION BY row)::DOUBLE AS whole
        FROM placed WHERE utc_offset IS NOT NULL GROUP BY row, utc_offset
    ) GROUP BY row
)
SELECT row, count(DISTINCT subnet) AS n_subnets,
    (max(number) - min(number)) / nullif(count(DISTINCT number) - 1, 0)::DOUBLE AS address_distance,
    any_value(round(tz_entropy_bits, 9)) AS tz_entropy_bits
FROM placed LEFT JOIN zones USING (row) GROUP BY row
"""

# sim(a, b) = |A ∩ B| / |A ∪ B| · 1 / (1 + exp(γ − min(|A|, |B|))); common addresses are
# counted over a sample of 64 of A by hash, so that the crowd of a delivery network costs no more.
SIMILAR = f"""
WITH sizes AS (SELECT row, count(*)::DOUBLE AS size FROM hosts GROUP BY row
), compared AS (
    SELECT a, b, one.size AS size, other.size AS other_size,
        n * one.size / least(one.size, {SAMPLE}) AS n_both
    FROM common JOIN sizes one ON one.row = a JOIN sizes other ON other.row = b
)
SELECT a, b FROM compared
WHERE n_both / greatest(size + other_size - n_both, 1)
    / (1 + exp({GAMMA} - least(size, other_size))) >= 1 - {CUT_HEIGHT}
"""

CLUSTERS = """
WITH spread AS (
    SELECT cluster, prefix, count(DISTINCT code)::DOUBLE AS n
    FROM hosts JOIN places USING (code) GROUP BY ALL
), totals AS (
    SELECT cluster, sum(n) AS cluster_addresses, count(*) AS prefixes,
        round(sum(-n * ln(n)) / sum(n) + ln(sum(n)), 9) AS entropy
    FROM spread GROUP BY cluster
), named AS (
    SELECT cluster, count(*) AS cluster_names, round(avg(growth), 9) AS cluster_growth_ratio,
        round(avg(ttl_s), 6) AS cluster_ttl_s
    FROM members GROUP BY cluster
), reach AS ( -- names that ever resolved into its addresses
    SELECT h.cluster, count(DISTINCT o.row) AS cluster_reach
    FROM hosts h JOIN hosts o USING (code) GROUP BY h.cluster
)
SELECT row, cluster_addresses, prefixes / cluster_addresses AS cluster_prefix_ratio,
    CASE WHEN cluster_addresses > 1 THEN entropy / ln(cluster_addresses) END
        AS cluster_entropy_ratio,
    cluster_names, cluster_growth_ratio, cluster_ttl_s, cluster_reach
FROM members JOIN totals USING (cluster) JOIN named USING (cluster) JOIN reach USING (cluster)
"""


NOTHING = pa.schema(
    [("row", pa.int64()), ("n_subnets", pa.int64()), ("cluster_names", pa.int64()),
     ("cluster_reach", pa.int64())]
    + [(name, pa.float64()) for name in (
        "address_distance", "tz_entropy_bits", "cluster_addresses", "cluster_prefix_ratio",
        "cluster_entropy_ratio", "cluster_growth_ratio", "cluster_ttl_s")]
).empty_table()  # fmt: skip
"""The columns of `count` about no row."""


def count(
    history: History,
    counted: pa.Table,
    hosts: pa.Table,
    common: pa.Table,
    places: pa.RecordBatch,
) -> pa.Table:
    """Columns for the rows of `counted` that `hosts` (row, code) has; one row each."""
    located = _located(history, places, hosts)
    own = engine.query(OWN, hosts=hosts, places=located)
    edges = engine.query(SIMILAR, hosts=hosts, common=common)
    a, b = edges.column("a").to_numpy(), edges.column("b").to_numpy()
    cluster = pa.array(components(counted.num_rows, a, b))
    rows = pc.unique(hosts.column("row"))
    taken = counted.take(rows)
    fresh = pc.cast(taken.column("n_fresh"), pa.float64())
    growth = pc.divide(pc.cast(taken.column("n_addresses"), pa.float64()), fresh)
    members = pa.table(
        {
            "row": rows,
            "cluster": pc.take(cluster, rows),
            "growth": pc.if_else(pc.greater(fresh, 0), growth, None),
            "ttl_s": taken.column("ttl_max_s"),
        }
    )
    clusters = engine.query(
        CLUSTERS,
        hosts=hosts.append_column("cluster", pc.take(cluster, hosts.column("row"))),
        members=members,
        places=located,
    )
    query = "SELECT * FROM own FULL JOIN clusters USING (row)"
    return engine.query(query, own=own, clusters=clusters)


def _located(history: History, places: pa.RecordBatch, hosts: pa.Table) -> pa.Table:
    """Number (IPv4), prefix and time zone of each address that stands in `hosts`."""
    codes = pc.unique(hosts.column("code"))
    taken = places.take(codes)
    text = pc.take(history.rdata, codes)
    is_v4 = pc.match_substring_regex(text, IPV4)
    parts = pc.split_pattern(pc.if_else(is_v4, text, "1.1.1.1"), ".")
    octets = [pc.cast(pc.list_element(parts, place), pa.int64()) for place in range(4)]
    number = octets[0]
    for octet in octets[1:]:
        number = pc.add(pc.multiply(number, 256), octet)
    country = taken.column("country").cast(pa.string())
    known = pa.array(UTC_OFFSETS)
    place = pc.index_in(country, known)
    offsets = pc.take(pa.array(list(UTC_OFFSETS.values()), pa.float64()), place)
    return pa.table(
        {
            "code": codes,
            "number": pc.if_else(is_v4, number, None),
            "prefix": taken.column("prefix"),
            "utc_offset": offsets,
        }
    )


UTC_OFFSETS: dict[str, float] = json.loads(
    (Path(__file__).parent / "data" / "utc_offsets.json").read_text(encoding="utf-8")
)
"""Hours east of Greenwich in January by country: the first zone of each in the IANA database, and
the most populous one for AU, BR, CA, RU and UA, where the first is a corner of the country."""


def soa_retries(history: History, zones: pa.Array) -> pa.Array:
    """SOA retry of each zone (a number of a name, or null), seconds; the shortest that was seen."""
    rows = history.pairs("SOA")
    texts = pc.take(history.rdata, rows.column("rdata"))
    fields = [text.as_py().split() for text in texts]
    retry = [int(one[4]) if len(one) == 7 and one[4].isdigit() else None for one in fields]
    table = pa.table({"zone": rows.column("owner"), "retry": pa.array(retry, pa.int64())})
    table = table.group_by("zone", use_threads=False).aggregate([("retry", "min")])
    found = np.full(len(history.names), -1, np.int64)
    known = table.filter(pc.is_valid(table.column("retry_min")))
    found[known.column("zone").to_numpy()] = known.column("retry_min").to_numpy()
    values = pc.take(pa.array(found), zones)
    return pc.if_else(pc.greater_equal(values, 0), values, None)
