"""Schedules compared by the command, and the report of a run: from the recipe to the pages."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from pipelines.stages import with_budget
from pipelines.training import train, trained_model, training
from plm_data.build import Build
from plm_data.errors import PlmError, RecipeError
from plm_data.recipe_file import load_recipe
from tests.conftest import SMALL
from tests.pipelines.commands import run
from trainer import loop
from trainer.errors import TrainerError


@pytest.fixture(scope="module")
def home(small_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("compared") / "home"
    shutil.copytree(small_build.home, copied, symlinks=True)
    return copied


def compare(recipe: Path, home: Path, *more: object) -> Result:
    return run("compare-schedules", recipe, "--home", home, "--workers", 1, *more)


@pytest.fixture(scope="module")
def compared(small_recipe: Path, home: Path) -> Result:
    return compare(small_recipe, home, "--tokens", "9K", "--seeds", 2, "--schedules", "wsd,cosine")


def test_each_run_is_told_and_the_table_page_and_json_agree(compared: Result, home: Path) -> None:
    found = json.loads((home / "small-9000" / "compare-schedules.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in found["schedules"]] == ["wsd", "cosine"] and found["seeds"] == [7, 8]
    page = (home / "small-9000" / "compare-schedules.html").read_text(encoding="utf-8")
    for row in found["schedules"]:
        for loss in row["losses"]:
            assert f"{loss:.4f}" in compared.output and f"{loss:.4f}" in page
    assert "run 4 of 4: cosine, seed 8: held-out loss" in compared.output
    assert found["verdict"] in compared.output and found["verdict"] in page
    # the budget, to the documents that fill it
    assert 8_000 < found["tokens"] < 10_000
    assert len({row["folder"] for row in found["runs"]}) == 4


def test_seeds_and_schedules_make_different_models(compared: Result, home: Path) -> None:
    found = json.loads((home / "small-9000" / "compare-schedules.json").read_text(encoding="utf-8"))
    assert len({loss for row in found["schedules"] for loss in row["losses"]}) == 4
    first = [json.loads((Path(row["folder"]) / "run.json").read_text())["train"] for row in found["runs"][:2]]
    assert first[0].pop("schedule") == "wsd" and first[1].pop("schedule") == "cosine"
    assert first[0] == first[1]


def test_compared_again_no_step_is_taken(
    compared: Result, small_recipe: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(loop, "training_step", refuse)
    again = compare(small_recipe, home, "--tokens", "9K", "--seeds", 2, "--schedules", "wsd,cosine")
    assert again.output.splitlines()[-1] == compared.output.splitlines()[-1]
    with pytest.raises(AssertionError, match="trained again"):  # a seed more is trained
        compare(small_recipe, home, "--tokens", "9K", "--seeds", 3, "--schedules", "wsd,cosine")


def test_the_recipes_own_build_is_left_alone(compared: Result, home: Path, small_build: Build) -> None:
    assert not (home / "small" / "compare-schedules.json").exists()
    for phase in ("phase1", "phase2"):
        ours, before = (at / "small" / phase / "manifest.json" for at in (home, small_build.home))
        assert ours.read_bytes() == before.read_bytes()


def test_a_runs_report_is_written_on_demand(compared: Result, home: Path) -> None:
    found = json.loads((home / "small-9000" / "compare-schedules.json").read_text(encoding="utf-8"))
    folder = Path(found["runs"][0]["folder"])
    assert "training report: " in run("training-report", folder).output
    assert "Training report" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--schedules", "wsdc"), "schedules: found .* expected two or more"),
        (("--schedules", "wsdc,linear"), "found 'linear', expected some of wsdc, wsd, cosine"),
    ],
)
def test_wrong_options_are_told_before_any_work(
    small_recipe: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    with pytest.raises((TrainerError, AssertionError), match=message):
        compare(small_recipe, tmp_path, *options)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_that_holds_nothing_out_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace("held_out: 0.03\n", ""), encoding="utf-8")
    with pytest.raises(RecipeError, match="holds no documents out, .* set held_out"):
        compare(path, tmp_path / "home", "--tokens", "9K")


def test_a_budget_keeps_the_phases_shares(small_recipe: Path) -> None:
    recipe = load_recipe(small_recipe)
    smaller = with_budget(recipe, 6_000)
    assert smaller.name == "small-6000"
    assert {name: phase.tokens for name, phase in smaller.phases.items()} == {"phase1": 4_000, "phase2": 2_000}
    assert smaller.train and recipe.train and smaller.train.warmup_tokens == 500
    assert smaller.phases["phase1"].mix == recipe.phases["phase1"].mix and smaller.sources == recipe.sources


def test_the_run_with_the_recipes_own_schedule_and_seed_is_that_of_plm_train(home: Path, small_recipe: Path) -> None:
    build = Build(with_budget(load_recipe(small_recipe), 9_000), home, workers=1)
    train(build, progress=False)
    made = training(build)
    own = made.folder(made.settings)
    assert (home / "small-9000" / "model").resolve() == own.resolve()
    assert trained_model(build) == home / "small-9000" / "model" / "final"
    others = {made.folder(replace(made.settings, seed=8)), made.folder(replace(made.settings, schedule="wsd"))}
    assert len(others) == 2 and own not in others


def test_a_model_of_other_settings_is_not_the_recipes(compared: Result, home: Path, small_recipe: Path) -> None:
    recipe = with_budget(load_recipe(small_recipe), 9_000)
    train(Build(recipe, home, workers=1), progress=False)
    assert recipe.train
    hotter = recipe.model_copy(update={"train": recipe.train.model_copy(update={"learning_rate": 0.02})})
    for changed in (hotter, recipe.model_copy(update={"seed": 8})):  # other settings; other data, which is not built
        with pytest.raises(PlmError, match="found a model of other settings.* run `plm train small-9000` first, or"):
            trained_model(Build(changed, home, workers=1))


def test_a_model_that_somebody_put_there_is_taken(small_recipe: Path, tmp_path: Path) -> None:
    placed = tmp_path / "small" / "model" / "final"
    placed.mkdir(parents=True)
    assert trained_model(Build(load_recipe(small_recipe), tmp_path, workers=1)) == placed


def test_without_a_model_the_command_that_trains_one_is_named(small_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(PlmError, match="there is no trained model yet; run `plm train small` first"):
        trained_model(Build(load_recipe(small_recipe), tmp_path, workers=1))
