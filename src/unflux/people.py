"""Who stands in a finding: addresses that answered (agents), and clients that asked.

Both are put together as JSON: a large capture has millions of them, and most leave the program as
JSON anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from unflux import _native
from unflux.detect.base import AMBIGUOUS, FLUX_VERDICTS, Row
from unflux.sightings import History


def agents(
    history: History, places: pa.RecordBatch, rows: Sequence[Row], threads: int = 1
) -> dict[int, bytes]:
    """`list[Agent]` as JSON, by number of the name, in the order they were first seen.

    An agent is a claim: only names judged flux or ambiguous have any, and what kind of evidence
    there is stands beside each.
    """
    accused = [row for row in rows if row["verdict"] in (*FLUX_VERDICTS, AMBIGUOUS)]
    known: dict[int, tuple[bool, bool]] = {}
    for row in accused:
        is_flux, rotates = known.get(row["address_name_id"], (False, False))
        known[row["address_name_id"]] = (
            is_flux or row["verdict"] in FLUX_VERDICTS,
            rotates or bool(row["n_pairs"]),
        )
    owners = sorted(known)
    is_flux_of, rotates_of = ([known[owner][place] for owner in owners] for place in (0, 1))
    listed = _native.agents(history.sightings, places, owners, is_flux_of, rotates_of, threads)
    by_owner = dict(zip(owners, listed, strict=True))
    found = {row["name_id"]: by_owner[row["address_name_id"]] for row in accused}
    return {name: agents for name, agents in found.items() if agents is not None}


def clients(history: History, rows: Sequence[Row]) -> dict[int, tuple[bytes, int]]:
    """Clients that asked, as JSON, and their number; up to 64 per name, type and hour are kept."""
    names = sorted(row["name_id"] for row in rows)
    listed = _native.clients(history.activity, len(history.names), names)
    return dict(zip(names, listed, strict=True))
