"""What a recipe says to do after pre-training: fine-tuning, alignment, and measuring the models on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipelines.alignment import ALIGNED, align_model
from pipelines.evaluation import REFINEMENTS, evaluate_model
from pipelines.training import MODEL
from pipelines.tuning import tune, tuned_folder
from plm_data.build import Build

Step = Callable[[str, Callable[[], Any]], Any]


def after_steps(build: Build) -> int:
    """How many parts follow the pre-training."""
    recipe = build.recipe
    parts, models = bool(recipe.sft) + bool(recipe.preferences), 1 + len(recipe.sft) + bool(recipe.preferences)
    return parts + models if parts or recipe.evaluate else 0


def run_after(
    build: Build, progress: bool, say: Callable[[str], None], step: Step = lambda _, work: work()
) -> list[dict[str, Any]]:
    """Fine-tune and align the recipe's model, and measure it before, between and after; what is done is looked up.

    ``step`` runs each of the parts by its name. Returns a row a model: its ``name`` in the build's folder, its
    ``summary`` (none for the pre-trained one) and the evaluation's ``facts``.
    """
    recipe = build.recipe
    made: list[tuple[str, dict[str, Any] | None]] = [(MODEL, None)]
    if recipe.sft:
        tuned = step("fine-tune", lambda: tune(build, progress, say))
        made += [(tuned_folder(phase), summary) for phase, summary in tuned.items()]
    if recipe.preferences:
        made.append((ALIGNED, step("align", lambda: align_model(build, progress, say))))
    rows = []
    for name, summary in made:
        refine = REFINEMENTS if recipe.preferences and name == made[-1][0] else 0

        def measure(name: str = name, refine: int = refine) -> dict[str, Any]:
            return evaluate_model(build, name, progress, say, refine)

        rows.append({"name": name, "summary": summary, "facts": step(f"evaluate {name}", measure)})
    return rows


def after_table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line a model: bits per byte on held-out text, and exact match on the tasks in per cent, by turn."""
    found = []
    for row in rows:
        facts = row["facts"]
        line: dict[str, Any] = {"model": row["name"], "bits per byte": None, "exact match": None, "refined": None}
        if not facts["bits"]["reason"]:
            line["bits per byte"] = facts["bits"]["total"]["bits_per_byte"]
        if not facts["tasks"]["reason"]:
            shares = [turn["groups"][-1]["share"] for turn in facts["tasks"]["turns"]]
            line["exact match"], line["refined"] = shares[0], shares[-1] if len(shares) > 1 else None
        found.append(line)
    return found
