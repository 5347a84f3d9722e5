"""Connected components of a graph of rows, in NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

ROUNDS = 64


def components(n: int, a: I64, b: I64) -> I64:
    """The smallest row that each of `n` rows is joined with, over any number of edges (a, b).

    Labels spread by one hop and by what the label's own row has become (pointer jumping), so a
    chain of n rows takes about log n rounds. Bound: `ROUNDS`.

    >>> components(5, np.array([4, 2]), np.array([2, 1])).tolist()
    [0, 1, 1, 3, 1]
    """
    label = np.arange(n)
    for _ in range(ROUNDS):
        before = label.copy()
        low = np.minimum(label[a], label[b])
        np.minimum.at(label, a, low)
        np.minimum.at(label, b, low)
        np.minimum.at(label, before[a], low)
        np.minimum.at(label, before[b], low)
        label = label[label]
        if np.array_equal(label, before):
            break
    return label
