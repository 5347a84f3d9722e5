"""Times on the command line: absolute, epoch, or relative to now."""

from __future__ import annotations

import re
from datetime import UTC, datetime

YEAR_10000_S = 253_402_300_800
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_us(text: str, now: datetime) -> int:
    """Microseconds since the epoch of ``2026-01-31T12:00``, ``1769860800`` or ``-1d``.

    Times without a zone are UTC.

    Raises
    ------
    ValueError
        When the text is no time.
    """
    relative = re.fullmatch(r"-(\d+(?:\.\d+)?)([smhdw])", text)
    if relative:
        seconds = now.timestamp() - float(relative[1]) * UNITS_S[relative[2]]
    elif re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is no time; write 2026-01-31T12:00, seconds since 1970, or -1d"
            ) from None
        seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    if not 0 <= seconds < YEAR_10000_S:
        raise ValueError(f"{text!r} is no time between the years 1970 and 9999")
    return round(seconds * 1_000_000)


def duration_s(text: str) -> int:
    """Seconds of ``10m``, ``3h``, ``24h`` or ``7d``.

    Raises
    ------
    ValueError
        When the text is no duration of at least a second.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    seconds = float(found[1]) * UNITS_S[found[2]] if found else 0.0
    if not 1 <= seconds < YEAR_10000_S:
        raise ValueError(f"{text!r} is no duration; write 10m, 3h, 24h or 7d")
    return int(seconds)
