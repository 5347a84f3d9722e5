"""Alerts: which findings are worth telling, and how they are told. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from unflux.detect import Finding
from unflux.share import json
from unflux.times import iso
from unflux.watch.blocks import Decision
from unflux.watch.connections import Connection, News

MAX_REMEMBERED = 100_000
"""Names whose last alert is remembered; beyond, the longest ago is forgotten, counted (and told
again)."""

MAX_CONNECTIONS = 100
"""Connections that an alert lists, the latest first; `n_connections` and `n_clients` count all."""


class Suppression:
    """The same verdict of the same name is told once in so many seconds; a worse one at once."""

    def __init__(self, suppress_s: int) -> None:
        self.suppress_us = suppress_s * 1_000_000
        self._told: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self.n_suppressed = self.n_forgotten = 0

    def passes(self, name: str, severity: int, now_us: int) -> bool:
        """Is this to be told now? Remembers that it was."""
        at_us, told = self._told.get(name, (0, -1))
        if severity <= told and 0 <= now_us - at_us < self.suppress_us:
            self.n_suppressed += 1
            return False
        self._told[name] = (now_us, severity)
        self._told.move_to_end(name)
        while len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
            self.n_forgotten += 1
        return True


def severity(finding: Finding) -> int:
    """ECS severity, 0…100."""
    return json.SEVERITY.get(finding.verdict, 0)


def compose(
    finding: Finding,
    decision: Decision,
    action: str,
    told_at: str,
    connections: Sequence[Connection] | None = None,
) -> dict[str, Any]:
    """An alert with Elastic Common Schema keys, T1568.001, and what was done about it.

    `connections`: who connected to the agents; None where nobody told us.
    """
    alert = json.ecs(finding)
    block = decision.block
    is_only_listed = block is not None and action == "monitor"
    outcome = "listed" if is_only_listed and decision.outcome == "blocked" else decision.outcome
    alert["event"] |= {"action": f"flux_{outcome}", "created": told_at}
    alert["flux_block"] = {
        "outcome": outcome,
        "why": decision.why,
        "action": action if block else None,
        "trigger": block.trigger if block else None,
        "until_us": block.until_us if block else None,
    }
    if connections is not None:
        alert["flux_connections"] = {
            "n_clients": len({one.client for one in connections}),
            "n_connections": len(connections),
            "connections": [_connection(one) for one in connections[:MAX_CONNECTIONS]],
        }
    return alert


def _connection(one: Connection) -> dict[str, Any]:
    return {
        "source": {"ip": one.client},
        "destination": {"ip": one.destination},
        "count": one.count,
        "answered": one.n_answered,
        "first_seen": iso(one.first_us),
        "last_seen": iso(one.last_us),
    }


def compose_connected(news: News, verdict: str, told_at: str) -> dict[str, Any]:
    """A client connected to an agent of a name that was judged flux before."""
    one = news.connection
    reason = f"{one.client} connected to {one.destination}, an address of {news.name}"
    head = json.ecs_head(iso(one.last_us), verdict, reason)
    head["event"] |= {"action": "flux_connected", "created": told_at}
    return head | {
        "dns": {"question": {"name": news.name}, "resolved_ip": [one.destination]},
        "client": {"ip": [one.client]},
        "flux_connections": {
            "n_clients": 1,
            "n_connections": 1,
            "connections": [_connection(one)],
        },
    }


def syslog_line(alert: dict[str, Any], hostname: str, told_at: str, process: int) -> str:
    """The alert as RFC 5424, facility local4; the JSON is the message behind a BOM-less `@cee:`."""
    import msgspec

    level = 4 if alert["event"]["kind"] == "alert" else 6
    name = _parameter(alert["dns"]["question"]["name"])
    data = f'[unflux@32473 name="{name}" verdict="{_parameter(alert["rule"]["name"])}"]'
    encoded = msgspec.json.encode(alert).decode()
    return f"<{20 * 8 + level}>1 {told_at} {hostname} unflux {process} flux {data} @cee:{encoded}"


def _parameter(text: str) -> str:
    """A value as RFC 5424 §6.3.3 wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
