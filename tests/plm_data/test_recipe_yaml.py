"""A recipe that extends another: what is merged, what is replaced, and errors with the right file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.errors import RecipeError
from plm_data.recipe_file import load_recipe
from plm_data.recipe_yaml import merge
from tests.conftest import SMALL


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    return tmp_path


def child(here: Path, text: str, name: str = "child.yaml") -> Path:
    path = here / name
    path.write_text(text, encoding="utf-8")
    return path


def test_mappings_are_merged_and_the_rest_is_replaced(here: Path) -> None:
    base = load_recipe(here / "small.yaml")
    text = (
        "extends: small.yaml\nname: child\nphases: {phase1: {tokens: 30K}}\nsources: {python-code: {packages: [click]}}\n"
        "train: {sample_prompts: [a, b]}\n"
    )
    recipe = load_recipe(child(here, text))
    assert (recipe.name, recipe.seed, recipe.extends) == ("child", base.seed, None)
    assert recipe.phases["phase1"].tokens == 30_000 and recipe.phases["phase1"].mix == base.phases["phase1"].mix
    assert recipe.phases["phase2"] == base.phases["phase2"] and list(recipe.phases) == list(base.phases)
    # A list is replaced, not added to.
    assert recipe.sources["python-code"].model_dump()["packages"] == ("click",)
    assert recipe.train is not None and recipe.train.sample_prompts == ("a", "b")
    assert recipe.curate == base.curate


def test_a_mix_a_tokenizer_and_another_readers_source_are_replaced_whole(here: Path) -> None:
    (here / "data").mkdir()
    text = (
        "extends: small.yaml\nname: child\ntokenizer: {hub: a/b, revision: null}\n"
        "phases: {phase1: {mix: {python-docs: 1.0}}}\n"
        "sources: {python-code: {reader: worked-maths, domain: code, language: en, license: MIT, priority: 1, documents: 9}}\n"
    )
    recipe = load_recipe(child(here, text))
    assert recipe.phases["phase1"].mix == {"python-docs": 1.0}
    assert recipe.tokenizer.hub == "a/b"
    assert recipe.sources["python-code"].reader == "worked-maths"


def test_recipes_extend_over_folders_and_more_than_once(here: Path) -> None:
    (here / "deep").mkdir()
    child(here, "extends: small.yaml\nname: middle\nseed: 8\nmax_epochs: 3\n", "middle.yaml")
    recipe = load_recipe(child(here, "extends: ../middle.yaml\nname: top\nseed: 9\n", "deep/top.yaml"))
    assert (recipe.name, recipe.seed, recipe.max_epochs) == ("top", 9, 3)


def test_an_error_names_the_file_and_line_of_what_is_wrong(here: Path) -> None:
    path = child(here, "extends: small.yaml\nname: child\n\nphases: {phase1: {token: 1}}\n")
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert f"{path}:4: unknown key 'phases.phase1.token'; known here: segment, tokens, mix" in str(error.value)
    # What the child changes makes the base's own line wrong: that line is named.
    base = here / "small.yaml"
    line = next(i for i, text in enumerate(SMALL.splitlines(), 1) if "phase2:" in text)
    path = child(here, "extends: small.yaml\nname: child\nmodel: {max_position_embeddings: 64}\n", "other.yaml")
    base.write_text(SMALL.replace("worked-maths: 0.2}}\nshards", "worked-maths: 0.3}}\nshards"), encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert f"{base}:{line}: the weights of phases.phase2.mix sum to 1.1" in str(error.value)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("extends: none.yaml\nname: child\n", ["child.yaml:1: extends:", "none.yaml: no such recipe"]),
        ("name: child\nextends: [small.yaml]\n", ["child.yaml:2: extends: expected the path of one recipe"]),
        ("name: child\nextends: null\n", ["child.yaml:2: extends: expected the path of one recipe"]),
        ("extends: small.yaml\nseed: 3\n", ["child.yaml:1: a recipe that extends another needs a name of its own"]),
        (
            "extends: child.yaml\nname: child\n",
            ["child.yaml:1: extends goes in a circle: child.yaml extends child.yaml"],
        ),
        ("extends: other.yaml\nname: child\n", ["other.yaml:1", "child.yaml extends other.yaml extends child.yaml"]),
        ("extends: small.yaml\nname: child\nseed: &a [*a]\n", ["a value"]),
    ],
)
def test_what_cannot_be_extended_is_refused(here: Path, text: str, parts: list[str]) -> None:
    child(here, "extends: child.yaml\nname: other\n", "other.yaml")
    with pytest.raises(RecipeError) as error:
        load_recipe(child(here, text))
    for part in parts:
        assert part in str(error.value)


_VALUES = st.recursive(
    st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
_MAPPINGS = st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3)


def _plainly(base: object, over: object) -> object:
    """What merging means, on plain values."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: _plainly(base.get(key), value) for key, value in over.items()}}
    return over


@given(_MAPPINGS, _MAPPINGS)
def test_merged_nodes_hold_what_merged_values_hold(base: dict[str, object], over: dict[str, object]) -> None:
    import yaml

    nodes = [yaml.compose(yaml.safe_dump(value), Loader=yaml.SafeLoader) for value in (base, over)]
    merged = yaml.SafeLoader("").construct_document(merge(*nodes))
    assert merged == _plainly(base, over)
