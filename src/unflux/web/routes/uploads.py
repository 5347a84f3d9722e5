"""Captures that people send to be scanned."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request

from unflux.share.text import visible
from unflux.times import iso
from unflux.web import schemas
from unflux.web.auth import Reader, SiteHere, Triager, address_of
from unflux.web.routes.common import SCAN_ID
from unflux.web.uploads import Upload

router = APIRouter(tags=["uploads"])
UploadId = Annotated[str, Path(pattern=SCAN_ID)]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The capture or log itself, in any format that `unflux scan` reads.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def upload_out(upload: Upload) -> schemas.UploadOut:
    """An upload for the API."""
    fields = asdict(upload)
    return schemas.UploadOut(made_at=iso(fields.pop("made_at_us")) or "", **fields)


@router.post("/uploads", status_code=202, openapi_extra=BODY)
async def upload(
    site: SiteHere,
    who: Triager,
    request: Request,
    title: Annotated[
        str, Query(max_length=200, description="Shown beside it, such as the file's name.")
    ] = "upload",
) -> schemas.UploadOut:
    """Send a capture; its scan goes on while you ask for its state."""
    shown = visible(title).strip() or "upload"
    made = await site.uploads.receive(shown, request.stream())
    address = address_of(request)
    site.store.access.record(who.name, address, "upload", made.id, f"{made.size_bytes} bytes")
    return upload_out(made)


@router.get("/uploads")
def list_uploads(site: SiteHere, _who: Reader) -> schemas.UploadsOut:
    """Uploads of this run; what is done is among the scans."""
    return schemas.UploadsOut(
        uploads=[upload_out(one) for one in site.uploads.all()],
        limit_bytes=site.settings.limits.upload_bytes,
    )


@router.get("/uploads/{upload_id}")
def get_upload(site: SiteHere, _who: Reader, upload_id: UploadId) -> schemas.UploadOut:
    """How far an upload's scan is."""
    found = site.uploads.get(upload_id)
    if found is None:
        raise HTTPException(404, "there is no such upload")
    return upload_out(found)


@router.delete("/uploads/{upload_id}", status_code=204)
async def remove_upload(
    site: SiteHere, who: Triager, request: Request, upload_id: UploadId
) -> None:
    """Cancel an upload's scan, or forget its findings and sightings."""
    if not await site.uploads.remove(upload_id):
        raise HTTPException(404, "there is no such upload")
    site.store.access.record(who.name, address_of(request), "remove_upload", upload_id)
