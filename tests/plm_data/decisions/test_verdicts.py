"""Verdicts and ledger: every document once, kept or with all its reasons; what was refused before is there too."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from plm_data.build import Build
from plm_data.decisions.ledger import EXACT, LEDGER, NEAR, failing
from plm_data.recipe import thresholds
from plm_data.store import Counts
from plm_data.text.hashing import partition_of
from tests.plm_data.decisions.chain import cluster, content, decide

REFUSED = [
    {"name": "q", "verdict": "quarantined", "reason": "does-not-parse", "detail": "line 1"},
    {"name": "d", "verdict": "dropped", "reason": "empty-file", "detail": ""},
]


@pytest.mark.parametrize("pieces", [1, 4])
def test_what_was_refused_before_is_in_the_ledger_too(tmp_path: Path, pieces: int) -> None:
    made = decide(tmp_path, {"s": [{"id": "a"}], "t": []}, rejected={"s": REFUSED}, pieces=pieces)
    rows = made.table("ledger").sort("id").select("id", "verdict", "rule").rows()
    assert rows == [
        ("a", "kept", None),
        ("d", "dropped", "collect.empty-file"),
        ("q", "quarantined", "collect.does-not-parse"),
    ]
    assert made.outputs["s"].counts == Counts(3, 1, 1, 1) and made.outputs["t"].counts == Counts()
    rejected = made.table("rejected").sort("id").select("id", "source", "name", "detail").rows()
    assert rejected == [("d", "s", "d", ""), ("q", "s", "q", "line 1")]
    assert set(made.table("verdicts")["id"]) == {"a"}


def test_a_verdict_names_the_first_reason_and_the_winner(tmp_path: Path) -> None:
    documents = [
        {"id": "best", "chars": 50, "words": 60, "content": "x", "cluster": "k"},
        {"id": "copy", "chars": 50, "words": 60, "content": "x", "cluster": "k"},
        {"id": "near", "chars": 40, "words": 60, "cluster": "k"},
        {"id": "poor", "chars": 99, "words": 1, "content": "x", "cluster": "k", "symbol_ratio": 1.0},
    ]
    made = decide(tmp_path, {"s": documents}, {"gopher.min_words": 50.0, "gopher.max_symbol_ratio": 0.1})
    verdicts = {row["id"]: row for row in made.table("verdicts").to_dicts()}
    told = {name: (row["verdict"], row["reason"], row["winner"]) for name, row in verdicts.items()}
    assert told == {
        "best": ("kept", None, None),
        "copy": ("dropped", EXACT, "best"),
        "near": ("dropped", NEAR, "best"),
        "poor": ("dropped", "gopher.min_words", None),
    }
    row = verdicts["copy"]
    assert (row["content_hash"], row["near_cluster"], row["near_cluster_size"]) == (content("x"), cluster("k"), 4)
    assert (row["source"], row["domain"], row["name"], row["license"]) == ("s", "web", "copy", "MIT")
    assert (row["token_count"], row["bytes"], row["detected_language"]) == (5, 10, "en")
    ledger = made.table("ledger").filter(pl.col("rule").str.starts_with("dedup")).sort("id")
    # Of the three that the rules keep, two share their content, and one of these meets the near copy.
    assert ledger.select("id", "value", "threshold", "bound").rows() == [
        ("copy", 2.0, 1.0, "max"),
        ("near", 2.0, 1.0, "max"),
    ]


def test_parts_are_of_their_partition_and_sorted(tmp_path: Path) -> None:
    documents = [{"id": f"d{i}", "words": i, "content": f"c{i % 4}"} for i in range(30)][::-1]
    made = decide(tmp_path, {"s": documents}, {"gopher.min_words": 5.0}, pieces=4, buckets=3)
    for table, order in (("ledger", ["id", "rule"]), ("verdicts", ["id"])):
        for piece, part in enumerate(made.outputs["s"].parts(table)):
            frame = pl.read_parquet(part)
            assert frame.equals(frame.sort(order)) and {partition_of(i, 4) for i in frame["id"]} <= {piece}
    assert sorted(made.table("verdicts")["id"]) == sorted(d["id"] for d in documents)
    assert len(made.kept()) == 4


def test_a_source_whose_near_duplicates_do_not_count_has_no_clusters(tmp_path: Path) -> None:
    documents = [{"id": name, "cluster": "k"} for name in "ab"]
    made = decide(tmp_path, {"s": documents, "t": [{"id": "c", "cluster": "k"}]}, exact_only=["s"])
    assert made.kept() == {"a", "b", "c"}
    frame = made.table("verdicts").sort("id")
    assert frame["near_cluster"].to_list() == [None, None, cluster("k")]
    assert frame.schema["near_cluster"] == pl.UInt64


def test_a_real_builds_ledger_holds_every_document_once_kept_or_with_its_reasons(small_build: Build) -> None:
    ledger = small_build.table("ledger").collect()
    assert ledger.schema == LEDGER
    found = sum(output.counts.read for output in small_build.collected.values())
    assert ledger["id"].n_unique() == found == sum(output.counts.read for output in small_build.decided.values())
    by_id = ledger.group_by("id").agg(pl.col("verdict").n_unique().alias("n"), pl.col("rule").is_null().any())
    assert (by_id["n"] == 1).all()
    kept = ledger.filter(pl.col("verdict") == "kept")
    assert kept["rule"].is_null().all() and kept["id"].is_unique().all()
    assert kept.height == sum(output.counts.kept for output in small_build.decided.values())
    for bound, beyond in (
        ("max", pl.col("value") > pl.col("threshold")),
        ("min", pl.col("value") < pl.col("threshold")),
    ):
        fired = ledger.filter(pl.col("bound") == bound)
        assert fired.height > 0 and fired.select(beyond.all()).item()
    losers = ledger.filter(pl.col("rule").is_in([EXACT, NEAR]))
    assert losers["winner"].is_in(kept["id"].to_list()).all()


def test_a_real_builds_ledger_is_what_its_columns_say(small_build: Build) -> None:
    """Every rule of every source applied anew, by hand, to the measured columns."""
    ledger = small_build.table("ledger").collect()
    checked = 0
    for source in small_build.recipe.sources:
        for name, (fails, column, _, threshold) in failing(thresholds(small_build.recipe, source)).items():
            columns = small_build.source_columns(source).all(["id", column])
            rows = ledger.filter((pl.col("source") == source) & (pl.col("rule") == name))
            assert sorted(rows["id"]) == sorted(columns.filter(fails)["id"]), (source, name)
            assert set(rows["threshold"]) <= {threshold}
            checked += rows.height
    assert checked > 100
