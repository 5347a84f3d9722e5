"""What the addresses of a name did over time: did they stay, and whom else do they serve?

Counting per (name, address) is done by the embedded engine, only for names with enough addresses to
be about anything; the core's roll-up does the rest.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine
from unflux.sightings import History
from unflux.sightings.history import fresh

MIN_ADDRESSES = 5
"""Names with fewer addresses have no pool to speak of."""
SAMPLE = 64
"""Addresses of a name that are looked up with other names, and names looked at per address: a
delivery network has thousands of names on each address."""
MIN_SPAN_US = 3_600_000_000
"""Below an hour nothing can be said about staying."""
SIBLING_OVERLAP = 0.3
"""Two answers of 10 out of one list of 40 share 2.5 addresses; days of answers share nearly all."""

# An address seen n times at random over a time T lies between its first and last sight for
# T (n - 1) / (n + 1) on average (order statistics of the uniform distribution): a host that stays
# has a ratio near 1, one that comes and goes a small one. Of m addresses seen twice each, a pool
# that stays has a ratio of 1 with a standard error of 0.71 / sqrt(m).
HOSTS = f"""
WITH by_side AS (
    SELECT name_id, code, min(first_us) AS first_us, max(last_us) AS last_us, sum(fresh) AS n
    FROM rows GROUP BY name_id, code, vantage
), seen AS ( -- what both sides of a resolver saw was one event
    SELECT name_id, code, min(first_us) AS first_us, max(last_us) AS last_us, max(n) AS n
    FROM by_side GROUP BY name_id, code
), span AS (
    SELECT name_id, max(last_us) - min(first_us) AS whole_us FROM seen GROUP BY name_id
), dwell AS (
    SELECT name_id, count(*) AS n_returning,
        least(1.0, sum(last_us - first_us) / sum(((n - 1) / (n + 1.0) * whole_us)::BIGINT))
            AS dwell_ratio -- whole microseconds: a sum of floats depends on its order
    FROM seen JOIN span USING (name_id)
    WHERE n >= 2 AND whole_us >= {MIN_SPAN_US} GROUP BY name_id
), numbered AS (
    SELECT seen.*, domain, hash(code) AS by_code, hash(name_id) AS by_name
    FROM seen JOIN names USING (name_id)
), sample AS (
    SELECT name_id, domain, code FROM numbered
    QUALIFY row_number() OVER (PARTITION BY name_id ORDER BY by_code, code) <= {SAMPLE}
), met AS (
    SELECT domain, code FROM numbered
    QUALIFY row_number() OVER (PARTITION BY code ORDER BY by_name, name_id) <= {SAMPLE}
), pairs AS (
    SELECT sample.name_id, met.domain, count(DISTINCT code) AS n_common
    FROM sample JOIN met USING (code) WHERE met.domain <> sample.domain
    GROUP BY sample.name_id, met.domain
), siblings AS (
    SELECT name_id, max(n_common / size) AS sibling_overlap,
        count(*) FILTER (n_common / size >= {SIBLING_OVERLAP}) AS n_siblings
    FROM pairs JOIN (SELECT name_id, count(*)::DOUBLE AS size FROM sample GROUP BY name_id)
        USING (name_id) GROUP BY name_id
)
SELECT name_id, n_returning, dwell_ratio,
    coalesce(sibling_overlap, 0) AS sibling_overlap, coalesce(n_siblings, 0) AS n_siblings
FROM names LEFT JOIN dwell USING (name_id) LEFT JOIN siblings USING (name_id)
"""


def count(history: History, counted: pa.Table, domains: pa.Array) -> pa.Table:
    """`n_returning`, `dwell_ratio`, `sibling_overlap`, `n_siblings` by `name_id`.

    `domains` has the number of each name's registered domain (null: none), by number of the name.
    """
    enough = pc.greater_equal(counted.column("n_addresses"), MIN_ADDRESSES)
    ids = counted.column("name_id").filter(enough)
    numbers = pc.fill_null(pc.take(domains, ids).cast(pa.int64()), -1)
    # A name without a registered domain is a domain of its own.
    own = pc.subtract(pa.scalar(-2, pa.int64()), ids.cast(pa.int64()))
    names = pa.table({"name_id": ids, "domain": pc.if_else(pc.equal(numbers, -1), own, numbers)})
    return engine.query(HOSTS, rows=address_rows(history, ids), names=names)


def address_rows(history: History, name_ids: pa.ChunkedArray) -> pa.Table:
    """Sightings of addresses: name, number of the rdata, times, responses, TTLs, fresh ones.

    `minutes` is `fresh_minutes` of the sightings: rows with a bit in common were one answer.
    """
    wanted = name_ids.combine_chunks()
    parts = []
    for batch in history.sightings:
        types = pc.is_in(batch.column("rdtype"), pa.array(["A", "AAAA"]))
        part = batch.filter(pc.and_(pc.is_in(batch.column("owner").indices, wanted), types))
        parts.append(
            pa.table(
                {
                    "name_id": part.column("owner").indices,
                    "code": part.column("rdata").indices,
                    "first_us": part.column("time_first").cast(pa.int64()),
                    "last_us": part.column("time_last").cast(pa.int64()),
                    "n": part.column("count_raw"),
                    "vantage": part.column("vantage").cast(pa.string()),
                    "ttl_min": part.column("ttl_min"),
                    "ttl_max": part.column("ttl_max"),
                    "fresh": fresh(pa.table(part), part.column("count_raw")),
                    "minutes": part.column("fresh_minutes"),
                }
            )
        )
    return pa.concat_tables(parts)
