"""What happens at the bounds of a watch: each is counted, shown in `/metrics`, and told in the log.

A watch holds little and loses some of it when too much comes. Nothing of that is silent: `SAYS` has
a sentence for each bound, by the name of its counter (``unflux_watch_NAME_total``), and a counter
that grew is a line in the log, at most one a minute. How much each is stands in docs/watch.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from unflux.watch.log import Log

if TYPE_CHECKING:
    from unflux.watch.loop import Watch

SAYS = {
    "frames_dropped": "dnstap frames came while the queue was full: raise queue or threads",
    "producers_refused": "too many producers of dnstap: hung up",
    "streams_not_frames": "a producer does not speak Frame Streams: hung up",
    "streams_not_dnstap": "a producer's Frame Streams carry no dnstap: hung up",
    "streams_cut": "a producer went inside a frame, which is lost",
    "outside_time": "stamped behind the window or minutes ahead, and left out: see the clocks",
    "packets_dropped": "the kernel had no room for packets of the interface: take dnstap",
    "rounds_full": "more names were due than judge_max: they are judged a round later",
    "rounds_held_up": "a round waited for a slow merge of what is to be saved",
    "flux_names_forgotten": "too many names are flux: the first ones are forgotten",
    "checkpoints_lost": "the state could not be saved for long: the oldest part of it was given up",
    "damaged_files": "files of the state cannot be read to their end: they stay in STATE/sightings",
    "blocks_displaced": "the block list is full: lower scores gave way (block_max)",
    "blocks_refused_full": "the block list is full of higher scores: not blocked (block_max)",
    "extras_left_out": "addresses or name servers of a flux name were not listed: too many",
    "zone_connections_refused": "too many connections to the zone server: hung up",
    "web_requests_refused": "too many requests for metrics or health at once: hung up",
    "alerts_dropped": "alerts for a webhook were given up: too many waited",
    "alerts_forgotten": "names of earlier alerts were forgotten: they are told again",
    "connections_forgotten": "too many destinations of connections: the oldest are forgotten",
    "connections_over": "too many clients of one destination: further ones are not remembered",
    "connections_news_lost": "too many connections to agents in a round: not all are told",
    "connections_agents_forgotten": "too many addresses of flux names: the oldest are let go",
}
"""What each counter means: a line of `/metrics`' help, and of the log."""
OF_PRODUCERS = (
    "frames_dropped",
    "producers_refused",
    "streams_not_frames",
    "streams_not_dnstap",
    "streams_cut",
)
LABELLED = frozenset({"outside_time", "blocks_refused_full"})
"""In `/metrics` they stand with others of their kind, as ``skipped`` and ``not_blocked``."""


def counts(watch: Watch) -> dict[str, int]:
    """How often each bound was reached since the start; a bound of what is not open is left out."""
    live = watch.live.counters()
    found = {name: live[name] for name in OF_PRODUCERS} | {
        "outside_time": watch.books["skipped:outside_time"],
        "packets_dropped": sum(one.n_dropped for one in watch.interfaces),
        "blocks_displaced": watch.blocklist.n_displaced,
        "blocks_refused_full": watch.blocklist.n_refused["size"],
        "extras_left_out": watch.blocklist.n_extras_left_out,
        "alerts_forgotten": watch.teller.suppression.n_forgotten,
        "alerts_dropped": sum(one.counters().get("dropped", 0) for one in watch.outlets),
    }
    for name in ("rounds_full", "rounds_held_up", "flux_names_forgotten", "checkpoints_lost"):
        found[name] = watch.counts[name]
    if watch.saver is not None:
        found["damaged_files"] = len(watch.saver.checkpoints.damaged)
    if watch.publisher.server is not None:
        n_refused = watch.publisher.server.counters["connections_refused"]
        found["zone_connections_refused"] = n_refused
    if watch.health is not None:
        found["web_requests_refused"] = watch.health.n_refused
    if (known := watch.connections) is not None:
        found |= {
            "connections_forgotten": known.n_forgotten,
            "connections_over": known.n_over,
            "connections_news_lost": known.n_news_lost,
            "connections_agents_forgotten": known.n_agents_forgotten,
        }
    return found


class Limits:
    """Tells in the log what grew."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._told: Counter[str] = Counter()

    def tell(self, now: Mapping[str, int]) -> None:
        """A line for each count that grew since it was told, at most one a minute each."""
        for name, n in now.items():
            if n > self._told[name] and self.log.trouble(name, SAYS[name], n=n):
                self._told[name] = n
