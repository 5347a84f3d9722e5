"""Networks over time: growth, churn, hours of the day, how often answers change."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unflux.networks.answers import HOUR_MINUTES, MINUTE_US, Answers
from unflux.networks.model import Growth, Lifetime

I64 = npt.NDArray[np.int64]
HOUR_US = HOUR_MINUTES * MINUTE_US
MAX_HOURS = 24 * 400
"""Longer histories are cut at their beginning."""
LIFETIMES_H = (0, 1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 720, 1_440, 2_880, 5_760)
QUIET_H = (1.0, 12.0)
"""An address is gone when it was not seen for a quarter of the time watched, within these bounds:
people switch their machines off at night."""


def growth_of(rows: pa.Table) -> Growth:
    """Distinct addresses by hour, out of `address_rows`; passive DNS counts where it begins."""
    hour = rows.column("first_us").to_numpy() // (HOUR_MINUTES * MINUTE_US)
    code = rows.column("code").to_numpy().astype(np.int64)
    if not len(hour):
        return Growth(0, 0, [], [], [], None, None)
    start = max(int(hour.min()), int(hour.max()) - MAX_HOURS + 1)
    place = np.maximum(hour - start, 0)
    n = int(place.max()) + 1
    pairs = np.unique(np.stack([place, code], axis=1), axis=0)
    seen = np.bincount(pairs[:, 0], minlength=n)
    _, first = np.unique(pairs[:, 1], return_index=True)
    new = np.bincount(pairs[first, 0], minlength=n)
    churn = float(new[n // 2 :].mean()) if n >= 4 else None
    return Growth(
        start * 3600, n, seen.tolist(), new.tolist(), np.cumsum(new).tolist(),
        None if churn is None else round(churn, 2), _by_hour_of_day(seen, start),
    )  # fmt: skip


def _by_hour_of_day(seen: I64, start_hour: int) -> list[float] | None:
    if len(seen) < 24:
        return None
    of_day = (start_hour + np.arange(len(seen))) % 24
    sums = np.bincount(of_day, seen, 24) / np.maximum(np.bincount(of_day, minlength=24), 1)
    return [round(float(one), 1) for one in sums]


def lifetime_of(rows: pa.Table) -> Lifetime:
    """How long addresses are in use, out of `address_rows`."""
    code = rows.column("code").to_numpy().astype(np.int64)
    if not len(code):
        return Lifetime(0, 0, QUIET_H[0], None, [])
    _, place = np.unique(code, return_inverse=True)
    first = np.full(int(place.max()) + 1, np.iinfo(np.int64).max)
    last = np.zeros(len(first), np.int64)
    np.minimum.at(first, place, rows.column("first_us").to_numpy())
    np.maximum.at(last, place, rows.column("last_us").to_numpy())
    start, end = int(first.min()), int(last.max())
    quiet_h = float(np.clip((end - start) / HOUR_US / 4, *QUIET_H))
    begun = first > start + HOUR_US
    hours = (last - first)[begun] / HOUR_US
    gone = last[begun] < end - quiet_h * HOUR_US
    median_h, survival = _survival(hours, gone)
    return Lifetime(int(begun.sum()), int(gone.sum()), round(quiet_h, 2), median_h, survival)


def _survival(
    hours: npt.NDArray[np.float64], gone: npt.NDArray[np.bool_]
) -> tuple[float | None, list[tuple[float, float]]]:
    """Kaplan-Meier: the median, and the curve at `LIFETIMES_H`, as far as anybody was watched."""
    if not len(hours):
        return None, []
    order = np.lexsort((~gone, hours))  # of those at one moment, who leaves was still there
    hours, gone = hours[order], gone[order]
    left = np.arange(len(hours), 0, -1)
    share = np.cumprod(1 - gone / left)
    below = np.flatnonzero(share <= 0.5)
    median = round(float(hours[below[0]]), 2) if len(below) else None
    at = [one for one in LIFETIMES_H if one <= hours[-1]]
    place = np.searchsorted(hours, at, side="right") - 1
    curve = [
        (float(h), round(float(share[p]), 4) if p >= 0 else 1.0)
        for h, p in zip(at, place.tolist(), strict=True)
    ]
    return median, curve


def rotation_s(answers: Answers) -> float | None:
    """Median seconds between one answer of a name and the next different one.

    No shorter than names were asked for, and than their TTL below a cache; None without any pair.
    """
    order = np.lexsort((answers.minute, answers.name))
    name, minute = answers.name[order], answers.minute[order]
    same = name[1:] == name[:-1]
    gaps = (minute[1:] - minute[:-1])[same]
    return float(np.median(gaps) * 60) if len(gaps) else None
