"""plm plan: what a person and a program see."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.training_cost import training_facts
from plm_data.errors import RecipeError
from plm_data.recipe_file import load_recipe
from tests.pipelines.commands import run
from tests.plm_data.test_recipe_hub import HUB, write
from trainer.model import PLM

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    start = time.monotonic()
    found: dict[str, Any] = json.loads(run("plan", RECIPES / "plm-1.8b.yaml", "--rate", 3, "--json").output)
    assert time.monotonic() - start < 30
    return found


def test_the_papers_run_adds_up(paper: dict[str, Any]) -> None:
    assert (
        paper["tokens"]
        == 2_480_000_000_000
        == sum(source["tokens"] for phase in paper["phases"] for source in phase["sources"])
    )
    assert [phase["segment"] for phase in paper["phases"]] == ["stable", "decay", "constant"]
    for phase in paper["phases"]:
        assert sum(source["share"] for source in phase["sources"]) == pytest.approx(1)
        assert all(source["epochs_so_far"] <= source["most_epochs"] for source in phase["sources"])
    used = {source["source"] for phase in paper["phases"] for source in phase["sources"]}
    assert used == {row["source"] for row in paper["sources"]}
    assert {row["domain"] for row in paper["sources"]} >= {"web", "code", "maths", "encyclopedia", "books"}
    assert {row["language"] for row in paper["sources"]} >= {"en", "zh"}


def test_the_papers_model_costs_what_is_published(paper: dict[str, Any]) -> None:
    training = paper["training"]
    assert training["parameters"] == 1_825_458_176
    assert all(round(row["flops_per_token"] / 1e9, 2) == 12.97 for row in training["phases"])
    flops = sum(row["flops"] for row in training["phases"] if row["flops"] is not None)
    assert training["hours"] == pytest.approx(flops / (989e12 * 0.4) / 3600)
    assert [row["name"] for row in training["phases"] if row["hours"] is None] == ["sft1", "sft2"]


def test_the_papers_figures_and_sets_are_there_and_pinned(paper: dict[str, Any]) -> None:
    published = [task["published"] for task in paper["evaluate"]]
    assert len(published) == 13 and sum(published) / 13 == pytest.approx(57.29, abs=0.005)
    assert len(paper["sft"]) == 2 and paper["preferences"]["prompts"]
    assert paper["unpinned"] == []
    assert all(re.fullmatch("[0-9a-f]{40}", row["revision"]) for row in paper["fetch"])
    named = {row["repository"] for row in paper["fetch"]}
    assert named >= {"HuggingFaceFW/fineweb-edu", "mlfoundations/dclm-baseline-1.0-parquet", "BAAI/CCI3-HQ"}
    assert paper["fetch"][0] == {
        "key": "tokenizer", "repository": "Qwen/Qwen2-1.5B", "revision": "8a16abf2848eda07cc5253dec660bf1ce007ad7a",
        "files": [], "license": None, "bytes": None, "bytes_known": "unknown",
    }  # fmt: skip


def test_its_tables_lose_no_figure_in_a_pipe(paper: dict[str, Any]) -> None:
    said = run("plan", RECIPES / "plm-1.8b.yaml", "--rate", 3).output
    assert "…" not in said
    for phase in paper["phases"]:
        for source in phase["sources"]:
            assert f"{source['tokens']:,}" in said and f"{source['epochs_so_far']:.3f}" in said
    for row in paper["fetch"]:
        assert row["revision"] in said and row["repository"] in said and all(file in said for file in row["files"])
    for part in (
        "12.97",
        "57.29",
        "given: 3 MB of text a second and core",
        "989 TFLOP/s a GPU and 40%",
        "not declared",
    ):
        assert part in said
    # By licence, what all sources of ODC-By-1.0 give.
    odc = sum(
        each["tokens"]
        for phase in paper["phases"]
        for each in phase["sources"]
        if each["source"] in ("fineweb-edu", "finemath", "infiwebmath", "finepdfs-edu", "cosmopedia")
    )
    assert f"{odc:,}" in said and f"{odc / paper['tokens']:.2%}" in said and "LicenseRef-The-Stack" in said
    hours = paper["training"]["hours"]
    assert f"{hours:,.2f}" in said and f"{paper['processor']['hours']:,.2f}" in said
    assert max(len(line) for line in said.splitlines() if line.startswith(("│", "┃"))) <= 200


def test_mini_is_a_model_of_a_hundred_million_and_two_billion_tokens() -> None:
    import torch

    from pipelines.training_cost import sizes

    recipe = load_recipe(RECIPES / "mini.yaml")
    config = sizes(recipe)
    assert config is not None
    with torch.device("meta"):
        counted = sum(parameter.numel() for parameter in PLM(config).parameters())
    facts = training_facts(recipe, 165, 0.35)
    assert facts is not None and facts["parameters"] == counted and 90e6 < counted < 110e6
    assert sum(phase.tokens for phase in recipe.phases.values()) == 2_000_000_000
    assert 1 < facts["hours"] < 24
    paper = load_recipe(RECIPES / "plm-1.8b.yaml")
    assert list(recipe.phases) == list(paper.phases) and list(recipe.sft) == list(paper.sft)
    run("mix", RECIPES / "mini.yaml", "--check")


def test_the_gpu_and_its_use_change_the_hours(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES / "plm-1.8b.yaml")
    slow, fast = training_facts(recipe, 100, 0.2), training_facts(recipe, 200, 0.4)
    assert slow is not None and fast is not None and slow["hours"] == pytest.approx(4 * fast["hours"])
    assert training_facts(load_recipe(write(tmp_path, HUB)), 100, 0.2) is None


def test_a_phase_of_several_lengths_costs_their_mean(tmp_path: Path) -> None:
    text = (RECIPES / "plm-1.8b.yaml").read_text(encoding="utf-8")
    stages = "    context: [{length: 2048, share: 0.5}, {length: 4096, share: 0.5}]\n"
    path = tmp_path / "plm-1.8b.yaml"
    path.write_text(text.replace("    segment: stable\n", "    segment: stable\n" + stages), encoding="utf-8")
    facts = training_facts(load_recipe(path), 989, 0.4)
    assert facts is not None
    mixed, whole = (row["flops_per_token"] for row in facts["phases"][:2])
    attention = 6 * 32 * 16 * 320 / 2
    assert whole - mixed == pytest.approx(attention * 2048 / 2)


def test_what_cannot_be_is_refused_with_the_limiting_source(tmp_path: Path) -> None:
    text = HUB.replace("tokens: 5K", "tokens: 50K")
    with pytest.raises(RecipeError, match="'web', which declares 10,000.*budget of phase1.* 10,000 of.* 5.00 epochs"):
        run("plan", write(tmp_path, text), "--rate", 1)


def test_a_source_without_a_commit_is_planned_and_named(tmp_path: Path) -> None:
    path = write(tmp_path, re.sub("a/web, revision: [0-9a-f]+", "a/web, revision: null", HUB))
    said = run("plan", path, "--rate", 1).output
    assert "UNPINNED" in said
    assert "unpinned: 1 source: no commit says which bytes are meant; write it into the recipe: sources.web" in said
    assert "unpinned" not in run("plan", write(tmp_path, HUB), "--rate", 1).output


def test_a_set_without_a_commit_is_refused_before_any_work(tmp_path: Path) -> None:
    from tests.conftest import SMALL
    from tests.plm_data.test_recipe_after import AFTER

    path = tmp_path / "small.yaml"
    path.write_text(SMALL + AFTER.replace("rounds: 1", "rounds: 1\n  max_tokens: 64"), encoding="utf-8")
    for wanted in (("--phase", "preferences"), ()):
        with pytest.raises(RecipeError, match="preferences.prompts.sums: revision is null"):
            run("build", path, *wanted, "--home", tmp_path / "home", "--workers", 1)
        assert not (tmp_path / "home").exists()
