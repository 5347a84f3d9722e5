"""What a watch counts, by the names that Prometheus gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unflux.watch import limits, service
from unflux.watch.health import Numbers, label

if TYPE_CHECKING:
    from unflux.watch.loop import Watch


def numbers(watch: Watch) -> Numbers:
    """All counters and gauges; read from another thread, so nothing is asked of the window.

    What the loop adds to meanwhile is copied in one step (`list`) before it is gone through.
    """
    size, counters = watch.size, watch.live.counters()
    found: dict[str, float] = {}
    for name, value in counters.items():
        gauge = name in ("producers", "queued_bytes")
        found[f"unflux_watch_{name}{'' if gauge else '_total'}"] = value
    for name, value in size.items():
        found[f"unflux_watch_window_{name}"] = value
    for name, value in list(watch.books.items()):
        kind, _, rest = name.partition(":")
        labels = f'{{kind="{label(rest)}"}}' if rest else ""
        found[f"unflux_watch_{kind}_total{labels}"] = value
    reached = limits.counts(watch)
    for name in limits.LABELLED:
        del reached[name]
    for name, value in (*list(watch.counts.items()), *reached.items(), *watch.bounds.items()):
        found[f"unflux_watch_{name}_total"] = value
    for name in ("benign_names", "other_names"):
        labels = f'{{class="{name.removesuffix("_names")}"}}'
        found[f"unflux_watch_evicted_names_total{labels}"] = watch.evicted[name]
    for verdict, value in list(watch.verdicts.items()):
        found[f'unflux_watch_findings_total{{verdict="{verdict}"}}'] = value
    for why, value in list(watch.blocklist.n_refused.items()):
        found[f'unflux_watch_not_blocked_total{{why="{why}"}}'] = value
    for at, outlet in enumerate(watch.outlets):
        for name, value in outlet.counters().items():
            found[f'unflux_watch_outlet_{name}_total{{outlet="{at}"}}'] = value
    for at, follower in enumerate(watch.followers):
        found[f'unflux_watch_follow_rotations_total{{log="{at}"}}'] = follower.n_rotations
        found[f'unflux_watch_follow_faults_total{{log="{at}"}}'] = follower.n_faults
    for reader in watch.interfaces:
        found["unflux_watch_packets_total"] = reader.n_packets
    found["unflux_watch_alerts_suppressed_total"] = watch.teller.suppression.n_suppressed
    found |= watch.publisher.metrics() | _of_connections(watch)
    found["unflux_watch_blocks"] = len(watch.blocklist.blocks)
    found["unflux_watch_flux_names"] = len(watch.flux)
    found["unflux_watch_round_seconds"] = watch.tick_took_s
    found["unflux_watch_resident_bytes"] = service.resident_bytes()
    found["unflux_watch_state_budget_bytes"] = watch.state_bytes
    return found


def _of_connections(watch: Watch) -> dict[str, float]:
    """Nothing where no log of connections is followed."""
    if watch.connections is None:
        return {}
    malformed = sum(log.n_malformed for log in watch.connection_logs)
    return {
        "unflux_watch_connections_total": watch.connections.n_rows,
        "unflux_watch_connections_malformed_total": malformed,
    }
