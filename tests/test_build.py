"""Whole builds, as commands: the same bytes whatever the workers and hash seeds, killed or not, and no work twice."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from plm_data.build import Build
from plm_data.recipe_file import load_recipe
from tests.conftest import SMALL

COMMAND = [sys.executable, "-m", "pipelines.cli", "build"]


def environment(hash_seed: str) -> dict[str, str]:
    return os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[1])}


def run(recipe: Path, home: Path, workers: int = 1, hash_seed: str = "0", locale: str = "C.UTF-8") -> str:
    return subprocess.run(
        [*COMMAND, str(recipe), "--home", str(home), "--workers", str(workers)],
        env=environment(hash_seed) | {"LC_ALL": locale, "TZ": "Pacific/Chatham" if workers > 1 else "UTC"},
        cwd=home.parent, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def contents(home: Path) -> dict[str, str]:
    """Every file of the phases and the tokenizer, by its hash."""
    folder = home / "small"
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("phase1", "phase2", "tokenizer")
        for path in sorted((folder / name).iterdir())
    }


@pytest.fixture(scope="module")
def undisturbed(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    home.mkdir()
    run(small_recipe, home, workers=1, hash_seed="1")
    return home


def test_workers_hash_seed_folder_locale_and_time_zone_change_no_byte(
    undisturbed: Path, small_recipe: Path, tmp_path: Path
) -> None:
    home = tmp_path / "another folder" / "home"
    home.mkdir(parents=True)
    run(small_recipe, home, workers=2, hash_seed="2", locale="C")
    expected = contents(undisturbed)
    assert any(name.endswith(".parquet") for name in expected) and "phase2/manifest.json" in expected
    assert contents(home) == expected


def test_a_killed_build_goes_on_to_the_same_bytes(undisturbed: Path, small_recipe: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    process = subprocess.Popen(
        [*COMMAND, str(small_recipe), "--home", str(home), "--workers", "2"], env=environment("3"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    # In the middle of the attributes: some of their partitions are done, others are not.
    while not list(home.glob("store/heuristics/*.partial/*.done.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert list(home.glob("store/*/*.partial")) and not (home / "small" / "phase1").exists()
    out = run(small_recipe, home)
    assert "collect" in out and "reused" in out
    assert contents(home) == contents(undisturbed)
    assert not list(home.glob("store/*/*.partial"))


def test_building_again_does_no_work_and_says_so(undisturbed: Path, small_recipe: Path) -> None:
    before = {
        path: path.stat().st_mtime_ns
        for path in undisturbed.glob("store/**/*")
        if path.is_file() and path.name != ".lock"
    }
    out = run(small_recipe, undisturbed)
    stages = [line for line in out.splitlines() if " rows  " in line]
    assert len(stages) >= 9 and all(line.endswith("reused") for line in stages)
    after = {
        path: path.stat().st_mtime_ns
        for path in undisturbed.glob("store/**/*")
        if path.is_file() and path.name != ".lock"
    }
    assert after == before


def changed(small_build: Build, folder: Path, old: str, new: str) -> Build:
    """The small recipe with a change, in the finished build's home; decided."""
    assert SMALL.count(old) == 1
    path = folder / "small.yaml"
    path.write_text(SMALL.replace(old, new), encoding="utf-8")
    build = Build(load_recipe(path), small_build.home, workers=1)
    assert set(build.decided) == set(build.recipe.sources)
    return build


def made_anew(build: Build, stage: str) -> set[str]:
    """What a stage's outputs that were not there yet are of: a source, or all."""
    return {of for of, output in build.outputs[stage].items() if not output.reused}


BEFORE_DECIDING = ("collect", "normalise", "tokenizer", "attributes", "bands", "match", "clusters", "near")


def test_a_changed_threshold_decides_anew_from_the_columns_alone(small_build: Build, tmp_path: Path) -> None:
    build = changed(small_build, tmp_path, "min_words: 20", "min_words: 25")
    assert [stage for stage in BEFORE_DECIDING if made_anew(build, stage)] == []
    assert made_anew(build, "judge") == {"worked-maths"} <= made_anew(build, "decide")
    kept = {name: (small_build.decided[name].counts.kept, build.decided[name].counts.kept) for name in build.decided}
    assert [name for name, (before, after) in kept.items() if after < before] == ["worked-maths"]


def test_a_threshold_that_moves_no_document_makes_nothing_anew_but_the_judging(
    small_build: Build, tmp_path: Path
) -> None:
    """Outputs are known by their contents, so that what comes after the judging is found again."""
    build = changed(small_build, tmp_path, "gopher: {min_words: 20,", "gopher: {min_words: 20, max_words: 900000,")
    assert made_anew(build, "judge") == {"worked-maths"}
    assert [stage for stage in build.outputs if stage != "judge" and made_anew(build, stage)] == []
    assert all(output.reused for output in build.selection("phase1"))


def test_a_changed_priority_judges_anew_and_collects_and_measures_nothing(small_build: Build, tmp_path: Path) -> None:
    build = changed(small_build, tmp_path, "priority: 30", "priority: 5")
    assert [stage for stage in BEFORE_DECIDING if made_anew(build, stage)] == []
    assert made_anew(build, "judge") == {"python-docs"}
    assert build.collected["python-docs"].path == small_build.collected["python-docs"].path


def test_a_source_whose_near_duplicates_no_longer_count_is_not_measured_anew(
    small_build: Build, tmp_path: Path
) -> None:
    build = changed(small_build, tmp_path, "priority: 10}", "priority: 10, dedup: exact}")
    assert [
        stage for stage in ("collect", "normalise", "tokenizer", "attributes", "bands") if made_anew(build, stage)
    ] == []
    assert set(build.near) == set(small_build.near) - {"package-readmes"}
    verdicts = build.table("verdicts").filter(pl.col("source") == "package-readmes").collect()
    assert verdicts["near_cluster"].is_null().all() and verdicts.height > 0


def test_another_budget_of_a_later_phase_leaves_an_earlier_ones_selection_alone(
    small_build: Build, tmp_path: Path
) -> None:
    # Mixed as phase 1 is: else a budget moves the sources' shares, which the tokenizer is trained by. Of a name of its
    # own, so that the finished build's folder stays what it is.
    mixed = SMALL.replace("{python-code: 0.4, package-readmes: 0.4,", "{python-code: 0.6, python-docs: 0.2,")
    assert mixed != SMALL and mixed.count("tokens: 20K") == 1
    path = tmp_path / "budgets.yaml"

    def planned(tokens: str) -> Build:
        text = mixed.replace("name: small", "name: budgets").replace("tokens: 20K", f"tokens: {tokens}")
        path.write_text(text, encoding="utf-8")
        return Build(load_recipe(path), small_build.home, workers=1)

    for phase in ("phase1", "phase2"):
        planned("20K").shards(phase)
    build = planned("21K")
    assert all(output.reused for output in build.selection("phase1")) and build.shards("phase1").reused
    assert not any(output.reused for output in build.selection("phase2"))
