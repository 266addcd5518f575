"""AdamW with decoupled weight decay on the matrices alone."""

from torch import nn
from torch.optim import AdamW

from trainer.config import TrainConfig


def build_optimizer(model: nn.Module, train: TrainConfig) -> AdamW:
    """Return AdamW over all of the model's parameters.

    Matrices (two dimensions or more, the tied embedding among them) decay; the norms' weights do not. The fused
    kernel updates every parameter in one pass over its memory, on CUDA and on the CPU.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": train.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=train.learning_rate, betas=train.betas, fused=True)
