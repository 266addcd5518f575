"""Everything about a recipe that can be known to be wrong before any work, told at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pipelines.stages import check_training
from pipelines.training_cost import sizes
from plm_data.build import Build
from plm_data.curation import default_home
from plm_data.errors import PlmError, RecipeError
from plm_data.recipe import Recipe
from plm_data.recipe_file import load_recipe
from plm_data.recipe_yaml import find_recipe, read_yaml, where
from trainer.config import TrainConfig
from trainer.errors import TrainerError
from trainer.schedule import schedule_ends

_KEY = re.compile(r"\b(?:sources|curate|phases|tokenizer|model|train)(?:\.[a-z0-9_-]+)*\b")


def check_recipe(name: str) -> tuple[Recipe, str]:
    """The recipe, and what is known of its plan; raises ``RecipeError`` with everything that is wrong."""
    recipe = load_recipe(name)
    build = Build(recipe, default_home())
    problems = [problem for check in (build.check, lambda: _check_model(recipe)) if (problem := _problem(check))]
    if problems:
        node = read_yaml(find_recipe(name))
        raise RecipeError("\n".join(f"{where(node, _place(each, recipe))}: {each}" for each in problems))
    if build.unknown_to_strategies():
        return recipe, "to be planned by counted tokens, as a strategy of its mix needs sizes that no source declares"
    missing = [source for source in recipe.sources if source not in build.known_supply]
    unknown = f"; nothing is known of {', '.join(missing)}" if missing else ""
    return recipe, f"feasible by what is known before any work{unknown}"


def _problem(check: Callable[[], Any]) -> str | None:
    try:
        check()
    except (PlmError, TrainerError) as error:
        return str(error)
    return None


def _place(problem: str, recipe: Recipe) -> tuple[str, ...]:
    """The keys that a message is about: the phase that it starts with, or the first key that it names."""
    first = problem.split(" ", 1)[0]
    if first in recipe.phases:
        return ("phases", first)
    key = _KEY.search(problem)
    return tuple(key.group().split(".")) if key else ()


def _check_model(recipe: Recipe) -> None:
    """The sizes and the schedule as the trainer would refuse them."""
    sizes(recipe)
    if recipe.model is None or recipe.train is None:
        return
    check_training(recipe)
    TrainConfig(**recipe.train.model_dump(exclude={"sample_prompts"}), seed=recipe.seed)
    phases = [(phase.segment, phase.tokens) for phase in recipe.phases.values()]
    schedule_ends(phases, recipe.train.warmup_tokens)
