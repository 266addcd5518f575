"""Fine-tuning of a recipe's model: a run for each of its phases, each from the model of the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.ranks import run_lock
from pipelines.stages import check_training
from pipelines.training import MODEL, show_run, trained_model
from plm_data.build import HELD_OUT, Build
from plm_data.errors import RecipeError
from plm_data.recipe import Recipe
from plm_data.store import code_version, digest
from trainer.config import HARMLESS, PhaseData, TrainConfig


def tuned_folder(phase: str) -> str:
    """The name under which the build's folder shows a phase's run."""
    return f"{MODEL}-{phase}"


def tune(
    build: Build,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
    start: Path | None = None,
    seed: int | None = None,
    show: bool = True,
) -> dict[str, dict[str, Any]]:
    """Train the recipe's model through its phases of fine-tuning; finished runs are only looked up.

    ``start``: another model's folder than the pre-trained one's; ``seed``: another than the recipe's; ``show``: whether
    the runs stand in the build's folder. Returns by phase the run's summary, with its ``folder``. Raises
    ``RecipeError`` if the recipe has no such phase, ``PlmError`` if there is no model of the recipe to begin with.
    """
    from trainer.sft import SftConfig, sft  # late: torch takes seconds

    recipe = build.recipe
    _, train = check_training(recipe)
    if not recipe.sft:
        raise RecipeError(f"recipe {recipe.name} has no 'sft' section: there is nothing to fine-tune on; add one.")
    model = start or trained_model(build)
    held_out = build.held_out()
    measured = PhaseData(HELD_OUT, HELD_OUT, held_out.path) if held_out else None
    done: dict[str, dict[str, Any]] = {}
    rate = train.final_learning_rate
    for phase, spec in recipe.sft.items():
        shards = build.shards(phase)
        config = SftConfig(_settings(recipe, phase, recipe.seed if seed is None else seed), spec.epochs, rate)
        key = digest(
            {
                "shards": shards.key,
                "held_out": held_out.key if held_out else None,
                "start": _weights(model),
                "train": {name: value for name, value in vars(config.train).items() if name not in HARMLESS},
                "epochs": spec.epochs,
                "from_rate": rate,
                "trainer": code_version("trainer.sft"),
            }
        )
        out = build.store.folder("sft", key)
        data = PhaseData(phase, "sft", shards.path)
        with run_lock(out, build.say):
            done[phase] = {**sft(model, data, config, out, progress, measured, say), "folder": out}
        if show:
            show_run(build, out, tuned_folder(phase))
        model, rate = out / "final", spec.learning_rate * _floor()
    return done


def _settings(recipe: Recipe, phase: str, seed: int) -> TrainConfig:
    """Pre-training's settings with what a phase says otherwise."""
    spec, (_, train) = recipe.sft[phase], check_training(recipe)
    settings = TrainConfig(**train.model_dump(exclude={"sample_prompts"}), seed=seed)
    length, size = spec.sequence_length or train.sequence_length, spec.batch_size or train.batch_size
    return replace(
        settings,
        sequence_length=length,
        batch_size=size,
        learning_rate=spec.learning_rate,
        final_learning_rate=min(spec.learning_rate, train.final_learning_rate),
        warmup_tokens=0,
    )


def _floor() -> float:
    from trainer.sft import FLOOR

    return FLOOR


def _weights(model: Path) -> str:
    from trainer.files import sha256
    from trainer.pretrained import WEIGHTS

    return sha256(model / WEIGHTS)
