"""Two recipes beside each other: keys, budgets, thresholds, and the tokens that move."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from plm_data.build import Build
from plm_data.locking.recipes import RecipeDiff, diff_recipes
from plm_data.locking.terminal import print_diff
from plm_data.recipe_file import load_recipe
from tests.plm_data.locking.conftest import RECIPE, Two


def diff(two: Two, old: str, new: str, build: bool = False) -> RecipeDiff:
    other = two.folder / "other.yaml"
    assert RECIPE.count(old) == 1
    other.write_text(RECIPE.replace(old, new), encoding="utf-8")
    if build:
        made = Build(load_recipe(other), two.home, workers=1)
        for phase in made.recipe.phases:
            made.shards(phase)
    return diff_recipes(load_recipe(two.recipe), load_recipe(other), two.home)


def printed(found: RecipeDiff) -> str:
    out = StringIO()
    print_diff(found, ("a", "b"), Console(file=out, width=160))
    return out.getvalue()


def test_a_recipe_does_not_differ_from_itself(two: Two) -> None:
    recipe = load_recipe(two.recipe)
    found = diff_recipes(recipe, recipe, two.home)
    assert found.settings == [] and all(one == other for one, other in found.tokens.values())
    assert "say the same" in printed(found)


def test_a_budget_moves_planned_tokens(two: Two) -> None:
    found = diff(two, "tokens: 3K, mix: {one: 0.5", "tokens: 4K, mix: {one: 0.5")
    assert [(each.item, each.locked, each.found) for each in found.settings] == [("phases.phase2.tokens", 3000, 4000)]
    assert found.basis == "as planned" and found.tokens["phase2", "one"] == (1500, 2000)
    assert found.tokens["phase1", "one"] == (3000, 3000)
    said = printed(found)
    assert "phases.phase2.tokens" in said and "+500" in said and "phase1" not in said


def test_where_both_are_built_kept_tokens_are_compared(two: Two) -> None:
    found = diff(two, "gopher: {min_words: 20}", "gopher: {min_words: 150}", build=True)
    assert found.basis == "as built"
    assert all(after < before for before, after in found.kept.values()) and found.kept.keys() == {"one", "two"}
    assert "curate.gopher.min_words" in printed(found)


def test_a_comparison_changes_nothing_of_a_build(two: Two) -> None:
    diff(two, "gopher: {min_words: 20}", "gopher: {min_words: 150}", build=True)
    shown = (two.home / "two" / "steps.json").read_bytes()
    diff_recipes(load_recipe(two.folder / "other.yaml"), load_recipe(two.recipe), two.home)
    assert (two.home / "two" / "steps.json").read_bytes() == shown


def test_what_cannot_be_planned_is_said(two: Two) -> None:
    found = diff(two, "tokens: 6K", "tokens: 600M")
    assert found.tokens == {} and "not planned: " in printed(found) and "largest feasible budget" in found.basis


def test_a_source_that_one_lacks_is_named(two: Two, tmp_path: Path) -> None:
    found = diff(two, "  two: {reader", "  three: {reader: worked-maths, documents: 5, domain: maths, language: en, "
                 "license: CC0-1.0, priority: 1}\n  two: {reader")  # fmt: skip
    assert {each.item for each in found.settings} >= {"sources.three.reader", "sources.three.documents"}
