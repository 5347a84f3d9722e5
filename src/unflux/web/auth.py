"""Who asks, and may they? Bearer tokens with roles; this machine's user without a token file."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from unflux.web.site import Site
from unflux.web.store import Principal
from unflux.web.store.access import sha256

LOCAL = Principal("local", "admin")
"""Whoever is on this machine, when there is no token file and the server is on loopback."""

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="A token of the token file, or one made by `POST /api/v1/tokens`. On loopback "
    "without a token file none is needed.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


def site_of(request: Request) -> Site:
    """The site that a request came to."""
    site: Site = request.app.state.site
    return site


SiteHere = Annotated[Site, Depends(site_of)]


def address_of(request: Request) -> str:
    """Who is on the other end of the connection."""
    return request.client.host if request.client else "?"


def needs(role: str) -> Callable[[Request, Site, HTTPAuthorizationCredentials | None], Principal]:
    """A dependency that gives the principal, or says 401 or 403."""

    def principal(request: Request, site: SiteHere, credentials: Credentials) -> Principal:
        who = _principal(request, site, credentials)
        if not who.may(role):
            raise HTTPException(403, f"this needs the role {role}; yours is {who.role}")
        return who

    return principal


def _principal(
    request: Request, site: Site, credentials: HTTPAuthorizationCredentials | None
) -> Principal:
    settings = site.settings
    if credentials is None and not settings.needs_token:
        return LOCAL
    address, now_s = address_of(request), time.monotonic()
    if site.failed_logins.left(address, now_s) < 1:
        raise HTTPException(429, "too many wrong tokens; wait a minute", {"Retry-After": "60"})
    challenge = {"WWW-Authenticate": "Bearer"}
    if credentials is None:
        raise HTTPException(401, "this needs a token: Authorization: Bearer …", challenge)
    known = settings.token_hashes.get(sha256(credentials.credentials))
    who = known or site.store.access.principal(credentials.credentials)
    if who is None:
        site.failed_logins.take(address, now_s)
        site.store.access.record("?", address, "wrong_token", "")
        raise HTTPException(401, "this token is not known", challenge)
    return who


Reader = Annotated[Principal, Depends(needs("read"))]
Triager = Annotated[Principal, Depends(needs("triage"))]
Admin = Annotated[Principal, Depends(needs("admin"))]
