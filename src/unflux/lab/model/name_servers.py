"""Name servers that rotate: who serves the zones of a double-flux network at any time."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from unflux.lab.model.hashing import mix
from unflux.lab.model.services import Service

I64 = npt.NDArray[np.int64]


@dataclass(slots=True)
class Held:
    """The name servers of one domain in the slice of time at hand, and the ones before it."""

    since_s: list[float] = field(default_factory=list)
    """When each set began to serve, ascending."""
    step: list[int] = field(default_factory=list)
    """The period that each belongs to."""
    addresses: list[list[int]] = field(default_factory=list)


class NameServers:
    """Whom a network publishes at the registry: one definition for both clocks, and for the truth.

    With each period, others are chosen out of the live list of that time: one list for both, which
    makes of the 75-90 % of DNS agents that also served the web (Konte et al.) nearly all, and of
    their 15-25 % of all agents nearly all within a day. In between, a name server that leaves the
    list is replaced in its place, as a controller does that watches its agents.
    Bound: the changes of one slice.
    """

    def __init__(self, service: Service, from_s: float) -> None:
        one = service.settings
        self.service, self.from_s = service, from_s
        """When the network begins to move them."""
        n_groups = max(one.sub_networks, 1)
        # Domains that share name servers are told by their sub-network.
        keys = np.arange(n_groups if one.ns_shared else one.domains)
        self._keys = [keys[keys % n_groups == group] for group in range(n_groups)]
        self._held = {key: Held() for key in keys.tolist()}

    def advance(self, from_s: float, to_s: float) -> None:
        """Choose and replace for a slice of time; the service's own lists are there already."""
        for held in self._held.values():
            del held.since_s[:-1], held.step[:-1], held.addresses[:-1]
        for group, keys in enumerate(self._keys):
            for now_s, step in self._moments(group, max(from_s, self.from_s), to_s):
                self._renew(group, keys, now_s, step)

    def _moments(self, group: int, from_s: float, to_s: float) -> list[tuple[float, int]]:
        """When something may change, and in which period that is.

        With each list and each period, and at the very first.
        """
        period_s = self.service.settings.ns_period_s
        starts = range(math.ceil(from_s / period_s), math.ceil(to_s / period_s))
        at = [from_s, *self.service.groups[group].ticks.tolist()]
        found = {now_s: int(now_s // period_s) for now_s in at if from_s <= now_s < to_s}
        # Dividing the beginning of a period by its length may give the one before.
        found |= {step * period_s: step for step in starts}
        return sorted(found.items())

    def _renew(self, group: int, keys: I64, now_s: float, step: int) -> None:
        one = self.service.settings
        live = self.service.list_at(group, now_s)
        listed = set(live)
        for key in keys.tolist():
            held = self._held[key]
            if held.step and held.step[-1] == step:
                known = held.addresses[-1]
                if listed.issuperset(known) and (len(known) == one.ns_count or known == live):
                    continue
                ranked = self._ranked(key, step, live)
                spare = iter([address for address in ranked if address not in known])
                found = [at if at in listed else next(spare, at) for at in known]
                found += list(spare)[: one.ns_count - len(found)]
            else:
                found = self._ranked(key, step, live)[: one.ns_count]
            if not held.step or held.step[-1] != step or held.addresses[-1] != found:
                held.since_s.append(now_s)
                held.step.append(step)
                held.addresses.append(found)

    def _ranked(self, key: int, step: int, live: list[int]) -> list[int]:
        """The live list in the order in which a domain takes from it, each host once."""
        domain = 0 if self.service.settings.ns_shared else key
        order = mix(self.service.seed, 207, domain, step, np.arange(len(live)))
        return list(dict.fromkeys(live[place] for place in np.argsort(order).tolist()))

    def at(self, domain: int, now_s: float) -> tuple[float, int, list[int]] | None:
        """(Since when, in which period, addresses in order) at a time of the slice.

        None before the network begins to move them.
        """
        held = self._of(domain)
        if now_s < self.from_s or not held.since_s:
            return None
        place = max(bisect_right(held.since_s, now_s) - 1, 0)
        return held.since_s[place], held.step[place], held.addresses[place]

    def changes(self, domain: int, from_s: float, to_s: float) -> Iterator[tuple[float, list[int]]]:
        """When others began to serve in a slice of time, and who."""
        held = self._of(domain)
        for since_s, addresses in zip(held.since_s, held.addresses, strict=True):
            if from_s <= since_s < to_s:
                yield since_s, addresses

    def _of(self, domain: int) -> Held:
        if self.service.settings.ns_shared:
            return self._held[domain % len(self._keys)]
        return self._held[max(domain, 0)]  # the operator's own zone has those of the first domain
