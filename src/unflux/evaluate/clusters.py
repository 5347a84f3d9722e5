"""How well clusters fit the networks there are: B-cubed (Bagga and Baldwin 1998)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class BCubed(NamedTuple):
    """Means over all items, 0…1: of an item's cluster, the share that is of its network
    (precision); of its network, the share that is in its cluster (recall)."""

    precision: float
    recall: float
    f1: float


def b_cubed(found: Sequence[Hashable], truth: Sequence[Hashable]) -> BCubed:
    """Compare two labellings of the same items.

    >>> b_cubed([1, 1, 2, 2], ["a", "a", "a", "b"]).precision
    0.75

    Raises
    ------
    ValueError
        When the two are of different length, or empty.
    """
    if len(found) != len(truth) or not found:
        raise ValueError("name a cluster and a network for each item, and at least one item")
    both = Counter(zip(found, truth, strict=True))
    clusters, networks = Counter(found), Counter(truth)
    n = len(found)
    precision = sum(count * count / clusters[cluster] for (cluster, _), count in both.items()) / n
    recall = sum(count * count / networks[network] for (_, network), count in both.items()) / n
    return BCubed(precision, recall, 2 * precision * recall / (precision + recall))
