"""How many of the squared ReLU's activations are exactly zero; decoding need not read the weights that they meet."""

from typing import Any

import torch
from torch import Tensor, nn

from trainer.data import Batch
from trainer.distributed import measuring
from trainer.model import PLM


def share_of_zeros(plm: PLM, loss: nn.Module, batch: Batch, device: torch.device) -> list[float]:
    """Return, by layer, the share of exact zeros in the MLP's activations over a batch's first sequence.

    The sequence is run once more, without gradients. Of several ranks all call this together, each with its own
    sequence, and get their own shares.

    Args:
        plm: the model.
        loss: the same model's loss, as `parallelise` gives it.
        batch: of the run; padding counts as tokens do.
        device: the model's.
    """
    shares: list[Tensor] = []

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        shares.append((output <= 0).float().mean())

    kernel, plm.model.attention = plm.model.attention, "mask"  # FlexAttention would run unfused where nothing compiles
    hooks = [layer.mlp.up_proj.register_forward_hook(note) for layer in plm.model.layers]  # type: ignore[union-attr]
    try:
        with measuring(loss), torch.compiler.set_stance("force_eager"):  # compiled blocks know nothing of the hooks
            loss(*(each[:1].to(device) for each in (batch.input_ids, batch.labels, batch.document_ids)))
    finally:
        plm.model.attention = kernel
        for hook in hooks:
            hook.remove()
    return [round(share.item(), 6) for share in shares]
