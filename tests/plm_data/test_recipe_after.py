"""What a recipe declares for after pre-training is checked as strictly as the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from plm_data.errors import RecipeError
from plm_data.recipe import Recipe
from plm_data.recipe_conversations import HubSet
from plm_data.recipe_file import load_recipe
from tests.conftest import SMALL

COMMIT = "0123456789abcdef0123456789abcdef01234567"
AFTER = f"""\
sft:
  sft1: {{learning_rate: 0.001, sources: {{chat: {{path: a/chat, revision: {COMMIT}, license: MIT, examples: 2K}}}}}}
preferences:
  prompts: {{sums: {{path: a/sums, revision: null, license: CC-BY-4.0 OR LicenseRef-Own, files: ["*.json"]}}}}
  select: {{hub: a/judge, revision: {COMMIT}, license: Apache-2.0}}
  refinements: 2
  rounds: 1
  beta: 0.1
  lambda: 0.25
  learning_rate: 1.0e-6
evaluate:
  suite:
    - {{task: gsm8k, published: 60.73}}
    - {{task: mbpp}}
"""


def loaded(tmp_path: Path, after: str = AFTER) -> Recipe:
    path = tmp_path / "after.yaml"
    path.write_text(SMALL + after, encoding="utf-8")
    return load_recipe(path)


def test_the_sections_are_read(tmp_path: Path) -> None:
    recipe = loaded(tmp_path)
    chat = recipe.sft["sft1"].sources["chat"]
    assert isinstance(chat, HubSet) and chat.examples == 2000 and chat.form is None and recipe.sft["sft1"].epochs == 1
    found = recipe.preferences
    assert found is not None and found.lambda_ == 0.25 and found.activation is None
    assert isinstance(found.prompts["sums"], HubSet) and found.prompts["sums"].revision is None
    assert not isinstance(found.select, str) and found.select.hub == "a/judge"
    assert recipe.evaluate is not None and recipe.evaluate.tasks == {}
    assert [(each.task, each.published) for each in recipe.evaluate.suite] == [("gsm8k", 60.73), ("mbpp", None)]
    assert [*recipe.after] == ["sft1", "preferences"] and loaded(tmp_path, "").after == {}
    by_rule = AFTER.replace(f"select: {{hub: a/judge, revision: {COMMIT}, license: Apache-2.0}}", "select: rule")
    assert loaded(tmp_path, by_rule).preferences.select == "rule"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "old, new, parts",
    [
        (f"revision: {COMMIT}, license: MIT", "revision: main, license: MIT", ["sft.sft1.sources.chat.revision: expected a commit", "(found 'main')"]),
        (f"revision: {COMMIT}, license: MIT", "license: MIT", ["the key 'sft.sft1.sources.chat.revision' is missing"]),
        ("license: MIT", "license: Mit Licence", ["sft.sft1.sources.chat.license"]),
        ("license: MIT", "license: Foo-1.0", ["Foo-1.0 is no SPDX licence", "LicenseRef-NAME"]),
        ("path: a/chat", "path: https://a/chat", ["sft.sft1.sources.chat.path"]),
        ("examples: 2K", "example: 2K", ["unknown key 'sft.sft1.sources.chat.example'; known here: license, domain, language, priority"]),
        ("  lambda: 0.25\n", "", ["the key 'preferences.lambda' is missing"]),
        ("lambda: 0.25", "lamda: 0.25", ["unknown key 'preferences.lamda'; known here: ", "lambda, reduction"]),
        ("select: {hub: a/judge", "select: {hubs: a/judge", ["unknown key 'preferences.select.hubs'; known here: hub, revision"]),
        (f"select: {{hub: a/judge, revision: {COMMIT}, license: Apache-2.0}}", "select: best", ["preferences.select: ", "'rule'", "(found 'best')"]),
        ("published: 60.73", "published: 160.73", ["evaluate.suite.0.published", "(found 160.73)"]),
        ("{task: mbpp}", "{task: gsm8k}", ["evaluate.suite names the task 'gsm8k' twice"]),
        ("  sft1:", "  phase2:", ["sft.phase2 has the name of a pre-training phase"]),
        ("  sft1:", "  model:", ["a phase cannot be called 'model'"]),
        ("  sft1:", "  tasks:", ["a phase cannot be called 'tasks'"]),
        ("examples: 2K", "reader: worked-maths", ["unknown key 'sft.sft1.sources.chat.path'; known here: license"]),
        ("examples: 2K", "reader: warc", ["sft.sft1.sources.chat.reader: expected one of files, hub, python-tasks"]),
        ("examples: 2K", "form: chatty", ["sft.sft1.sources.chat.form", "(found 'chatty')"]),
        ("examples: 2K", "form: alpaca, columns: {prompt: q}", ["the form alpaca has no column 'prompt'"]),
        ("examples: 2K", "columns: {prompt: q}", ["columns renames the columns of a form, so name the form too"]),
        ("learning_rate: 0.001, sources: {chat: {", "learning_rate: 0, sources: {chat: {", ["sft.sft1.learning_rate", "(found 0)"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, old: str, new: str, parts: list[str]) -> None:
    assert old in AFTER
    with pytest.raises(RecipeError) as error:
        loaded(tmp_path, AFTER.replace(old, new, 1))
    assert "after.yaml:" in str(error.value)
    for part in parts:
        assert part in str(error.value)


@pytest.mark.parametrize("licence", ["MIT", "mit", "ODC-By-1.0", "CC-BY-SA-3.0 AND GFDL-1.3-or-later", "LicenseRef-X"])
def test_a_licence_is_an_spdx_expression(tmp_path: Path, licence: str) -> None:
    recipe = loaded(tmp_path, AFTER.replace("license: MIT", f"license: {licence}"))
    assert recipe.sft["sft1"].sources["chat"].license == licence


def test_problems_that_are_held_out_under_one_seed_are_not_trained_on_under_another(tmp_path: Path) -> None:
    maths = "{reader: worked-maths, license: MIT, examples: 10, seed: 1}"
    tasks = f"evaluate: {{tasks: {{sums: {maths}}}}}\n"
    with pytest.raises(
        RecipeError, match=r"after.yaml:\d+: sources.worked-maths has the seed 0 and evaluate.tasks.sums"
    ):
        loaded(tmp_path, tasks)
    same = tasks.replace("seed: 1", "seed: 0")
    loaded(tmp_path, same)
    sft = f"sft: {{sft1: {{learning_rate: 1, sources: {{maths: {maths}}}}}}}\n"
    with pytest.raises(RecipeError, match="sft.sft1.sources.maths has the seed 1 and evaluate.tasks.sums the seed 0"):
        loaded(tmp_path, same + sft)
