"""The published JSON Schema: up to date, takes what the loader takes, and refuses what an editor should mark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from plm_data.recipe_file import load_recipe
from plm_data.recipe_schema import recipe_schema, schema_text
from tests.conftest import SMALL
from tests.plm_data.test_recipe_after import AFTER
from tests.plm_data.test_recipe_hub import HUB

RECIPES = Path(__file__).parents[2] / "recipes"
VALIDATOR = jsonschema.Draft202012Validator(recipe_schema())


def errors(text: str) -> list[str]:
    return [f"{list(error.absolute_path)}: {error.message}" for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def test_the_published_schema_is_of_this_version_and_valid() -> None:
    published = (RECIPES / "recipe.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), "write it anew: plm schema > recipes/recipe.schema.json"
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_fits_and_names_the_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=recipe.schema.json\n")
    assert errors(text) == []


TAKEN = {
    "small": SMALL,
    "after": SMALL + AFTER,
    "hub": HUB,
    "counts": SMALL.replace("tokens: 40K", "tokens: 1_000").replace("tokens: 20K", "tokens: 0.5 KB"),
    "no warm-up": SMALL.replace("warmup_tokens: 5K", "warmup_tokens: 0"),
    "nested mix": SMALL.replace("mix: {python-code: 0.6, python-docs: 0.2, worked-maths: 0.2}}", "mix: {code: {weight: 0.6, sources: {python-code: 1.0}}, python-docs: 0.4}}"),
    "strategy": SMALL.replace("mix: {python-code: 0.6, python-docs: 0.2, worked-maths: 0.2}}", "mix: {strategy: unimax, epochs: 2}}"),
    "strategy of a domain": SMALL.replace("mix: {python-code: 0.6, python-docs: 0.2, worked-maths: 0.2}}", "mix: {docs: {weight: 1.0, sources: {strategy: temperature, temperature: 3, sources: [python-docs]}}}}"),
    "rule off": SMALL.replace("  fineweb: null", "  fineweb: {max_short_lines: null}"),
}  # fmt: skip


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN.keys())
def test_what_the_loader_takes_fits(text: str, tmp_path: Path) -> None:
    (tmp_path / "taken.yaml").write_text(text, encoding="utf-8")
    load_recipe(tmp_path / "taken.yaml")
    assert errors(text) == []


REFUSED = {
    "unknown key": ("seed: 7", "seed: 7\nsed: 8", "sed"),
    "unknown nested key": ("train_bytes: 200KB", "train_byte: 200KB", "train_byte"),
    "wrong type": ("seed: 7", "seed: seven", "seven"),
    "no count": ("tokens: 40K", "tokens: forty", "forty"),
    "zero": ("tokens: 40K", "tokens: 0", "0"),
    "missing key": ("seed: 7\n", "", "seed"),
    "missing nested key": ("license: NOASSERTION, priority: 20,", "priority: 20,", "python-code"),
    "unknown reader": ("reader: package-readmes", "reader: readmes", "readmes"),
    "a share above one": ("python-docs: 0.2,", "python-docs: 1.2,", "1.2"),
    "unknown strategy": ("mix: {python-code: 0.6, python-docs: 0.2, worked-maths: 0.2}}", "mix: {strategy: best}}", "best"),
    "unknown segment": ("segment: decay", "segment: decayed", "decayed"),
}  # fmt: skip


@pytest.mark.parametrize("old, new, part", REFUSED.values(), ids=REFUSED.keys())
def test_what_an_editor_should_mark_does_not_fit(old: str, new: str, part: str) -> None:
    assert old in SMALL
    found = errors(SMALL.replace(old, new, 1))
    assert found and any(part in each for each in found)


def test_a_recipe_that_extends_another_may_say_a_part_but_nothing_unknown() -> None:
    part = (
        "extends: small.yaml\nname: child\nphases: {phase1: {tokens: 1M}}\nsources: {python-code: {max_bytes: 1MB}}\n"
    )
    assert errors(part) == []
    assert errors(part.replace("extends: small.yaml\n", "")) != []
    assert errors(part.replace("tokens: 1M", "token: 1M")) != []
    assert errors(part.replace("max_bytes: 1MB", "most_bytes: 1MB")) != []


def test_it_says_what_keys_mean() -> None:
    found: dict[str, Any] = recipe_schema()["$defs"]["Recipe"]["properties"]
    assert "passes over a source" in found["max_epochs"]["description"]
