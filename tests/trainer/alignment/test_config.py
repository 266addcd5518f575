"""Settings that cannot be are refused by their name."""

from typing import Any

import pytest

from trainer.alignment.config import AlignConfig
from trainer.errors import TrainerError

GOOD: dict[str, Any] = {"rounds": 1, "prompts_per_round": 10, "learning_rate": 1e-5, "batch_size": 4}


def test_the_least_that_must_be_said() -> None:
    assert AlignConfig(**GOOD).method == "aries"
    assert AlignConfig(**GOOD, method="dpo", select="check", lambda_=0).refinements == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": 0}, r"preferences.rounds: found 0, expected an integer, 1 or more"),
        ({"rounds": True}, "preferences.rounds: found True"),
        ({"steps": 0}, "preferences.steps: found 0"),
        ({"batch_size": None}, "preferences.batch_size: found None"),
        ({"epochs": 0}, "preferences.epochs: found 0, expected a number above zero"),
        ({"beta": 0}, "preferences.beta: found 0"),
        ({"lambda_": -1}, "preferences.lambda: found -1, expected zero or more"),
        ({"learning_rate": float("nan")}, "preferences.learning_rate: found nan"),
        ({"activation_learning_rate": 0}, "preferences.activation_learning_rate: found 0"),
        ({"top_p": 1.5}, "preferences.top_p: found 1.5"),
        ({"betas": (0.9, 1)}, "preferences.betas: found"),
        ({"method": "ppo"}, "preferences.method: found 'ppo', expected one of"),
        ({"select": "vote"}, "preferences.select: found 'vote'"),
        ({"reduction": "max"}, "preferences.reduction: found 'max'"),
        ({"refinement_prompt": " "}, "preferences.refinement_prompt: found ' '"),
        ({"method": "dpo", "lambda_": 0}, "preferences.select: found 'rule', expected check or reward"),
        ({"method": "dpo", "select": "check"}, "preferences.lambda: found 0.25, expected 0"),
    ],
)
def test_what_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        AlignConfig(**{**GOOD, **change})
