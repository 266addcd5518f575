"""The Jaccard check: a pair counts just if it is similar enough, so a chain of chances is no cluster."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.dedup import verify
from plm_data.dedup.components import forest
from plm_data.dedup.verify import jaccard, shingle_writer, verified_pairs
from plm_data.text.hashing import partition_of
from tests.plm_data.dedup.near_steps import members, near_clusters

SETS = st.lists(st.frozensets(st.integers(0, 12), max_size=8), min_size=1, max_size=12)


def node(i: int) -> int:
    """The node of the i-th document; they are spread over the pieces."""
    return (i << 32) + 7 * i + 1


def write_sets(folder: Path, sets: list[frozenset[int]], pieces: int) -> None:
    """The sets as ``Sign`` keeps them: each in the piece of its node, its shingles in any order and repeated."""
    # An example that was given up in its middle leaves its files behind.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for piece in range(pieces):
        mine = [i for i in range(len(sets)) if partition_of(f"{node(i):016x}", pieces) == piece]
        with shingle_writer(folder, piece, wanted=True) as keep:
            # Two slices, and the later nodes first.
            for part in (mine[::-1][::2], mine[::-1][1::2]):
                flat = [shingle for i in part for shingle in [*sets[i], *sorted(sets[i])[:1]]]
                counts = [len(sets[i]) + bool(sets[i]) for i in part]
                offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
                keep(np.array([node(i) for i in part], np.uint64), np.array(flat, np.uint32), offsets)


def similar(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


@given(SETS)
def test_jaccard_is_that_of_the_sets(sets: list[frozenset[int]]) -> None:
    for a, b in itertools.product(sets[:3], sets):
        arrays = (np.array(sorted(each), np.uint32) for each in (a, b))
        assert jaccard(*arrays) == similar(a, b)


@settings(max_examples=60)
@given(SETS, st.data(), st.integers(1, 4), st.sampled_from([0.25, 0.5, 2 / 3, 1.0]))
def test_of_documents_with_one_key_just_the_similar_pairs_count(
    sets: list[frozenset[int]], data: st.DataObject, pieces: int, least: float
) -> None:
    rows = sorted(
        (key, node(i))
        for key in range(3)
        for i in data.draw(st.sets(st.integers(0, len(sets) - 1)), label=f"documents of key {key}")
    )
    keys, nodes = (np.array([row[column] for row in rows], np.uint64) for column in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        write_sets(Path(folder), sets, pieces)
        found = verified_pairs(keys, nodes, [Path(folder)], least)
    index = {node(i): i for i in range(len(sets))}
    expected = {
        frozenset((a, b))
        for (key_a, a), (key_b, b) in itertools.combinations(rows, 2)
        if key_a == key_b and similar(sets[index[a]], sets[index[b]]) >= least
    }
    assert {frozenset(pair) for pair in found.tolist()} == expected
    assert len(found) == len(expected)


def test_in_a_long_run_every_document_is_joined_to_one_like_it_without_comparing_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three kinds of documents under one key: three components, from far fewer comparisons than pairs."""
    kinds = [frozenset(range(10 * kind, 10 * kind + 9)) for kind in range(3)]
    sets = [kinds[i % 3] | {1000 + i} for i in range(150)]
    write_sets(tmp_path, sets, 1)
    compared = 0

    def counting(a: np.ndarray, b: np.ndarray) -> float:
        nonlocal compared
        compared += 1
        return jaccard(a, b)

    monkeypatch.setattr(verify, "jaccard", counting)
    nodes = np.array([node(i) for i in range(150)], np.uint64)
    found = verified_pairs(np.zeros(150, np.uint64), nodes, [tmp_path], 0.8)
    roots = dict(forest(found).tolist())
    assert [roots.get(node(i), node(i)) for i in range(150)] == [node(i % 3) for i in range(150)]
    assert compared <= 3 * 150 < 150 * 149 / 2


def test_sets_beyond_those_held_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_HELD_SETS", 2)
    sets = [frozenset({1, 2, i % 2}) for i in range(8)]
    write_sets(tmp_path, sets, 3)
    nodes = np.array([node(i) for i in range(8)], np.uint64)
    found = verified_pairs(np.zeros(8, np.uint64), nodes, [tmp_path], 1.0)
    assert len(found) == 2 * 6  # each half is four equal sets: {1, 2, 0} and {1, 2}


def test_a_document_without_shingles_on_disk_is_named(tmp_path: Path) -> None:
    write_sets(tmp_path, [frozenset({1})], 1)
    nodes = np.array([node(0), 2**64 - 1], np.uint64)
    with pytest.raises(KeyError, match="ffffffffffffffff"):
        verified_pairs(np.zeros(2, np.uint64), nodes, [tmp_path], 0.5)


# Unigrams, one row a band: whatever shares any of 112 minima is matched before the check.
LOOSE = {"bands": 112, "rows": 1, "shingle_words": 1}


def text(*ranges: range) -> str:
    names = ["".join(chr(97 + int(d)) for d in f"{i:03d}") for group in ranges for i in group]
    return " ".join(names)


def test_a_chain_breaks_where_its_link_is_not_similar(tmp_path: Path) -> None:
    texts = {"a": text(range(0, 100)), "b": text(range(10, 110)), "c": text(range(60, 160))}
    # The Jaccard similarities: a-b 90/110, b-c 50/150, a-c 40/160.
    assert members(near_clusters(tmp_path / "loose", {"s": texts}, **LOOSE)) == {frozenset("abc")}
    assert members(near_clusters(tmp_path / "half", {"s": texts}, **LOOSE, min_jaccard=0.5)) == {frozenset("ab")}
    assert members(near_clusters(tmp_path / "third", {"s": texts}, **LOOSE, min_jaccard=1 / 3)) == {frozenset("abc")}
    assert members(near_clusters(tmp_path / "strict", {"s": texts}, **LOOSE, min_jaccard=0.9)) == set()


@pytest.mark.parametrize("least, together", [(0.8181, True), (90 / 110, True), (0.8182, False)])
@pytest.mark.parametrize("pieces", [1, 4])
def test_a_pair_just_above_and_just_below(tmp_path: Path, least: float, together: bool, pieces: int) -> None:
    sources = {"s": {"a": text(range(0, 100))}, "t": {"b": text(range(10, 110)), "far": text(range(300, 400))}}
    found = members(near_clusters(tmp_path, sources, pieces, **LOOSE, min_jaccard=least))
    assert found == ({frozenset("ab")} if together else set())


def test_the_check_reads_the_very_shingles_that_were_signed(tmp_path: Path) -> None:
    """Case, punctuation and digits do not count there either; an empty text is like nothing."""
    texts = {"a": "One, two 3 four five six", "b": "one TWO 44 four - five six", "dots": "...", "more": "!!"}
    assert members(near_clusters(tmp_path, {"s": texts}, min_jaccard=1.0)) == {frozenset("ab")}


def test_shingles_are_kept_only_where_they_are_wanted(tmp_path: Path) -> None:
    with shingle_writer(tmp_path, 0, wanted=False) as keep:
        keep(np.array([1], np.uint64), np.array([1], np.uint32), np.array([0, 1]))
    assert list(tmp_path.iterdir()) == []
