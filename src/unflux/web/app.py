"""The site as an ASGI app: guards, API, pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles

from unflux import __version__
from unflux.web import errors, routes, schemas
from unflux.web.auth import Reader, SiteHere
from unflux.web.guards import Guards
from unflux.web.settings import Settings
from unflux.web.site import Site
from unflux.web.store import Store

UI = Path(__file__).parent / "ui"
"""The pages, built by `web/` (npm run build) or by the install."""
NO_PAGES = (
    "This install has no pages, because npm could not be reached when it was built: the API is "
    "here all the same, see /openapi.json."
)
ABOUT = """
Findings of unflux: names judged flux or not, with reasons. Names are without the final dot, times
ISO 8601 in UTC. Every failure is `{"ok": false, "error": {"kind", "message", …}}`.
"""


def has_pages() -> bool:
    """Were the pages built?"""
    return (UI / "index.html").is_file()


def create_app(settings: Settings, store: Store) -> FastAPI:
    """The app of one site; the caller closes the store."""
    site = Site(settings, store)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await site.start()
        try:
            yield
        finally:
            await site.stop()

    app = FastAPI(
        title="unflux",
        version=__version__,
        description=ABOUT,
        docs_url=None,  # both fetch scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.site = site
    app.add_middleware(Guards, settings=settings, metrics=site.metrics)
    errors.install(app)
    app.include_router(routes.router)
    _add_plain_routes(app)
    _add_pages(app)
    return app


def _add_plain_routes(app: FastAPI) -> None:
    @app.get("/healthz", tags=["server"], responses=routes.RESPONSES)
    def health(site: SiteHere) -> schemas.Health:
        """Does the server answer, and its database?"""
        site.store.check()
        return schemas.Health(version=__version__)

    @app.get(
        "/metrics",
        tags=["server"],
        response_class=Response,
        responses=routes.RESPONSES | {200: {"content": {"text/plain": {}}}},
    )
    def metrics(site: SiteHere, _who: Reader) -> Response:
        """Numbers for Prometheus."""
        site.metrics.findings.set(site.store.findings.count())
        return Response(site.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_pages(app: FastAPI) -> None:
    if not has_pages():

        @app.get("/", include_in_schema=False)
        def no_pages(_request: Request) -> Response:
            return PlainTextResponse(NO_PAGES)

        return

    @app.get("/", include_in_schema=False)
    def index(_request: Request) -> Response:
        return FileResponse(UI / "index.html", media_type="text/html; charset=utf-8")

    app.mount("/assets", StaticFiles(directory=UI / "assets"), name="assets")

    @app.get("/icon.svg", include_in_schema=False)
    def icon(_request: Request) -> Response:
        return FileResponse(UI / "icon.svg", media_type="image/svg+xml")
