"""The two rooms together: from a recipe to a trained model and its text, by the commands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines import cli
from pipelines.stages import open_build
from pipelines.training import train
from plm_data.build import Build
from plm_data.errors import PlmError, RecipeError
from plm_data.recipe_file import load_recipe
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def home(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduced")


@pytest.fixture(scope="module")
def first(small_recipe: Path, home: Path) -> str:
    result = CliRunner().invoke(cli.cli, ["reproduce", str(small_recipe), "--home", str(home), "--workers", "1"])
    assert result.exit_code == 0, result.output
    return result.output


def test_reproduce_ends_with_phases_losses_a_sample_and_where_things_lie(first: str, home: Path) -> None:
    summary = json.loads((home / "small" / "model" / "summary.json").read_text(encoding="utf-8"))
    assert [phase["name"] for phase in summary["phases"]] == ["phase1", "phase2"]
    for phase in summary["phases"]:
        assert f"loss {phase['loss_start']:.3f} -> {phase['loss_end']:.3f}" in first
        assert 0 < phase["held_out_loss"] < math.log(700)
    assert summary["phases"][0]["loss_end"] < summary["phases"][0]["loss_start"]
    assert "a sample of its text:\n    def " in first and "what each rule removed" in first
    for path in (
        "report.html",
        "model/final/model.safetensors",
        "model/loss.png",
        "model/report.html",
        "phase2/manifest.json",
        "held-out/manifest.json",
    ):
        assert (home / "small" / path).is_file()
        assert path.split("/")[0] in first or path.startswith(("phase2", "held-out"))


def test_reproducing_again_reuses_everything_and_says_so(first: str, home: Path, small_recipe: Path) -> None:
    result = CliRunner().invoke(cli.cli, ["reproduce", str(small_recipe), "--home", str(home), "--workers", "1"])
    assert result.exit_code == 0
    stages = [line for line in result.output.splitlines() if " rows  " in line]
    assert stages and all(line.endswith("reused") for line in stages)
    assert "a second, reused" in result.output


def test_sample_continues_a_prompt_the_same_way_for_a_seed(first: str, home: Path, small_recipe: Path) -> None:
    def say(*options: str) -> str:
        result = CliRunner().invoke(
            cli.cli, ["sample", str(small_recipe), "--home", str(home), "--max-tokens", "12", *options]
        )
        assert result.exit_code == 0, result.output
        return result.output

    one = say("--prompt", "import ", "--seed", "1")
    assert one.startswith("import ") and one == say("--prompt", "import ", "--seed", "1")
    assert one != say("--prompt", "import ", "--seed", "2", "--temperature", "1.5")


def test_report_says_where_it_is_and_whether_it_is_of_the_recipe(
    first: str, home: Path, small_recipe: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(cli.cli, ["report", str(small_recipe), "--home", str(home)])
    assert result.exit_code == 0 and f"report: {home}/small/report.html" in result.output
    assert "has changed" not in result.output
    changed = tmp_path / "small.yaml"
    changed.write_text(SMALL.replace("min_words: 20", "min_words: 21"), encoding="utf-8")
    result = CliRunner().invoke(cli.cli, ["report", str(changed), "--home", str(home)])
    assert "the recipe has changed since this report" in result.output


def test_without_a_build_report_and_sample_say_what_to_run(small_recipe: Path, tmp_path: Path) -> None:
    for command, hint in (("report", "plm build"), ("sample", "plm train small")):
        result = CliRunner().invoke(cli.cli, [command, str(small_recipe), "--home", str(tmp_path)])
        assert isinstance(result.exception, PlmError) and hint in str(result.exception)


def test_a_recipe_without_a_model_cannot_be_trained(small_build: Build, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    text = SMALL[: SMALL.index("model:")] + SMALL[SMALL.index("train:") :]
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="no 'model' section"):
        train(Build(load_recipe(path), small_build.home, workers=1))


def test_a_sequence_longer_than_the_model_is_refused(small_build: Build, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace("sequence_length: 128", "sequence_length: 129"), encoding="utf-8")
    with pytest.raises(RecipeError, match="sequence_length is 129, more than"):
        train(Build(load_recipe(path), small_build.home, workers=1))


def test_an_unknown_phase_is_named(small_recipe: Path, tmp_path: Path) -> None:
    build = open_build(small_recipe, tmp_path)
    with pytest.raises(RecipeError, match="no phase 'phase9'; its phases are phase1, phase2"):
        build.check("phase9")
