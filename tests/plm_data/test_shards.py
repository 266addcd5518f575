"""Phase shards: the format, the manifest, and who can read them."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import polars as pl
import pyarrow.parquet as pq
import pytest

from plm_data.build import Build
from plm_data.mix import quotas
from plm_data.store import file_sha256


@pytest.fixture(scope="module", params=["phase1", "phase2"])
def phase(request: pytest.FixtureRequest, small_build: Build) -> Path:
    return small_build.folder / request.param


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_the_columns_and_sizes_are_those_of_the_format(phase: Path, small_build: Build) -> None:
    for path in sorted(phase.glob("*.parquet")):
        file = pq.ParquetFile(path)
        assert [str(f.type) for f in file.schema_arrow] == ["string"] * 6 + ["list<element: int32>"]
        assert file.schema_arrow.names == ["id", "text", "source", "domain", "language", "license", "tokens"]
        assert file.metadata.num_rows <= small_build.recipe.shards.rows_per_shard
        assert file.metadata.row_group(0).num_rows <= small_build.recipe.shards.rows_per_group
        assert file.metadata.row_group(0).column(1).compression == "ZSTD"


def test_the_manifest_is_what_lies_in_the_shards(phase: Path, small_build: Build) -> None:
    facts = manifest(phase)
    frame = pl.read_parquet(sorted(phase.glob("*.parquet")))
    assert facts["rows"] == frame.height == sum(shard["rows"] for shard in facts["shards"])
    assert facts["tokens"] == frame["tokens"].list.len().sum() == sum(shard["tokens"] for shard in facts["shards"])
    for shard in facts["shards"]:
        assert shard["sha256"] == file_sha256(phase / shard["file"])
    planned = quotas(small_build.recipe.phases[phase.name])
    largest = int(frame["tokens"].list.len().max())  # type: ignore[arg-type]
    for source, numbers in facts["sources"].items():
        mine = frame.filter(pl.col("source") == source)
        assert numbers["documents"] == mine.height and numbers["tokens"] == mine["tokens"].list.len().sum()
        assert numbers["planned_tokens"] == planned[source]
        assert abs(numbers["tokens"] - planned[source]) <= largest


def test_no_document_is_in_two_phases_while_its_source_lasts(small_build: Build) -> None:
    one, two = (set(pl.read_parquet(small_build.folder / p / "*.parquet")["id"]) for p in ("phase1", "phase2"))
    assert one and two and not one & two


def test_sources_are_shuffled_over_the_whole_phase(small_build: Build) -> None:
    sources = pl.read_parquet(small_build.folder / "phase1" / "*.parquet")["source"].to_list()
    half = len(sources) // 2
    for source in (name for name in set(sources) if sources.count(name) >= 20):
        first = sources[:half].count(source) / sources.count(source)
        assert 0.2 < first < 0.8, source


def test_rows_carry_what_the_recipe_says_and_the_documents_own_licence(small_build: Build) -> None:
    frame = pl.read_parquet(small_build.folder / "phase1" / "*.parquet")
    code = frame.filter(pl.col("source") == "python-code")
    assert set(code["language"]) == {"python"} and set(code["domain"]) == {"code"}
    assert set(code["license"]) <= {"BSD-3-Clause", "LicenseRef-BSD", "MPL-2.0 AND MIT"}
    assert set(frame.filter(pl.col("source") == "worked-maths")["license"]) == {"Apache-2.0"}


def test_datasets_loads_a_phase_as_it_lies(phase: Path, tmp_path: Path) -> None:
    files = sorted(str(path) for path in phase.glob("*.parquet"))
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert loaded.num_rows == manifest(phase)["rows"]
    assert loaded[0]["tokens"] == pl.read_parquet(files)["tokens"][0].to_list()
