"""Nodes that draw from one pool of addresses: Leiden on names, then the same-pool test on groups.

Leiden (Traag, Waltman, van Eck 2019) works on few neighbours per name, so it finds groups that are
pure but may be parts of a network. Groups have seen most of their pool, so the test of
`unflux.networks.overlap` is sharp there: groups that draw from one pool are put together, round
after round, until none is left.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unflux.errors import UnfluxError
from unflux.networks import overlap
from unflux.networks.candidates import Incidence, Pairs, pairs_of

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

MIN_UNIVERSE = 65_536
"""Addresses there are for chance to choose from, at least; more when more were seen. Far below the
truth (10^9 and up), because hosts that get infected are not spread evenly."""
LINK_P = 2e-6
"""Probability that chance alone links two given names: a few false links in a million pairs, which
communities do not notice. Two addresses in common of ten each are just enough."""
MERGE_P = 1e-4
"""Probability that chance alone puts any two groups of a whole run together (Bonferroni)."""
MIN_SHARE = 0.08
"""Two names that share less of their pools are not linked, however surely they share it."""
SAME_POOL_P = 0.01
"""Groups whose overlap is not less than this likely under one pool are put together."""
MIN_EXPECTED = 3.0
"""Common addresses that one pool would give, at least, before the test means anything."""
MERGE_SHARE = 0.5
"""Groups that share so much of both pools are one network, though their names see parts of it."""
SUBSET_SHARE = 0.8
"""A group of which so much lies in the pool of another belongs to it."""
SHARPNESS = 3
"""Power of a share that is the weight of a link: two networks that have a third of their hosts in
common hang together by a few per cent of what holds each of them."""
MIN_SPLIT = 8
"""Communities from this size on are looked into once more, by themselves: modularity of a large
graph puts small neighbours together (its resolution limit)."""
HUB_SHARE = 0.5
"""Addresses on more than this share of all nodes (and on `HUB_NODES`) say nothing about any."""
HUB_NODES = 200
MAX_ROUNDS = 8
INSTALL = "unflux networks needs graspologic-native: pip install 'unflux[networks]'"


@dataclass(frozen=True, slots=True)
class Clusters:
    """Groups of nodes, and how surely groups overlap that were not put together."""

    group: I64
    """Group of each node, numbered from 0; nodes without any address are alone."""
    n_groups: int


def cluster(incidence: Incidence, *, seed: int = 1) -> Clusters:
    """Groups of nodes that draw from the same pools.

    Parameters
    ----------
    incidence
        Which node (name) was answered which address, and in how many answers.
    seed
        Of the shuffles and of Leiden: the same input and seed give the same groups.

    Raises
    ------
    UnfluxError
        When graspologic-native is not installed.
    """
    incidence = incidence.without(_hubs(incidence))
    pairs = pairs_of(incidence, seed)
    universe = max(MIN_UNIVERSE, len(np.unique(incidence.code)))
    linked, weight = _links(incidence, pairs, universe)
    group = leiden(pairs.a[linked], pairs.b[linked], weight, incidence.n_nodes, seed)
    group = _looked_into(group, pairs.a[linked], pairs.b[linked], weight, seed)
    for _ in range(MAX_ROUNDS):
        n_groups = int(group.max()) + 1 if len(group) else 0
        merged = _merge(incidence.renamed(group, n_groups), universe, seed)
        if merged is None:
            break
        group = merged[group]
    return Clusters(group, int(group.max()) + 1 if len(group) else 0)


def _hubs(incidence: Incidence) -> I64:
    """Addresses that stand for nobody: parking, sinkholes, delivery networks."""
    degree = np.bincount(incidence.code) if len(incidence.code) else np.zeros(0, np.int64)
    return np.flatnonzero((degree > HUB_NODES) & (degree > HUB_SHARE * incidence.n_nodes))


def coverage(incidence: Incidence) -> F64:
    """Share of its pool that each node has seen, by slots (Good-Turing): 1 - f1 / n."""
    singles = np.bincount(incidence.node[incidence.weight == 1], minlength=incidence.n_nodes)
    slots = np.bincount(incidence.node, incidence.weight, incidence.n_nodes)
    return np.asarray(1 - singles / np.maximum(slots, 1))


def pool_size(incidence: Incidence) -> F64:
    """Chao1, bias corrected, of each node: a lower bound of its pool."""
    singles = np.bincount(incidence.node[incidence.weight == 1], minlength=incidence.n_nodes)
    twice = np.bincount(incidence.node[incidence.weight == 2], minlength=incidence.n_nodes)
    return np.asarray(incidence.sizes + singles * (singles - 1) / (2 * (twice + 1.0)))


def shares(incidence: Incidence, pairs: Pairs) -> tuple[F64, F64]:
    """Of a's pool, the share that is b's, and the other way round: corrected for what was seen."""
    seen = coverage(incidence)
    whole = np.bincount(incidence.node, incidence.value, incidence.n_nodes)
    of_a = overlap.corrected_share(pairs.value_a, whole[pairs.a], seen[pairs.b])
    of_b = overlap.corrected_share(pairs.value_b, whole[pairs.b], seen[pairs.a])
    return of_a, of_b


def _links(incidence: Incidence, pairs: Pairs, universe: int) -> tuple[I64, F64]:
    """Pairs that chance does not explain, and the strength of each in (0, 1]."""
    sizes = incidence.sizes
    by_chance = overlap.log_tail_above(pairs.common, universe, sizes[pairs.a], sizes[pairs.b])
    of_a, of_b = shares(incidence, pairs)
    strength = (of_a + of_b) / 2
    sure = by_chance < np.log(LINK_P)
    linked = np.flatnonzero((pairs.common >= 2) & sure & (strength >= MIN_SHARE))
    return linked, strength[linked] ** SHARPNESS


def leiden(a: I64, b: I64, weight: F64, n_nodes: int, seed: int) -> I64:
    """Communities by modularity, numbered from 0 in the order of their first nodes."""
    if not len(a):
        return np.arange(n_nodes)
    try:
        from graspologic_native import leiden_csr
    except ImportError:
        raise UnfluxError(INSTALL) from None
    row, column = np.concatenate([a, b]), np.concatenate([b, a])
    order = np.lexsort((column, row))
    data = np.concatenate([weight, weight])[order].astype(np.float64)
    counts = np.bincount(row, minlength=n_nodes)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    _, found = leiden_csr(indptr, column[order].astype(np.int32), data, n_nodes, seed=seed)
    group = np.fromiter((found.get(node, -1 - node) for node in range(n_nodes)), np.int64, n_nodes)
    return renumbered(group)


def _looked_into(group: I64, a: I64, b: I64, weight: F64, seed: int) -> I64:
    """The communities inside each community, found without the rest of the graph."""
    inside = np.flatnonzero((group[a] == group[b]) & (np.bincount(group)[group[a]] >= MIN_SPLIT))
    inside = inside[np.argsort(group[a[inside]], kind="stable")]
    owner = group[a[inside]]
    found = group.copy()
    next_free = int(group.max()) + 1 if len(group) else 0
    bounds = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1], [True]]))
    for begin, end in itertools.pairwise(bounds.tolist() if len(owner) else []):
        links = inside[begin:end]
        nodes, place = np.unique(np.concatenate([a[links], b[links]]), return_inverse=True)
        half = len(links)
        parts = leiden(place[:half], place[half:], weight[links], len(nodes), seed)
        found[nodes] = next_free + parts
        next_free += int(parts.max()) + 1
    return renumbered(found)


def renumbered(group: I64) -> I64:
    """The same groups, numbered from 0 in the order of their first nodes."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


