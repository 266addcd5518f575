"""Checks of what a recipe says of the work after pre-training that no schema can make."""

from __future__ import annotations

from collections.abc import Callable

from plm_data.recipe import TASKS, Recipe
from plm_data.recipe_conversations import MathsSet
from plm_data.recipe_sources import MathsSource

Where = Callable[..., str]

# Where the sets of a phase stand in the recipe.
_PLACES = {"preferences": ("preferences", "prompts"), TASKS: ("evaluate", "tasks")}


def place_of(phase: str) -> tuple[str, ...]:
    """The keys under which the sets of a phase after pre-training stand."""
    return _PLACES.get(phase, ("sft", phase, "sources"))


def check_after(recipe: Recipe, where: Where) -> list[str]:
    """What is wrong. ``where``: the file and line of a place in the recipe, given as its keys."""
    problems: list[str] = []
    for name in recipe.sft:
        if name in recipe.phases:
            problems.append(
                f"{where('sft', name)}: sft.{name} has the name of a pre-training phase; call it otherwise."
            )
    suite = [task.task for task in recipe.evaluate.suite] if recipe.evaluate else []
    for i, task in enumerate(suite):
        if task in suite[:i]:
            problems.append(
                f"{where('evaluate', 'suite', i)}: evaluate.suite names the task {task!r} twice; once will do."
            )
    return problems + _check_splits(recipe, where)


def _check_splits(recipe: Recipe, where: Where) -> list[str]:
    """Problems that are held out under one seed may be trained on under another."""
    held_out = {
        name: spec.seed
        for name, spec in recipe.after.get(TASKS, {}).items()
        if isinstance(spec, MathsSet)
    }  # fmt: skip
    trained: dict[tuple[str, ...], int] = {
        ("sources", name): spec.seed for name, spec in recipe.sources.items() if isinstance(spec, MathsSource)
    }
    trained |= {
        (*place_of(phase), name): spec.seed
        for phase, sets in recipe.after.items()
        for name, spec in sets.items()
        if phase != TASKS and isinstance(spec, MathsSet)
    }
    return [
        f"{where(*place, 'seed')}: {'.'.join(place)} has the seed {seed} and evaluate.tasks.{task} the seed {other}, "
        f"so that it may train on the problems of the task; give both one seed."
        for task, other in held_out.items()
        for place, seed in trained.items()
        if seed != other
    ]
