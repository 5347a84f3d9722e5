"""Follow names over days: what to ask next, and what became of them.

`machine` is pure: no socket, no clock. `runner` is the edge: one event loop that asks, records and
sleeps; `store` is what is on disk.
"""

from __future__ import annotations

from unflux.track.facts import Event, Query, Record, Response, Sample
from unflux.track.life import STATES, Listed
from unflux.track.machine import Tracker
from unflux.track.settings import Settings

__all__ = [
    "STATES",
    "Event",
    "Listed",
    "Query",
    "Record",
    "Response",
    "Sample",
    "Settings",
    "Tracker",
]
