"""The live feed and the numbers of `unflux watch`; the lab's walk, and a lab that runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Request
from fastapi.responses import StreamingResponse

from unflux.times import iso
from unflux.web import schemas
from unflux.web.auth import Reader, SiteHere, Triager, address_of
from unflux.web.lab import LabRoom
from unflux.web.live import Feed
from unflux.web.site import Site

router = APIRouter(tags=["live"])
MAX_WALK_BYTES = 16 << 20
SHOWN = 200


def _feed(site: Site) -> Feed:
    if site.feed is None:
        raise HTTPException(404, "no live feed: start with `unflux serve --alerts FILE`")
    return site.feed


@router.get("/live")
def last_alerts(site: SiteHere, _who: Reader) -> schemas.LiveOut:
    """The last alerts."""
    feed = _feed(site)
    alerts = [one.content | {"number": one.number} for one in reversed(feed.kept)][:SHOWN]
    return schemas.LiveOut(number=feed.number, malformed=feed.n_malformed, alerts=alerts)


@router.get(
    "/live/stream",
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events as they come."}},
    response_class=StreamingResponse,
)
async def stream_alerts(
    site: SiteHere,
    _who: Reader,
    last_event_id: Annotated[str | None, Header(max_length=20, pattern=r"^[0-9]+$")] = None,
) -> StreamingResponse:
    """Server-sent events: alerts as they come; those that are kept come first."""
    feed = _feed(site)
    if site.n_streams >= site.settings.limits.streams:
        raise HTTPException(503, "too many pages follow the live feed")
    after = min(int(last_event_id), feed.number) if last_event_id else 0

    async def events() -> AsyncIterator[bytes]:
        site.n_streams += 1
        site.metrics.streams.set(site.n_streams)
        try:
            async for event in feed.events(after):
                yield event
        finally:
            site.n_streams -= 1
            site.metrics.streams.set(site.n_streams)

    return StreamingResponse(events(), media_type="text/event-stream")


@router.get("/live/watch")
def watch_state(site: SiteHere, _who: Reader) -> schemas.WatchOut:
    """Rates, drops and blocks of a running watch."""
    watch = site.watch
    if watch is None:
        raise HTTPException(404, "no watch: start with `unflux serve --watch URL`")
    n_blocks, blocks, trouble = watch.blocks()
    return schemas.WatchOut(
        health=watch.health,
        trouble=watch.trouble or trouble,
        rates=watch.rates(),
        numbers=watch.numbers,
        has_blocks=watch.state is not None,
        n_blocks=n_blocks,
        blocks=[
            schemas.Blocked(
                trigger=one.trigger, kind=one.kind, name=one.name, verdict=one.verdict,
                score=one.score, reason=one.reason, action=one.action,
                since=iso(one.since_us) or "", until=iso(one.until_us) or "",
            )
            for one in blocks
        ],
    )  # fmt: skip


def _lab(site: Site) -> LabRoom:
    if site.lab is None:
        raise HTTPException(404, "no lab: start with `unflux serve --lab running`")
    return site.lab


@router.get("/lab")
def lab_state(site: SiteHere, _who: Reader) -> schemas.LabOut:
    """What goes on in the running lab."""
    lab = _lab(site)
    return schemas.LabOut(status=lab.status(), takedowns=[*reversed(lab.takedowns)])


@router.post("/lab/takedown", status_code=202)
async def lab_takedown(
    site: SiteHere, who: Triager, request: Request, wanted: schemas.TakedownIn
) -> dict[str, Any]:
    """Take something down inside the sealed lab, and measure what that costs the network."""
    entry = _lab(site).take_down(wanted.what, wanted.network, wanted.watch_s)
    address = address_of(request)
    site.store.access.record(who.name, address, "lab_takedown", wanted.network, wanted.what)
    return entry


@router.get("/lab/walk")
def lab_walk(site: SiteHere, _who: Reader) -> dict[str, Any]:
    """The walk that `unflux lab walk … --json` printed."""
    path = site.settings.walk
    if path is None:
        raise HTTPException(404, "no walk: start with `unflux serve --walk FILE`")
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(MAX_WALK_BYTES))
    except (OSError, ValueError):
        raise HTTPException(409, "the walk cannot be read") from None
    if not isinstance(content, dict):
        raise HTTPException(409, "the walk is no JSON object")
    return content
