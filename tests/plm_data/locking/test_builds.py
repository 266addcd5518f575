"""Two builds beside each other: equal to the byte, or the first difference and where it comes from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plm_data import engine
from plm_data.build import Build
from plm_data.locking.builds import first_difference
from plm_data.recipe_file import load_recipe
from plm_data.sources.collect import Collect
from tests.plm_data.locking.conftest import Two

collect = Collect.run


def elsewhere(two: Two, home: Path) -> Path:
    """The recipe as it stands, built in another home."""
    build = Build(load_recipe(two.recipe), home, workers=1)
    for phase in build.recipe.phases:
        build.shards(phase)
    return build.folder


def test_the_same_recipe_elsewhere_is_the_same(two: Two, tmp_path: Path) -> None:
    assert first_difference(two.home / "two", elsewhere(two, tmp_path / "other")) == []


def test_another_threshold_is_found_at_its_row_and_its_step(two: Two, tmp_path: Path) -> None:
    shutil.copytree(two.home, tmp_path / "other", symlinks=True)
    two.edit("gopher: {min_words: 20}", "gopher: {min_words: 150}")
    found = first_difference(two.home / "two", elsewhere(two, tmp_path / "other"))
    assert found[0].startswith("phase1: shard-00000.parquet, row ") and "column 'id'" in found[0]
    assert found[3:] == ["They part at the step judge:", "  one: thresholds differ", "  two: thresholds differ"]


def test_another_library_is_named(two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step gives otherwise without another setting or line of code is blamed on the library that changed."""
    versions = engine.library_versions()
    monkeypatch.setattr(engine, "library_versions", lambda: {**versions, "regex": "0.0.1"})
    monkeypatch.setattr(Collect, "run", lambda step, piece, out: collect(replace(step, source="other"), piece, out))
    found = first_difference(two.home / "two", elsewhere(two, tmp_path / "other"))
    assert found[3:] == ["They part at the step collect:", "  one: regex differ", "  two: regex differ"]


def test_another_budget_of_one_phase_is_found_in_that_phase(two: Two, tmp_path: Path) -> None:
    shutil.copytree(two.home, tmp_path / "other", symlinks=True)
    two.edit("tokens: 3K", "tokens: 3K, documents: seen")
    found = first_difference(two.home / "two", elsewhere(two, tmp_path / "other"))
    assert found[0].startswith("phase2: ") and "They part at the step select:" in found


def test_a_build_without_its_store_is_compared_too(two: Two, tmp_path: Path) -> None:
    shutil.copytree(two.home / "two", tmp_path / "alone" / "two", symlinks=True)
    assert first_difference(two.home / "two", tmp_path / "alone" / "two") == []
    two.edit("gopher: {min_words: 20}", "gopher: {min_words: 150}")
    found = first_difference(tmp_path / "alone" / "two", elsewhere(two, tmp_path / "other"))
    assert "column 'id'" in found[0] and "they part is not known" in found[3] and len(found) == 4


@pytest.mark.parametrize("cut", [None, 100])
def test_a_shard_that_is_gone_or_broken_is_the_difference(two: Two, tmp_path: Path, cut: int | None) -> None:
    shutil.copytree(two.home, tmp_path / "other", symlinks=True)
    path = tmp_path / "other" / "two" / "phase1" / "shard-00001.parquet"
    data = path.read_bytes()
    path.unlink()
    if cut:
        path.write_bytes(data[:cut])
    (found,) = first_difference(two.home / "two", tmp_path / "other" / "two")
    assert found.startswith("phase1: shard-00001.parquet: ") and str(path) in found


def test_columns_of_other_types_with_the_same_values_are_a_difference(two: Two, tmp_path: Path) -> None:
    shutil.copytree(two.home, tmp_path / "other", symlinks=True)
    path = tmp_path / "other" / "two" / "phase1" / "shard-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("more", pa.array([1] * len(table))), path)
    (found,) = first_difference(two.home / "two", tmp_path / "other" / "two")
    assert "the columns are not of the same names and types" in found


def test_a_phase_that_only_one_has(two: Two, tmp_path: Path) -> None:
    shutil.copytree(two.home, tmp_path / "other", symlinks=True)
    shutil.rmtree(tmp_path / "other" / "two" / "phase2")
    assert first_difference(two.home / "two", tmp_path / "other" / "two") == [
        f"phase2: only {two.home / 'two'} has it"
    ]  # fmt: skip
