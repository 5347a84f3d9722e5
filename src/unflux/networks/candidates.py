"""Which pairs of nodes share addresses: a bounded number of them, found by sorting.

An address on n nodes makes n (n - 1) / 2 pairs. Here each node meets only the few that follow it
in a fixed shuffled order, for each of its addresses: members of one pool meet their neighbours in
that order again and again, and the pairs stay linear in the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

FOLLOWERS = 3
"""Nodes met after each node, for each address and order."""
ORDERS = 2
"""Shuffled orders."""
MIN_MEETINGS = 2
"""Pairs that met once are left out: one common address says nothing."""
CHUNK = 1 << 22
"""Incidences compared at a time: bounds the memory."""


@dataclass(frozen=True, slots=True)
class Incidence:
    """Which node has which address, each pair once, sorted by node and address."""

    node: I64
    code: I64
    weight: I64
    """How often: fresh answers of the node that held the address, at least 1."""
    n_nodes: int

    @classmethod
    def of(cls, node: I64, code: I64, weight: I64, n_nodes: int) -> Incidence:
        """From rows in any order; rows of one pair are summed."""
        if not len(node):
            empty = np.zeros(0, np.int64)
            return cls(empty, empty, empty, n_nodes)
        width = int(code.max()) + 1
        key = node.astype(np.int64) * width + code
        order = np.argsort(key, kind="stable")
        key = key[order]
        starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        total = np.add.reduceat(weight[order].astype(np.int64), starts)
        unique = key[starts]
        return cls(unique // width, unique % width, np.maximum(total, 1), n_nodes)

    @property
    def value(self) -> F64:
        """What each row says for its node: its weight by ln(1 + nodes / nodes with the address).

        The inverse document frequency of text search: an address on half of all nodes counts for
        a twelfth of one that two of a million have.
        """
        if not len(self.code):
            return np.zeros(0)
        degree = np.bincount(self.code)
        return np.asarray(self.weight * np.log1p(self.n_nodes / np.maximum(degree, 1))[self.code])

    @property
    def sizes(self) -> I64:
        """Distinct addresses of each node."""
        return np.bincount(self.node, minlength=self.n_nodes)

    def renamed(self, group: I64, n_groups: int) -> Incidence:
        """The incidence of groups: `group` is that of each node, -1 for none."""
        mine = group[self.node] >= 0
        return Incidence.of(group[self.node][mine], self.code[mine], self.weight[mine], n_groups)

    def without(self, codes: I64) -> Incidence:
        """Without some addresses (hubs)."""
        keep = ~np.isin(self.code, codes)
        return Incidence(self.node[keep], self.code[keep], self.weight[keep], self.n_nodes)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of nodes (a < b) and what they have in common."""

    a: I64
    b: I64
    common: I64
    """Distinct addresses that both have."""
    value_a: F64
    """Sum of `Incidence.value` of a's rows with a common address."""
    value_b: F64

    def __len__(self) -> int:
        return len(self.a)


def pairs_of(incidence: Incidence, seed: int = 1) -> Pairs:
    """Pairs that met at least `MIN_MEETINGS` times, with exact counts."""
    keys = _meetings(incidence, seed)
    a, b = keys // incidence.n_nodes, keys % incidence.n_nodes
    return _count_common(incidence, a, b)


def _meetings(incidence: Incidence, seed: int) -> I64:
    """Keys a * n_nodes + b of pairs that met often enough."""
    n = incidence.n_nodes
    found = []
    generator = np.random.default_rng(seed)
    for _ in range(ORDERS):
        place = generator.permutation(n).astype(np.int64)
        order = np.argsort(incidence.code * n + place[incidence.node], kind="stable")
        node, code = incidence.node[order], incidence.code[order]
        for step in range(1, FOLLOWERS + 1):
            one, other = node[:-step], node[step:]
            same = code[:-step] == code[step:]
            low, high = np.minimum(one, other)[same], np.maximum(one, other)[same]
            found.append(low * n + high)
    keys = np.concatenate(found) if found else np.zeros(0, np.int64)
    keys.sort()
    if not len(keys):
        return keys
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    counts = np.diff(np.concatenate([starts, [len(keys)]]))
    return keys[starts[counts >= MIN_MEETINGS]]


def _count_common(incidence: Incidence, a: I64, b: I64) -> Pairs:
    """Look each address of the smaller node up in the larger one."""
    sizes = incidence.sizes
    starts = np.concatenate([[0], np.cumsum(sizes)])
    width = int(incidence.code.max()) + 1 if len(incidence.code) else 1
    keys = incidence.node * width + incidence.code
    common, value = np.zeros(len(a), np.int64), incidence.value
    value_a, value_b = np.zeros(len(a)), np.zeros(len(a))
    swap = sizes[b] < sizes[a]
    small, large = np.where(swap, b, a), np.where(swap, a, b)
    ends = np.cumsum(sizes[small])
    begin = 0
    while begin < len(a):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        part = slice(begin, end)
        counts = sizes[small[part]]
        owner = np.repeat(np.arange(begin, end), counts)
        first = np.cumsum(counts) - counts
        row = (
            np.arange(len(owner))
            - np.repeat(first, counts)
            + np.repeat(starts[small[part]], counts)
        )
        wanted = large[owner] * width + incidence.code[row]
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hit = keys[at] == wanted
        owner, row, at = owner[hit], row[hit], at[hit]
        common[part] = np.bincount(owner - begin, minlength=end - begin)
        mine = np.bincount(owner - begin, value[row], end - begin)
        theirs = np.bincount(owner - begin, value[at], end - begin)
        value_a[part] = np.where(swap[part], theirs, mine)
        value_b[part] = np.where(swap[part], mine, theirs)
        begin = end
    return Pairs(a, b, common, value_a, value_b)
