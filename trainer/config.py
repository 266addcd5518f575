"""The sizes of a model, the settings of its pre-training and the data phases it runs through."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

from trainer.errors import TrainerError

DecayShape = Literal["cosine", "linear", "sqrt"]
Schedule = Literal["wsdc", "wsd", "cosine"]
Segment = Literal["stable", "decay", "constant", "held-out", "sft", "preferences"]

DECAY_SHAPES: tuple[DecayShape, ...] = ("cosine", "linear", "sqrt")
Precision = Literal["auto", "fp32", "bf16"]
AttentionChoice = Literal["auto", "sdpa", "flex"]
Parallel = Literal["auto", "ddp", "fsdp"]

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

# Ours, for smaller machines: the ratios of PLM-1.8B (MLP 4 times the width, latent 1/4 of it, as much width in heads)
# with fewer layers, and a vocabulary that does not outweigh them.
PLM_350M = replace(
    PLM_1_8B, vocab_size=49_152, hidden_size=1152, intermediate_size=4608, num_hidden_layers=20,
    num_attention_heads=9, kv_lora_rank=288,
)  # fmt: skip
PLM_100M = ModelConfig(  # recipes/mini.yaml's
    vocab_size=32_768,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    kv_lora_rank=192,
    qk_nope_head_dim=64,
    qk_rope_head_dim=32,
    v_head_dim=64,
    max_position_embeddings=2048,
)
PLM_NANO = ModelConfig(  # recipes/nano.yaml's
    vocab_size=8192,
    hidden_size=192,
    intermediate_size=768,
    num_hidden_layers=3,
    num_attention_heads=6,
    kv_lora_rank=48,
    qk_nope_head_dim=32,
    qk_rope_head_dim=16,
    v_head_dim=32,
    max_position_embeddings=512,
)
SIZES = {"nano": PLM_NANO, "100M": PLM_100M, "350M": PLM_350M, "1.8B": PLM_1_8B}


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
    micro_batch_size: int | None = None  # sequences of a forward pass on one rank; None: all of the rank's
    precision: Precision = "auto"  # of the products: bf16 on CUDA and fp32 on a CPU; weights and AdamW's are fp32
    compile: bool = False  # torch.compile, block by block
    activation_checkpointing: bool = False  # keep a block's input alone, and run the block again backward
    attention: AttentionChoice = "auto"  # FlexAttention on CUDA, scaled_dot_product_attention on a CPU
    parallel: Parallel = "auto"  # of several ranks: DDP, and FSDP2 from 1B parameters on
    held_out_interval_steps: int | None = None  # steps between measurements inside a phase; None: at its end alone
    zeros_interval_steps: int = 50  # steps between measurements of the activations' zeros
    max_loss_rise: float | None = 2.0  # nats over the recent median that stop the run where they stay; None: never

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # a list when it comes from YAML or JSON
        for name in (
            "sequence_length",
            "batch_size",
            "shuffle_window",
            "checkpoint_interval_steps",
            "keep_checkpoints",
            "zeros_interval_steps",
        ):
            value = getattr(self, name)
            _check("train", name, value, "a positive integer", _is_integer(value, 1))
        for name in ("micro_batch_size", "held_out_interval_steps"):
            value = getattr(self, name)
            _check("train", name, value, "a positive integer or null", value is None or _is_integer(value, 1))
        for name, choices in (("precision", Precision), ("attention", AttentionChoice), ("parallel", Parallel)):
            value, known = getattr(self, name), get_args(choices)
            _check("train", name, value, f"one of {known}", value in known)
        for name in ("compile", "activation_checkpointing"):
            value = getattr(self, name)
            _check("train", name, value, "true or false", isinstance(value, bool))
        rise = self.max_loss_rise
        good = rise is None or (_is_real(rise, 0.0) and rise > 0)
        _check("train", "max_loss_rise", rise, "a number above zero or null", good)
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


# Settings of TrainConfig that the weights do not depend on, or by rounding alone: a run may go on with others.
HARMLESS = (
    "checkpoint_interval_steps",
    "keep_checkpoints",
    "micro_batch_size",
    "compile",
    "activation_checkpointing",
    "attention",
    "parallel",
    "held_out_interval_steps",
    "zeros_interval_steps",
    "max_loss_rise",
)


@dataclass(frozen=True)
class PhaseData:
    """A data phase: its name, the segment of WSDC that it is trained in, and the folder of its shards.

    Raises:
        TrainerError: the segment is no `Segment`.
    """

    name: str
    segment: Segment
    folder: Path

    def __post_init__(self) -> None:
        known = get_args(Segment)
        _check(f"phase {self.name}", "segment", self.segment, f"one of {known}", self.segment in known)
