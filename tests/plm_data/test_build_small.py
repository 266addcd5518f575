"""Builds at the edge: few documents, empty partitions, sources that give nothing."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from plm_data.attributes.tokens import END_OF_TEXT, load_tokenizer
from plm_data.build import Build
from plm_data.errors import GuardrailError, RecipeError
from plm_data.recipe_file import load_recipe
from plm_data.report.page import write_report

RECIPE = """\
name: tiny
seed: 1
partitions: 5
tokenizer: {{vocab_size: 512}}
sources:
  notes: {{reader: huggingface, path: json, data_files: ["{folder}/*.jsonl"], domain: web, language: en,
          license: CC0-1.0, priority: 1, dedup: {dedup}{more}}}
curate: {{gopher: null, repetition: null, c4: {c4}, fineweb: null, language: null}}
phases:
  phase1: {{segment: stable, tokens: {tokens}, mix: {{notes: 1.0}}}}
"""


def build(folder: Path, texts: list[str], tokens: int, dedup: str = "near", more: str = "", c4: str = "null") -> Build:
    rows = [json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(texts)]
    (folder / "rows.jsonl").write_text("".join(rows), encoding="utf-8")
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(folder=folder, tokens=tokens, dedup=dedup, more=more, c4=c4), encoding="utf-8")
    return Build(load_recipe(path), folder / "home", workers=1)


@pytest.mark.parametrize("dedup", ["near", "exact"])
def test_one_document_makes_a_phase_and_a_report(tmp_path: Path, dedup: str) -> None:
    made = build(tmp_path, ["Just one document, of a few words."], 8, dedup)
    shards = made.shards("phase1")
    assert pl.read_parquet(shards.path / "shard-00000.parquet")["text"].to_list() == [
        "Just one document, of a few words."
    ]
    path, facts = write_report(made)
    assert path.is_file() and facts["phases"][0]["documents"] == 1


def test_a_source_without_documents_is_a_budget_that_cannot_be_met(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="infinitely many epochs"):
        build(tmp_path, [], 20).shards("phase1")


def test_a_budget_below_one_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="phase1 of tiny holds no document: its budget of 2 tokens"):
        build(tmp_path, ["A document of more than a few tokens, " * 20], 2).shards("phase1")


def test_a_source_that_is_all_quarantined_is_stopped_by_its_guardrail(tmp_path: Path) -> None:
    with pytest.raises(GuardrailError, match="2 of 2 documents are quarantined"):
        build(tmp_path, [" ", "\n"], 20).shards("phase1")


def test_a_source_may_give_its_texts_as_c4s_line_rules_edit_them(tmp_path: Path) -> None:
    texts = [
        "Home\nOne two three [1].\nPlease enable javascript now.",
        "All of this stays, every word.",
        "Short\nlines\nonly",
    ]
    made = build(tmp_path, texts, 200, more=", lines: c4", c4="{min_sentences: 1}")
    made.recipe = made.recipe.model_copy(update={"max_epochs": 99.0})
    frame = pl.read_parquet(made.shards("phase1").path / "shard-00000.parquet").unique("id")
    assert set(frame["text"]) == {"One two three .", "All of this stays, every word."}
    tokenizer = load_tokenizer(made.tokenizer.path)
    for text, tokens in frame.select("text", "tokens").iter_rows():
        assert tokenizer.decode(tokens[:-1]) == text and tokens[-1] == tokenizer.token_to_id(END_OF_TEXT)
    # The documents themselves, and what is measured of them, are as they were found.
    assert set(pl.read_parquet(made.documents["notes"].parts())["text"]) == set(texts)


def test_texts_that_may_lose_all_their_lines_need_a_least_number_of_sentences(tmp_path: Path) -> None:
    for c4 in ("null", "{min_sentences: null}", "{min_sentences: 0}"):
        with pytest.raises(RecipeError, match=r"tiny.yaml:\d+: sources.notes.lines is c4, but c4.min_sentences is off"):
            build(tmp_path, ["One two three."], 20, more=", lines: c4", c4=c4)
    build(tmp_path, ["One two three."], 20, c4="null")
