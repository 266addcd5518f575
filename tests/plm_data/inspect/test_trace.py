"""From a training row back to its document, and forward again."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from plm_data.build import HELD_OUT, Build
from plm_data.errors import PlmError
from plm_data.inspect.trace import manifest_of, read_row, trace
from plm_data.recipe_file import load_recipe
from tests.conftest import SMALL


def shards_of(build: Build, phase: str) -> list[Path]:
    return sorted((build.folder / phase).glob("shard-*.parquet"))


def test_every_row_leads_to_its_document_and_back(small_build: Build) -> None:
    for phase in small_build.recipe.phases:
        position = 0
        for shard in shards_of(small_build, phase):
            rows = pl.read_parquet(shard)
            for row in range(0, rows.height, 13):
                found = rows.row(row, named=True)
                story = "\n".join(trace(small_build, shard, row))
                assert f"row {row} of {shard.name}, which is row {position + row} of {phase}" in story
                assert f"  id        {found['id']}" in story and f"  licence   {found['license']}" in story
                assert "  epoch     1 of its source" in story
                # The way forward names the same row.
                assert f"    {phase}: row {row} of {shard.name}" in story
            position += rows.height


def test_a_row_of_the_held_out_documents_is_traced_too(small_build: Build) -> None:
    small_build.held_out()
    story = "\n".join(trace(small_build, shards_of(small_build, HELD_OUT)[0], 0))
    assert "of held-out (held-out)" in story and "It is held out: in no phase" in story


def test_a_row_reads_its_own_row_group(small_build: Build) -> None:
    shard = shards_of(small_build, "phase1")[0]
    rows = pl.read_parquet(shard)
    for row in (0, 15, 16, rows.height - 1):
        assert read_row(shard, row)["id"] == rows["id"][row]
    for row in (-1, rows.height):
        with pytest.raises(PlmError, match=f"no row {row}; its {rows.height} rows are numbered from 0"):
            read_row(shard, row)


def test_what_is_no_shard_is_refused(small_build: Build, tmp_path: Path) -> None:
    with pytest.raises(PlmError, match="no such file; expected a shard"):
        manifest_of(tmp_path / "shard-00000.parquet")
    other = tmp_path / "mine.parquet"
    pl.DataFrame({"id": ["a"]}).write_parquet(other)
    for text in (None, "{", "[]", '{"shards": 3}', '{"shards": [{"file": "another.parquet"}]}'):
        if text is not None:
            (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
        with pytest.raises(PlmError, match="no manifest of a phase's shards"):
            manifest_of(other)
    manifest = json.loads((small_build.folder / "phase1" / "manifest.json").read_text(encoding="utf-8"))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(PlmError, match="its manifest does not list mine.parquet"):
        manifest_of(other)
    manifest["shards"][0]["file"] = "mine.parquet"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    other.write_text("no Parquet", encoding="utf-8")
    assert manifest_of(other)
    with pytest.raises(PlmError, match="cannot be read as Parquet"):
        read_row(other, 0)


def test_a_shard_of_another_recipe_is_refused(small_build: Build, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace("tokens: 40K", "tokens: 39K"), encoding="utf-8")
    changed = Build(load_recipe(path), small_build.home, workers=1)
    with pytest.raises(PlmError, match="not of phase1 of small as its recipe stands now"):
        list(trace(changed, shards_of(small_build, "phase1")[0], 0))
