"""plm mix, plm trace and plm report: what a person sees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipelines.stages import write_views
from plm_data.build import Build
from plm_data.errors import PlmError, RecipeError
from tests.conftest import SMALL
from tests.pipelines.commands import run


def test_mix_check_plans_without_any_work(small_recipe: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    said = run("mix", small_recipe, "--check", "--home", home).output
    assert "60,000 tokens in 2 phases: feasible by what is known before any work" in said
    assert "24,000" in said and "at most" in said and not home.exists()


def test_mix_plans_by_counted_tokens(small_build: Build, small_recipe: Path) -> None:
    said = run("mix", small_recipe, "--home", small_build.home).output
    assert "feasible as counted" in said
    for source in ("python-code", "package-readmes"):
        assert f"{small_build.supply[source]:,}" in said


def test_mix_refuses_what_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.replace("tokens: 40K", "tokens: 40M"), encoding="utf-8")
    with pytest.raises(
        RecipeError, match="phase1 asks .* largest feasible budget of phase1 .* epochs of 'worked-maths'"
    ):
        run("mix", path, "--check", "--home", tmp_path / "home")


def test_a_strategy_is_planned_by_what_sources_declare_and_else_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    mix = "mix: {strategy: temperature, temperature: 2, sources: [python-code, worked-maths]}}"
    text = SMALL.replace("mix: {python-code: 0.6, python-docs: 0.2, worked-maths: 0.2}}", mix)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="needs the tokens of python-code, worked-maths.*declare them"):
        run("mix", path, "--check", "--home", tmp_path / "home")
    text = text.replace("priority: 20,", "priority: 20, tokens: 900K,").replace(
        "documents: 300,", "documents: 300, tokens: 100K,"
    )
    path.write_text(text, encoding="utf-8")
    said = run("mix", path, "--check", "--home", tmp_path / "home").output
    # The square roots of 900 and 100 are as 3 to 1.
    assert "75.00%" in said and "30,000" in said and "declares" in said


def test_trace_tells_a_rows_story(small_build: Build, small_recipe: Path) -> None:
    shard = small_build.folder / "phase1" / "shard-00000.parquet"
    said = run("trace", shard, 2, "-r", small_recipe, "--home", small_build.home).output
    assert "row 2 of shard-00000.parquet" in said and "Its document:" in said and "phase1: row 2 of" in said


@pytest.fixture(scope="module")
def viewed(small_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A copy of the finished build, with its report and cards."""
    home = tmp_path_factory.mktemp("viewed") / "home"
    shutil.copytree(small_build.home, home, symlinks=True)
    build = Build(small_build.recipe, home, workers=1)
    for phase in build.recipe.phases:
        build.shards(phase)
    write_views(build)
    return build


def test_a_phase_has_its_card_and_metadata_beside_its_shards(viewed: Build) -> None:
    for phase in viewed.recipe.phases:
        folder = viewed.folder / phase
        assert "configs:" in (folder / "README.md").read_text(encoding="utf-8")
        assert json.loads((folder / "croissant.json").read_text(encoding="utf-8"))["name"]
        # They are no part of the step's output.
        assert not (viewed.shards(phase).path / "README.md").exists()


def test_report_says_what_was_planned_and_realised_and_has_tables_for_a_terminal(
    viewed: Build, small_recipe: Path
) -> None:
    short = run("report", small_recipe, "--home", viewed.home).output
    assert "phase1 (stable): 40,000 tokens planned, " in short and "report.html" in short
    tables = run("report", small_recipe, "--terminal", "--home", viewed.home).output
    assert "tokens by phase and source" in tables and len(tables) > len(short)


def test_report_against_another_build(viewed: Build, small_recipe: Path, tmp_path: Path) -> None:
    same = run("report", small_recipe, "--against", viewed.folder, "--home", viewed.home).output
    assert "Nothing moved" in same and (viewed.folder / "against.html").is_file()
    facts = json.loads((viewed.folder / "report.json").read_text(encoding="utf-8"))
    facts["sources"][0]["kept_tokens"] += 1000
    (tmp_path / "other.json").write_text(json.dumps(facts), encoding="utf-8")
    moved = run("report", small_recipe, "--against", tmp_path / "other.json", "--home", viewed.home).output
    assert "-1,000" in moved.replace("−", "-") and "python-code" in moved
    for bad, message in (("[]", "not a report"), ("{", "not the JSON of a report"), ("{}", "plm report|plm build")):
        (tmp_path / "other.json").write_text(bad, encoding="utf-8")
        with pytest.raises(PlmError, match=message):
            run("report", small_recipe, "--against", tmp_path / "other.json", "--home", viewed.home)
    with pytest.raises(PlmError, match="there is no report; expected the report.json of a build"):
        run("report", small_recipe, "--against", tmp_path, "--home", viewed.home)
