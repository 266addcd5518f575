"""Settings of alignment: activation, then rounds of collected answers and preference training on them."""

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from trainer.errors import TrainerError

Method = Literal["aries", "dpo"]
Reduction = Literal["sum", "mean"]
Select = Literal["rule", "check", "reward"]

_INTEGERS = {  # the least that each may be
    "refinements": 1,
    "rounds": 1,
    "prompts_per_round": 1,
    "steps": 1,
    "batch_size": 1,
    "micro_batch_size": 1,
    "warmup_steps": 0,
    "max_tokens": 1,
    "seed": 0,
    "activation_prompts": 0,
    "collect_size": 1,
    "checkpoint_interval_steps": 1,
    "keep_checkpoints": 1,
}


@dataclass(frozen=True)
class AlignConfig:
    """Settings of an alignment run. The papers publish no β, λ, number of refinements or rounds: all are ours.

    Raises:
        TrainerError: a setting is of the wrong kind, out of its range, or does not go with another.
    """

    rounds: int
    prompts_per_round: int
    learning_rate: float  # constant after the warm-up
    batch_size: int  # pairs an optimiser step
    refinements: int = 1  # a chain has one answer more; `dpo` draws as many answers, each from the question alone
    method: Method = "aries"  # dpo: plain iterative DPO, the ARIES paper's baseline
    beta: float = 0.1
    lambda_: float = 0.25  # weight of the refinement loss; `dpo` has none
    reduction: Reduction = "sum"
    # rule: the last refinement against the first answer, filtered by the check; check: a right against a wrong answer
    select: Select = "rule"
    epochs: float = 1.0  # passes over a round's pairs
    steps: int | None = None  # optimiser steps a round, in place of `epochs`: the same budget for two methods
    micro_batch_size: int | None = None  # pairs in memory at once; None: the batch
    warmup_steps: int = 10  # of each round
    activation_prompts: int = 0  # prompts of the activation before the rounds; 0: none
    activation_learning_rate: float | None = None  # None: learning_rate
    activation_epochs: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512  # of an answer
    refinement_prompt: str | None = None  # z, with {question} in place of x or without; None: trainer.chat.REFINE
    collect_size: int = 256  # prompts a piece of the collection: what an interruption loses at most
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    gradient_clip: float = 1.0
    checkpoint_interval_steps: int = 50
    keep_checkpoints: int = 2
    seed: int = 0  # of the prompts' order, the answers and the pairs' order

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        optional = {field.name for field in fields(self) if field.default is None}
        for name, least in _INTEGERS.items():
            value = getattr(self, name)
            good = isinstance(value, int) and not isinstance(value, bool) and value >= least
            self._check(name, f"an integer, {least} or more", good or (value is None and name in optional))
        for name in ("learning_rate", "beta", "gradient_clip", "epochs", "activation_epochs"):
            self._check(name, "a number above zero", _is_real(getattr(self, name)) and getattr(self, name) > 0)
        rate = self.activation_learning_rate
        self._check("activation_learning_rate", "a number above zero", rate is None or (_is_real(rate) and rate > 0))
        for name in ("lambda_", "temperature", "weight_decay"):
            self._check(name, "zero or more", _is_real(getattr(self, name)) and getattr(self, name) >= 0)
        self._check("top_p", "a number above 0 up to 1", _is_real(self.top_p) and 0 < self.top_p <= 1)
        good = len(self.betas) == 2 and all(_is_real(beta) and 0 <= beta < 1 for beta in self.betas)
        self._check("betas", "two numbers from zero to below one", good)
        for name, kind in (("method", Method), ("reduction", Reduction), ("select", Select)):
            self._check(name, f"one of {get_args(kind)}", getattr(self, name) in get_args(kind))
        z = self.refinement_prompt
        self._check("refinement_prompt", "a text", z is None or (isinstance(z, str) and bool(z.strip())))
        if self.method == "dpo":
            expected = "check or reward with method dpo, whose answers have no order for the rule to go by"
            self._check("select", expected, self.select != "rule")
            self._check("lambda_", "0 with method dpo, which refines nothing", self.lambda_ == 0)

    def _check(self, name: str, expected: str, good: bool) -> None:
        if not good:
            shown = name.rstrip("_")
            raise TrainerError(
                f"preferences.{shown}: found {getattr(self, name)!r}, expected {expected}; correct it in the recipe"
            )


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
