"""What both the command line and the flows do with a recipe: build phases, report, sample.

The library does the work; here its two rooms meet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pipelines.ranks import check_built, first
from plm_data.build import Build
from plm_data.curation import default_home
from plm_data.errors import PlmError, RecipeError
from plm_data.recipe import ModelSpec, Recipe, TrainSpec
from plm_data.recipe_file import find_recipe, load_recipe
from plm_data.report.card import write_card
from plm_data.report.page import write_report
from trainer.config import ModelConfig


def open_build(
    recipe: str | Path,
    home: Path | None = None,
    workers: int | None = None,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
    training: bool = False,
    tokens: int | None = None,
) -> Build:
    """The build of a recipe, checked: raises ``RecipeError`` before any work if it, or its training, cannot be.

    With ``tokens`` it is the recipe at that budget.
    """
    loaded = load_recipe(recipe)
    if not first():  # of several processes one tells
        progress, say = False, lambda _: None
    build = Build(
        loaded if tokens is None else with_budget(loaded, tokens), home or default_home(), workers, progress, say
    )
    build.check()
    if training:
        check_training(build.recipe)
        check_built(build.recipe, build.home)
    return build


def check_training(recipe: Recipe) -> tuple[ModelSpec, TrainSpec]:
    """The sections that training needs; raises ``RecipeError`` if they are missing or do not fit each other."""
    if recipe.model is None or recipe.train is None:
        missing = "model" if recipe.model is None else "train"
        raise RecipeError(f"recipe {recipe.name} has no {missing!r} section, so there is nothing to train; add one.")
    if recipe.train.sequence_length > recipe.model.max_position_embeddings:
        raise RecipeError(
            f"recipe {recipe.name}: train.sequence_length is {recipe.train.sequence_length}, more than "
            f"model.max_position_embeddings = {recipe.model.max_position_embeddings}."
        )
    return recipe.model, recipe.train


def build_phases(build: Build, phases: Sequence[str] = ()) -> tuple[Path, dict[str, Any]]:
    """Build some phases (all, if none is named) and the report; returns the report's path and its facts."""
    _build_shards(build, phases)
    return write_views(build)


def _build_shards(build: Build, phases: Sequence[str]) -> None:
    wanted = phases or build.all_phases
    for phase in wanted:
        build.check(phase)
    for phase in wanted:
        build.shards(phase)
    if not phases:
        build.held_out()  # which training and the evaluation measure on


def build_locked(build: Build, recipe: str | Path, phases: Sequence[str] = ()) -> tuple[Path, dict[str, Any]]:
    """As ``build_phases``, held against the recipe's lock before any work and after it; raises ``LockError``."""
    from plm_data.locking.lock import check_inputs, check_results, lock_file

    path = lock_file(find_recipe(recipe))
    locked = check_inputs(build, path)
    _build_shards(build, phases)
    same = check_results(build, path, locked, list(phases or build.all_phases))
    build.say(f"{same} shards are as locked" if same else f"{path.name} holds no shards to compare with")
    return write_views(build)


def write_views(build: Build) -> tuple[Path, dict[str, Any]]:
    """What people and other programs read of a build: the report, and the card and metadata of each built phase.

    Returns the report's path and its facts.
    """
    path, facts = write_report(build)
    for name, (_, _, shards) in build.built_phases().items():
        build.show_files(shards, name)
        write_card(build, name, build.folder / name)
    return path, facts


def with_budget(recipe: Recipe, tokens: int) -> Recipe:
    """The recipe at another budget: its phases, and the warm-up, each the same share of it.

    It has a name of its own, so that what is built of it is not taken for the recipe's.
    """
    _, train_spec = check_training(recipe)
    share = tokens / sum(phase.tokens for phase in recipe.phases.values())
    phases = {
        name: phase.model_copy(update={"tokens": max(1, round(phase.tokens * share))})
        for name, phase in recipe.phases.items()
    }
    train_spec = train_spec.model_copy(update={"warmup_tokens": round(train_spec.warmup_tokens * share)})
    return recipe.model_copy(update={"name": f"{recipe.name}-{tokens}", "phases": phases, "train": train_spec})


def model_config(spec: ModelSpec, tokens: int) -> ModelConfig:
    """The model's sizes, with an embedding of ``tokens`` rows, or as many as the recipe says."""
    rows = spec.vocab_size or tokens
    if rows < tokens:
        raise RecipeError(
            f"model.vocab_size is {rows:,}, but the tokenizer has {tokens:,} tokens; raise it, or leave it out."
        )
    return ModelConfig(**{**spec.model_dump(), "vocab_size": rows})


def vocab_size(build: Build) -> int:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(build.tokenizer.path / "tokenizer.json")).get_vocab_size()


def samples(
    build_folder: Path, prompts: Sequence[str], max_tokens: int, temperature: float, top_p: float, seed: int
) -> Iterator[Iterator[str]]:
    """The prompts, each with its continuation by a build's trained model, in pieces as they are decoded."""
    from trainer.generate import sample

    final = build_folder / "model" / "final"
    if not final.is_dir():
        raise PlmError(f"{final}: there is no trained model yet; run `plm train {build_folder.name}` first.")
    texts = sample(final, prompts, max_tokens, temperature, top_p, seed)
    for prompt, pieces in zip(prompts, texts, strict=True):
        yield chain((prompt,), pieces)


def sample_texts(build: Build) -> list[str]:
    """What ``reproduce`` shows: the recipe's prompts, continued by its model."""
    recipe = build.recipe
    if recipe.model is None or recipe.train is None:
        return []
    most = min(80, recipe.model.max_position_embeddings)
    texts = samples(build.folder, recipe.train.sample_prompts, most, 0.7, 0.95, recipe.seed)
    return ["".join(pieces) for pieces in texts]


def relative(path: Path) -> str:
    """A path as a person in the current folder would type it."""
    shown = os.path.relpath(path)
    return shown if not shown.startswith("..") else str(path)
