"""The card of a phase: valid for the hub, true to the shards, loadable as it says; hostile text stays text."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from plm_data.build import HELD_OUT, Build
from plm_data.report.card import card, escape_markdown, size_category, write_card
from plm_data.report.licences import licence_class, roll_up
from plm_data.report.phase_card import COLUMNS, PhaseCard, phase_card
from plm_data.shards import SCHEMA
from plm_data.text.printable import printable

HOSTILE = (
    "x\n---\nlicense: mit\n---\n# owned `</td><script>alert(1)</script> | {{7*7}} [a](javascript:b) \u202egnp\x00$$x$$"
)


@pytest.fixture(scope="module")
def rows(folder: Path) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted(folder.glob("shard-*.parquet")))


def rendered(markdown: str) -> str:
    """HTML as the hub makes it: CommonMark with tables and raw HTML."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)


def body(text: str) -> str:
    """The Markdown after the front matter."""
    return DatasetCard(text).text


def test_the_hubs_own_reader_takes_the_front_matter(folder: Path, passed_on: PhaseCard) -> None:
    data = DatasetCard.load(folder / "README.md").data.to_dict()
    assert data["pretty_name"] == "small: phase1"
    assert data["language"] == ["en", "code"]
    assert (data["license"], data["license_name"]) == ("other", "mixed")
    assert data["task_categories"] == ["text-generation"] and data["size_categories"] == ["n<1K"]
    assert data["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "shard-*.parquet"}]}
    ]
    split = data["dataset_info"]["splits"][0]
    assert split == {"name": "train", "num_bytes": passed_on.uncompressed_bytes, "num_examples": passed_on.rows}
    assert data["dataset_info"]["download_size"] == sum(p.stat().st_size for p in folder.glob("shard-*.parquet"))


def test_the_facts_are_those_of_the_shards(passed_on: PhaseCard, rows: pl.DataFrame, folder: Path) -> None:
    tokens = rows["tokens"].list.len()
    assert (passed_on.rows, passed_on.tokens) == (rows.height, tokens.sum())
    assert passed_on.bytes < passed_on.uncompressed_bytes
    for source in passed_on.sources:
        mine = rows.filter(pl.col("source") == source.name)
        assert (source.documents, source.tokens) == (mine.height, mine["tokens"].list.len().sum())
        assert source.epochs is not None and 0 < source.epochs <= 1.1
    stated = rows.with_columns(n=tokens).group_by("license").agg(pl.len(), pl.col("n").sum()).rows()
    assert passed_on.licences == roll_up(stated)
    assert [shard.file for shard in passed_on.shards] == sorted(path.name for path in folder.glob("shard-*.parquet"))
    assert list(COLUMNS) == SCHEMA.names


def test_the_text_says_what_the_facts_are(folder: Path, passed_on: PhaseCard) -> None:
    page = rendered(body((folder / "README.md").read_text(encoding="utf-8")))
    text = html.unescape(re.sub(r"<[^>]*>", " ", page))
    assert f"{passed_on.rows:,} documents, {passed_on.tokens:,} tokens" in text
    assert f"Of {passed_on.found:,} documents found in these sources, {passed_on.kept:,} passed" in text
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in page.split("<tr>")]
    for source in passed_on.sources:
        assert [
            source.name,
            source.domain,
            source.language,
            source.license,
            f"{source.documents:,}",
            f"{source.tokens:,}",
        ] in [row[:6] for row in cells]
    for rolled in passed_on.licences:
        assert [rolled["class"], f"{rolled['documents']:,}", f"{rolled['tokens']:,}"] in [row[:3] for row in cells]
    # A threshold that differs by source, one that all share, one that is off for all, and one that is off for some.
    assert ["gopher.min_words", "50 for python-code, python-docs; 20 for worked-maths"] in [row[:2] for row in cells]
    assert ["gopher.max_words", "100,000"] in [row[:2] for row in cells]
    assert ["repetition.max_duplicate_lines"] not in [row[:1] for row in cells]
    assert ["language.min_score", "off for python-code, worked-maths; 0.65 for python-docs"] in [
        row[:2] for row in cells
    ]
    assert "Near duplicates stay in worked-maths." in text
    assert text.count("a program made these texts") == 1
    assert (
        "python-code: Files of the running Python" in text and "python-docs: Docstrings of the running Python" in text
    )
    assert passed_on.key in text and f"seed {passed_on.seed}" in text and "plm build small --phase phase1" in text
    assert "No step looked for personal data and none was masked" in text


