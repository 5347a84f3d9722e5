"""How many addresses a network has at a time: an estimate with an interval, or why there is none.

An answer of any of its names is a sample of the live list, drawn without replacement: the incidence
estimator Chao2 (Chao 1987; bias-corrected form of Chao 2005). It is published under conditions only
(`CONDITIONS`); under unequal chances it is a lower bound; what joins during the window is counted
in, so the window is at most a quarter of the time that an address stays. It counts addresses,
never machines: leases change, and one address may hide many hosts.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from unflux.features.chao import CONDITIONS, pool_size
from unflux.networks.answers import HOUR_MINUTES, Answers

I64 = npt.NDArray[np.int64]
WINDOWS_H = (1, 2, 3, 6, 12, 24, 48, 96, 168)
MIN_RETURNING = 15
"""Addresses that were seen twice, before anything is said about how long they stay."""


class Estimate(msgspec.Struct, frozen=True):
    """Addresses in use within one window."""

    from_s: int
    to_s: int
    observed: int
    n_answers: int
    coverage: float
    """Share of the live list that was seen, by slots (Good-Turing), 0…1."""
    estimate: float | None
    """Chao2; None where the conditions do not hold."""
    low: float | None
    high: float | None


class Size(msgspec.Struct, frozen=True):
    """The size of a network: addresses at a time, never bots."""

    estimate: float | None
    low: float | None
    high: float | None
    window_h: float | None
    method: str
    unit: str
    note: str
    """What the number stands for, and in which direction it may be wrong."""
    stay_h: float | None
    """About how long an address stays in the answers; None: no end was seen."""
    observed: int
    """Distinct addresses in all answers together."""
    series: list[Estimate]
    """One window after the other."""


def of_window(answers: Answers, from_minute: int, to_minute: int) -> Estimate:
    """The estimate for the answers of a window."""
    part = answers.between(from_minute, to_minute)
    _, counts = np.unique(part.code, return_counts=True)
    found = pool_size(counts.tolist(), part.n)
    values: tuple[float | None, float | None, float | None] = (None, None, None)
    if found.chao is not None:
        estimate, low, high = (round(value, 1) for value in found.chao)
        values = (estimate, low, high)
    span = (from_minute * 60, to_minute * 60)
    return Estimate(*span, found.observed, part.n, round(found.coverage, 4), *values)


def stay_h(answers: Answers) -> float | None:
    """About how many hours an address stays in the answers; None: as far as was seen, all stay.

    Of n answers at random times of a stay of length L, the first and the last are L (n - 1) /
    (n + 1) apart on average. What that gives for the whole time watched is compared with what was
    seen; addresses that rest and come back make it longer than one stay is.
    """
    if not answers.n:
        return None
    codes, inverse = np.unique(answers.code, return_inverse=True)
    minute = answers.minute[answers.answer]
    first, last = np.full(len(codes), np.iinfo(np.int64).max), np.zeros(len(codes), np.int64)
    np.minimum.at(first, inverse, minute)
    np.maximum.at(last, inverse, minute)
    counts = np.bincount(inverse)
    back = counts >= 2
    span = int(answers.minute[-1] - answers.minute[0])
    if back.sum() < MIN_RETURNING or span < HOUR_MINUTES:
        return None
    n = counts[back].astype(float)
    ratio = float((last - first)[back].sum() / ((n - 1) / (n + 1) * span).sum())
    # The ratio of a pool that stays is 1 with a standard error of at most 0.71 / sqrt(m).
    if ratio > 0.9 - 1.3 / math.sqrt(back.sum()):
        return None
    return round(ratio * span / HOUR_MINUTES, 2)


def size_of(answers: Answers) -> Size:
    """The size now: the last whole window in which the conditions hold."""
    observed = len(np.unique(answers.code))
    method, unit = "chao2", "addresses"
    if not answers.n:
        note = "no single answers are known (passive DNS): only what was observed is counted"
        return Size(None, None, None, None, "observed", unit, note, None, observed, [])
    stay = stay_h(answers)
    for window_h in _windows(answers, stay):
        series = _series(answers, window_h)
        good = [one for one in series if one.estimate is not None]
        if good:
            last = good[-1]
            note = _note(stay, window_h)
            return Size(
                last.estimate, last.low, last.high, window_h, method, unit, note, stay, observed,
                series,
            )  # fmt: skip
    note = f"too few answers for an estimate: it needs {CONDITIONS}"
    return Size(None, None, None, None, "observed", unit, note, stay, observed, series)


def _windows(answers: Answers, stay: float | None) -> list[float]:
    """Windows to try: up to a quarter of the stay, longest first; then longer ones."""
    span_h = max(1.0, math.ceil((answers.minute[-1] - answers.minute[0] + 1) / HOUR_MINUTES))
    possible = [float(one) for one in WINDOWS_H if one < span_h] + [span_h]
    if stay is None:
        return possible[::-1]
    short = [one for one in possible if one <= stay / 4] or possible[:1]
    return short[::-1] + [one for one in possible if one > short[-1]]


def _series(answers: Answers, window_h: float) -> list[Estimate]:
    """Windows that end at the last answer, in order of time; a first piece is left out."""
    width = int(window_h * HOUR_MINUTES)
    end, start = int(answers.minute[-1]) + 1, int(answers.minute[0])
    n = max(1, (end - start) // width)
    return [of_window(answers, end - width * (place + 1), end - width * place)
            for place in range(n)][::-1]  # fmt: skip


def _note(stay: float | None, window_h: float) -> str:
    lower = "a lower bound where some addresses are given out more often than others"
    if stay is None:
        return f"addresses in use over the whole time; none were seen to leave for good; {lower}"
    if window_h <= max(stay / 4, 1):
        return f"addresses in use within {window_h:g} h; {lower}"
    return (
        f"addresses in use within {window_h:g} h, longer than a quarter of their stay: those that "
        "joined meanwhile are counted in, so at any one time there are fewer"
    )
