"""Connected components by union-find: memory is one integer a document, one band's keys at a time."""

from __future__ import annotations

import numpy as np
from numba import njit


class Components:
    """Documents ``0 … n-1``, joined pair by pair; a component's label is its smallest member."""

    def __init__(self, n: int):
        self._parent = np.arange(n, dtype=np.int64)

    def join_equal(self, keys: np.ndarray, members: np.ndarray) -> None:
        """Join all documents with the same key. ``keys``: uint64; ``members``: int64, the key's document."""
        order = np.lexsort((members, keys))
        _join_runs(self._parent, keys[order], members[order])

    def labels(self) -> np.ndarray:
        """int64 ``[n]``: the smallest member of each document's component, whatever the order of joining."""
        return _flatten(self._parent)


@njit(cache=True, nogil=True)
def _find(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def _join_runs(parent: np.ndarray, keys: np.ndarray, members: np.ndarray) -> None:
    for i in range(1, len(keys)):
        if keys[i] == keys[i - 1]:
            a, b = _find(parent, members[i - 1]), _find(parent, members[i])
            # The smaller root wins, so that the label of a component is its smallest member.
            if a < b:
                parent[b] = a
            elif b < a:
                parent[a] = b


@njit(cache=True, nogil=True)
def _flatten(parent: np.ndarray) -> np.ndarray:
    out = np.empty(len(parent), dtype=np.int64)
    for i in range(len(parent)):
        out[i] = _find(parent, i)
    return out
