"""Everything about one name: the finding, its history, its sightings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse

from unflux.pipeline import bare
from unflux.share import cof
from unflux.times import iso, us_of
from unflux.web import portrait, schemas
from unflux.web.auth import Reader, SiteHere
from unflux.web.history import Facts
from unflux.web.routes.cases import note_out
from unflux.web.routes.common import (
    NameInPath,
    PageNumber,
    PageSize,
    ScanHere,
    absolute,
    bare_name,
)
from unflux.web.site import Site
from unflux.web.store import Scan

router = APIRouter(tags=["names"])
MAX_LOOKED_UP = 2000
"""Addresses of a name whose other names are looked for."""


@router.get("/names/{name:path}")
def name_info(site: SiteHere, _who: Reader, chosen: ScanHere, name: NameInPath) -> schemas.NameInfo:
    """The whole finding, with reasons, explanations tried, agents and clients; triage and notes."""
    name = bare_name(name)
    body = _body(site, chosen, name)
    cases = site.store.cases
    return schemas.NameInfo(
        scan=chosen.id,
        finding=json.loads(body),
        triage=cast("schemas.State", cases.state(name)),
        notes=[note_out(note) for note in cases.notes(name)],
    )


@router.get("/history/{name:path}")
def name_history(
    site: SiteHere, _who: Reader, chosen: ScanHere, name: NameInPath
) -> schemas.NameHistory:
    """Which address answered when, TTLs, name servers, accumulation, places, sharing names."""
    name = bare_name(name)
    zone = json.loads(_body(site, chosen, name))["zone"]
    reader = site.history(chosen)
    facts = reader.facts(absolute(name), absolute(zone) if zone else None)
    own, ns = portrait.observations(facts.own), portrait.observations(facts.ns_addresses)
    places = site.places([*own, *(one for one in ns if one not in own)])
    bins, ns_bins = portrait.bins_of(own.values(), ns.values())
    sharing = reader.sharing(sorted(own)[:MAX_LOOKED_UP], facts.name) if own else []
    return schemas.NameHistory(
        name=name,
        zone=zone,
        aliases=[bare(one) or "." for one in facts.aliases],
        strip=portrait.strip(own, places, bins),
        ns_strip=portrait.strip(ns, places, ns_bins),
        ttl=portrait.ttl_series(facts.own),
        ns_ttl=portrait.ttl_series(facts.ns_addresses),
        name_servers=portrait.name_servers(facts),
        accumulation=portrait.accumulation(own),
        pool=portrait.pool_estimate(own),
        spread=portrait.spread(own, places),
        sharing=_sharing(site, chosen, facts, sharing),
        activity=[
            row | {"bucket": f"{row['bucket']:%Y-%m-%dT%H:%M:%SZ}"}
            for row in reader.activity(facts.name)
        ],
        cut=facts.cut,
    )


def _sharing(
    site: Site, chosen: Scan, facts: Facts, found: list[tuple[str, int]]
) -> list[dict[str, Any]]:
    own = set(facts.aliases)
    names = {absolute_name: bare(absolute_name) or "." for absolute_name, _ in found}
    verdicts = site.store.findings.verdicts_of(chosen.id, list(names.values()))
    return [
        {"name": names[one], "n": n, "verdict": verdicts.get(names[one]), "alias": one in own}
        for one, n in found
    ]


@router.get("/sightings/{name:path}")
def name_sightings(
    site: SiteHere,
    _who: Reader,
    chosen: ScanHere,
    name: NameInPath,
    page: PageNumber = 1,
    size: PageSize = 100,
) -> schemas.SightingsPage:
    """Sightings of a name as they are kept."""
    name = bare_name(name)
    _body(site, chosen, name)
    total, rows = site.history(chosen).page([absolute(name)], (page - 1) * size, size)
    return schemas.SightingsPage(
        page=page, size=size, total=total, sightings=[_sighting(row) for row in rows.to_pylist()]
    )


def _sighting(row: dict[str, Any]) -> dict[str, Any]:
    times = {key: iso(us_of(row[key])) for key in ("time_first", "time_last")}
    kept = ("rdtype", "rdata", "count", "count_raw", "ttl_min", "ttl_max", "vantage")
    return {"owner": bare(row["owner"]), **{key: row[key] for key in kept}, **times}


@router.get(
    "/cof/{name:path}",
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "JSON lines."}},
    response_class=StreamingResponse,
)
def name_cof(site: SiteHere, _who: Reader, chosen: ScanHere, name: NameInPath) -> StreamingResponse:
    """Passive DNS of a name, its aliases and name servers, in the Common Output Format."""
    name = bare_name(name)
    zone = json.loads(_body(site, chosen, name))["zone"]
    reader = site.history(chosen)
    rows = reader.about(absolute(name), absolute(zone) if zone else None)
    encode = msgspec.json.Encoder().encode

    def lines() -> Iterator[bytes]:
        for row in cof.rows_of(rows):
            yield encode(row) + b"\n"

    return StreamingResponse(
        lines(),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="unflux-name.cof.ndjson"'},
    )


def _body(site: Site, chosen: Scan, name: str) -> bytes:
    body = site.store.findings.body(chosen.id, name)
    if body is None:
        raise HTTPException(404, "this name was not seen")
    return body
