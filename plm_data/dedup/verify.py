"""The optional check of a pair before it counts: the exact Jaccard similarity of its sets of shingle hashes.

Documents that share a band by chance, or a chain of them, are no cluster if each link must be similar in fact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numba import njit

from plm_data.store import temporary_name
from plm_data.text.hashing import partitions_of

# In a run of more documents than this that share a band, each is compared with the first ones that were not similar
# to an earlier one, so that boilerplate that a million documents share costs no million squared.
_ALL_PAIRS = 64
_HELD_SETS = 4096

KeepShingles = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


@contextmanager
def shingle_writer(out: Path, partition: int, wanted: bool) -> Iterator[KeepShingles]:
    """Keeps the sets of a partition's documents: flat sorted uint32, and ``[n, 3]`` node, start and stop by node."""
    if not wanted:
        yield lambda nodes, hashes, offsets: None
        return
    index: list[np.ndarray] = []
    flat = out / f"shingles-{partition:05d}.u32"
    temporary = temporary_name(flat)
    with temporary.open("wb") as file:
        written = 0

        def keep(nodes: np.ndarray, hashes: np.ndarray, offsets: np.ndarray) -> None:
            nonlocal written
            sets, bounds = _sets(hashes, offsets)
            sets.tofile(file)
            starts = written + bounds
            index.append(np.stack([nodes, starts[:-1].astype(np.uint64), starts[1:].astype(np.uint64)], axis=1))
            written += len(sets)

        yield keep
    rows = np.concatenate(index) if index else np.empty((0, 3), np.uint64)
    np.save(out / f"shingles-{partition:05d}.npy", rows[np.argsort(rows[:, 0])])
    temporary.rename(flat)


@njit(cache=True, nogil=True)
def _sets(hashes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each document's hashes sorted and once each, flat, and their bounds."""
    out = np.empty(len(hashes), np.uint32)
    bounds = np.zeros(len(offsets), np.int64)
    n = 0
    for d in range(len(offsets) - 1):
        ordered = np.sort(hashes[offsets[d] : offsets[d + 1]])
        for i in range(len(ordered)):
            if i == 0 or ordered[i] != ordered[i - 1]:
                out[n] = ordered[i]
                n += 1
        bounds[d + 1] = n
    return out[:n], bounds


class _Sets:
    """Reads a document's set from the partition's file, holding the last few thousand."""

    def __init__(self, folders: Sequence[Path]):
        self._folders = folders
        self._pieces = len(list(folders[0].glob("shingles-*.npy"))) if folders else 0
        self._indexes: dict[tuple[Path, int], np.ndarray] = {}
        self._held: dict[int, np.ndarray] = {}

    def __getitem__(self, node: np.uint64) -> np.ndarray:
        key = int(node)
        if key not in self._held:
            if len(self._held) >= _HELD_SETS:
                self._held.clear()
            self._held[key] = self._read(node)
        return self._held[key]

    def _read(self, node: np.uint64) -> np.ndarray:
        piece = int(partitions_of(np.array([node]), self._pieces)[0])
        for folder in self._folders:
            index = self._indexes.get((folder, piece))
            if index is None:
                index = np.load(folder / f"shingles-{piece:05d}.npy", mmap_mode="r")
                self._indexes[folder, piece] = index
            at = int(np.searchsorted(index[:, 0], node))
            if at < len(index) and index[at, 0] == node:
                start, stop = int(index[at, 1]), int(index[at, 2])
                return np.fromfile(folder / f"shingles-{piece:05d}.u32", np.uint32, stop - start, offset=4 * start)
        raise KeyError(f"no shingles of the document {int(node):016x}")


@njit(cache=True, nogil=True)
def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Of two sets, as sorted arrays: the share of all their members that both have; 0 if both are empty."""
    i = j = both = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            both, i, j = both + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    union = len(a) + len(b) - both
    return both / union if union else 0.0


def verified_pairs(key: np.ndarray, node: np.ndarray, folders: Sequence[Path], min_jaccard: float) -> np.ndarray:
    """The pairs of documents with an equal key whose sets are similar enough, uint64 ``[m, 2]``.

    ``key, node``: uint64, sorted by key, then node.
    """
    sets = _Sets(folders)
    known: dict[tuple[int, int], bool] = {}
    edges: list[tuple[int, int]] = []

    def similar(a: int, b: int) -> bool:
        if (a, b) not in known:
            known[a, b] = jaccard(sets[np.uint64(a)], sets[np.uint64(b)]) >= min_jaccard
            if known[a, b]:
                edges.append((b, a))
        return known[a, b]

    starts = np.flatnonzero(np.diff(key, prepend=~key[:1]) != 0)
    stops = np.append(starts[1:], len(key))
    for start, stop in zip(starts[stops - starts > 1], stops[stops - starts > 1], strict=True):
        compared: list[int] = []
        for member in node[start:stop].tolist():
            alike = [similar(earlier, member) for earlier in compared]
            if stop - start <= _ALL_PAIRS or (not any(alike) and len(compared) < _ALL_PAIRS):
                compared.append(member)
    return np.array(edges, dtype=np.uint64).reshape(-1, 2)
