"""The API under `/api/v1`: one module per subject, thin on top of the store and the history."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from unflux.web.routes import admin, cases, findings, live, names, networks, uploads
from unflux.web.schemas import Error

ERRORS = {
    400: "the request is wrong",
    401: "a token is needed, or this one is not known",
    403: "the role does not allow this",
    404: "there is no such thing",
    409: "not possible now",
    413: "the body is too large",
    422: "a parameter is wrong",
    429: "too many requests",
    503: "the database does not answer",
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"model": Error, "description": what} for code, what in ERRORS.items()
}
router = APIRouter(prefix="/api/v1", responses=RESPONSES)
for module in (findings, names, cases, networks, live, uploads, admin):
    router.include_router(module.router)
