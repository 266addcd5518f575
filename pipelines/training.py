"""Pre-training of a recipe's model: its settings, and the folders of its runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.ranks import first, run_lock
from pipelines.stages import check_training, model_config, relative, vocab_size
from plm_data.build import HELD_OUT, Build
from plm_data.errors import PlmError
from plm_data.pending import pending_steps
from plm_data.store import Output, code_version, digest
from trainer.config import HARMLESS, ModelConfig, PhaseData, TrainConfig

MODEL = "model"  # the build's folder shows the run as this
RUN = "run.json"  # of the trainer's own naming, whose import takes seconds


@dataclass(frozen=True)
class Training:
    """A recipe's training: what every run of it has, its settings, and the folder of a run with such settings."""

    build: Build
    model: ModelConfig
    settings: TrainConfig
    phases: dict[str, Output]
    held_out: Output | None
    key: dict[str, Any]  # of all that shapes the weights, with the recipe's own settings

    def folder(self, settings: TrainConfig) -> Path:
        """The folder of a run, named by the hash of all that shapes it.

        So another recipe, corpus or trainer never meets its checkpoints. ``settings`` are the recipe's, but for the
        schedule and the seed.
        """
        train = {**self.key["train"], "schedule": settings.schedule}
        return self.build.store.folder("train", digest({**self.key, "train": train, "seed": settings.seed}))

    def run(
        self, settings: TrainConfig, out: Path, progress: bool = True, say: Callable[[str], None] = lambda _: None
    ) -> dict[str, Any]:
        """Train in a folder and return the run's summary; a finished run is only looked up."""
        from trainer.pretrain import pretrain  # late: torch takes seconds, which a plan need not wait for

        segments = self.build.recipe.phases
        phases = [PhaseData(name, segments[name].segment, output.path) for name, output in self.phases.items()]
        held_out = PhaseData(HELD_OUT, HELD_OUT, self.held_out.path) if self.held_out else None
        with run_lock(out, self.build.say):
            return pretrain(self.model, settings, phases, self.build.tokenizer.path, out, progress, held_out, say)


def training(build: Build) -> Training:
    """A recipe's training, its phases built; raises ``RecipeError`` if it has none."""
    recipe = build.recipe
    model_spec, train_spec = check_training(recipe)
    shards = {phase: build.shards(phase) for phase in recipe.phases}
    held_out = build.held_out()
    key = {
        "shards": {phase: output.key for phase, output in shards.items()},
        "held_out": held_out.key if held_out else None,
        "model": model_spec.model_dump(mode="json", exclude_none=True),
        "train": train_spec.model_dump(mode="json", exclude={"sample_prompts", *HARMLESS}),
        "trainer": code_version("trainer.pretrain"),
    }
    settings = TrainConfig(**train_spec.model_dump(exclude={"sample_prompts"}), seed=recipe.seed)
    return Training(build, model_config(model_spec, vocab_size(build)), settings, shards, held_out, key)


def train(build: Build, progress: bool = True, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Train through all phases and show the result as ``FOLDER/model``; a finished run is only looked up."""
    made = training(build)
    out = made.folder(made.settings)
    summary = made.run(made.settings, out, progress, say)
    show_run(build, out, MODEL)
    return summary


def trained_model(build: Build) -> Path:
    """The folder of the recipe's pre-trained model.

    Raises ``PlmError`` if there is none, or if it is a run's with other settings, data or code than the recipe's are
    now. A model that somebody put there is taken as it is.
    """
    model = build.folder / MODEL / "final"
    if not model.is_dir():
        raise PlmError(f"{relative(model)}: there is no trained model yet; run `plm train {build.recipe.name}` first.")
    if not (model.parent / RUN).is_file():
        return model
    pending = any(step.of in build.recipe.phases for step in pending_steps(build.recipe, build.home))
    made = None if pending else training(build)
    if made is None or made.folder(made.settings).resolve() != model.parent.resolve():
        raise PlmError(
            f"{relative(model)}: found a model of other settings, data or code than the recipe's are now; run "
            f"`plm train {build.recipe.name}` first, or take this one with --from {relative(model)}."
        )
    return model


def show_run(build: Build, out: Path, name: str) -> None:
    """Show a run in the build's folder, once for all of its processes."""
    if first():
        build.show(out, name)
