"""Everything that can be set about tracking: declared once for check, help and docs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


def _setting(default: float, low: float, high: float, says: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "says": says})


@dataclass(frozen=True, slots=True)
class Settings:
    """How often, and how much at most. Times in seconds.

    Raises
    ------
    ValueError
        With everything that is wrong, when a number is out of its range.
    """

    floor_s: float = _setting(60, 1, 86_400, "shortest time between two queries of one question")
    jitter_ratio: float = _setting(0.02, 0, 1, "random delay, as a share of the interval")
    patience: int = _setting(12, 1, 10_000, "unchanged answers after which a name is asked less")
    idle_s: float = _setting(1800, 1, 604_800, "longest interval for what does not change")
    retry_max_s: float = _setting(3600, 1, 604_800, "longest interval after failures")
    dead_max_s: float = _setting(21_600, 60, 604_800, "longest interval for names that are gone")
    sleep_after_s: float = _setting(21_600, 60, 31_536_000, "unchanged for so long: it sleeps")
    wildcard_s: float = _setting(86_400, 60, 604_800, "between two tests for a wildcard")
    timeout_s: float = _setting(5, 0.1, 60, "wait for a response")
    lame_s: float = _setting(600, 1, 86_400, "a name server that failed is passed over for so long")
    per_name_h: float = _setting(360, 1, 1e6, "queries per hour for one listed name")
    per_zone_h: float = _setting(1200, 1, 1e7, "queries per hour for all names of one zone")
    per_server_s: float = _setting(20, 0.01, 1e5, "queries per second to one resolver")
    per_name_server_s: float = _setting(2, 0.01, 1e5, "queries per second to one name server")
    overall_s: float = _setting(50, 0.01, 1e5, "queries per second in all")
    max_derived: int = _setting(40, 0, 1000, "names followed for one listed name (NS, aliases)")

    def __post_init__(self) -> None:
        errors = [
            f"{one.name} is from {one.metadata['low']:g} to {one.metadata['high']:g}, not {value:g}"
            for one in fields(self)
            if not one.metadata["low"] <= (value := getattr(self, one.name)) <= one.metadata["high"]
        ]
        if errors:
            raise ValueError("; ".join(errors))
