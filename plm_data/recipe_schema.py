"""The JSON Schema of a recipe (draft 2020-12), by which editors complete and check its keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from plm_data.recipe import Recipe

_REFERENCE, _PART = "#/$defs/", ".part"


def recipe_schema() -> dict[str, Any]:
    """A whole recipe has every required key; one that extends another may say any part of it."""
    whole = Recipe.model_json_schema(mode="validation", by_alias=True)
    definitions: dict[str, Any] = {
        name: _plain(definition) for name, definition in {**whole.pop("$defs"), "Recipe": whole}.items()
    }
    loose = _loose(definitions)
    parts = {f"{name}{_PART}": _partial(definitions[name], loose) for name in loose}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A PLM recipe",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": f"{_REFERENCE}Recipe{_PART}"},
        "else": {"$ref": f"{_REFERENCE}Recipe"},
        "$defs": dict(sorted((definitions | parts).items())),
    }


def schema_text() -> str:
    """The schema as the file ``recipes/recipe.schema.json`` has it."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n"


def _plain(node: Any) -> Any:
    """Without pydantic's titles, which say the keys again, and OpenAPI's discriminators, which JSON Schema lacks."""
    if isinstance(node, dict):
        kept = {
            key: value
            for key, value in node.items()
            if not (key == "title" and isinstance(value, str))
            and not (key == "discriminator" and "propertyName" in value)
        }
        return {key: _plain(value) for key, value in kept.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node


def _loose(definitions: dict[str, Any]) -> set[str]:
    """The definitions that say less strictly what they say when they stand in a part of a recipe."""
    loose = {
        name
        for name, definition in definitions.items()
        if any(
            isinstance(node.get("required"), list) or isinstance(node.get("oneOf"), list) for node in _nodes(definition)
        )
    }
    while more := {
        name
        for name, definition in definitions.items()
        if name not in loose
        and any(node.get("$ref", "").removeprefix(_REFERENCE) in loose for node in _nodes(definition))
    }:
        loose |= more
    return loose


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(value)


def _partial(node: Any, loose: set[str]) -> Any:
    """A definition without its required keys; then more than one kind of a union may fit."""
    if isinstance(node, list):
        return [_partial(value, loose) for value in node]
    if not isinstance(node, dict):
        return node
    if str(node.get("$ref", "")).removeprefix(_REFERENCE) in loose:
        return {**node, "$ref": f"{node['$ref']}{_PART}"}
    kept = {key: value for key, value in node.items() if not (key == "required" and isinstance(value, list))}
    return {
        "anyOf" if key == "oneOf" and isinstance(value, list) else key: _partial(value, loose)
        for key, value in kept.items()
    }
