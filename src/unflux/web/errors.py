"""What may go wrong, as one JSON shape: `{"ok": false, "error": {"kind", "message", …}}`."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException

from unflux.errors import UnfluxError
from unflux.web.search import SearchError

KINDS = {
    400: "bad_request",
    401: "no_token",
    403: "not_allowed",
    404: "not_found",
    405: "bad_method",
    409: "conflict",
    413: "too_large",
    422: "bad_request",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}
INTERNAL = "this should not have happened; the log of the server says more"
log = logging.getLogger("unflux.web")


def body(status: int, message: str, **more: Any) -> dict[str, Any]:
    """The error shape."""
    return {"ok": False, "error": {"kind": KINDS.get(status, "error"), "message": message, **more}}


def response(
    status: int, message: str, *, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A response of that shape."""
    return JSONResponse(body(status, message, **more), status, headers=headers)


def install(app: FastAPI) -> None:
    """Every failure leaves the app in that shape."""

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        return response(error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(RequestValidationError)
    async def _validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return response(422, f"{where}: {first['msg']}", where=where)

    @app.exception_handler(SearchError)
    async def _search(_request: Request, error: SearchError) -> JSONResponse:
        return response(400, str(error), position=error.position)

    @app.exception_handler(UnfluxError)
    async def _known(_request: Request, error: UnfluxError) -> JSONResponse:
        return response(409, str(error))

    @app.exception_handler(OperationalError)
    @app.exception_handler(TimeoutError)
    async def _database(_request: Request, error: Exception) -> JSONResponse:
        log.error("the database does not answer: %s", error)
        return response(503, "the database does not answer; try again")
