"""The squared-ReLU MLP of a few tokens, which reads no row of `down_proj` whose activation is zero."""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.model import MLP, PLM

# Rows to read, as a share of all, up to which reading them one by one takes less time than the dense product. Measured
# on two cores at 8192 × 2048; bf16 has no fast product with this layout of the weight.
SPARSE_UP_TO: Final = {torch.float32: 0.6, torch.bfloat16: 1.0}
MOST_TOKENS: Final = 16  # more have too many rows to read between them, and to count these takes time
# A smaller weight lies in the processor's cache, where the dense product is the faster one.
SMALLEST_WEIGHT: Final = 2**20


def prepare_for_decoding(model: PLM) -> None:
    """Lay each large `down_proj` of a model on the CPU out in memory so that a hidden unit's weights are contiguous.

    Names, shapes and values stay, and no second copy is kept. A model that is to be trained or saved must not be
    prepared: safetensors refuses such a layout.
    """
    for layer in model.model.layers:
        module: MLP = layer.mlp  # type: ignore[assignment]
        weight = module.down_proj.weight
        if weight.device.type == "cpu" and weight.numel() >= SMALLEST_WEIGHT:
            weight.data = weight.data.t().contiguous().t()


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return x @ weight.T of x (tokens, in) and weight (out, in).

    One token's is a matrix-vector product, which on a CPU in bf16 takes two thirds of the time of the general one.
    """
    if x.shape[0] == 1 and x.device.type == "cpu":
        return torch.mv(weight, x[0]).unsqueeze(0)
    return F.linear(x, weight)


def mlp(module: MLP, x: Tensor) -> Tensor:
    """Return what `module` returns of x (tokens, width), by rows where that is measured to be faster."""
    activation = F.relu(product(x, module.up_proj.weight))
    rows = module.down_proj.weight.t()
    if rows.is_contiguous() and rows.device.type == "cpu" and x.shape[0] <= MOST_TOKENS:
        tokens, units = activation.nonzero(as_tuple=True)
        if units.shape[0] <= SPARSE_UP_TO.get(rows.dtype, 0.0) * rows.shape[0]:
            return sum_rows(rows, activation[tokens, units].square(), tokens, units, x.shape[0])
    return F.linear(activation.square(), module.down_proj.weight)


def sum_rows(rows: Tensor, weights: Tensor, tokens: Tensor, units: Tensor, count: int) -> Tensor:
    """Return (count, width): each token's sum of the rows of its units, times their weights.

    Args:
        rows: (units, width), contiguous.
        weights: (n,), of each token and unit.
        tokens: (n,) integers below `count`, ascending.
        units: (n,) integers, rows of `rows`.
        count: tokens.
    """
    if count > 1:
        starts = torch.searchsorted(tokens, torch.arange(count))
        return F.embedding_bag(units, rows, starts, mode="sum", per_sample_weights=weights)
    # a bag is one thread's work, so one token's rows are shared out among the threads
    bags = torch.get_num_threads()
    starts = torch.arange(bags) * units.shape[0] // bags
    return F.embedding_bag(units, rows, starts, mode="sum", per_sample_weights=weights).sum(0, keepdim=True)
