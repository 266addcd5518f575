"""Two recipes beside each other: what they say otherwise, and what that comes to in tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plm_data.build import Build
from plm_data.errors import RecipeError
from plm_data.inspect.tables import Built
from plm_data.locking.lock import Difference, differences
from plm_data.mix.plan import Plan
from plm_data.pending import pending_steps
from plm_data.recipe import Recipe

Tokens = dict[tuple[str, str], int]


@dataclass(frozen=True)
class RecipeDiff:
    """``settings``: by their keys, ``locked`` of ``a`` and ``found`` of ``b``; ``tokens``: phase and source → tokens of
    each; ``basis``: what these rest on; ``kept``: source → kept tokens of each, where both are built."""

    settings: list[Difference]
    basis: str
    tokens: dict[tuple[str, str], tuple[int, int]]
    kept: dict[str, tuple[int, int]]


def diff_recipes(a: Recipe, b: Recipe, home: Path) -> RecipeDiff:
    """Compare two recipes; with what they built, where both are built in ``home`` as they stand, or as planned."""
    settings = differences(a.model_dump(mode="json"), b.model_dump(mode="json"))
    try:
        if not any(pending_steps(recipe, home) for recipe in (a, b)):
            builds = Built(a, home), Built(b, home)
            plans, kept = [build.plan for build in builds], [build.supply for build in builds]
            return RecipeDiff(settings, "as built", _pairs(*map(_tokens, plans)), _pairs(*kept))
        plans = [Build(recipe, home).estimate() for recipe in (a, b)]
        return RecipeDiff(settings, "as planned", _pairs(*map(_tokens, plans)), {})
    except RecipeError as error:
        return RecipeDiff(settings, f"not planned: {error}", {}, {})


def _tokens(plan: Plan) -> Tokens:
    return {(phase, source): take.tokens for phase, takes in plan.items() for source, take in takes.items()}


def _pairs(a: Mapping[Any, int], b: Mapping[Any, int]) -> dict[Any, tuple[int, int]]:
    return {key: (a.get(key, 0), b.get(key, 0)) for key in sorted({*a, *b})}
