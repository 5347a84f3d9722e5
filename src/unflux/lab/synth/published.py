"""What the names of a flux network have, and when that changes.

All of it comes from the functions that answers come from; nothing here is counted as asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from unflux.lab.model import plan
from unflux.lab.model.world import (
    ADDRESSES,
    ALIAS,
    DELEGATION,
    World,
    exchange,
    preference,
    with_hints,
)

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Event = tuple[float, dict[str, Any]]

JUST_AFTER_S = 1e-6
"""States are looked up so long after a change: seconds since 1970 have 0.2 µs, as hours of them."""


class Published:
    """Addresses, aliases and name servers of one network, slice by slice.

    Bound: the last state of each rrset.
    """

    def __init__(self, world: World, number: int, names: dict[int, str]) -> None:
        """`names` are those that people ask for, by domain."""
        self.world, self.number, self.service = world, number, world.services[number]
        self.moving = world.name_servers.get(number)
        mine = np.flatnonzero(world.unit_service == number)
        kinds = world.unit_kind[mine]
        self.units, self.aliases = mine[kinds == ADDRESSES], mine[kinds == ALIAS].tolist()
        self.delegations = mine[kinds == DELEGATION].tolist()
        self.domains = world.unit_domain[self.units]
        self.names = names
        self._has_begun = False
        self._last: dict[int, list[str]] = {}
        """Data of each unit that the truth was last told."""

    @property
    def is_per_query(self) -> bool:
        """Each query is answered anew: while it is awake, only the live lists say with what."""
        one = self.service.settings
        return one.selection != "fixed" and one.rotation_s <= 0

    def turns(self) -> dict[str, float]:
        """When the network starts, ends, or becomes of another kind, where it does so."""
        one, start_s = self.service.settings, self.world.start_s
        hours = {"starts": one.start_h, "ends": one.end_h}
        if one.ns == "rotating" and one.start_h < one.ns_from_h < (one.end_h or math.inf):
            hours["changes"] = one.ns_from_h
        return {what: start_s + 3600 * at_h for what, at_h in hours.items() if at_h}

    def kind_at(self, time_s: float) -> str:
        """The verdict that would be right at a time."""
        one = self.service.settings
        if self.world.life_of(one, np.array([time_s + JUST_AFTER_S]))[0] != 1:
            return "not_flux"
        moves_later = one.ns == "rotating" and time_s < self.world.start_s + 3600 * one.ns_from_h
        if moves_later:
            return "not_flux" if one.selection == "fixed" else "single_flux"
        return one.verdict

    def changes(self, from_s: float, to_s: float) -> Iterator[Event]:
        """All that changes in a slice; the first call tells what there is at its beginning, too."""
        for what, at_s in self.turns().items():
            if from_s <= at_s < to_s:
                name, verdict = self.service.name, self.kind_at(at_s)
                yield at_s, {"event": what, "network": name, "verdict": verdict}
        yield from self._aliases(from_s, to_s)
        yield from self._rrsets(from_s, to_s)
        yield from self._name_servers(from_s, to_s)
        self._has_begun = True

    def _of(self, unit: int) -> dict[str, str]:
        """Whose unit it is: its owner, and for which name it stands where that is another."""
        owner = self.world.names.texts[int(self.world.unit_owner[unit])].removesuffix(".")
        name = self.names.get(int(self.world.unit_domain[unit]), owner)
        return {"name": owner} if name == owner else {"name": owner, "for": name}

    # Aliases

    def _aliases(self, from_s: float, to_s: float) -> Iterator[Event]:
        every = self.service.settings.switch_s
        times = [] if self._has_begun else [from_s]
        if every and self.aliases:
            numbers = range(math.ceil(from_s / every), math.ceil(to_s / every))
            times += [number * every for number in numbers]
        for at_s in times:
            for unit in self.aliases:
                target = self.world.alias_target(unit, at_s + JUST_AFTER_S)
                host = self.world.names.texts[int(self.world.unit_owner[target])].removesuffix(".")
                if self._is_new(unit, [host]):
                    yield at_s, {"event": "alias", **self._of(unit), "target": host}

    def _is_new(self, unit: int, rdata: list[str]) -> bool:
        if self._last.get(unit) == rdata:
            return False
        self._last[unit] = rdata
        return True

    # Addresses

    def _rrsets(self, from_s: float, to_s: float) -> Iterator[Event]:
        units, steps, times = self._moments(from_s, to_s)
        if not len(units):
            return
        within = times + JUST_AFTER_S
        life = self.world.life_of(self.service.settings, within)
        if self.is_per_query:
            kept = life != 1
            units, steps, times, within, life = (
                column[kept] for column in (units, steps, times, within, life)
            )
        count, addresses = self.world.chosen(self.service, units, steps, life, within)
        texts = list(map(plan.text_of, addresses.tolist()))
        decoys = dict(self.world.decoys(self.service, units, steps, count))
        for place, text in decoys.items():
            texts[place] = text
        end = 0
        for unit, at_s, n in zip(units.tolist(), times.tolist(), count.tolist(), strict=True):
            start, end = end, end + n
            rdtype, rdata = self._data(unit, texts[start:end])
            if not self._is_new(unit, rdata):
                continue
            event = {"event": "rrset", **self._of(unit), "rdtype": rdtype, "rdata": rdata}
            if decoys:
                false = sorted({decoys[place] for place in range(start, end) if place in decoys})
                event |= {"decoys": false} if false else {}
            yield at_s, event

    def _moments(self, from_s: float, to_s: float) -> tuple[I64, I64, F64]:
        """(Units, steps, times) at which addresses may change, by time."""
        at = [one for one in self.turns().values() if from_s <= one < to_s]
        parts = []
        for at_s in at if self._has_begun else [from_s, *at]:
            times = np.full(len(self.units), at_s)
            steps = self.service.steps(self.domains, times + JUST_AFTER_S)
            parts.append((self.units, steps, times))
        places, steps, times = self.service.step_starts(self.domains, from_s, to_s)
        parts.append((self.units[places], steps, times))
        units, steps = (np.concatenate([part[column] for part in parts]) for column in (0, 1))
        times = np.concatenate([part[2] for part in parts])
        order = np.argsort(times, kind="stable")
        return units[order], steps[order], times[order]

    def _data(self, unit: int, addresses: list[str]) -> tuple[str, list[str]]:
        """The type and the data of a unit's records that have these addresses."""
        rdtype, target = self.world.rdtype_of(unit), int(self.world.unit_target[unit])
        if rdtype == "HTTPS":
            return rdtype, [with_hints(addresses)] if addresses else []
        if rdtype == "MX":
            owner = self.world.names.texts[int(self.world.unit_owner[unit])]
            hosts = [exchange(place, owner) for place in range(len(addresses))]
            return rdtype, [preference(place, host) for place, host in enumerate(hosts)]
        if target <= -2:  # one of those exchanges
            return rdtype, addresses[-2 - target :][:1]
        return rdtype, sorted(addresses)

    # Name servers

    def _name_servers(self, from_s: float, to_s: float) -> Iterator[Event]:
        for unit in self.delegations:
            domain = int(self.world.unit_domain[unit])
            if not self._has_begun:
                held = self.moving.at(domain, from_s) if self.moving else None
                if held is None:
                    fixed = self.world.fixed_name_servers(unit)
                    yield from_s, self._glue(unit, fixed, rotating=False)
                elif held[0] < from_s:
                    yield from_s, self._glue(unit, held[2], rotating=True)
            if self.moving:
                for since_s, addresses in self.moving.changes(domain, from_s, to_s):
                    yield since_s, self._glue(unit, addresses, rotating=True)

    def _glue(self, unit: int, addresses: list[int], *, rotating: bool) -> dict[str, Any]:
        zone = self.world.names.texts[int(self.world.unit_owner[unit])].removesuffix(".")
        return {
            "event": "name_servers",
            "name": self.names.get(int(self.world.unit_domain[unit]), zone),
            "zone": zone,
            "rotating": rotating,
            "glue": list(map(plan.text_of, addresses)),
        }
