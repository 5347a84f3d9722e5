"""Flux networks of a scan."""

from __future__ import annotations

from fastapi import APIRouter

from unflux.web import schemas
from unflux.web.auth import Reader, SiteHere
from unflux.web.routes.common import ScanHere

router = APIRouter(tags=["networks"])


@router.get("/networks")
async def list_networks(site: SiteHere, _who: Reader, chosen: ScanHere) -> schemas.NetworksOut:
    """Networks as `unflux networks --json` has them, long lists cut; `working` at first."""
    found = await site.networks.of(chosen)
    return schemas.NetworksOut(state=found.state, message=found.message, networks=found.networks)
