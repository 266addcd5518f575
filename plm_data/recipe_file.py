"""Reading a recipe: its YAML, checked to the last key before any work is done.

Every error names the file, the line, the key, what was found and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import Tag, ValidationError

from plm_data.errors import RecipeError
from plm_data.locations import redacted
from plm_data.recipe import Recipe, thresholds
from plm_data.recipe_after_checks import check_after
from plm_data.recipe_conversations import CONVERSATION_READERS
from plm_data.recipe_phases import check_phases
from plm_data.recipe_sources import READERS
from plm_data.recipe_yaml import find_recipe, read_yaml, where

# What lies beside the phases in a build's folder.
_RESERVED = ("held-out", "preferences", "tasks", "tokenizer", "model", "report.html", "report.json", "steps.json")


def load_recipe(name: str | Path) -> Recipe:
    """Read and check a recipe; raises ``RecipeError`` with the line of everything that is wrong."""
    path = find_recipe(name)
    node = read_yaml(path)
    try:
        data = yaml.SafeLoader("").construct_document(node)
    except yaml.MarkedYAMLError as error:
        at = f"{error.problem_mark.name}:{error.problem_mark.line + 1}" if error.problem_mark else f"{path}:1"
        raise RecipeError(f"{at}: {error.problem}; a recipe is plain data.") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: a value is not what it looks like: {error}; a recipe is plain data.") from error
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(_explain(node, error)) from error
    problems = _check_references(node, recipe)
    if problems:
        raise RecipeError("\n".join(problems))
    return recipe


_FORMS_OF_A_MIX = (
    "expected a share of each source, or of a domain {weight: SHARE, sources: {SOURCE: SHARE}}; "
    "or in place of shares {strategy: temperature, temperature: T} or {strategy: unimax, epochs: N}"
)


def _explain(node: yaml.Node, error: ValidationError) -> str:
    messages = []
    for item in error.errors():
        parts = item["loc"]
        # pydantic's places also name the chosen kind of source, and other kinds in angle brackets: no keys of the file.
        location = tuple(p for i, p in enumerate(parts) if not (p in READERS and i == 2 and parts[0] == "sources"))
        location = tuple(p for p in location if p != "[key]" and not (isinstance(p, str) and p.startswith("<")))
        kind, of_reader = item["type"], item.get("ctx", {}).get("discriminator") == "'reader'"
        if of_reader:
            location = (*location, "reader")
        key = ".".join(str(part) for part in location)
        at = where(node, location)
        found = "" if isinstance(item["input"], (dict, list)) else f" (found {redacted(repr(item['input']))})"
        if kind == "extra_forbidden":
            known = ", ".join(_known_keys(parts[:-1]))
            messages.append(f"{at}: unknown key {key!r}" + (f"; known here: {known}." if known else "."))
        elif kind == "missing" or kind == "union_tag_not_found":
            messages.append(f"{at}: the key {key!r} is missing.")
        elif of_reader:
            messages.append(f"{at}: {key}: no reader {item['ctx']['tag']!r}; expected {', '.join(sorted(READERS))}.")
        elif kind == "union_tag_invalid" and parts[0] not in ("phases",):
            readers = ", ".join(CONVERSATION_READERS)
            messages.append(f"{where(node, (*location, 'reader'))}: {key}.reader: expected one of {readers}.")
        elif kind == "union_tag_invalid":
            messages.append(f"{at}: {key}: {_FORMS_OF_A_MIX}.")
        else:
            messages.append(f"{at}: {key}: {item['msg'].removeprefix('Value error, ')}{found}.")
    return "\n".join(messages)


def _known_keys(parts: tuple[str | int, ...]) -> list[str]:
    """The keys that the section at a place of pydantic's may have."""
    kinds: list[Any] = [Recipe]
    for part in parts:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    models = [model for kind in kinds for model, _ in _options(kind) if hasattr(model, "model_fields")]
    if len(models) != 1:
        return []
    return [field.alias or name for name, field in models[0].model_fields.items()]


def _options(kind: Any, tag: str | None = None) -> Iterator[tuple[Any, str | None]]:
    """The plain types that an annotation allows, each with its tag in a union."""
    if get_origin(kind) is Annotated:
        inner, *rest = get_args(kind)
        yield from _options(inner, next((each.tag for each in rest if isinstance(each, Tag)), tag))
    elif get_origin(kind) in (Union, UnionType):
        for option in get_args(kind):
            yield from _options(option, tag)
    elif kind is not type(None):
        yield kind, tag


def _inside(kind: Any, part: str | int) -> Iterator[Any]:
    """What a step of a place leads to: a key, an item, or one of a union's kinds."""
    for model, tag in _options(kind):
        fields = getattr(model, "model_fields", {})
        if part == tag or ("reader" in fields and part in get_args(fields["reader"].annotation)):
            yield model
        elif found := [field for name, field in fields.items() if part in (name, field.alias)]:
            yield found[0].annotation
        elif get_origin(model) is dict:
            yield get_args(model)[1]
        elif get_origin(model) is tuple and isinstance(part, int):
            yield get_args(model)[0]


def _check_references(node: yaml.Node, recipe: Recipe) -> list[str]:
    """What the schema cannot see: names that must exist, and weights that must sum to 1. Returns what is wrong."""

    def at(*place: str | int) -> str:
        return where(node, place)

    problems: list[str] = []
    if recipe.name == "store":
        problems.append(f"{at('name')}: a recipe cannot be called 'store', the folder of all outputs; rename it.")
    for section in ("phases", "sft"):
        for name in getattr(recipe, section):
            if name in _RESERVED:
                problems.append(
                    f"{at(section, name)}: a phase cannot be called {name!r}, which names another part of the build's "
                    f"folder; call it otherwise."
                )
    problems += check_phases(recipe, at) + check_after(recipe, at)
    sources = recipe.sources.values()
    for section, names in (
        ("sources", set(recipe.sources)),
        ("domains", {source.domain for source in sources}),
        ("languages", {source.language for source in sources}),
    ):
        for name in getattr(recipe.curate, section):
            if name not in names:
                problems.append(
                    f"{at('curate', section, name)}: curate.{section} names {name!r}, which no source has; "
                    f"known: {', '.join(sorted(names))}."
                )
    for name, spec in recipe.sources.items():
        if spec.lines == "c4" and (thresholds(recipe, name)["c4.min_sentences"] or 0) < 1:
            problems.append(
                f"{at('sources', name, 'lines')}: sources.{name}.lines is c4, but c4.min_sentences is off for it: "
                f"a text that loses all its lines would be an empty document. Set it to 1 or more."
            )
    return problems + _check_stop_words(recipe, at)


def _check_stop_words(recipe: Recipe, at: Callable[..., str]) -> list[str]:
    """Each must be one word as texts are segmented, or it would never be found in one."""
    problems = []
    for language, spec in recipe.curate.languages.items():
        for stop_word in spec.stop_words or ():
            from plm_data.text.words import word_hash  # late: compiled code, and few recipes name stop words

            try:
                word_hash(stop_word)
            except ValueError as error:
                problems.append(
                    f"{at('curate', 'languages', language, 'stop_words')}: curate.languages.{language}.stop_words: "
                    f"{error}; give words as they are segmented."
                )
    return problems
