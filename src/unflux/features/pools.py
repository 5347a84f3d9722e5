"""The pool behind a name's answers: who else draws from it, and do its hosts stay?

One name shows little of a pool in its first answers; the names that share it show it together.
Names belong to one pool when they have more addresses in common than chance gives, and what is
counted of the pool (other operators' domains, whether hosts come back) is said of each of them.
Only names whose answers changed, or that hold many addresses, are looked at.
"""

from __future__ import annotations

import numpy as np
import publicsuffixlist
import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine
from unflux.features.components import components

SAMPLE = 64
"""Addresses of a name that are compared, and names that are met at one address, by hash."""
MIN_ADDRESSES = 3
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

COMMON = f"""
WITH numbered AS (
    SELECT row, code, operator, hash(code) AS by_code, hash(row) AS by_row FROM hosts
), sample AS (
    SELECT row, code FROM numbered
    QUALIFY row_number() OVER (PARTITION BY row ORDER BY by_code, code) <= {SAMPLE}
), met AS (
    SELECT row, code FROM numbered
    QUALIFY row_number() OVER (PARTITION BY code ORDER BY by_row, row) <= {SAMPLE}
), common AS (
    SELECT sample.row AS a, met.row AS b, count(*) AS n
    FROM sample JOIN met USING (code) WHERE sample.row <> met.row GROUP BY ALL
), sizes AS (
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
# variance 2(n-1)/((n+1)²(n+2)): order statistics of the uniform distribution.
DWELL = """
WITH binned AS (
    SELECT pool, slice, sum(visits)::DOUBLE AS n FROM slices GROUP BY ALL
), cumulated AS (
    SELECT pool, slice, n, sum(n) OVER (PARTITION BY pool ORDER BY slice) - n AS before,
        sum(n) OVER (PARTITION BY pool) AS whole FROM binned
), host AS (
    SELECT pool, code, sum(visits)::DOUBLE AS n, min(first) AS first, max(last) AS last
    FROM hosts GROUP BY ALL
), comers AS (SELECT * FROM host WHERE n >= 2),
placed AS (
    SELECT r.pool, r.n,
        (l.before + l.n * ((r.last % :slice) + 0.5) / :slice) / l.whole
        - (f.before + f.n * ((r.first % :slice) + 0.5) / :slice) / f.whole AS span
    FROM comers r
    JOIN cumulated f ON f.pool = r.pool AND f.slice = r.first // :slice
    JOIN cumulated l ON l.pool = r.pool AND l.slice = r.last // :slice
), dwell AS (
    SELECT pool, count(*) AS pool_returning,
        round(sum(span) / sum((n - 1) / (n + 1)), 9) AS pool_dwell_ratio,
        round((sum((n - 1) / (n + 1)) - sum(span))
            / sqrt(sum(2 * (n - 1) / (pow(n + 1, 2) * (n + 2)))), 6) AS pool_churn_z,
        round(sqrt(sum(2 * (n - 1) / (pow(n + 1, 2) * (n + 2)))) / sum((n - 1) / (n + 1)), 9)
            AS pool_dwell_error
    FROM placed GROUP BY pool
), sizes AS (
    SELECT pool, count(*) AS pool_addresses, sum(n) AS pool_visits FROM host GROUP BY pool
), people AS (
    SELECT pool, count(*) AS pool_names, count(DISTINCT operator) AS pool_domains
    FROM members GROUP BY pool
)
SELECT row, pool_names, pool_domains, pool_addresses, pool_visits, pool_returning,
    pool_dwell_ratio, pool_churn_z, pool_dwell_error
FROM members JOIN people USING (pool) JOIN sizes USING (pool) LEFT JOIN dwell USING (pool)
""".replace(":slice", "15")


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


def host_rows(counted: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Hosts of names with a pool (row, code, visits, first, last), and their visits by time."""
    rows = pa.array(np.arange(counted.num_rows))
    lists = {name: counted.column(name).combine_chunks() for name in _LISTS}
    chosen = pc.and_(
        pc.greater_equal(pc.list_value_length(lists["host_code"]), MIN_ADDRESSES),
        pc.or_(pc.greater(counted.column("n_new"), 0), pc.equal(counted.column("n_pairs"), 0)),
    )
    rows = rows.filter(chosen)
    hosts = _flat(lists, rows, "host_code", code="host_code", visits="host_visits",
                  first="host_first_minute", last="host_last_minute")  # fmt: skip
    slices = _flat(lists, rows, "slice", slice="slice", visits="slice_visits")
    return hosts, slices


def count(
    counted: pa.Table,
    hosts: pa.Table,
    slices: pa.Table,
    operators: pa.Array,
    places: pa.RecordBatch,
) -> pa.Table:
    """Columns `pool_…` and `serving_ratio` for the rows that `hosts` has, one row each.

    `operators` numbers who registered each name (see `operators`), by row.
    """
    rows = pc.unique(hosts.column("row"))
    own = pa.table({"row": rows, "operator": pc.take(operators, rows)})
    with_operator = engine.query("SELECT * FROM hosts JOIN own USING (row)", hosts=hosts, own=own)
    edges = engine.query(COMMON, hosts=with_operator)
    pool = components(counted.num_rows, edges.column("a").to_numpy(), edges.column("b").to_numpy())
    found = engine.query(
        DWELL,
        hosts=hosts.append_column("pool", pc.take(pa.array(pool), hosts.column("row"))),
        slices=slices.append_column("pool", pc.take(pa.array(pool), slices.column("row"))),
        members=own.append_column("pool", pc.take(pa.array(pool), rows)),
    )
    found = found.append_column("pool_id", pc.take(pa.array(pool), found.column("row")))
    serving = _serving(counted, hosts, operators, places)
    query = "SELECT * FROM found LEFT JOIN serving USING (row)"
    return engine.query(query, found=found, serving=serving)


_LISTS = (
    "host_code", "host_visits", "host_first_minute", "host_last_minute", "slice", "slice_visits",
)  # fmt: skip
INNER = (*_LISTS, "still_code")
"""Columns of the roll-up that only this module reads."""


def _flat(lists: dict[str, pa.Array], rows: pa.Array, by: str, **columns: str) -> pa.Table:
    """List columns of some rows as a long table, with the row's number beside each value."""
    taken = {name: pc.take(lists[source], rows) for name, source in columns.items()}
    parents = pc.list_parent_indices(pc.take(lists[by], rows))
    flat = {name: pc.list_flatten(values) for name, values in taken.items()}
    return pa.table({"row": pc.take(rows, parents), **flat})


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
