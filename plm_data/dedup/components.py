"""Connected components of a graph of any size: in memory while its edges fit, over buckets on disk beyond that.

Nodes are uint64 and edges arrays ``[m, 2]``. A component is named by its smallest node, so the answer is the same for
any order of the edges, any layout of the files and either method.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numba import njit

# Edges held at a time: 16 bytes each, and some copies of them while they are sorted.
MEMORY_EDGES = 4_000_000

Edges = np.ndarray


def forest(edges: Edges) -> Edges:
    """The components of some edges as stars: each node but the smallest of its component, with that one; sorted."""
    if len(edges) == 0:
        return np.empty((0, 2), np.uint64)
    nodes, index = np.unique(edges, return_inverse=True)
    roots = _union(index.reshape(-1, 2).astype(np.int64), len(nodes))
    members = np.flatnonzero(roots != np.arange(len(nodes)))
    return np.stack([nodes[members], nodes[roots[members]]], axis=1)


@njit(cache=True, nogil=True)
def _find(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def _union(edges: np.ndarray, nodes: int) -> np.ndarray:
    """int64 ``[nodes]``: the smallest node of each node's component."""
    parent = np.arange(nodes)
    for e in range(len(edges)):
        a, b = _find(parent, edges[e, 0]), _find(parent, edges[e, 1])
        # The smaller root wins, so the root of a component is its smallest node.
        if a < b:
            parent[b] = a
        elif b < a:
            parent[a] = b
    for i in range(nodes):
        parent[i] = _find(parent, i)
    return parent


def components(parts: Iterable[Edges], folder: Path, memory_edges: int = MEMORY_EDGES) -> Iterator[Edges]:
    """The components as stars (as from ``forest``), piece by piece, no piece much over ``memory_edges``.

    Edges that do not fit are contracted on disk, in ``folder``, by alternating large and small stars (Kiveris et al.
    2014, "Connected Components in MapReduce and Beyond"): each round sends every edge to the bucket of one of its ends,
    so memory is a bucket; the largest star must fit in it.
    """
    held: list[Edges] = []
    size = 0
    spilled: _Buckets | None = None
    for part in parts:
        held.append(part)
        size += len(part)
        if size > memory_edges:
            held = [forest(np.concatenate(held))]
            size = len(held[0])
            if size > memory_edges // 2:
                spilled = spilled or _Buckets(folder / "edges-0.tmp")
                spilled.add(held[0])
                held, size = [], 0
    last = forest(np.concatenate(held)) if held else np.empty((0, 2), np.uint64)
    if spilled is None:
        yield last
        return
    spilled.add(last)
    yield from _contract(spilled, folder, memory_edges)


class _Buckets:
    """Edges on disk, by a hash of their first node."""

    def __init__(self, folder: Path, count: int = 256):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.count = folder, count
        self.edges = 0

    def add(self, edges: Edges) -> None:
        self.edges += len(edges)
        bucket = (edges[:, 0] * np.uint64(0x9E3779B97F4A7C15)) % np.uint64(self.count)
        order = np.argsort(bucket, kind="stable")
        bounds = np.searchsorted(bucket[order], np.arange(self.count + 1, dtype=np.uint64))
        for number in range(self.count):
            rows = edges[order[bounds[number] : bounds[number + 1]]]
            if len(rows):
                with (self.folder / f"{number:05d}").open("ab") as file:
                    rows.tofile(file)

    def read(self) -> Iterator[Edges]:
        """The edges of each bucket, each edge once, sorted by node, then neighbour."""
        for file in sorted(self.folder.iterdir()):
            yield _unique(np.fromfile(file, np.uint64).reshape(-1, 2))

    def remove(self) -> None:
        shutil.rmtree(self.folder)


def _unique(edges: Edges) -> Edges:
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    keep = np.ones(len(edges), bool)
    keep[1:] = (edges[1:] != edges[:-1]).any(axis=1)
    return edges[keep]


def _contract(edges: _Buckets, folder: Path, memory_edges: int) -> Iterator[Edges]:
    """Alternate the two contractions until a round changes nothing; then every node has one edge, to its root."""
    round_number, before = 0, None
    while True:
        # A node's neighbours must meet in its bucket, so enough buckets for the edges in both directions.
        count = max(1, -(-2 * edges.edges // memory_edges))
        both = _Buckets(folder / "both.tmp", count)
        for part in edges.read():
            both.add(part)
            both.add(part[:, ::-1])
        edges.remove()
        large = _Buckets(folder / "large.tmp", count)
        for part in both.read():
            large.add(_stars(part, larger=True))
        both.remove()
        round_number += 1
        edges = _Buckets(folder / f"edges-{round_number}.tmp", count)
        for part in large.read():
            edges.add(_stars(part, larger=False))
        large.remove()
        after = [_checksum(part) for part in edges.read()]
        if after == before:
            break
        before = after
    yield from edges.read()
    edges.remove()


def _checksum(edges: Edges) -> tuple[int, int]:
    mixed = (edges[:, 0] * np.uint64(0x9E3779B97F4A7C15)) ^ (edges[:, 1] * np.uint64(0xC2B2AE3D27D4EB4F))
    mixed ^= mixed >> np.uint64(31)
    return len(edges), int((mixed * np.uint64(0xFF51AFD7ED558CCD)).sum(dtype=np.uint64))


def _stars(edges: Edges, larger: bool) -> Edges:
    """For each node: its neighbours (larger ones, or all of these smaller than it and itself) joined to the least.

    ``edges`` sorted by node. With ``larger``: node and all its neighbours, in both directions. Without: edges from a
    larger node to a smaller one. The result's edges go from the larger node to the smaller.
    """
    node, neighbour = edges[:, 0], edges[:, 1]
    first = np.ones(len(edges), bool)
    first[1:] = node[1:] != node[:-1]
    starts = np.flatnonzero(first)
    sizes = np.diff(starts, append=len(edges))
    # Sorted, so a node's least neighbour comes first.
    least = np.minimum(neighbour[starts], node[starts])
    to = np.repeat(least, sizes)
    if larger:
        keep = neighbour > node
        out = np.stack([neighbour[keep], to[keep]], axis=1)
    else:
        own = np.stack([node[starts], least], axis=1)
        out = np.concatenate([np.stack([neighbour, to], axis=1), own])
    return out[out[:, 0] != out[:, 1]]
