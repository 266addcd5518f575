"""Alignment of a recipe's model: its settings from the recipe, and the runs in the build's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.stages import relative
from pipelines.training import MODEL
from pipelines.tuning import tune, tuned_folder
from plm_data.build import Build
from plm_data.errors import PlmError, RecipeError
from plm_data.recipe import TASKS
from plm_data.store import code_version, digest, locked
from trainer.config import PhaseData
from trainer.files import sha256, write_json

if TYPE_CHECKING:
    from trainer.alignment.collection import Judges
    from trainer.alignment.config import AlignConfig

PREFERENCES: Final = "preferences"
WEIGHTS: Final = "model.safetensors"
# What the build's folder shows the runs as.
ALIGNED: Final = f"{MODEL}-aligned"
COMPARISON: Final = "compare-alignment"


def align_config(build: Build) -> AlignConfig:
    """The settings of ARIES that a recipe states; raises ``RecipeError`` if it has no preferences."""
    from trainer.alignment.config import AlignConfig

    recipe = build.recipe
    spec = recipe.preferences
    if spec is None:
        raise RecipeError(f"recipe {recipe.name} has no 'preferences' section: there is nothing to align on; add one.")
    batch_size = spec.batch_size or (recipe.train.batch_size if recipe.train else None)
    if batch_size is None:
        raise RecipeError(f"recipe {recipe.name}: preferences.batch_size is needed where there is no train section.")
    prompts = spec.prompts_per_round or build.shards(PREFERENCES).counts.kept
    activation = spec.activation
    return AlignConfig(
        rounds=spec.rounds,
        prompts_per_round=prompts,
        learning_rate=spec.learning_rate,
        batch_size=batch_size,
        refinements=spec.refinements,
        beta=spec.beta,
        lambda_=spec.lambda_,
        reduction=spec.reduction,
        select=spec.select if isinstance(spec.select, str) else "reward",
        epochs=spec.epochs,
        activation_prompts=(activation.prompts or prompts) if activation else 0,
        activation_learning_rate=activation.learning_rate if activation else None,
        activation_epochs=activation.epochs if activation else 1.0,
        temperature=spec.temperature,
        top_p=spec.top_p,
        max_tokens=spec.max_tokens,
        seed=recipe.seed,
    )


def judges(build: Build) -> Judges:
    """The reward model that a recipe names, if it names one."""
    from trainer.alignment.collection import Judges
    from trainer.alignment.rewards import RewardModel

    spec = build.recipe.preferences
    if spec is None or isinstance(spec.select, str):
        return Judges()
    if spec.select.revision is None:
        raise RecipeError(f"recipe {build.recipe.name}: preferences.select.revision is not known; name a commit.")
    return Judges(RewardModel(spec.select.hub, spec.select.revision))


def phase_data(build: Build, phase: str) -> PhaseData:
    """The shards of a phase of prompts, built if they are not there."""
    return PhaseData(phase, "held-out" if phase == TASKS else "preferences", build.shards(phase).path)


def tuned_model(build: Build) -> Path:
    """The folder of the model after the last SFT phase; raises ``PlmError`` if it is not trained."""
    last = list(build.recipe.sft)[-1:]
    folder = build.folder / (tuned_folder(last[0]) if last else MODEL) / "final"
    if not folder.is_dir():
        command = "sft" if last else "train"
        shown = relative(folder)
        raise PlmError(f"{shown}: there is no such model yet; run `plm {command} {build.recipe.name}` first.")
    return folder


def compare(
    build: Build, seeds: Sequence[int], progress: bool = True, say: Callable[[str], None] = lambda _: None
) -> tuple[Path, dict[str, Any]]:
    """Compare SFT, iterative DPO and ARIES over seeds; returns the page's path and what it says.

    Shown as ``FOLDER/compare-alignment``, with compare-alignment.json and compare-alignment.html in it. Raises
    ``RecipeError`` if the recipe has no tasks or no SFT.
    """
    from trainer.alignment.compare import compare_alignment
    from trainer.alignment.page import write_comparison

    recipe = build.recipe
    if TASKS not in recipe.after or not recipe.sft:
        missing = "sft" if not recipe.sft else "evaluate.tasks"
        raise RecipeError(f"recipe {recipe.name} has no {missing!r} section, which the comparison needs; add one.")
    config = align_config(build)

    def tuned(seed: int) -> dict[str, Path]:
        runs = tune(build, progress, say, seed=seed, show=False)
        return {phase: run["folder"] / "final" for phase, run in runs.items()}

    start = build.folder / MODEL / "final" / WEIGHTS
    key = {
        "prompts": build.shards(PREFERENCES).key,
        "tasks": build.shards(TASKS).key,
        "start": sha256(start) if start.is_file() else None,  # None: told by the first fine-tuning
        "sft": {name: phase.model_dump(mode="json") for name, phase in recipe.sft.items()},
        "align": _settings(config),
        "trainer": code_version("trainer.alignment.compare"),
    }
    out = build.store.folder(COMPARISON, digest(key))
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock"):
        found = compare_alignment(
            tuned,
            phase_data(build, PREFERENCES),
            phase_data(build, TASKS),
            config,
            seeds,
            out,
            judges=judges(build),
            max_tokens=recipe.evaluate.max_tokens if recipe.evaluate else None,
            progress=progress,
            say=say,
        )
        write_json(out / f"{COMPARISON}.json", found)
        write_comparison(out / f"{COMPARISON}.html", found)
    build.show(out, COMPARISON)
    return build.folder / COMPARISON / f"{COMPARISON}.html", found


def align_model(
    build: Build, progress: bool = True, say: Callable[[str], None] = lambda _: None, start: Path | None = None
) -> dict[str, Any]:
    """Align the recipe's model, or the one of another folder, and show the run; a finished one is only looked up."""
    from trainer.alignment.rounds import align

    config = align_config(build)
    model = start or tuned_model(build)
    prompts = build.shards(PREFERENCES)
    key = digest(
        {
            "prompts": prompts.key,
            "start": sha256(model / WEIGHTS),
            "align": _settings(config),
            "select": build.recipe.preferences.model_dump(mode="json")["select"] if build.recipe.preferences else None,
            "trainer": code_version("trainer.alignment.rounds"),
        }
    )
    out = build.store.folder("align", key)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock"):
        summary = align(
            model, phase_data(build, PREFERENCES), config, out, judges=judges(build), progress=progress, say=say
        )
    build.show(out, ALIGNED)
    return summary


def _settings(config: AlignConfig) -> dict[str, Any]:
    return asdict(replace(config, checkpoint_interval_steps=1, keep_checkpoints=1))  # these shape no weights