def _merge(groups: Incidence, universe: int, seed: int) -> I64 | None:
    """New numbers of groups, those that draw from one pool together; None when all is done."""
    pairs = pairs_of(groups, seed)
    if not len(pairs):
        return None
    together = same_pool(groups, pairs, universe)
    if not together.any():
        return None
    return components(pairs.a[together], pairs.b[together], groups.n_nodes)


def same_pool(groups: Incidence, pairs: Pairs, universe: int) -> npt.NDArray[np.bool_]:
    """Which pairs of groups draw from one pool."""
    sizes = groups.sizes
    n_a, n_b = sizes[pairs.a], sizes[pairs.b]
    by_chance = overlap.log_tail_above(pairs.common, universe, n_a, n_b)
    pool = np.maximum(pool_size(groups)[pairs.a], pool_size(groups)[pairs.b])
    of_one_pool = overlap.log_tail_below(pairs.common, np.ceil(pool), n_a, n_b)
    expected = n_a * n_b / pool
    of_a, of_b = shares(groups, pairs)
    fits = (of_one_pool > np.log(SAME_POOL_P)) & (expected >= MIN_EXPECTED)
    large = ((of_a + of_b) / 2 >= MERGE_SHARE) | (np.maximum(of_a, of_b) >= SUBSET_SHARE)
    sure = (by_chance < np.log(MERGE_P / max(len(pairs), 1))) & (pairs.common >= 2)
    return np.asarray(sure & (fits | large))


def components(a: I64, b: I64, n_nodes: int) -> I64:
    """Connected components, numbered from 0 in the order of their first nodes."""
    label = np.arange(n_nodes)
    while True:
        low = np.minimum(label[a], label[b])
        before = label.copy()
        np.minimum.at(label, a, low)
        np.minimum.at(label, b, low)
        # Roots pass their own label on: the distance halves, so rounds are few.
        np.minimum.at(label, before[a], low)
        np.minimum.at(label, before[b], low)
        label = label[label]
        if (label == before).all():
            return renumbered(label)
