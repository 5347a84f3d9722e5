"""Networks over time: growth, churn, hours of the day, how often answers change."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unflux.networks.answers import HOUR_MINUTES, MINUTE_US, Answers
from unflux.networks.model import Growth

I64 = npt.NDArray[np.int64]
MAX_HOURS = 24 * 400
"""Longer histories are cut at their beginning."""


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


def rotation_s(answers: Answers) -> float | None:
    """Median seconds between one answer of a name and the next different one.

    No shorter than names were asked for, and than their TTL below a cache; None without any pair.
    """
    order = np.lexsort((answers.minute, answers.name))
    name, minute = answers.name[order], answers.minute[order]
    same = name[1:] == name[:-1]
    gaps = (minute[1:] - minute[:-1])[same]
    return float(np.median(gaps) * 60) if len(gaps) else None
