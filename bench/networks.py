#!/usr/bin/env python3
"""Cluster a million names with ten million sightings: time, memory, and whether it is right.

`networks.py [NAMES] [SIGHTINGS]`: networks of 1 to 3,000 names (Zipf-like), each with a pool of 40
to 400 addresses, a fifth of them lent to others; every name has answers of ten out of a part of
its network's pool, and some plain addresses that thousands share. What is measured is from rows of
sightings (name, address, fresh answers) to clusters; B-cubed compares with the networks planted.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from unflux.evaluate.clusters import b_cubed
from unflux.networks import clusters
from unflux.networks.candidates import Incidence


def planted(n_names: int, n_rows: int, seed: int = 1) -> tuple[np.ndarray, ...]:
    """(name, address, answers, network of each name)."""
    rng = np.random.default_rng(seed)
    sizes = np.minimum((1 / rng.random(n_names) ** 0.9).astype(np.int64) + 1, 3_000)
    n_networks = int(np.searchsorted(np.cumsum(sizes), n_names)) + 1
    truth = np.repeat(np.arange(n_networks), sizes[:n_networks])[:n_names]
    pools = rng.integers(40, 400, n_networks)
    starts = np.cumsum(pools) - pools
    per_name = n_rows // n_names
    name = np.repeat(np.arange(n_names), per_name)
    network = truth[name]
    # Half of the pool is each name's own view of it (partitioning, FluXOR 2008).
    view = rng.random(n_names)[name]
    place = (view + rng.random(len(name)) / 2) % 1
    address = starts[network] + (place * pools[network]).astype(np.int64)
    lent = rng.random(len(name)) < 0.2
    borrowed = (address * 2_654_435_761) % (10 * n_networks)
    address = np.where(lent, starts[-1] + 3_000 + borrowed, address)
    shuffled = rng.permutation(len(name))
    return name[shuffled], address[shuffled], np.ones(len(name), np.int64), truth


def main() -> None:
    """Plant, cluster, print."""
    n_names = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    n_rows = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000
    name, address, weight, truth = planted(n_names, n_rows)
    started, cpu = time.monotonic(), time.process_time()
    incidence = Incidence.of(name, address, weight, n_names)
    read_s = time.monotonic() - started
    found = clusters.cluster(incidence)
    wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu
    score = b_cubed(found.group.tolist(), truth.tolist())
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("| names | sightings | networks | clusters | B-cubed F1 | wall s | CPU s | peak GiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {n_names:,} | {len(name):,} | {truth[-1] + 1:,} | {found.n_groups:,} | {score.f1:.3f} "
        f"| {wall_s:.0f} | {cpu_s:.0f} | {peak_gib:.1f} |"
    )
    print(f"incidence {read_s:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
