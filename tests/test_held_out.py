"""What is held out has no copy, exact or near, in what the phases may take."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from plm_data.build import HELD_OUT, Build
from tests.planted import open_planted, plant, write_rows


def ids(build: Build, stem: str) -> set[str]:
    axes = [replace(axis, stem=stem) for axis in build.ranked.values()]
    return {identity for axis in axes for bucket in range(axis.buckets) for identity in axis.rows(bucket)["id"]}


def test_no_phase_may_have_a_copy_of_a_held_out_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = plant(seed=5, originals=80, exact=40, near=40)
    names = sorted(corpus.texts)
    for source, part in (("one", names[::2]), ("two", names[1::2])):
        write_rows(tmp_path / source / "rows.jsonl", {name: corpus.texts[name] for name in part})
    build = open_planted(tmp_path, {"one": 2, "two": 1}, more=", held_out: 0.3")
    held, free = ids(build, HELD_OUT), ids(build, "ranked")
    named = dict(build.table("verdicts").select("id", "name").collect().iter_rows())
    families = [{corpus.family(named[identity]) for identity in some} for some in (held, free)]
    assert not families[0] & families[1]
    # There was something to miss: some held-out documents had copies.
    copies = Counter(map(corpus.family, names))
    assert sum(copies[family] > 1 for family in families[0]) >= 5
    rows = pl.read_parquet(sorted(build.shards("phase1").path.glob("*.parquet")))
    assert set(rows["id"]) <= free and rows.height
    held_out = build.held_out()
    assert held_out is not None
    assert set(pl.read_parquet(sorted(held_out.path.glob("*.parquet")))["id"]) == held


def test_a_source_may_be_held_out_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = plant(seed=6, originals=30, exact=0, near=0)
    write_rows(tmp_path / "one" / "rows.jsonl", corpus.texts)
    build = open_planted(tmp_path, {"one": 1})
    whole = build.recipe.sources["one"].model_copy(update={"held_out": 1.0})
    build.recipe = build.recipe.model_copy(update={"sources": {"one": whole}})
    assert len(ids(build, HELD_OUT)) == 30 and not ids(build, "ranked")
