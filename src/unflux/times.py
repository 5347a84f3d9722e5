"""Times and durations as people, files and tables write them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

YEAR_10000_S = 253_402_300_800
DAY_US = 86_400_000_000
UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
SHOWN = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def iso(time_us: int | None) -> str | None:
    """Microseconds since the epoch as ISO 8601 in UTC, as all JSON of unflux has it."""
    if time_us is None:
        return None
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_us % 1_000_000:06}Z"


def iso_of_s(time_s: float | None) -> str | None:
    """`iso` of seconds since the epoch."""
    return None if time_s is None else iso(round(time_s * 1_000_000))


def us_of(moment: datetime) -> int:
    """Microseconds since the epoch of a time of a table or a file; without a zone it is UTC."""
    at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond


def us_of_iso(text: str) -> int:
    """Microseconds since the epoch of ISO 8601; without a zone it is UTC.

    Raises
    ------
    ValueError
        When the text is no such time.
    """
    return us_of(datetime.fromisoformat(text))


def parse_us(text: str, now: datetime) -> int:
    """Microseconds since the epoch of ``2026-01-31T12:00``, ``1769860800`` or ``-1d``.

    Times without a zone are UTC.

    Raises
    ------
    ValueError
        When the text is no time.
    """
    if text.startswith("-") and DURATION.fullmatch(text[1:]):
        seconds = now.timestamp() - duration_s(text[1:])
    elif re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    else:
        try:
            seconds = us_of_iso(text) / 1_000_000
        except ValueError:
            raise ValueError(
                f"{text!r} is no time; write 2026-01-31T12:00, seconds since 1970, or -1d"
            ) from None
    if not 0 <= seconds < YEAR_10000_S:
        raise ValueError(f"{text!r} is no time between the years 1970 and 9999")
    return round(seconds * 1_000_000)


def duration_s(text: str) -> float:
    """Seconds of ``500ms``, ``90s``, ``10m``, ``3h``, ``7d`` or ``2w``.

    Raises
    ------
    ValueError
        When the text is no duration of more than nothing.
    """
    found = DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * UNITS_S[found[2]] if found else 0.0
    if not 0 < seconds < YEAR_10000_S:
        raise ValueError(f"{text!r} is no duration; write 90s, 10m, 3h or 7d")
    return seconds


def duration_text(seconds: float) -> str:
    """A duration in its largest fitting unit, for people.

    >>> duration_text(42), duration_text(5400), duration_text(200_000)
    ('42 s', '1.5 h', '2.31 d')
    """
    size, unit = next((one for one in SHOWN if seconds >= one[0]), SHOWN[-1])
    n = seconds / size
    return f"{n:.3g} {unit}" if n < 1000 else f"{n:.0f} {unit}"
