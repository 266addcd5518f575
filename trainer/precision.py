"""The number type of a run's products; weights, gradients and AdamW's state are fp32."""

import torch

from trainer.config import TrainConfig


def autocast(train: TrainConfig, device: torch.device) -> torch.autocast:
    """Return the context in which products have the run's precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_bf16(train, device))


def is_bf16(train: TrainConfig, device: torch.device) -> bool:
    """Whether products are in bf16."""
    return train.precision == "bf16" or (train.precision == "auto" and device.type == "cuda")
