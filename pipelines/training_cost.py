"""What training a recipe costs: the trainer's count of operations, over the phases that the recipe declares."""

from __future__ import annotations

from typing import Any

from pipelines.stages import model_config
from plm_data.recipe import PhaseSpec, Recipe, TrainSpec
from trainer.compute import flops_per_token, parameters
from trainer.config import ModelConfig


def sizes(recipe: Recipe) -> ModelConfig | None:
    """The model's sizes as declared; None if the recipe has no model, or nobody says how large its vocabulary is."""
    if recipe.model is None:
        return None
    tokens = recipe.tokenizer.vocab_size if recipe.tokenizer.hub is None else recipe.model.vocab_size
    return model_config(recipe.model, tokens) if tokens else None


def training_facts(recipe: Recipe, tflops: float, mfu: float) -> dict[str, Any] | None:
    """Operations and GPU hours by phase; None without a model and how to train it.

    A phase of fine-tuning whose sets declare no tokens has no hours; preference training, which generates most of its
    work, has no row.
    """
    config = sizes(recipe)
    if config is None or recipe.train is None:
        return None
    rows = [_row(name, phase.tokens, 1.0, _flops(config, phase, recipe.train)) for name, phase in recipe.phases.items()]
    for name, tuned in recipe.sft.items():
        declared = [each.tokens for each in tuned.sources.values()]
        tokens = None if None in declared else sum(each or 0 for each in declared)
        length = tuned.sequence_length or recipe.train.sequence_length
        rows.append(_row(name, tokens, tuned.epochs, flops_per_token(config, length)))
    for row in rows:
        seconds = None if row["flops"] is None else row["flops"] / (tflops * 1e12 * mfu)
        row["hours"] = None if seconds is None else seconds / 3600
    return {
        "parameters": parameters(config),
        "phases": rows,
        "hours": sum(row["hours"] or 0 for row in rows),
        "gpu_tflops": tflops,
        "mfu": mfu,
        "how": f"GPU hours at {tflops:g} TFLOP/s a GPU and {mfu:.0%} of that reached; forward and backward, causal "
        f"attention over whole sequences, no recomputation; without preference training and evaluation",
    }


def _row(name: str, tokens: int | None, epochs: float, flops: float) -> dict[str, Any]:
    total = None if tokens is None else tokens * epochs * flops
    return {"name": name, "tokens": tokens, "epochs": epochs, "flops_per_token": flops, "flops": total}


def _flops(config: ModelConfig, phase: PhaseSpec, train: TrainSpec) -> float:
    """Operations a token, over the sequence lengths of the phase."""
    stages = [(stage.length, stage.share) for stage in phase.context] or [(train.sequence_length, 1.0)]
    return sum(share * flops_per_token(config, length) for length, share in stages)
