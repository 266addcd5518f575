"""What a recipe may say of the work after pre-training: supervised fine-tuning, preferences, and the evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from plm_data.recipe_conversations import ConversationSet, Licence
from plm_data.recipe_keys import Commit, Count, HubPath, Name, Share, Strict

# Conversation sets hold more that cannot be used than texts do: what is too long is cut nowhere.
_MaxQuarantined = Annotated[Share, Field(description="largest share of a set that may be quarantined")]


class SftPhase(Strict):
    """One phase of supervised fine-tuning; a later one starts from the one before."""

    sources: dict[Name, ConversationSet] = Field(min_length=1)
    epochs: float = Field(1.0, gt=0)
    learning_rate: float = Field(gt=0)
    sequence_length: Count | None = Field(
        None, description="tokens a sequence; a longer conversation is quarantined; null: train.sequence_length"
    )
    batch_size: Count | None = Field(None, description="sequences an optimiser step; null: train.batch_size")
    max_quarantined: _MaxQuarantined = 0.2


class RewardModel(Strict):
    """A sequence classification model of the hub that scores answers."""

    hub: HubPath
    revision: Commit | None = Field(description="commit, all 40 digits; null: not known yet")
    license: Licence = Field(description="SPDX expression")


class Activation(Strict):
    """Fine-tuning before the first round: answering directly and refining a poorer answer, together."""

    prompts: Count | None = Field(None, description="that are answered and refined; null: prompts_per_round")
    epochs: float = Field(1.0, gt=0)
    learning_rate: float = Field(gt=0)


def _kind_of(value: Any) -> str:
    return "<model>" if isinstance(value, (dict, RewardModel)) else "<rule>"


class Preferences(Strict):
    """Preference training on the model's own chains of answers (ARIES, arXiv 2502.05605)."""

    prompts: dict[Name, ConversationSet] = Field(min_length=1)
    select: Annotated[
        Annotated[Literal["rule", "check"], Tag("<rule>")] | Annotated[RewardModel, Tag("<model>")],
        Discriminator(_kind_of),
    ] = Field(
        "rule",
        description="rule: the last refinement against the first answer, right against wrong where there is a check; "
        "check: any right answer against any wrong one; or a reward model's best and worst",
    )
    activation: Activation | None = Field(None, description="null: none")
    refinements: Count = Field(description="how often an answer is refined in a chain")
    rounds: Count = Field(description="times that chains are collected and trained on")
    prompts_per_round: Count | None = Field(None, description="prompts that a round collects of; null: all")
    temperature: float = Field(1.0, ge=0, description="of the answers that are collected; 0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: Count = Field(256, description="of an answer, at most")
    beta: float = Field(gt=0, description="how far the policy may leave its reference")
    lambda_: float = Field(alias="lambda", ge=0, description="weight of the refinement loss beside DPO's")
    reduction: Literal["sum", "mean"] = Field("sum", description="of an answer's log-probabilities, by token")
    learning_rate: float = Field(gt=0)
    epochs: float = Field(1.0, gt=0, description="passes over a round's pairs")
    batch_size: Count | None = Field(None, description="pairs an optimiser step; null: train.batch_size")
    max_quarantined: _MaxQuarantined = 0.2


class EvaluationTask(Strict):
    """A task of the evaluation, and what is published for it."""

    task: Name = Field(description="as lm-evaluation-harness names it")
    published: float | None = Field(None, ge=0, le=100, description="the paper's figure, in per cent")


class Evaluate(Strict):
    """What a model is measured on, beside the held-out documents."""

    tasks: dict[Name, ConversationSet] = Field(
        {}, description="prompts whose answers are checked; their questions are taken out of all that is trained on"
    )
    max_tokens: Count = Field(256, description="of an answer to a task, at most")
    max_quarantined: _MaxQuarantined = 0.2
    suite: tuple[EvaluationTask, ...] = Field((), description="tasks of lm-evaluation-harness")
