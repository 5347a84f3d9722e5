"""Flux networks of a scan."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from unflux.web import schemas
from unflux.web.auth import Reader, SiteHere
from unflux.web.routes.common import ScanHere, bare_name

router = APIRouter(tags=["networks"])
BRIEF = ("id", "kind", "n_names", "n_agents", "size", "roles", "rotation_s", "ns_rotation_s",
         "first_seen", "last_seen", "history")  # fmt: skip
EXAMPLES = 3
"""Names of a network in the short form."""


@router.get("/networks")
async def list_networks(
    site: SiteHere,
    _who: Reader,
    chosen: ScanHere,
    has: Annotated[
        str | None,
        Query(
            max_length=schemas.NAME_LENGTH,
            description="Only the networks of this id, or with this name or address.",
        ),
    ] = None,
    brief: Annotated[
        bool, Query(description="Without lists of members: counts, and a few names.")
    ] = False,
) -> schemas.NetworksOut:
    """Networks as `unflux networks --json` has them, long lists cut; `working` at first."""
    found = await site.networks.of(chosen)
    listed = [one for one in found.networks if has is None or _has(one, bare_name(has))]
    return schemas.NetworksOut(
        state=found.state,
        message=found.message,
        networks=[_brief(one) for one in listed] if brief else listed,
    )


def _has(network: dict[str, Any], wanted: str) -> bool:
    return (
        network["id"] == wanted
        or any(one["name"] == wanted for one in network["names"])
        or any(one["address"] == wanted for one in network["agents"])
    )


def _brief(network: dict[str, Any]) -> dict[str, Any]:
    lists = ("sub_networks", "asns", "countries")
    return (
        {key: network[key] for key in BRIEF}
        | {f"n_{key}": len(network[key]) for key in lists}
        | {"names": network["names"][:EXAMPLES]}
        | {"size": {key: value for key, value in network["size"].items() if key != "series"}}
    )
