"""The pool behind a name's answers: who else draws from it, and do its hosts stay?

One name shows little of a pool in its first answers; the names that share it show it together.
Names belong to one pool when they have more addresses in common than chance gives, and what is
counted of the pool (other operators' domains, whether hosts come back) is said of each of them.
Only names whose answers changed, or that hold many addresses, are looked at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import publicsuffixlist
import pyarrow as pa
import pyarrow.compute as pc

from unflux import _native, engine
from unflux.features.components import components

SAMPLE = 64
"""Addresses of a name that are compared: the core's `meetings::SAMPLE`."""
MIN_COMMON = 2
MIN_OVERLAP = 0.15
"""Share of the smaller name's addresses. Two answers of 10 out of a list of 40 share 0.25."""
UNIVERSE = 15_000
"""Addresses that unrelated pools of homes meet in: far fewer than there are, to be careful."""
MAX_CHANCE = 1e-4
"""Chance that two unrelated names have so many addresses in common."""
SERVING_SHARE = 0.9
"""Networks that together hold this share of all domains that stay where they are serve names."""
MIN_STILL_DOMAINS = 200
"""With fewer such domains nothing is known about networks."""
BLOCK_SLICES = 24
"""Quarters of an hour in a block: the core's `BLOCK_MIN`. Flux lists a host for one to eight hours,
volunteers leave after days."""

COMMON = f"""
WITH sizes AS (
    SELECT row, count(*)::DOUBLE AS size FROM hosts GROUP BY row
), compared AS (
    SELECT a, b, n, one.size AS size, other.size AS other_size,
        least(one.size, {SAMPLE}) * other.size / {UNIVERSE} AS chance
    FROM common JOIN sizes one ON one.row = a JOIN sizes other ON other.row = b
)
SELECT a, b FROM compared -- more in common than a Poisson number of chance meetings
WHERE n >= {MIN_COMMON} AND n > chance
    AND n * ln(chance) - chance - lgamma(n + 1) <= ln({MAX_CHANCE})
    AND n * size / least(size, {SAMPLE}) >= {MIN_OVERLAP} * least(size, other_size)
"""

# Time is measured in the pool's own visits, so that nights and other lulls do not look like hosts
# that stay. Of n places drawn at random from (0, 1) the span is (n-1)/(n+1) on average, with
# variance 2(n-1)/((n+1)²(n+2)): order statistics of the uniform distribution. Asked of blocks of
# time, each by itself: of hosts that are listed for a mean time L, a share of about T/L of a short
# block T is lost, half by those that leave and half by those that come: L ≈ T / (1 - ratio).
DWELL = """
WITH binned AS (
    SELECT pool, block, slice, sum(visits)::DOUBLE AS n FROM slices GROUP BY ALL
), cumulated AS (
    SELECT pool, block, slice, n,
        sum(n) OVER (PARTITION BY pool, block ORDER BY slice) - n AS before,
        sum(n) OVER (PARTITION BY pool, block) AS whole,
        (max(slice) OVER (PARTITION BY pool, block)
            - min(slice) OVER (PARTITION BY pool, block) + 1) * :slice / 60.0 AS hours
    FROM binned
), host AS (
    SELECT pool, block, code, sum(visits)::DOUBLE AS n, min(first) AS first, max(last) AS last
    FROM stays GROUP BY ALL HAVING sum(visits) >= 2
), placed AS (
    SELECT r.pool, r.n, f.hours,
        (l.before + l.n * ((r.last % :slice) + 0.5) / :slice) / l.whole
        - (f.before + f.n * ((r.first % :slice) + 0.5) / :slice) / f.whole AS span,
        (r.n - 1) / (r.n + 1) AS expected,
        2 * (r.n - 1) / (pow(r.n + 1, 2) * (r.n + 2)) AS variance
    FROM host r
    JOIN cumulated f ON f.pool = r.pool AND f.block = r.block AND f.slice = r.first // :slice
    JOIN cumulated l ON l.pool = r.pool AND l.block = r.block AND l.slice = r.last // :slice
)
SELECT pool, count(*) AS returning,
    round(sum(span) / sum(expected), 9) AS dwell_ratio,
    round((sum(expected) - sum(span)) / sqrt(sum(variance)), 6) AS churn_z,
    round(sqrt(sum(variance)) / sum(expected), 9) AS dwell_error,
    round(sum(expected * hours) / sum(expected), 6) AS hours
FROM placed GROUP BY pool
""".replace(":slice", "15")

FOUND = """
WITH sizes AS (
    SELECT pool, count(DISTINCT code) AS pool_addresses, sum(visits) AS pool_visits
    FROM hosts GROUP BY pool
), people AS (
    SELECT pool, count(*) AS pool_names, count(DISTINCT operator) AS pool_domains
    FROM members GROUP BY pool
)
SELECT row, members.pool AS pool_id, pool_names, pool_domains, pool_addresses, pool_visits,
    day.returning AS pool_returning, day.dwell_ratio AS pool_dwell_ratio,
    day.churn_z AS pool_churn_z, day.dwell_error AS pool_dwell_error,
    block.returning AS block_returning, block.dwell_ratio AS block_dwell_ratio,
    block.churn_z AS block_churn_z, block.dwell_error AS block_dwell_error,
    block.hours AS block_hours
FROM members JOIN people USING (pool) JOIN sizes USING (pool)
    LEFT JOIN day ON day.pool = members.pool LEFT JOIN block ON block.pool = members.pool
"""


