"""Who uses the names: visitors by day and night, infected hosts on their timers.

The demand is the virtual clock's (`unflux.lab.synth.demand`); here each query is a real one, and
visits of flux names (and some of others) go on to fetch the page.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque

from unflux.lab.live.stage import Stage
from unflux.lab.live.web import fetch
from unflux.lab.model.hashing import uniform_one
from unflux.lab.model.plan import CLIENTS_FROM

MAX_AT_ONCE = 256
"""Visits under way; more are skipped and counted: the machine is too slow for that speed."""
OTHER_WEB_SHARE = 0.1
"""Share of visits of names that are not flux that fetch a page, too."""
N_PAGES = 8
"""Pages of each site that are visited."""
MAX_KEPT = 4_096
"""Outcomes kept for each network."""


class People:
    """Clients of the lab."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.counts: Counter[str] = Counter()
        self.outcomes: dict[int, deque[tuple[float, bool]]] = {
            service: deque(maxlen=MAX_KEPT) for service in stage.roles.networks
        }
        """(wall time, content came) of the visits of each network."""
        self._under_way: set[asyncio.Task[None]] = set()

    def on_slice(self, from_s: float, to_s: float) -> None:
        """Let those act whose time it was."""
        queries = self.stage.demand.queries(from_s, to_s)
        for client, question, is_poll in zip(
            queries.clients.tolist(), queries.questions.tolist(), queries.is_poll.tolist(),
            strict=True,
        ):  # fmt: skip
            if len(self._under_way) >= MAX_AT_ONCE:
                self.counts["skipped"] += 1
                continue
            task = asyncio.create_task(self._visit(CLIENTS_FROM + client, question, is_poll))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _visit(self, client: int, question: int, is_poll: bool) -> None:
        stage = self.stage
        named_number, unit, rdtype_number = stage.world.questions[question]
        named = stage.world.named[named_number]
        qname = stage.world.names.texts[int(stage.world.unit_owner[unit])]
        rdtype = stage.world.rdtypes.texts[rdtype_number]
        at_s = time.time()
        answer = await stage.stub.resolve(qname, client, rdtype)
        self.counts["polls" if is_poll else "visits"] += 1
        self.counts[answer.rcode] += 1
        is_flux = named.service in self.outcomes
        chance = uniform_one(stage.scenario.seed, 401, self.counts["visits"])
        if rdtype != stage.world.services[named.service].settings.rdtype:
            return
        if rdtype in ("HTTPS", "MX") or not (is_flux or chance < OTHER_WEB_SHARE):
            return
        came = False
        if answer.addresses:
            over_tls = stage.world.services[named.service].settings.tls
            got = await fetch(
                answer.addresses[0], named.name, f"/{int(chance * 1_000_000) % N_PAGES}", client,
                tls=stage.visitors_trust if over_tls else None,
            )  # fmt: skip
            came = got.status == 200
        self.counts["content" if came else "no_content"] += 1
        if is_flux:
            self.outcomes[named.service].append((at_s, came))

    async def stop(self) -> None:
        """End what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
