#!/usr/bin/env python3
"""Clusters of names: are they right, and how long does a million names take?

`networks.py --suite DIR` (of `unflux lab synth`): B-cubed against the lab's truth.
`networks.py --planted [SEEDS]`: whole, partitioned, overlapping pools; hubs (`tests/planted.py`).
`networks.py [NAMES] [SIGHTINGS]`: speed. Networks of 1 to 3,000 names (Zipf-like), each with a pool
of 40 to 400 addresses, a fifth of them lent to others; every name has one answer of ten out of a
part of its network's pool. What is measured is from rows of sightings
(name, address, fresh answers) to clusters; B-cubed compares with the networks planted.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from unflux import detect, enrich, pipeline, sightings
from unflux.errors import UnfluxError
from unflux.evaluate.clusters import b_cubed
from unflux.networks import baseline, clusters
from unflux.networks.candidates import Incidence
from unflux.networks.layers import layers_of
from unflux.networks.membership import membership

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from planted import planted as planted_pools


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


def suite(directory: Path) -> None:
    """B-cubed of all flux names of a played scenario; names that were not placed are alone."""
    history = sightings.reduce([directory / "answers.parquet"])
    tables = enrich.load(directory / "asn.mmdb", directory / "country.mmdb")
    judged = pipeline.judge(history, tables, detect.by_id("unflux"))
    layers = layers_of(judged)
    member = membership(judged, layers)
    labels = json.loads((directory / "labels.json").read_text())["names"]
    flux = [name for name, label in labels.items() if label["flux"]]
    names = layers.members.column("name").to_pylist()
    place = {name.removesuffix("."): number for number, name in enumerate(names)}

    def score(group: np.ndarray, key: str, chosen: list[str]) -> str:
        found = [
            int(group[place[name]]) if name in place and group[place[name]] >= 0 else name
            for name in chosen
        ]
        truth = [labels[name].get(key, labels[name]["network"]) for name in chosen]
        return "{:.3f} ({:.3f}, {:.3f})".format(
            *(b_cubed(found, truth)[part] for part in (2, 0, 1))
        )

    ip = layers.ip
    rotating = [name for name in flux if name in place and ip.sizes[place[name]] > 0]
    placed = sum(name in place and member.network[place[name]] >= 0 for name in flux)
    print(
        "| set | flux names | placed | networks | F1 (precision, recall) "
        "| sub-networks, IP layer alone | baseline |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {directory.name} | {len(flux)} | {placed} | {len(set(member.network.tolist()) - {-1})} "
        f"| {score(member.network, 'network', flux)} "
        f"| {score(member.by_addresses, 'sub_network', rotating)} "
        f"| {score(baseline.perdisci(ip), 'network', flux)} |"
    )


def pools(n_seeds: int) -> None:
    """Means and worst F1 over seeds, ours and the baseline's."""
    print("| pools | runs | mean F1 | worst F1 | baseline, mean | baseline, best |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in ("whole", "partitioned", "overlapping", "hubs"):
        ours, theirs = [], []
        for seed in range(1_000, 1_000 + n_seeds):  # tuned on others
            incidence, truth = planted_pools(seed, kind)
            ours.append(b_cubed(clusters.cluster(incidence).group.tolist(), truth).f1)
            theirs.append(b_cubed(baseline.perdisci(incidence).tolist(), truth).f1)
        print(
            f"| {kind} | {n_seeds} | {statistics.mean(ours):.3f} | {min(ours):.3f} "
            f"| {statistics.mean(theirs):.3f} | {max(theirs):.3f} |"
        )


def counted(text: str) -> int:
    """A number above 0, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number above 0, not {text!r}")
    return int(text)


def main() -> None:
    """One of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", type=counted, nargs="?", default=1_000_000)
    parser.add_argument("sightings", type=counted, nargs="?", default=10_000_000)
    parser.add_argument("--suite", type=Path, metavar="DIR")
    parser.add_argument("--planted", type=counted, nargs="?", const=20, metavar="SEEDS")
    given = parser.parse_args()
    if given.suite is not None:
        try:
            suite(given.suite)
        except (OSError, UnfluxError) as error:
            parser.error(f"{given.suite} is no world of `unflux lab synth`: {error}")
    elif given.planted is not None:
        pools(given.planted)
    elif given.sightings < given.names:
        parser.error("a name has one sighting at least: more sightings, or fewer names")
    else:
        speed(given.names, given.sightings)


def speed(n_names: int, n_rows: int) -> None:
    """Plant, cluster, print."""
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
