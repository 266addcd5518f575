"""Evaluation of a recipe's models, and whose published figures stand beside theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.stages import relative
from plm_data.build import HELD_OUT, Build
from plm_data.errors import RecipeError
from plm_data.recipe import TASKS, Recipe
from plm_data.recipe_file import load_recipe

# The recipe of the paper's own run, which lists the published figures.
_PAPER = "plm-1.8b"
REFINEMENTS = 1  # turns of the evaluation's column "with refinement", where a recipe aligns its model


def suite_recipe(name: str | None) -> Recipe | None:
    """The recipe that was named, or the paper's where it can be found."""
    if name is not None:
        return load_recipe(name)
    try:
        return load_recipe(_PAPER)
    except RecipeError:
        return None


def published(recipe: Recipe | None) -> tuple[tuple[str, float | None], ...]:
    """The suite's tasks and the paper's figures: the recipe's, or those of the paper's own where it lists none."""
    listed = recipe.evaluate.suite if recipe and recipe.evaluate else ()
    if not listed and recipe and recipe.name != _PAPER:
        return published(suite_recipe(None))
    return tuple((each.task, each.published) for each in listed)


def evaluate_model(
    build: Build, name: str, progress: bool, say: Callable[[str], None], refine: int = 0
) -> dict[str, Any]:
    """Measure the model that the build's folder shows as a name, on the build's held-out text and tasks.

    Writes evaluation.html and evaluation.json beside the model, and returns the facts.
    """
    from trainer.evaluation.asked import Asked
    from trainer.evaluation.run import evaluate

    checkpoint = Path(relative(build.folder / name / "final"))
    spec = build.recipe.evaluate
    held_out = build.held_out()
    if has_tasks := TASKS in build.recipe.after:
        build.shards(TASKS)
    if held_out:
        build.show_files(held_out, HELD_OUT)
    asked = Asked(
        checkpoint=checkpoint,
        out=checkpoint,
        held_out=Path(relative(build.folder / HELD_OUT)) if held_out else None,
        tasks=Path(relative(build.folder / TASKS)) if has_tasks else None,
        published=published(build.recipe),
        refine=refine,
        max_tokens=spec.max_tokens if spec else None,
        progress=progress,
        say=say,
    )
    return evaluate(asked)
