"""What a recipe may say of the work after pre-training: supervised fine-tuning, preferences, and the evaluation.

These sections are checked and planned; nothing here runs them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from plm_data.recipe_keys import Commit, Count, HubPath, Name, Strict


def _licence(value: str) -> str:
    unknown = [key for key in _unknown_licences(value) if not key.startswith("LicenseRef-")]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} is no SPDX licence; for a licence that SPDX does not list write LicenseRef-NAME"
        )
    return value


@lru_cache
def _unknown_licences(expression: str) -> tuple[str, ...]:
    # late: the licence list is large, and most recipes have none of these sections
    from license_expression import ExpressionError, get_spdx_licensing

    try:
        return tuple(get_spdx_licensing().unknown_license_keys(expression))
    except ExpressionError:
        return (repr(expression),)


Licence = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_licence)]


class HubSet(Strict):
    """A dataset of the hub: conversations to learn, or prompts to answer."""

    path: HubPath = Field(description="the repository: OWNER/NAME")
    revision: Commit | None = Field(description="commit, all 40 digits; null: not known yet, so planned but not run")
    files: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("**/*.parquet",), min_length=1, description="globs of the files in the repository"
    )
    license: Licence = Field(description="SPDX expression")
    examples: Count | None = Field(None, description="declared rows; null: not known")
    tokens: Count | None = Field(None, description="declared tokens of one epoch; null: not known")


class SftPhase(Strict):
    """One phase of supervised fine-tuning; a later one starts from the one before."""

    sources: dict[Name, HubSet] = Field(min_length=1)
    epochs: float = Field(1.0, gt=0)
    learning_rate: float = Field(gt=0)


class RewardModel(Strict):
    """A sequence classification model of the hub that scores answers."""

    hub: HubPath
    revision: Commit | None = Field(description="commit, all 40 digits; null: not known yet")
    license: Licence = Field(description="SPDX expression")


def _kind_of(value: Any) -> str:
    return "<model>" if isinstance(value, (dict, RewardModel)) else "<rule>"


class Preferences(Strict):
    """Preference training on the model's own chains of answers (ARIES, arXiv 2502.05605)."""

    prompts: dict[Name, HubSet] = Field(min_length=1)
    select: Annotated[
        Annotated[Literal["rule"], Tag("<rule>")] | Annotated[RewardModel, Tag("<model>")], Discriminator(_kind_of)
    ] = Field(
        "rule", description="rule: the last refinement against the first answer; or a reward model's best and worst"
    )
    refinements: Count = Field(description="how often an answer is refined in a chain")
    rounds: Count = Field(description="times that chains are collected and trained on")
    beta: float = Field(gt=0, description="how far the policy may leave its reference")
    lambda_: float = Field(alias="lambda", ge=0, description="weight of the refinement loss beside DPO's")
    learning_rate: float = Field(gt=0)


class EvaluationTask(Strict):
    """A task of the evaluation, and what is published for it."""

    task: Name = Field(description="as lm-evaluation-harness names it")
    published: float | None = Field(None, ge=0, le=100, description="the paper's figure, in per cent")
