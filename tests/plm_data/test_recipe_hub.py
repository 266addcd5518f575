"""What a recipe names on the hub, and that nothing without a commit is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from plm_data.build import Build
from plm_data.errors import RecipeError
from plm_data.recipe_file import load_recipe
from plm_data.recipe_hub import hub_items, refuse_unpinned, unpinned
from tests.plm_data.test_recipe_after import AFTER, COMMIT

HUB = f"""\
name: hub
seed: 1
tokenizer: {{hub: a/words, revision: {COMMIT}}}
sources:
  web: {{reader: hub, path: a/web, revision: {COMMIT}, files: [x/*.parquet], domain: web, language: en, license: MIT,
        priority: 1, tokens: 10K}}
phases:
  phase1: {{segment: stable, tokens: 5K, mix: {{web: 1.0}}}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "hub.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_of_the_hub_is_listed_in_the_order_of_a_run(tmp_path: Path) -> None:
    items = list(hub_items(load_recipe(write(tmp_path, HUB + AFTER))))
    assert [(item.key, item.repository) for item in items] == [
        ("tokenizer", "a/words"), ("sources.web", "a/web"), ("sft.sft1.sources.chat", "a/chat"),
        ("preferences.prompts.sums", "a/sums"), ("preferences.select", "a/judge"),
    ]  # fmt: skip
    assert items[1].files == ("x/*.parquet",) and items[0].files == ()
    assert unpinned(load_recipe(write(tmp_path, HUB + AFTER))) == ["preferences.prompts.sums"]


@pytest.mark.parametrize("old, key", [("a/web, revision: ", "sources.web"), ("a/words, revision: ", "tokenizer")])
def test_what_has_no_commit_is_planned_but_not_built(tmp_path: Path, old: str, key: str) -> None:
    text = HUB.replace(f"{old}{COMMIT}", f"{old}null")
    build = Build(load_recipe(write(tmp_path, text)), tmp_path / "home")
    assert build.estimate()["phase1"]["web"].quota == 5000
    assert unpinned(build.recipe) == [key]
    with pytest.raises(RecipeError, match=f"{key}: revision is null.*Write the commit into the recipe"):
        build.shards("phase1")
    assert not (tmp_path / "home").exists()


def test_prompts_without_a_commit_are_told_and_do_not_keep_the_corpus_from_being_built(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, HUB + AFTER))
    assert unpinned(recipe) == ["preferences.prompts.sums"]
    refuse_unpinned(recipe)
    unknown = load_recipe(write(tmp_path, HUB.replace(f"a/web, revision: {COMMIT}", "a/web, revision: null") + AFTER))
    with pytest.raises(RecipeError, match=r"recipe hub: sources\.web: revision is null"):
        refuse_unpinned(unknown)


@pytest.mark.parametrize(
    "tokenizer, part",
    [
        ("{hub: a/words}", "hub and revision go together"),
        (f"{{revision: {COMMIT}}}", "hub and revision go together"),
        (f"{{hub: a/words, revision: {COMMIT}, vocab_size: 600}}", "is not trained; take out vocab_size"),
        ("{hub: a/words, revision: v1}", "tokenizer.revision: expected a commit"),
    ],
)
def test_a_tokenizer_of_the_hub_has_its_commit_and_is_not_trained(tmp_path: Path, tokenizer: str, part: str) -> None:
    old = f"{{hub: a/words, revision: {COMMIT}}}"
    with pytest.raises(RecipeError, match=part):
        load_recipe(write(tmp_path, HUB.replace(old, tokenizer)))
