"""The deployments that ``plm serve`` offers."""

from __future__ import annotations

from prefect.deployments.runner import RunnerDeployment

from pipelines.flows import build_phase, reproduce, train
from pipelines.serve import deployment

DEFAULT_RECIPE = "nano"
PHASES = ("phase1", "phase2", "phase3", "sft1", "sft2", "preferences")


def deployments() -> list[RunnerDeployment]:
    """``build-PHASE`` for each of ``PHASES``, ``train`` and ``reproduce``; each takes ``recipe`` as a parameter."""
    phases = [deployment(build_phase, f"build-{phase}", recipe=DEFAULT_RECIPE, phase=phase) for phase in PHASES]
    return [
        *phases,
        deployment(train, "train", recipe=DEFAULT_RECIPE),
        deployment(reproduce, "reproduce", recipe=DEFAULT_RECIPE),
    ]
