"""Networks planted into rows of (name, address): whole pools, partitioned ones, overlapping ones."""

from __future__ import annotations

import numpy as np

from unflux.networks.candidates import Incidence

UNIVERSE = 2_000_000


def planted(seed: int, kind: str, n_networks: int = 20, k: int = 10) -> tuple[Incidence, list[int]]:
    """Networks of 2 to 59 names with pools of 40 to 400 addresses, few answers of `k` a name.

    `partitioned`: each name sees a stable 30 to 70 % of the pool (FluXOR 2008: 10-83 % overlap).
    `overlapping`: every second network and the one before have 10 to 40 % of the smaller pool in
    common, and all have some hosts of a stock that everybody infects.
    `hubs`: half of all names have a sinkhole, a parking or a delivery network's address in every
    third answer, of eight that there are.
    """
    rng = np.random.default_rng(seed)
    common = rng.choice(UNIVERSE, 2_000, replace=False)
    before = common
    hubs = np.arange(UNIVERSE, UNIVERSE + 8)
    nodes, codes, truth = [], [], []
    for network in range(n_networks):
        size = int(rng.integers(40, 400))
        pool = rng.choice(UNIVERSE, size, replace=False)
        if kind == "overlapping":
            n_lent = int(min(size, len(before)) * rng.uniform(0.1, 0.4))
            if network % 2:
                pool[:n_lent] = rng.choice(before, n_lent, replace=False)
            pool[-size // 20 :] = rng.choice(common, len(pool[-size // 20 :]), replace=False)
            before = pool
        for _ in range(int(rng.integers(2, 60))):
            view = pool
            if kind == "partitioned":
                view = rng.choice(pool, max(k, int(size * rng.uniform(0.3, 0.7))), replace=False)
            for _ in range(int(rng.integers(1, 12))):
                drawn = rng.choice(view, k, replace=False)
                if kind == "hubs" and len(truth) % 2 and rng.random() < 1 / 3:
                    drawn[: k // 4] = hubs[rng.choice(len(hubs), k // 4, replace=False)]
                codes.append(drawn)
                nodes.append(np.full(k, len(truth)))
            truth.append(network)
    node, code = np.concatenate(nodes), np.concatenate(codes)
    return Incidence.of(node, code, np.ones(len(node), np.int64), len(truth)), truth
