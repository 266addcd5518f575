"""Clusters: the same for any order, layout and number of buckets."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import networkx
import numpy as np
import polars as pl
import pytest

from plm_data.dedup import clusters
from plm_data.dedup.components import components
from plm_data.dedup.minhash import band_keys, has_words, signatures
from tests.plm_data.dedup.near_steps import members, near_clusters

BASE = "The old harbour lies quiet in the morning and the boats come in one by one with their nets full of fish " * 4
TEXTS = {
    "today": BASE + "today", "tonight": BASE + "tonight", "base": BASE, "BASE": BASE.upper().replace(" ", ", "),
    "alone": "Something else that nobody has written before at all", "dots": "...", "marks": "!!!", "empty": "",
    "short": "x y z", "short too": "x y z", "shorter": "x y",
}  # fmt: skip
EXPECTED = {frozenset({"today", "tonight", "base", "BASE"}), frozenset({"short", "short too"})}


def many(seed: int) -> dict[str, str]:
    """Sixty texts, of which some are near copies of others, in chains."""
    rng = np.random.default_rng(seed)
    words = ["".join(letters) for letters in rng.choice(list("abcdefgh"), size=(500, 5))]
    texts: list[list[str]] = []
    for i in range(60):
        text = list(rng.choice(words, 80)) if i % 3 == 0 else list(texts[int(rng.integers(len(texts)))])
        text[int(rng.integers(80))] = "changed"
        texts.append(text)
    return {f"t{i}": " ".join(text) for i, text in enumerate(texts)}


def by_networkx(texts: dict[str, str]) -> set[frozenset[str]]:
    names = list(texts)
    values = signatures(pl.Series(list(texts.values())), 112, 5)
    keys, wordy = band_keys(values, 14, 8), has_words(values)
    graph = networkx.Graph()
    for a in range(len(names)):
        graph.add_edges_from(
            (names[a], names[b]) for b in range(a) if wordy[a] and wordy[b] and (keys[:, a] == keys[:, b]).any()
        )
    return {frozenset(group) for group in networkx.connected_components(graph)}


def test_near_copies_are_one_cluster_and_texts_without_words_are_no_copies(tmp_path: Path) -> None:
    found = near_clusters(tmp_path, {"s": TEXTS})
    assert members(found) == EXPECTED
    assert all(found[name] == (name, 1) for name in ("alone", "dots", "marks", "empty", "shorter"))


@pytest.mark.parametrize("pieces", [1, 3, 7])
@pytest.mark.parametrize("keys_a_bucket", [2_000_000, 40])
def test_partitions_order_sources_and_buckets_change_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int, keys_a_bucket: int
) -> None:
    monkeypatch.setattr(clusters, "_KEYS_A_BUCKET", keys_a_bucket)
    texts = TEXTS | many(1)
    order = list(texts)
    random.Random(pieces).shuffle(order)
    one, other = ({name: texts[name] for name in order[part::2]} for part in (0, 1))
    found = near_clusters(tmp_path, {"s": one, "t": other, "nothing": {}}, pieces)
    assert members(found) == by_networkx(texts) and members(found) > EXPECTED
    assert found == near_clusters(tmp_path / "plain", {"s": texts}, 1)


def test_clusters_are_the_components_of_the_documents_that_share_a_band(tmp_path: Path) -> None:
    for seed in range(2, 5):
        texts = many(seed)
        groups = members(near_clusters(tmp_path / str(seed), {"s": texts}))
        assert groups == by_networkx(texts)
        assert max(len(group) for group in groups) > 3


def test_bands_and_rows_decide_how_near_is_near(tmp_path: Path) -> None:
    texts = many(6)
    loose, strict = (
        members(near_clusters(tmp_path / str(bands), {"s": texts}, bands=bands, rows=rows))
        for bands, rows in ((37, 3), (2, 56))
    )
    assert sum(map(len, loose)) > sum(map(len, strict)) > 0
    assert all(any(small <= large for large in loose) for small in strict)


def test_edges_that_do_not_fit_in_memory_give_the_same_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = many(7)
    expected = near_clusters(tmp_path / "memory", {"s": texts})
    monkeypatch.setattr(clusters, "components", functools.partial(components, memory_edges=8))
    monkeypatch.setattr(clusters, "_KEYS_A_BUCKET", 40)
    assert near_clusters(tmp_path / "disk", {"s": texts}) == expected
    assert not list((tmp_path / "disk").rglob("*.tmp"))


def test_no_documents_have_no_clusters(tmp_path: Path) -> None:
    assert near_clusters(tmp_path / "a", {"s": {}}) == {}
    assert near_clusters(tmp_path / "b", {"s": {"dots": "..."}}, min_jaccard=0.5) == {"dots": ("dots", 1)}
