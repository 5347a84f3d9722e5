#!/usr/bin/env python3
"""Do the 95 % intervals of a network's size hold the truth, and where not, is the bias as stated?

`size_coverage.py [RUNS]` prints a Markdown table. A setting is a pool, the size of an answer and
how many there are, five minutes apart; each of `RUNS` runs (default 150) draws them anew. Set
against the truth is what is published: runs without a number (`unflux.networks.size.CONDITIONS`)
are left out and counted, and so are settings with fewer than `MIN_PUBLISHED` runs that have one.

- closed, uniform: every answer is a random sample of one fixed list. The interval must hold its
  length in at least 90 % of the runs of each setting.
- unequal chances: some addresses are given out more often (log-normal weights). Stated: a lower
  bound.
- churn: one of the list is replaced every so often, and the window is chosen as `unflux networks`
  does. Stated: those that join within the window are counted in, so the estimate lies between the
  list at a time and all that was on it within the window.
- long windows: the same with a window as long as all that was seen. Stated: too high.
- sliding: an answer starts where the one before ended (round robin): nothing is drawn twice before
  all were. Stated: too high until the list has gone round, right after that.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from unflux.networks import size
from unflux.networks.answers import Answers

STEP_MINUTES = 5
MIN_PUBLISHED = 20
SIZES = (60, 100, 300, 1_000, 3_000)
PER_ANSWER = (1, 3, 5, 10)
ANSWERS = (12, 24, 60, 144, 288)


@dataclass(frozen=True)
class Setting:
    """One kind of list, and how it is asked."""

    size: int
    k: int
    n_answers: int
    draw: Callable[[np.random.Generator, int], np.ndarray]
    """(generator, number of the answer) → addresses."""
    in_window: Callable[[float], float]
    """Addresses on the list within so many hours."""
    window_h: float | None = None
    """None: the window that `size_of` chooses."""


def answers_of(setting: Setting, rng: np.random.Generator) -> Answers:
    """One run."""
    codes = [setting.draw(rng, number) for number in range(setting.n_answers)]
    n = setting.n_answers
    return Answers(
        np.repeat(np.arange(n), [len(one) for one in codes]), np.concatenate(codes),
        np.arange(n, dtype=np.int64) * STEP_MINUTES, np.zeros(n, np.int64),
    )  # fmt: skip


def grid() -> Iterator[tuple[int, int, int]]:
    """Pools, answers and how many of these, the larger ones where they can say something."""
    for n, k, times in itertools.product(SIZES, PER_ANSWER, ANSWERS):
        if 0.3 * n <= k * times:
            yield n, k, times


def closed(n: int, k: int, times: int) -> Setting:
    """The list stays as it is."""
    return Setting(n, k, times, lambda rng, _: rng.choice(n, k, replace=False), lambda _: n, 0)


def unequal(n: int, k: int, times: int, sigma: float) -> Setting:
    """Log-normal weights, the same in all runs of a setting."""
    weights = np.random.default_rng(n + k).lognormal(0, sigma, n)
    weights /= weights.sum()
    return Setting(
        n, k, times, lambda rng, _: rng.choice(n, k, replace=False, p=weights), lambda _: n, 0
    )


def churning(n: int, k: int, times: int, stay_h: float, window_h: float | None = None) -> Setting:
    """First in, first out: an address stays for `stay_h`."""

    def draw(rng: np.random.Generator, number: int) -> np.ndarray:
        first = int(number * STEP_MINUTES / 60 / stay_h * n)
        return first + rng.choice(n, k, replace=False)

    return Setting(n, k, times, draw, lambda hours: n * (1 + hours / stay_h), window_h)


def sliding(n: int, k: int, times: int) -> Setting:
    """The list in its order, from where the last answer ended."""
    return Setting(
        n, k, times, lambda _, number: (number * k + np.arange(k)) % n, lambda _: n, 0
    )  # fmt: skip


@dataclass
class Outcome:
    """All runs of one setting."""

    published: int
    held: float
    """Share whose interval holds the length of the list at a time."""
    ratio: float
    """Mean estimate by that length."""
    between: float
    """Share whose interval reaches into [list at a time, list within the window]."""


def outcome_of(setting: Setting, runs: int) -> Outcome:
    """Play a setting."""
    held, between, ratios = 0, 0, []
    for seed in range(runs):
        answers = answers_of(setting, np.random.default_rng(seed))
        whole_h = setting.n_answers * STEP_MINUTES / 60
        if setting.window_h is None:
            found = size.size_of(answers)
            window_h = found.window_h or whole_h
        else:
            found = size.of_window(answers, 0, setting.n_answers * STEP_MINUTES)
            window_h = whole_h
        if found.estimate is None or found.low is None or found.high is None:
            continue
        low, high = found.low - 0.5, found.high + 0.5
        held += low <= setting.size <= high
        between += low <= setting.in_window(window_h) and high >= setting.size
        ratios.append(found.estimate / setting.size)
    n = len(ratios)
    if n < MIN_PUBLISHED:
        return Outcome(n, 0.0, 0.0, 0.0)
    return Outcome(n, held / n, float(np.mean(ratios)), between / n)


def row(what: str, settings: list[Setting], runs: int) -> None:
    """Play and print one kind."""
    every = [outcome_of(one, runs) for one in settings]
    told = [one for one in every if one.published >= MIN_PUBLISHED]
    published = sum(one.published for one in every)
    share = published / (runs * len(settings))
    if not told:
        print(f"| {what} | {len(settings)} | {share:.0%} | | | | |", flush=True)
        return
    print(
        f"| {what} | {len(settings)} | {share:.0%} "
        f"| {min(one.held for one in told):.0%} | {np.mean([one.held for one in told]):.0%} "
        f"| {min(one.between for one in told):.0%} "
        f"| {min(one.ratio for one in told):.2f} to {max(one.ratio for one in told):.2f} |",
        flush=True,
    )


def main() -> None:
    """All kinds."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    some = [(100, 5, 60), (300, 5, 144), (300, 10, 60), (1_000, 10, 144), (1_000, 10, 288)]
    print("| pool | settings | published | interval holds the list: worst setting | mean "
          "| holds list … window: worst | mean estimate / list |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- |")
    row("closed, uniform", [closed(*one) for one in grid()], runs)
    for sigma in (0.5, 1.0, 1.5):
        row(f"unequal chances, σ {sigma:g}", [unequal(*one, sigma) for one in some], runs)
    for stay_h in (96, 48, 24, 12):
        row(f"an address stays {stay_h} h", [churning(*one, stay_h) for one in some], runs)
    day = [one for one in some if one[2] >= 144]
    row("stays 6 h, window 12 to 24 h", [churning(*one, 6, 0) for one in day], runs)
    row("sliding (round robin)", [sliding(*one) for one in some], runs)


if __name__ == "__main__":
    main()
