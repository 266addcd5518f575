"""Wrong settings are refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.config import ModelConfig, PhaseData, TrainConfig
from trainer.errors import TrainerError

GOOD = {
    "sequence_length": 32,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "final_learning_rate": 1e-3,
    "warmup_tokens": 0,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_size", 0), ("vocab_size", 1.5), ("qk_rope_head_dim", 3), ("rms_norm_eps", 0.0), ("v_head_dim", True)],
)
def test_wrong_size_is_named(tiny: Callable[..., ModelConfig], name: str, value: float) -> None:
    with pytest.raises(TrainerError, match=rf"model\.{name}: found {value!r}"):
        tiny(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence_length", 0),
        ("batch_size", "8"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("final_learning_rate", 0.1),
        ("warmup_tokens", -1),
        ("decay_shape", "step"),
        ("weight_decay", -0.1),
        ("betas", (0.9, 1.0)),
        ("gradient_clip", 0),
        ("seed", -1),
        ("shuffle_window", 0),
        ("checkpoint_interval_steps", 0),
        ("keep_checkpoints", 0),
    ],
)
def test_wrong_setting_is_named(name: str, value: object) -> None:
    with pytest.raises(TrainerError, match=rf"train\.{name}: found"):
        TrainConfig(**{**GOOD, name: value})  # type: ignore[arg-type]


def test_betas_may_come_as_a_list() -> None:
    assert TrainConfig(**GOOD, betas=[0.8, 0.9]).betas == (0.8, 0.9)  # type: ignore[arg-type]


def test_unknown_segment_is_named() -> None:
    with pytest.raises(TrainerError, match=r"phase phase1\.segment: found 'warmup', expected one of"):
        PhaseData("phase1", "warmup", Path("x"))  # type: ignore[arg-type]
