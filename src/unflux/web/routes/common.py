"""What routes share: parameters, and times for people."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Path, Query

from unflux.times import iso
from unflux.web.auth import SiteHere
from unflux.web.schemas import EXAMPLE_NAME, NAME_LENGTH, ScanInfo
from unflux.web.search import MAX_LENGTH
from unflux.web.store import Scan

SCAN_ID = r"^[0-9a-f]{16}$"
MAX_PAGE = 1_000_000

Search = Annotated[
    str,
    Query(
        max_length=MAX_LENGTH,
        description="Terms that must all hold: `score:>=0.8 asn:64500 kind:double -triage:benign`.",
        examples=["score:>=0.8 kind:flux"],
    ),
]
ScanId = Annotated[
    str | None, Query(alias="scan", pattern=SCAN_ID, description="Default: what is served.")
]
PageNumber = Annotated[int, Query(ge=1, le=MAX_PAGE)]
PageSize = Annotated[int, Query(ge=1, le=500)]
NameInPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=NAME_LENGTH,
        pattern=r"^[!-~]+$",
        examples=[EXAMPLE_NAME],
        description="Without the final dot; unusual bytes escaped as in zone files (`\\032`).",
    ),
]


def chosen_scan(site: SiteHere, scan: ScanId = None) -> Scan:
    """The scan asked for; 404 when there is none."""
    found = site.scan(scan)
    if found is None:
        raise HTTPException(404, "there is no such scan" if scan else "nothing was judged yet")
    return found


ScanHere = Annotated[Scan, Depends(chosen_scan)]


def bare_name(name: str) -> str:
    """As names are kept: lower case, without the final dot."""
    lowered = name.lower()
    return lowered.removesuffix(".") or "."


def absolute(name: str) -> str:
    """As sightings have it."""
    return name if name == "." else f"{name}."


def scan_info(scan: Scan) -> ScanInfo:
    """A scan for the API."""
    return ScanInfo(
        id=scan.id,
        kind="upload" if scan.kind == "upload" else "dataset",
        title=scan.title,
        detector_id=scan.detector_id,
        detector_version=scan.detector_version,
        judged_at=iso(scan.judged_at_us),
    )
