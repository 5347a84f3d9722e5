"""Sightings (and where addresses belong) to features: one row per name (or registered domain).

Of all that was read, or of a window of it (`windows`). Counting is done once by the core's
roll-up, the same on a laptop and on a cluster; ratios are named in `catalogue`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from unflux import _native, engine, enrich
from unflux.enrich import Enrichment
from unflux.features import aliases, pools, published, windows
from unflux.features.catalogue import ADDRESS_LAYER, FEATURES, Feature
from unflux.sightings import History

__all__ = ["FEATURES", "Feature", "FeatureTable", "compute", "compute_windows"]

LEVELS = ("name", "registered_domain")


class FeatureTable:
    """One row per name: keys, times and the features of the catalogue.

    Columns beside the features: `name`, `name_id` (number in the history's dictionary), `zone`,
    `registered_domain`, `suffix_section`, `is_name_server`, `first_us`, `last_us` (microseconds
    since the epoch, null for names that never had a record).
    """

    def __init__(self, table: pa.Table, places: pa.RecordBatch, history: History) -> None:
        self.table = table
        self.history = history
        """What it was counted in: numbers of names and rdata are those of this history."""
        self.places = places
        """Where each rdata of the history belongs, by its number."""


def compute(
    history: History,
    enrichment: Enrichment,
    *,
    threads: int = 1,
    published_too: bool = True,
    level: str = "name",
) -> FeatureTable:
    """Features of every name that was asked for, known from passive DNS, or is a zone.

    Without `published_too`, those of `published` are null. With `level` ``registered_domain`` all
    names below a registered domain are taken as one.

    Raises
    ------
    ValueError
        When the level is neither.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {' or '.join(LEVELS)}, not {level!r}")
    if level == "registered_domain":
        history = windows.by_registered_domain(history)
    history = history.canonical(threads)
    with ThreadPoolExecutor(2) as pool:  # both release the GIL
        located = pool.submit(enrichment.locate, history.rdata)
        domains = pool.submit(enrich.registered_domains, history.names).result()
        places = located.result()
    registered = domains.column("registered_domain")
    rolled = _native.roll_up(
        history.sightings, history.activity, places, registered.indices, threads
    )
    counted, *drawn = map(pa.table, rolled)
    counted = _with_pools(
        history, counted, pools.Drawn(*drawn), domains, places, published_too=published_too
    )
    table = _express(counted, history, domains)
    table = aliases.follow(table, history, list(ADDRESS_LAYER))
    if level == "registered_domain":
        table = table.filter(pc.equal(table.column("name"), table.column("registered_domain")))
    return FeatureTable(table, places, history)


def compute_windows(history: History, enrichment: Enrichment, *, threads: int = 1) -> pa.Table:
    """Features by name and by registered domain, of all that was read and of each window.

    Columns `window` (``all`` or one of `windows.WINDOWS_S`) and `level` come first.
    """
    parts = []
    history = history.canonical(threads)  # once: its windows are in order, too
    whole = {"all": history} | {
        name: windows.last(history, window_s) for name, window_s in windows.WINDOWS_S.items()
    }
    for window, some in whole.items():
        for level in LEVELS:
            table = compute(some, enrichment, threads=threads, level=level).table
            keys = {"window": window, "level": level}
            for place, (key, value) in enumerate(keys.items()):
                table = table.add_column(
                    place, key, pa.array([value] * table.num_rows, pa.string())
                )
            parts.append(table.drop_columns(["name_id", "address_name_id"]))
    return pa.concat_tables(parts, promote_options="default")


def _with_pools(
    history: History,
    counted: pa.Table,
    drawn: pools.Drawn,
    domains: pa.RecordBatch,
    places: pa.RecordBatch,
    *,
    published_too: bool,
) -> pa.Table:
    """Add what is counted over several names: pools, clusters, and what only papers ask for."""
    owners = pools.operators(domains, counted.column("name_id"))
    common = pools.common(drawn.hosts)
    of_papers, retries = published.NOTHING, pa.nulls(counted.num_rows, pa.int64())
    if published_too:
        of_papers = published.count(history, counted, drawn.hosts, common, places)
        retries = published.soa_retries(history, counted.column("zone_id"))
    found = engine.query(
        """SELECT * EXCLUDE (row) FROM (SELECT unnest(range(n)) AS row FROM size)
           LEFT JOIN pool USING (row) LEFT JOIN published USING (row) ORDER BY row""",
        size=pa.table({"n": [counted.num_rows]}),
        pool=pools.count(counted, drawn, common, owners, places),
        published=of_papers,
    )
    counted = counted.drop("still_code").append_column("soa_retry_s", retries)
    for name in found.column_names:
        counted = counted.append_column(name, found.column(name))
    return counted


def _express(counted: pa.Table, history: History, domains: pa.RecordBatch) -> pa.Table:
    """Evaluate the catalogue over what was counted (sorted by the names' numbers)."""
    first_us, last_us = (
        counted.column(name).cast(pa.int64()) for name in ("time_first", "time_last")
    )
    counted = counted.append_column("first_us", first_us).append_column("last_us", last_us)
    first_us, last_us = counted.column("first_us"), counted.column("last_us")
    expressions = ", ".join(f"{feature.sql} AS {feature.name}" for feature in FEATURES)
    query = f"SELECT {expressions} FROM counted"  # rows stay in their order
    features = engine.query(query, counted=counted.drop(["time_first", "time_last"]))
    ids, zones = counted.column("name_id"), counted.column("zone_id")
    keys = {
        "name": pc.take(history.names, ids),
        "zone": pc.take(history.names, zones),
        "registered_domain": pc.take(domains.column("registered_domain"), ids).cast(pa.string()),
        "suffix_section": pc.take(domains.column("suffix_section"), ids),
        **{name: counted.column(name) for name in ("name_id", "is_name_server")},
        "first_us": first_us,
        "last_us": last_us,
    }
    columns = {**keys, **dict(zip(features.column_names, features.columns, strict=True))}
    return pa.table(columns)
