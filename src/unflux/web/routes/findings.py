"""The table of findings, its scans, and bulk export."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.responses import StreamingResponse

from unflux.detect import VERDICTS
from unflux.share.case import ExportOptions
from unflux.times import iso
from unflux.web import exports, schemas, search
from unflux.web.auth import Reader, SiteHere, address_of
from unflux.web.routes.common import (
    SCAN_ID,
    PageNumber,
    PageSize,
    ScanHere,
    ScanId,
    Search,
    scan_info,
)

router = APIRouter(tags=["findings"])
Sort = Literal[
    "name", "verdict", "score", "confidence", "addresses", "asns", "countries", "ttl", "clients",
    "first", "last", "triage",
]  # fmt: skip


@router.get("/findings")
def list_findings(
    site: SiteHere,
    _who: Reader,
    q: Search = "",
    sort: Sort = "score",
    order: Literal["asc", "desc"] = "desc",
    page: PageNumber = 1,
    size: PageSize = 50,
    scan: ScanId = None,
) -> schemas.FindingsPage:
    """A page of findings: searched, sorted, counted by verdict."""
    terms = search.parse(q)
    chosen = site.scan(scan)
    if chosen is None:
        if scan is not None:
            raise HTTPException(404, "there is no such scan")
        return schemas.FindingsPage(
            scan=None, page=1, size=size, pages=0, total=0,
            by_verdict=dict.fromkeys(VERDICTS, 0), findings=[],
        )  # fmt: skip
    found = site.store.findings.page(
        chosen.id, terms, sort=sort, descending=order == "desc",
        offset=(page - 1) * size, limit=size,
    )  # fmt: skip
    rows = [
        schemas.Row(
            first_seen=iso(row["first_seen_us"]),
            last_seen=iso(row["last_seen_us"]),
            **{key: row[key] for key in row if key != "number" and not key.endswith("_us")},
        )
        for row in found.rows
    ]
    return schemas.FindingsPage(
        scan=chosen.id, page=page, size=size, pages=-(-found.total // size), total=found.total,
        by_verdict=found.by_verdict, findings=rows,
    )  # fmt: skip


@router.get(
    "/export/{form}",
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The file."}},
    response_class=StreamingResponse,
)
def export_findings(
    site: SiteHere,
    who: Reader,
    request: Request,
    chosen: ScanHere,
    form: Annotated[str, Path(max_length=40, examples=["csv"], description="A name of `exports`.")],
    q: Search = "",
    limit: Annotated[int, Query(ge=1, le=1_000_000)] = 100_000,
    include_agents: Annotated[
        Literal["none", "shared", "rotated", "answered"],
        Query(
            description="Agents are victims: context only. The weakest evidence at which they "
            "become indicators (to look for, not to block) all the same."
        ),
    ] = "none",
) -> StreamingResponse:
    """Findings of a search as a file, highest score first.

    The header `Unflux-Told` has what to know of it (how many indicators, what was left out): a
    JSON list of sentences, in ASCII.
    """
    terms = search.parse(q)
    if form not in exports.formats():
        raise HTTPException(404, f"there is no export of that name: {', '.join(exports.formats())}")
    limits = site.settings.limits
    again = form in exports.NEEDS_SIGHTINGS
    limit = min(limit, limits.export_names if again else limits.export_rows)
    if not site.exporting.acquire(blocking=False):
        raise HTTPException(503, "other exports are being made; try again in a moment")
    try:
        site.store.access.record(who.name, address_of(request), "export", form, q)
        total = site.store.findings.matching(chosen.id, terms)
        bodies = site.store.findings.bodies(chosen.id, terms, limit)
        file, told = exports.write(
            form, bodies, chosen.summary, lambda: site.history(chosen), site.settings.scan,
            ExportOptions(include_agents, reporter=site.settings.reporter),
        )  # fmt: skip
    finally:
        site.exporting.release()
    if total > limit:
        told.insert(0, f"cut: the {limit} with the highest score of {total} that were found")
    name = f"unflux-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{form}.{exports.suffix(form)}"
    return StreamingResponse(
        exports.chunks(file),
        media_type=exports.media_type(form),
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Unflux-Told": json.dumps(told),
        },
    )


@router.get("/scans")
def list_scans(site: SiteHere, _who: Reader) -> schemas.Scans:
    """Everything that was judged: the dataset, and uploads."""
    return schemas.Scans(scans=[scan_info(one) for one in site.store.findings.scans()])


@router.get("/scans/{scan_id}")
def scan_summary(
    site: SiteHere, _who: Reader, scan_id: Annotated[str, Path(pattern=SCAN_ID)]
) -> schemas.ScanSummary:
    """Counts in and out, oddities and blind spots of one scan."""
    found = site.store.findings.scan(scan_id)
    if found is None:
        raise HTTPException(404, "there is no such scan")
    return schemas.ScanSummary(scan=scan_info(found), summary=json.loads(found.summary))
