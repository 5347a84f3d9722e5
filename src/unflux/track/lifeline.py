"""The life of one name, put together: events, addresses and their places, servers, verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from unflux import engine
from unflux.errors import UnfluxError
from unflux.pipeline import Scan, bare
from unflux.sightings import plain
from unflux.times import iso, iso_of_s, us_of
from unflux.track import period
from unflux.track.life import Listed
from unflux.track.store import Store
from unflux.track.verdicts import Judging, findings_of, scan

SEGMENTS = """
SELECT owner, rdtype, rdata, time_first, time_last, count_raw, ttl_max, ttl_min
FROM sightings WHERE owner IN (SELECT owner FROM wanted)
    OR (rdtype IN ('A', 'AAAA') AND owner IN (
        SELECT rdata FROM sightings WHERE rdtype = 'NS' AND owner IN (SELECT owner FROM wanted)))
ORDER BY time_first, owner, rdtype, rdata
"""
FIRST_HERE = """
SELECT rdata, arg_min(owner, time_first) AS owner FROM sightings
WHERE rdtype IN ('A', 'AAAA') AND rdata IN (SELECT rdata FROM wanted) GROUP BY rdata
"""


def of(directory: Path, name: str, judging: Judging) -> dict[str, Any]:
    """Everything that is known of a listed name, as `unflux track show --json` prints it.

    Raises
    ------
    UnfluxError
        When the name is not tracked.
    """
    store = Store.existing(directory)
    try:
        listed = next((one for one in store.names() if one.name == name), None)
        if listed is None:
            raise UnfluxError(f"{bare(name)} is not tracked in {directory}")
        zones = [listed.zone] if listed.zone else []
        events = store.events(name, zones)
        rhythm = period.estimate(store.samples(listed.zone)) if listed.zone else None
        targets = [
            one for one in store.targets() if one.name == name or one.qname in (name, *zones)
        ]
    finally:
        store.close()
    story: dict[str, Any] = {
        "name": bare(name),
        "state": listed.state,
        "since": iso_of_s(listed.since_s),
        "added": iso_of_s(listed.added_s),
        "source": listed.source or None,
        "zone": bare(listed.zone),
        "wildcard": listed.wildcard,
        "name_servers_move_every_s": round(rhythm.seconds, 1)
        if rhythm and rhythm.seconds
        else None,
        "name_servers_move_every_s_range": [round(one, 1) for one in rhythm.between_s]
        if rhythm and rhythm.between_s
        else None,
        "name_servers_move_at_most_every_s": rhythm.at_most_s if rhythm else None,
        "name_servers_moved": rhythm.n_changes if rhythm else 0,
        "finding": None,
        "addresses": [],
        "name_servers": [],
        "aliases": [],
        "agents_first_seen_here": [],
        "events": [_event(one.at_s, one.kind, one.detail) for one in events],
        "questions": [_question(one) for one in sorted(targets, key=lambda one: one.due_s)],
    }
    result = scan(directory, judging)
    if result is not None:
        story |= _seen(result, name, listed)
    return story


def _event(at_s: float, kind: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {"at": iso_of_s(at_s), "kind": kind, **detail}


def _question(target: Any) -> dict[str, Any]:
    return {
        "kind": target.kind,
        "qname": bare(target.qname),
        "qtype": target.qtype,
        "asked": iso_of_s(target.asked_s),
        "due": iso_of_s(target.due_s),
        "outcome": target.outcome,
        "unchanged": target.unchanged,
        "failures": target.failures,
    }


def _seen(result: Scan, name: str, listed: Listed) -> dict[str, Any]:
    """What the dataset says of a name, its aliases' ends and its name servers."""
    history = result.history
    sightings = plain(pa.Table.from_batches(history.sightings))
    ends = _ends(sightings, name)
    wanted = pa.table({"owner": pa.array([*ends, *([listed.zone] if listed.zone else [])])})
    rows = engine.query(SEGMENTS, sightings=sightings, wanted=wanted).to_pylist()
    places = _places(result, sorted({one["rdata"] for one in rows if one["rdtype"] in ADDRESS}))
    found = findings_of(result, [name])
    agents = [one.address for one in found[0].agent_list] if found else []
    first = engine.query(
        FIRST_HERE, sightings=sightings, wanted=pa.table({"rdata": pa.array(agents, pa.string())})
    ).to_pylist()
    return {
        "finding": msgspec.json.decode(msgspec.json.encode(found[0])) if found else None,
        "addresses": _merged([r for r in rows if r["owner"] in ends and r["rdtype"] in ADDRESS],
                             places),
        "name_servers": _merged([r for r in rows if r["rdtype"] == "NS"], {})
        + _merged([r for r in rows if r["owner"] not in ends and r["rdtype"] in ADDRESS], places),
        "aliases": _merged([r for r in rows if r["rdtype"] == "CNAME"], {}),
        "agents_first_seen_here": sorted(one["rdata"] for one in first if one["owner"] in ends),
    }  # fmt: skip


ADDRESS = ("A", "AAAA")


def _ends(sightings: pa.Table, name: str) -> list[str]:
    """The name and what its aliases led to, at any time."""
    aliases = sightings.filter(pc.equal(sightings.column("rdtype"), "CNAME"))
    leads: dict[str, set[str]] = {}
    for owner, rdata in zip(
        aliases.column("owner").to_pylist(), aliases.column("rdata").to_pylist(), strict=True
    ):
        leads.setdefault(owner, set()).add(rdata)
    found, waiting = [name], [name]
    while waiting:
        for one in sorted(leads.get(waiting.pop(), ())):
            if one not in found and len(found) < 100:
                found.append(one)
                waiting.append(one)
    return found


def _places(result: Scan, addresses: list[str]) -> dict[str, dict[str, Any]]:
    """Where addresses are, from the scan's own look-up."""
    numbers = pc.index_in(pa.array(addresses, pa.string()), result.history.rdata.cast(pa.string()))
    rows = result.judged.places.take(numbers).to_pylist()
    return dict(zip(addresses, rows, strict=True))


def _merged(rows: list[dict[str, Any]], places: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Sightings of all hours of one record put together, by the time it was first seen."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["owner"], row["rdtype"], row["rdata"])
        span = [iso(us_of(row["time_first"])), iso(us_of(row["time_last"]))]
        one = found.get(key)
        if one is None:
            place = places.get(row["rdata"], {})
            found[key] = {
                "owner": bare(row["owner"]),
                "rdtype": row["rdtype"],
                "rdata": bare(row["rdata"]) if row["rdtype"] not in ADDRESS else row["rdata"],
                **{k: place[k] for k in ("origin_asn", "organisation", "country") if k in place},
                "first_seen": span[0],
                "last_seen": span[1],
                "count": row["count_raw"],
                "ttl_max": row["ttl_max"],
                "ttl_min": row["ttl_min"],
                "spans": [span],
            }
            continue
        one["last_seen"] = max(one["last_seen"], span[1])
        one["count"] += row["count_raw"]
        for bound, choose in (("ttl_max", max), ("ttl_min", min)):
            known = [ttl for ttl in (one[bound], row[bound]) if ttl is not None]
            one[bound] = choose(known) if known else None
        one["spans"].append(span)
    return sorted(found.values(), key=lambda one: (one["first_seen"], one["owner"], one["rdata"]))
