"""Which parameters decay."""

from collections.abc import Callable

import torch

from trainer.config import ModelConfig, TrainConfig
from trainer.model import PLM
from trainer.optimizer import build_optimizer


def test_matrices_alone_decay(tiny: Callable[..., ModelConfig]) -> None:
    model = PLM(tiny())
    optimizer = build_optimizer(model, TrainConfig(16, 2, 0.5, 0.1, 0, weight_decay=0.2))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # with no gradient, decay is all that moves
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1.0 if "norm" in name else 1 - 0.5 * 0.2
        torch.testing.assert_close(parameter.detach(), before[name] * factor, msg=name)
