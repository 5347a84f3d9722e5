"""Alerts on their way out: what is found, and who connects to what was found before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from unflux.detect import Finding
from unflux.share import json
from unflux.times import iso, now_us
from unflux.watch import alerts
from unflux.watch.blocks import Decision
from unflux.watch.connections import Connections
from unflux.watch.log import Log
from unflux.watch.outlets import Outlet


class Teller:
    """Sends what is not suppressed to every outlet."""

    def __init__(
        self,
        outlets: Sequence[Outlet],
        suppression: alerts.Suppression,
        connections: Connections | None,
        counts: Counter[str],
    ) -> None:
        self.outlets, self.suppression = outlets, suppression
        self.connections, self.counts = connections, counts
        self._failed: Counter[int] = Counter()
        """By outlet, how many failures were told."""

    def tell(self, finding: Finding, decision: Decision, action: str, now_us: int) -> None:
        """Tell of a finding, with who connected to its agents until now."""
        connected = None
        if self.connections is not None and finding.is_flux:
            agents = [one.address for one in finding.agent_list if one.special is None]
            connected = self.connections.look_out(finding.name, agents)
        # Found with low confidence and refused, then blocked: that is told, too.
        severity = alerts.severity(finding) + int(decision.outcome == "blocked")
        if not self.suppression.passes(finding.name, severity, now_us):
            return
        for one in connected or ():  # this alert tells of them
            self.suppression.passes(f"{finding.name} {one.client}", severity, now_us)
        told_at = _now()
        self._send(alerts.compose(finding, decision, action, told_at, connected), told_at)

    def tell_of_connections(self, flux: Mapping[str, str], now_us: int) -> None:
        """Clients that connected to agents which were known already; `flux`: names to verdicts."""
        for news in self.connections.take_news() if self.connections is not None else ():
            verdict = flux.get(news.name)
            if verdict is None:
                continue  # cleared meanwhile
            client = f"{news.name} {news.connection.client}"
            if self.suppression.passes(client, json.SEVERITY.get(verdict, 0), now_us):
                told_at = _now()
                self._send(alerts.compose_connected(news, verdict, told_at), told_at)

    def tell_of_failures(self, log: Log) -> None:
        """A line in the log, at most once a minute, for an outlet that does not take alerts."""
        for at, outlet in enumerate(self.outlets):
            counters = outlet.counters()
            n = counters["failed"] + counters.get("rejected", 0)
            says = f"{outlet.trouble}; {self._fate(counters)}"
            if n > self._failed[at] and log.trouble("alerts_failed", says, n=n, to=outlet.name):
                self._failed[at] = n

    def _fate(self, counters: dict[str, int]) -> str:
        if "waiting" not in counters:
            return "such alerts are lost"
        return f"{counters['waiting']} wait, {counters['rejected']} were refused for good"

    def _send(self, alert: dict[str, Any], told_at: str) -> None:
        self.counts["alerts"] += 1
        for outlet in self.outlets:
            outlet.send(alert, told_at)


def _now() -> str:
    return iso(now_us()) or ""