def operators(domains: pa.RecordBatch, rows: pa.Array) -> pa.Array:
    """Who registered each name, as a number: its domain below an ICANN suffix.

    Customers below a private suffix of the list (`*.cloudfront.net`) are names of one operator. A
    name without a registered domain is its own operator.
    """
    column = domains.column("registered_domain")
    numbers = column.indices.to_numpy(zero_copy_only=False).astype(float)
    texts = column.dictionary
    private = pc.equal(domains.column("suffix_section"), "private").fill_null(False)
    renamed = np.arange(len(texts))
    below = np.unique(column.indices.filter(private).drop_null().to_numpy())
    if len(below):
        first: dict[str, int] = {}
        icann = publicsuffixlist.PublicSuffixList(only_icann=True)
        for number in below.tolist():
            text = texts[number].as_py().rstrip(".")
            first.setdefault(icann.privatesuffix(text) or text, number)
            renamed[number] = first[icann.privatesuffix(text) or text]
    known = ~np.isnan(numbers)
    found = -1 - np.arange(len(numbers))
    found[known] = renamed[numbers[known].astype(np.int64)]
    return pc.take(pa.array(found), rows)


class Drawn(NamedTuple):
    """What names drew from pools, as long tables; `row` is that of the name.

    Of names alone with three addresses or more of a type whose answers changed, or that were seen
    once.
    """

    hosts: pa.Table
    """row, code, visits."""
    stays: pa.Table
    """The same by blocks of time: row, code, block, visits, first, last (minutes)."""
    slices: pa.Table
    """row, slice (a quarter of an hour), visits."""


def common(hosts: pa.Table) -> pa.Table:
    """At how many (n) of the addresses of row `a`, sampled, row `b` is met."""
    pairs = (hosts.column(name).combine_chunks() for name in ("row", "code"))
    return pa.table(_native.meetings(*pairs))


def count(
    counted: pa.Table,
    drawn: Drawn,
    common: pa.Table,
    operators: pa.Array,
    places: pa.RecordBatch,
) -> pa.Table:
    """Columns `pool_…`, `block_…` and `serving_ratio` for the rows of `drawn`, one row each.

    `operators` numbers who registered each name (see `operators`), by row.
    """
    hosts = drawn.hosts
    rows = pc.unique(hosts.column("row"))
    own = pa.table({"row": rows, "operator": pc.take(operators, rows)})
    edges = engine.query(COMMON, hosts=hosts, common=common)
    pool = components(counted.num_rows, edges.column("a").to_numpy(), edges.column("b").to_numpy())
    hosts_of, stays, slices = (
        one.append_column("pool", pc.take(pa.array(pool), one.column("row"))) for one in drawn
    )
    blocks = engine.query(f"SELECT *, slice // {BLOCK_SLICES} AS block FROM slices", slices=slices)
    whole = "SELECT * REPLACE (0::BIGINT AS block) FROM rows"
    found = engine.query(
        FOUND,
        hosts=hosts_of,
        members=own.append_column("pool", pc.take(pa.array(pool), rows)),
        day=engine.query(
            DWELL,
            stays=engine.query(whole, rows=stays),
            slices=engine.query(whole, rows=blocks),
        ),
        block=engine.query(DWELL, stays=stays, slices=blocks),
    )
    serving = _serving(counted, hosts, operators, places)
    query = "SELECT * FROM found LEFT JOIN serving USING (row)"
    return engine.query(query, found=found, serving=serving)


SERVING = f"""
WITH networks AS ( -- still names: who sits where
    SELECT origin_asn, count(DISTINCT operator) AS n FROM still GROUP BY origin_asn
), headed AS (
    SELECT origin_asn, sum(n) OVER (ORDER BY n DESC, origin_asn) - n AS before,
        sum(n) OVER () AS whole
    FROM networks
), serving AS (SELECT origin_asn FROM headed WHERE before < {SERVING_SHARE} * whole)
SELECT row, avg((origin_asn IN (FROM serving))::INT) AS serving_ratio
FROM hosts WHERE origin_asn IS NOT NULL
    AND (SELECT count(DISTINCT operator) FROM still) >= {MIN_STILL_DOMAINS}
GROUP BY row
"""


def _serving(
    counted: pa.Table, hosts: pa.Table, operators: pa.Array, places: pa.RecordBatch
) -> pa.Table:
    """Share of each name's addresses in networks that plain names are served from.

    A network is known by what it does: most domains stay where they are, and the networks that
    hold nine tenths of these serve; those of homes hold the rest.
    """
    codes = counted.column("still_code")
    still = pa.table({"operator": operators, "code": codes}).filter(pc.is_valid(codes))
    asn = pa.table({"origin_asn": places.column("origin_asn")})
    located = {
        "still": still.append_column(
            "origin_asn", pc.take(asn.column("origin_asn"), still.column("code"))
        ).filter(pc.is_valid(pc.take(asn.column("origin_asn"), still.column("code")))),
        "hosts": hosts.append_column(
            "origin_asn", pc.take(asn.column("origin_asn"), hosts.column("code"))
        ),
    }
    return engine.query(SERVING, **located)
