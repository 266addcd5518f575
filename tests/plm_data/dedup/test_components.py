"""Connected components: networkx's, in memory and over buckets on disk, and nothing left behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plm_data.dedup.components import MEMORY_EDGES, components, forest

# Nodes are hashes: some are small, some differ in their last bits alone, some need all 64.
NODES = [0, 1, 2, 3, 2**32, 2**32 + 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1, *range(100, 110)]
EDGES = st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), max_size=40)


def array(edges: Iterable[tuple[int, int]]) -> np.ndarray:
    return np.array(list(edges), dtype=np.uint64).reshape(-1, 2)


def by_networkx(edges: list[tuple[int, int]]) -> dict[int, int]:
    """Each node but the smallest of its component → that one."""
    groups = networkx.connected_components(networkx.Graph(edges))
    return {node: min(group) for group in groups for node in group if node != min(group)}


def by_components(edges: list[tuple[int, int]], memory_edges: int, parts: int) -> tuple[dict[int, int], list[int]]:
    """Node → root, and the sizes of the pieces that the answer came in; nothing may be left in the folder."""
    size = -(-len(edges) // parts) or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        folder.mkdir()
        pieces = [array(edges[i : i + size]) for i in range(0, len(edges), size)]
        found = list(components(iter(pieces), folder, memory_edges))
        assert list(folder.iterdir()) == []
    rows = [tuple(row) for piece in found for row in piece.tolist()]
    assert len(rows) == len(set(rows)) == len(dict(rows))
    return dict(rows), [len(piece) for piece in found]


@settings(max_examples=150)
@given(EDGES, st.sampled_from([1, 2, 3, 5, 9, MEMORY_EDGES]), st.integers(1, 5))
@example([(1, 2)] * 30, 2, 3)
@example([(5, 5)] * 10, 2, 3)
@example([], 2, 1)
def test_components_are_those_of_the_graph(edges: list[tuple[int, int]], memory_edges: int, parts: int) -> None:
    assert by_components(edges, memory_edges, parts)[0] == by_networkx(edges)


@given(EDGES)
def test_a_forest_is_sorted_stars_and_of_a_forest_itself(edges: list[tuple[int, int]]) -> None:
    found = forest(array(edges))
    assert dict(found.tolist()) == by_networkx(edges)
    assert found[:, 0].tolist() == sorted({node for node in found[:, 0].tolist()})
    assert np.array_equal(forest(found), found)


def path(n: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(n)]


def star(n: int) -> list[tuple[int, int]]:
    return [(n, i) for i in range(n)]


def comb(n: int) -> list[tuple[int, int]]:
    return path(n) + [(i, 10_000 + 10 * i + k) for i in range(0, n, 20) for k in range(5)]


@pytest.mark.parametrize("shape", [path, star, comb], ids=["path", "star", "comb"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_long_and_wide_components_on_disk(shape, shuffled: bool) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(4)
    edges = shape(400)
    if shuffled:
        # Neighbours in the graph are far apart as numbers, and edges come in any order and direction.
        names = rng.integers(0, 2**63, 20_000)
        edges = [(int(names[a]), int(names[b])) for a, b in rng.permutation([e[:: rng.choice([-1, 1])] for e in edges])]
    found, sizes = by_components(edges, memory_edges=60, parts=9)
    assert found == by_networkx(edges)
    assert found == by_components(edges, MEMORY_EDGES, parts=1)[0]
    assert len(sizes) > 3 and max(sizes) <= 120


def test_edges_that_become_few_stay_in_memory(tmp_path: Path) -> None:
    """Many repeated edges are contracted as they come and never see the disk."""
    parts = (array(path(10)) for _ in range(50))
    assert len(list(components(parts, tmp_path / "none", memory_edges=40))) == 1
    assert not (tmp_path / "none").exists()
