"""Limits for trials: the same documents whatever the pieces and the order, more of them with a larger limit, all counted."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.build import Build
from plm_data.errors import RecipeError
from plm_data.recipe_file import load_recipe
from plm_data.report.decided import rejected_facts
from plm_data.report.facts import _conservation
from plm_data.sources import limit as module
from plm_data.sources.limit import Limit, Sample, limits
from plm_data.store import Counts, Output
from plm_data.tables import part_file, write_parquet
from plm_data.text.hashing import document_id, partition_of, ranks
from plm_data.text.normalise import content_hash
from tests.planted import plant, write_rows
from tests.plm_data.sources.local_files import spec

Sized = list[tuple[str, int]]


def written(folder: Path, documents: Sized, pieces: int) -> Output:
    """Documents (a text, and the size that is said of it) as Normalise writes them."""
    folder.mkdir(parents=True)
    texts = pl.Series([text for text, _ in documents], dtype=pl.String)
    frame = pl.DataFrame(
        {
            "id": pl.Series([document_id("s", f"{i} {text}") for i, (text, _) in enumerate(documents)], dtype=pl.String),
            "name": texts, "text": texts, "license": texts, "content_hash": content_hash(texts),
            "bytes": pl.Series([size for _, size in documents], dtype=pl.Int64),
        }
    )  # fmt: skip
    for piece in range(pieces):
        here = frame.filter(pl.Series([partition_of(i, pieces) == piece for i in frame["id"]], dtype=pl.Boolean))
        write_parquet(here, part_file(folder, piece), row_group_rows=3)
    return Output("normalise", "k", folder, Counts(frame.height, frame.height), False, content=str(folder))


def sampled(folder: Path, documents: Sized, count: int | None, size: int | None, pieces: int = 1, seed: int = 1):
    """Ids that a limit keeps, and the counts."""
    found = written(folder / "in", documents, pieces)
    cut = folder / "limit"
    cut.mkdir()
    counts = Limit(documents=found, most_documents=count, most_bytes=size, seed=seed).run(0, cut)
    assert counts == Counts(len(documents), len(documents))
    limit = Output("limit", "k", cut, counts, False, content="c")
    step, out = Sample(documents=found, limit=limit, seed=seed), folder / "out"
    out.mkdir()
    total = sum((step.run(piece, out) for piece in range(pieces)), Counts())
    rejected = pl.concat(pl.read_parquet(part_file(out, piece, "rejected")) for piece in range(pieces))
    assert set(rejected.select("verdict", "reason").unique().rows()) <= {("dropped", "limit")}
    kept = {i for piece in range(pieces) for i in pl.read_parquet(part_file(out, piece))["id"]}
    assert total.check("sample") == Counts(len(documents), len(kept), rejected.height)
    assert kept.isdisjoint(rejected["id"])
    return kept


def expected(documents: Sized, count: int | None, size: int | None, seed: int = 1) -> set[str]:
    """By the definition: the longest beginning of the order of ranks that fits."""
    hashes = content_hash(pl.Series([text for text, _ in documents], dtype=pl.String))
    order = sorted(
        (int(rank), document_id("s", f"{i} {text}"), bytes_)
        for i, (rank, (text, bytes_)) in enumerate(zip(ranks(seed, "limit", hashes), documents, strict=True))
    )
    kept, total = set(), 0
    for _, identity, bytes_ in order:
        total += bytes_
        if (count is not None and len(kept) == count) or (size is not None and total > size):
            break
        kept.add(identity)
    return kept


DOCUMENTS = st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.integers(1, 9)), min_size=1, max_size=30)
MOST = st.one_of(st.none(), st.integers(1, 40))


@settings(max_examples=40)
@given(documents=DOCUMENTS, count=MOST, size=st.one_of(st.none(), st.integers(1, 160)), pieces=st.integers(1, 4))
def test_a_limit_keeps_the_longest_beginning_of_the_seeded_order_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, documents: Sized, count: int | None, size: int | None, pieces: int
) -> None:
    kept = sampled(tmp_path_factory.mktemp("limit"), documents, count, size, pieces)
    assert kept == expected(documents, count, size)


@settings(max_examples=15)
@given(documents=DOCUMENTS, one=st.integers(1, 150), more=st.integers(0, 80), what=st.sampled_from(["count", "size"]))
def test_a_larger_limit_keeps_all_that_a_smaller_one_does(
    tmp_path_factory: pytest.TempPathFactory, documents: Sized, one: int, more: int, what: str
) -> None:
    small, large = (
        sampled(tmp_path_factory.mktemp("limit"), documents, *((n, None) if what == "count" else (None, n)))
        for n in (one, one + more)
    )
    assert small <= large


def test_many_documents_of_one_bucket_and_of_one_text_are_cut_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [("same", 3)] * 20 + [(f"text {i}", 2) for i in range(200)]
    monkeypatch.setattr(module, "_SHIFT", 63)  # all ranks in two buckets
    monkeypatch.setattr(module, "_BUCKETS", 2)
    for count in (1, 7, 50, 219, 220):
        assert sampled(tmp_path / str(count), documents, count, None, 2) == expected(documents, count, None)


def test_another_seed_draws_others_and_the_draw_is_even(tmp_path: Path) -> None:
    documents = [(f"text {i}", 1) for i in range(400)]
    draws = [sampled(tmp_path / str(seed), documents, 100, None, seed=seed) for seed in range(3)]
    assert len(set(map(frozenset, draws))) == 3
    firsts = {document_id("s", f"{i} {text}") for i, (text, _) in enumerate(documents[:200])}
    assert all(30 < len(draw & firsts) < 70 for draw in draws)


def test_a_limit_of_tokens_is_one_of_the_bytes_that_cannot_give_more() -> None:
    assert limits(spec("x"), 2.0) == (None, None)
    assert limits(spec("x", limit_tokens=1000), 2.5) == (None, 2500)
    assert limits(spec("x", limit_tokens=1000, limit_bytes=900, limit_documents="1K"), 2.5) == (1000, 900)


RECIPE = """\
name: trial
seed: {seed}
partitions: {pieces}
tokenizer: {{vocab_size: 600, train_bytes: 20KB}}
sources:
  big: {{reader: files, paths: [big], domain: web, language: en, license: CC0-1.0, priority: 1{limit}}}
  small: {{reader: files, paths: [small], domain: web, language: en, license: CC0-1.0, priority: 2}}
