"""Who asks, tokens, and the audit log."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, HTTPException, Path, Query, Request

from unflux import __version__
from unflux.times import iso
from unflux.web import exports, schemas
from unflux.web.auth import Admin, Reader, SiteHere, address_of
from unflux.web.store import Token

router = APIRouter(tags=["access"])
Number = Annotated[int, Path(ge=1, lt=2**53)]


@router.get("/me")
def me(site: SiteHere, who: Reader) -> schemas.Me:
    """Who you are, and what this site has."""
    return schemas.Me(
        name=who.name,
        role=cast("schemas.Role", who.role),
        version=__version__,
        live=site.feed is not None or site.watch is not None,
        lab=site.settings.walk is not None or site.lab is not None,
        features=[
            name
            for name, has in (
                ("alerts", site.feed),
                ("watch", site.watch),
                ("walk", site.settings.walk),
                ("lab", site.lab),
            )
            if has is not None
        ],
        upload_limit_bytes=site.settings.limits.upload_bytes,
        exports=exports.formats(),
    )


def _token(token: Token) -> dict[str, object]:
    made_at = iso(token.made_at_us)
    return {"id": token.id, "name": token.name, "role": token.role, "made_at": made_at}


@router.get("/tokens")
def list_tokens(site: SiteHere, _who: Admin) -> schemas.TokensOut:
    """Tokens that were made here; those of the token file are not among them."""
    made = [schemas.TokenOut.model_validate(_token(one)) for one in site.store.access.tokens()]
    return schemas.TokensOut(tokens=made)


@router.post("/tokens", status_code=201)
def make_token(
    site: SiteHere, who: Admin, request: Request, wanted: schemas.TokenIn
) -> schemas.TokenMade:
    """Make a token; its secret is told this once."""
    token, secret = site.store.access.add_token(wanted.name, wanted.role)
    address = address_of(request)
    site.store.access.record(who.name, address, "make_token", wanted.name, wanted.role)
    return schemas.TokenMade.model_validate(_token(token) | {"token": secret})


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(site: SiteHere, who: Admin, request: Request, token_id: Number) -> None:
    """Revoke a token."""
    if not site.store.access.remove_token(token_id):
        raise HTTPException(404, "there is no such token")
    site.store.access.record(who.name, address_of(request), "revoke_token", str(token_id))


@router.get("/audit")
def audit_log(
    site: SiteHere,
    _who: Admin,
    before: Annotated[int | None, Query(ge=1, lt=2**53)] = None,
    size: Annotated[int, Query(ge=1, le=500)] = 100,
) -> schemas.AuditPage:
    """Who did what, the newest first."""
    rows = site.store.access.audit(before, size)
    entries = [
        schemas.AuditEntry(
            at=iso(row["at_us"]) or "", **{key: row[key] for key in row if key != "at_us"}
        )
        for row in rows
    ]
    full = len(entries) == size
    return schemas.AuditPage(entries=entries, next_before=entries[-1].id if full else None)
