"""What a registry or registrar would see of a network: zones, delegations that change, sleepers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unflux.networks.model import DelegationChange, Delegations
from unflux.pipeline import bare
from unflux.sightings import History
from unflux.times import iso

MAX_CHANGES = 200


def ns_by_hour(history: History, zones: set[int]) -> dict[int, dict[int, set[str]]]:
    """Name servers of each zone (by number of its name), by hour: {zone: {hour_us: {host…}}}."""
    wanted = pa.array(sorted(zones), pa.int32())
    found: dict[int, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for batch in history.sightings:
        is_ns = pc.equal(batch.column("rdtype"), "NS")
        part = batch.filter(pc.and_(is_ns, pc.is_in(batch.column("owner").indices, wanted)))
        hosts = pc.take(history.rdata, part.column("rdata").indices).to_pylist()
        times = part.column("time_first").cast(pa.int64()).to_pylist()
        owners = part.column("owner").indices.to_pylist()
        for zone, time_us, host in zip(owners, times, hosts, strict=True):
            found[zone][time_us // 3_600_000_000 * 3_600_000_000].add(host)
    return found


def delegations_of(
    zones: dict[int, tuple[str, str]],
    hours: dict[int, dict[int, set[str]]],
    glue_addresses: int,
) -> Delegations:
    """Changes of the NS rrset between hours in which a zone was seen.

    `zones` has the name and the public suffix of each zone, by number.
    """
    changes: list[DelegationChange] = []
    total = 0
    for zone, (name, suffix) in zones.items():
        before: set[str] | None = None
        for at_us, now in sorted(hours.get(zone, {}).items()):
            if before is not None and now != before:
                total += 1
                changes.append(
                    DelegationChange(
                        bare(name) or "", iso(at_us) or "", suffix,
                        _bare_all(now - before), _bare_all(before - now),
                    )
                )  # fmt: skip
            before = now
    changes.sort(key=lambda one: (one.at, one.zone))
    suffixes = Counter(suffix for _, suffix in zones.values())
    return Delegations(
        len(zones), dict(suffixes.most_common()), total, glue_addresses, changes[:MAX_CHANGES]
    )


def _bare_all(hosts: Iterable[str]) -> list[str]:
    return sorted(bare(one) or "" for one in hosts)


def suffix_of(zone: str, registered: str | None) -> str:
    """The public suffix a zone is registered under: what follows the first label of the
    registered domain; the last label where none is known."""
    known = registered or zone
    rest = known.rstrip(".").split(".", 1)
    return rest[1] if len(rest) > 1 and registered else zone.rstrip(".").rsplit(".", 1)[-1]


def numbers(history: History, texts: pa.ChunkedArray) -> np.ndarray:
    """Numbers of names, -1 for those that the history does not have."""
    found = pc.fill_null(pc.index_in(texts, history.names), -1)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)