def test_two_runs_write_the_same_bytes_and_nothing_else(small_build: Build, folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "phase1"
    shutil.copytree(small_build.shards("phase1").path, again)
    before = {path.name for path in again.iterdir()}
    write_card(small_build, "phase1", again)
    assert {path.name for path in again.iterdir()} - before == {"README.md", "croissant.json"}
    for name in ("README.md", "croissant.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
        assert str(small_build.home).encode() not in (again / name).read_bytes()


def test_a_folder_without_a_shard_of_the_manifest_gets_no_card(small_build: Build, tmp_path: Path) -> None:
    shutil.copytree(small_build.shards("phase1").path, tmp_path / "phase1")
    (tmp_path / "phase1" / "shard-00001.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        write_card(small_build, "phase1", tmp_path / "phase1")
    assert not (tmp_path / "phase1" / "README.md").exists()
    assert not (tmp_path / "phase1" / "croissant.json").exists()


def test_held_out_documents_have_a_card_of_their_own(small_recipe: Path, small_build: Build, tmp_path: Path) -> None:
    output = Build(small_build.recipe, small_build.home, workers=1).held_out()
    assert output is not None
    shutil.copytree(output.path, tmp_path / HELD_OUT)
    write_card(small_build, HELD_OUT, tmp_path / HELD_OUT)
    text = body((tmp_path / HELD_OUT / "README.md").read_text(encoding="utf-8"))
    assert "held out of every phase" in text and "segment of a pre-training schedule" not in text
    assert all(source.epochs is None for source in phase_card(small_build, HELD_OUT, tmp_path / HELD_OUT).sources)


# Loading, as the card says it.


def run_offline(code: str, folder: Path, cache: Path) -> str:
    """What Python code prints that runs in a folder with no network."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(cache), "HF_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_example_of_the_card_loads_the_rows(folder: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert [re.search(r"(?:import|from) (\w+)", example)[1] for example in examples] == ["datasets", "polars", "duckdb"]  # type: ignore[index]
    for example in examples:
        assert run_offline(example + "\nprint(len(rows))", folder, tmp_path).strip() == str(rows.height)


def test_datasets_loads_the_folder_as_it_lies(folder: Path, rows: pl.DataFrame, tmp_path: Path) -> None:
    code = (
        "import datasets, json, sys\n"
        "whole = datasets.load_dataset({folder!r})\n"
        "files = datasets.load_dataset('parquet', data_files={files!r}, split='train')\n"
        "found = whole['train']\n"
        "assert list(whole) == ['train'] and found.features == files.features and found[:] == files[:]\n"
        "print(json.dumps([[str(found.features[name]) for name in found.column_names], found[:]]))"
    ).format(folder=str(folder), files=str(folder / "shard-*.parquet"))
    types, found = json.loads(run_offline(code, tmp_path, tmp_path / "cache"))
    assert types == ["Value('string')"] * 6 + ["List(Value('int32'))"]
    assert found == rows.to_dict(as_series=False)


def test_polars_and_duckdb_read_the_same_rows(folder: Path, rows: pl.DataFrame) -> None:
    assert pl.scan_parquet(folder / "shard-*.parquet").collect().equals(rows)
    found = duckdb.sql(f"SELECT * FROM read_parquet('{folder}/shard-*.parquet')").pl()
    assert found.sort("id", "source").rows() == rows.sort("id", "source").rows()


# Hostile text.


def hostile(passed_on: PhaseCard) -> PhaseCard:
    """The passed_on with a hostile text wherever one may come from a recipe or a corpus."""
    return replace(
        passed_on,
        description=HOSTILE,
        sources=tuple(replace(source, license=HOSTILE, about=HOSTILE) for source in passed_on.sources),
        licences=roll_up([(HOSTILE, 3, 50), ("MIT", 1, 1)]),
    )


def test_hostile_text_breaks_out_of_nothing(passed_on: PhaseCard) -> None:
    clean, text = card(passed_on), card(hostile(passed_on))
    data = DatasetCard(text).data.to_dict()
    assert data["license"] == "other" and data["pretty_name"] == "small: phase1"
    page, harmless = rendered(body(text)), rendered(body(clean))
    for tag in ("<script", "<a ", "<img", "\u202e", "\x00"):
        assert tag not in page
    for tag in ("<h1", "<h2", "<table", "<hr", "<p>", "<code", "<pre"):
        assert page.count(tag) == harmless.count(tag) + (tag == "<p>" and not passed_on.description)
    assert html.unescape(page).count("<script>alert(1)</script>") == 1 + 2 * len(passed_on.sources) + 1
    # The description, the rows of the licences and those of the sources: none has more cells for its pipes.
    assert {len(re.findall("<td", row)) for row in page.split("<tr>") if HOSTILE[-5:] in row} == {0, 5, 8}


@given(st.text())
def test_markdown_shows_any_text_as_it_is(text: str) -> None:
    shown = printable(" ".join(text.split()))
    page = rendered(f"| a | b |\n| --- | --- |\n| {escape_markdown(text)} | end |\n")
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert [html.unescape(cell) for cell in cells] == [shown.strip(), "end"]
    assert "<" not in cells[0] and ">" not in cells[0]


@pytest.mark.parametrize(
    "stated, front",
    [
        (["MIT"], {"license": "mit"}),
        (["MIT License", "MIT"], {"license": "mit"}),
        (["GPL-3.0-or-later"], {"license": "gpl-3.0"}),
        (["ODC-By-1.0"], {"license": "odc-by"}),
        (["GFDL-1.3-no-invariants-or-later"], {"license": "gfdl"}),
        (["PSF-2.0"], {"license": "other", "license_name": "psf-2.0"}),
        (["MIT", "Apache-2.0"], {"license": "other", "license_name": "mixed"}),
        (["MIT", "NOASSERTION"], {"license": "other", "license_name": "mixed"}),
        (["MIT OR Apache-2.0"], {"license": "other", "license_name": "mixed"}),
        (["NOASSERTION"], {"license": "unknown"}),
        ([HOSTILE], {"license": "unknown"}),
    ],
)
def test_the_hubs_licence(passed_on: PhaseCard, stated: list[str], front: dict[str, str]) -> None:
    data: dict[str, Any] = DatasetCard(
        card(replace(passed_on, licences=roll_up([(text, 1, 1) for text in stated])))
    ).data.to_dict()
    assert {key: data.get(key) for key in ("license", "license_name") if key in data} == front
    assert (
        front["license"] in ("other", "unknown")
        or licence_class(front["license"]) != "unknown"
        or front["license"] == "gfdl"
    )


@pytest.mark.parametrize(
    "rows, size",
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**12 - 1, "100B<n<1T"), (10**12, "n>1T")],
)
def test_size_categories(rows: int, size: str) -> None:
    assert size_category(rows) == size
