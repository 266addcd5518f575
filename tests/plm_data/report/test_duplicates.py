"""Facts of duplicates, on a corpus whose duplicates are known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from plm_data.build import Build
from plm_data.report.duplicates import duplicate_facts
from tests.planted import Corpus, open_planted, plant, write_rows


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Corpus]:
    folder = tmp_path_factory.mktemp("planted")
    corpus = plant(5, 40, 12, 18)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_rows(folder / "one" / "rows.jsonl", {n: t for n, t in corpus.texts.items() if n[0] == "o"})
        write_rows(folder / "two" / "rows.jsonl", {n: t for n, t in corpus.texts.items() if n[0] != "o"})
        build = open_planted(folder, {"one": 2, "two": 1}, curate=", guardrails: {max_source_loss: 1.0}")
        build.shards("phase1")
    return build, corpus


@pytest.fixture(scope="module")
def found(planted: tuple[Build, Corpus]) -> dict[str, Any]:
    return duplicate_facts(planted[0], {"one": "one", "two": "two"})


def families(corpus: Corpus) -> Counter[str]:
    return Counter(corpus.family(name) for name in corpus.texts)


def test_copies_are_counted_by_kind_and_size(planted: tuple[Build, Corpus], found: dict[str, Any]) -> None:
    corpus = planted[1]
    assert (found["exact"], found["near"]) == (len(corpus.exact), len(corpus.near))
    sizes = Counter(size for size in families(corpus).values() if size > 1)
    assert found["clusters"] == sizes.total() and found["largest_cluster"] == max(sizes)
    for row in found["sizes"]["near"]:
        mine = {size: n for size, n in sizes.items() if row["size_from"] <= size <= row["size_to"]}
        assert row["clusters"] == sum(mine.values()) and row["documents"] == sum(s * n for s, n in mine.items())
    copies = Counter(1 + n for n in Counter(corpus.exact.values()).values())
    assert sum(row["clusters"] for row in found["sizes"]["exact"]) == copies.total()
    assert sum(row["documents"] for row in found["sizes"]["exact"]) == sum(s * n for s, n in copies.items())


def test_all_copies_lost_to_the_source_of_the_originals(planted: tuple[Build, Corpus], found: dict[str, Any]) -> None:
    build, corpus = planted
    lost = build.table("verdicts").filter(pl.col("verdict") == "dropped").collect()
    assert found["lost_to"] == [
        {
            "source": "two", "winner_source": "one", "exact": len(corpus.exact), "near": len(corpus.near),
            "documents": len(corpus.exact) + len(corpus.near), "tokens": lost["token_count"].sum(),
        }
    ]  # fmt: skip


def test_overlap_counts_documents_with_another_in_the_cluster(
    planted: tuple[Build, Corpus], found: dict[str, Any]
) -> None:
    corpus = planted[1]
    sizes = families(corpus)
    originals = sum(size > 1 for size in sizes.values())
    copies = [name for name in corpus.texts if name[0] != "o"]
    # Copies that share their original with another copy.
    siblings = sum(sizes[corpus.family(name)] > 2 for name in copies)
    by_pair = {(row["source"], row["other"]): row["documents"] for row in found["overlap"]}
    assert by_pair == {("one", "two"): originals, ("two", "one"): len(copies), ("two", "two"): siblings}
    clusters = {(row["source"], row["other"]): row["clusters"] for row in found["overlap"]}
    assert clusters["one", "two"] == clusters["two", "one"] == originals


def test_the_largest_clusters_show_who_stayed(planted: tuple[Build, Corpus], found: dict[str, Any]) -> None:
    build, corpus = planted
    assert [row["documents"] for row in found["largest"]] == sorted(families(corpus).values(), reverse=True)[:5]
    kept = set(build.table("verdicts").filter(pl.col("verdict") == "kept").collect()["id"])
    for row in found["largest"]:
        assert row["id"] in kept and row["source"] == "one" and row["kept"] == 1
        assert row["by_source"] == {"one": 1, "two": row["documents"] - 1}


def test_sources_that_are_shown_together_are_one(planted: tuple[Build, Corpus]) -> None:
    build, corpus = planted
    pooled = duplicate_facts(build, {"one": "2 more sources", "two": "2 more sources"})
    everyone = sum(size for size in families(corpus).values() if size > 1)
    assert [(row["source"], row["other"], row["documents"]) for row in pooled["overlap"]] == [
        ("2 more sources", "2 more sources", everyone)
    ]
    assert [row["documents"] for row in pooled["lost_to"]] == [len(corpus.exact) + len(corpus.near)]


def test_a_corpus_without_duplicates_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "one" / "rows.jsonl", plant(7, 20, 0, 0).texts)
    build = open_planted(tmp_path, {"one": 1})
    build.shards("phase1")
    found = duplicate_facts(build, {"one": "one"})
    assert found == {
        "exact": 0, "near": 0, "clusters": 0, "largest_cluster": 1, "sizes": {"near": [], "exact": []},
        "lost_to": [], "overlap": [], "largest": [],
    }  # fmt: skip
