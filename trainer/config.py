"""The sizes of a model, the settings of its pre-training and the data phases it runs through."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from trainer.errors import TrainerError

DecayShape = Literal["cosine", "linear", "sqrt"]
Schedule = Literal["wsdc", "wsd", "cosine"]
Segment = Literal["stable", "decay", "constant", "held-out", "sft", "preferences"]

DECAY_SHAPES: tuple[DecayShape, ...] = ("cosine", "linear", "sqrt")
SCHEDULES: tuple[Schedule, ...] = ("wsdc", "wsd", "cosine")
SEGMENTS: tuple[Segment, ...] = ("stable", "decay", "constant")
HELD_OUT: Segment = "held-out"  # of data that is measured and never trained on


def _check(owner: str, name: str, value: object, expected: str, good: bool) -> None:
    if not good:
        raise TrainerError(f"{owner}.{name}: found {value!r}, expected {expected}; correct it in the recipe")


def _is_integer(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_real(value: object, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= least


@dataclass(frozen=True)
class ModelConfig:
    """A PLM's sizes, named as in its Hugging Face configuration.

    Raises:
        TrainerError: a size is not a positive integer, or the rotary width is odd.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    kv_lora_rank: int  # width of the latent that keys and values are expanded from
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    max_position_embeddings: int
    rope_theta: float = 100_000.0
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (int, "int"):
                _check("model", field.name, value, "a positive integer", _is_integer(value, 1))
            else:
                _check("model", field.name, value, "a positive number", _is_real(value, 0.0) and value > 0)
        rope = self.qk_rope_head_dim
        _check("model", "qk_rope_head_dim", rope, "an even number (RoPE turns pairs)", rope % 2 == 0)

    @property
    def qk_head_dim(self) -> int:
        """Width of a head's query and key: the part without position and the rotary part."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim


# arXiv 2503.12167 and the configuration of PLM-Team/PLM-1.8B-Base on the Hugging Face hub
PLM_1_8B = ModelConfig(
    vocab_size=151_936,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=32,
    num_attention_heads=16,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    max_position_embeddings=4096,
)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a pre-training run; lengths of the schedule are in tokens.

    Raises:
        TrainerError: a setting is of the wrong kind or out of its range.
    """

    sequence_length: int
    batch_size: int  # sequences an optimiser step
    learning_rate: float  # peak of WSDC
    final_learning_rate: float  # floor of WSDC: the rate of the constant tail
    warmup_tokens: int
    decay_shape: DecayShape = "cosine"
    schedule: Schedule = "wsdc"
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    gradient_clip: float = 1.0  # largest global norm of the gradient
    seed: int = 0  # of the initialisation and of the sequences' order
    shuffle_window: int = 1024  # sequences among which their order is drawn
    checkpoint_interval_steps: int = 1000
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # a list when it comes from YAML or JSON
        for name in (
            "sequence_length",
            "batch_size",
            "shuffle_window",
            "checkpoint_interval_steps",
            "keep_checkpoints",
        ):
            value = getattr(self, name)
            _check("train", name, value, "a positive integer", _is_integer(value, 1))
        for name in ("warmup_tokens", "seed"):
            value = getattr(self, name)
            _check("train", name, value, "an integer, zero or more", _is_integer(value, 0))
        for name in ("learning_rate", "gradient_clip"):
            value = getattr(self, name)
            _check("train", name, value, "a number above zero", _is_real(value, 0.0) and value > 0)
        _check("train", "weight_decay", self.weight_decay, "zero or more", _is_real(self.weight_decay, 0.0))
        floor = self.final_learning_rate
        good = _is_real(floor, 0.0) and floor <= self.learning_rate
        _check("train", "final_learning_rate", floor, "a number from zero to learning_rate", good)
        _check("train", "decay_shape", self.decay_shape, f"one of {DECAY_SHAPES}", self.decay_shape in DECAY_SHAPES)
        _check("train", "schedule", self.schedule, f"one of {SCHEDULES}", self.schedule in SCHEDULES)
        good = len(self.betas) == 2 and all(_is_real(beta, 0.0) and beta < 1 for beta in self.betas)
        _check("train", "betas", self.betas, "two numbers from zero to below one", good)


@dataclass(frozen=True)
class PhaseData:
    """A data phase: its name, the segment of WSDC that it is trained in, and the folder of its shards.

    Raises:
        TrainerError: the segment is none of stable, decay, constant and held-out.
    """

    name: str
    segment: Segment
    folder: Path

    def __post_init__(self) -> None:
        known = (*SEGMENTS, HELD_OUT, "preferences")
        _check(f"phase {self.name}", "segment", self.segment, f"one of {known}", self.segment in known)