curate: {{repetition: null, c4: null, fineweb: null, language: null, gopher: null}}
phases:
  phase1: {{segment: stable, tokens: {tokens}, mix: {{big: 0.5, small: 0.5}}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources of files; a row cannot be read and a text comes twice."""
    root = tmp_path_factory.mktemp("trial")
    corpus = plant(seed=5, originals=90, exact=0, near=0)
    texts = [*corpus.texts.items()]
    write_rows(root / "big/a.jsonl", dict(texts[:40]))
    write_rows(root / "big/b.jsonl", dict(texts[40:60]))
    (root / "big/c.jsonl").write_text("[]\n")
    write_rows(root / "small/a.jsonl", dict(texts[60:]))
    return root


def opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str, pieces: int = 2, seed: int = 1, home: str = "home",
    tokens: str = "2K",
) -> Build:  # fmt: skip
    monkeypatch.chdir(folder)
    (folder / "trial.yaml").write_text(RECIPE.format(limit=limit, pieces=pieces, seed=seed, tokens=tokens))
    return Build(load_recipe(folder / "trial.yaml"), folder / home, workers=1)


def names(build: Build) -> set[str]:
    return set(pl.read_parquet(build.documents["big"].parts())["name"])


def test_the_draw_does_not_depend_on_partitions_or_on_the_order_of_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = names(opened(folder, monkeypatch, ", limit_documents: 20", pieces=1))
    assert len(one) == 20 and names(opened(folder, monkeypatch, ", limit_documents: 20", pieces=5)) == one
    assert one < names(opened(folder, monkeypatch, ", limit_documents: 30"))
    assert names(opened(folder, monkeypatch, ", limit_documents: 20", seed=2)) != one
    rows = (folder / "big/a.jsonl").read_text().splitlines(keepends=True)
    try:
        (folder / "big/a.jsonl").write_text("".join(random.Random(1).sample(rows, len(rows))))
        assert names(opened(folder, monkeypatch, ", limit_documents: 20", home="shuffled")) == one
    finally:
        (folder / "big/a.jsonl").write_text("".join(rows))


def test_a_limited_build_counts_what_it_leaves_out_and_passes_its_guardrails(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = opened(folder, monkeypatch, ", limit_documents: 2", home="counted", tokens="300")
    build.recipe = build.recipe.model_copy(update={"max_epochs": 9.0})
    steps = {(row["step"], row["source"]): row for row in _conservation(build, {})}
    # 58 of 60 are left out, which no guardrail takes for a loss.
    assert steps["sample", "big"] == {
        "step": "sample", "source": "big", "read": 60, "kept": 2, "dropped": 58, "quarantined": 0,
    }  # fmt: skip
    assert ("sample", "small") not in steps
    decided = steps["decide", "big"]
    assert (decided["read"], decided["dropped"], decided["quarantined"]) == (61, 58, 1)
    reasons = {row["rule"]: row["documents"] for row in rejected_facts(build) if row["source"] == "big"}
    assert reasons == {"sample.limit": 58, "collect.not-an-object": 1}


def test_a_changed_limit_makes_anew_what_it_changes_and_nothing_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(folder, monkeypatch, ", limit_documents: 20", home="anew").decided  # noqa: B018
    build = opened(folder, monkeypatch, ", limit_documents: 25", home="anew")
    build.decided  # noqa: B018
    made = {stage: [output.reused for output in outputs.values()] for stage, outputs in build.outputs.items()}
    assert made["collect"] == made["normalise"] == [True, True]
    assert made["limit"] == made["sample"] == [False]
    # A limit beyond all of them keeps all, and so does a larger one: the same cut, so the same sample.
    opened(folder, monkeypatch, ", limit_documents: 60", home="anew").documents  # noqa: B018
    build = opened(folder, monkeypatch, ", limit_documents: 70", home="anew")
    assert len(names(build)) == 60
    assert [build.outputs[stage]["big"].reused for stage in ("limit", "sample")] == [False, True]
    assert "limit" not in _stages(opened(folder, monkeypatch, "", home="anew"))


def _stages(build: Build) -> set[str]:
    assert build.documents
    return set(build.outputs)


def test_a_limit_bounds_the_plan_before_any_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"'big', which can, by its limit, give at most 500 tokens"):
        opened(folder, monkeypatch, ", limit_tokens: 500", tokens="40K").check()
    build = opened(folder, monkeypatch, ", limit_tokens: 5K", home="tokens", tokens="1K")
    build.check()
    tokens = pl.read_parquet(build.attributes["big"]["tokens"].parts())["token_count"].to_numpy()
    assert 0 < np.sum(tokens) <= 5000
