"""The model's elementwise functions, with gradients written out where autograd's own would take more passes or memory.

Under torch.compile the plain formula stands instead: the compiler fuses it, and its gradient, by itself.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def squared_relu(x: Tensor) -> Tensor:
    """Return relu(x)², element by element."""
    if torch.compiler.is_compiling():
        return F.relu(x).square()
    return _SquaredReLU.apply(x)


class _SquaredReLU(torch.autograd.Function):
    """Keeps relu(x) alone: its gradient, 2·relu(x), is zero where x was not positive, so no mask is needed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        kept = x.clamp_min(0)
        ctx.save_for_backward(kept)
        return kept * kept

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (kept,) = ctx.saved_tensors
        return (gradient * kept).mul_(2)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Divide the last dimension by its root mean square in fp32, cast back, then multiply by the weight."""
    if torch.compiler.is_compiling() or x.is_cuda:
        return weight * F.rms_norm(x.float(), (x.shape[-1],), eps=eps).to(x.dtype)
    return _RMSNorm.apply(x, weight, eps)


class _RMSNorm(torch.autograd.Function):
    """Keeps the input and a number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        inverse = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        inverse = inverse.div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse = ctx.saved_tensors
        normed = x.float() * inverse
        inner = gradient.float() * weight
        for_weight = (gradient * normed).flatten(0, -2).sum(0).to(weight.dtype)
        share = torch.linalg.vecdot(inner, normed).unsqueeze(-1).div_(x.shape[-1])
        return torch.addcmul(inner, normed, share, value=-1).mul_(inverse).to(x.dtype), for_weight, None


def head_loss(hidden: Tensor, weight: Tensor, labels: Tensor, ignored: int, chunk: int) -> Tensor:
    """Return the summed cross-entropy of hidden · weightᵀ, fp32, though the products are in the inputs' bf16.

    Logits exist for `chunk` tokens at a time, forward alone: the gradients are made with them.

    Args:
        hidden: (tokens, width).
        weight: (vocabulary, width).
        labels: (tokens) indices into the vocabulary, or `ignored`.
        ignored: the label of a token that has no loss.
        chunk: tokens.
    """
    return _HeadLoss.apply(hidden, weight, labels, ignored, chunk)


class _HeadLoss(torch.autograd.Function):
    """PyTorch's `linear_cross_entropy`, but for its sum, which has the inputs' type."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, ignored: int, chunk: int) -> Tensor:
        total = torch.zeros((), device=hidden.device)
        learning = any(ctx.needs_input_grad)
        for_hidden = torch.empty_like(hidden) if learning else None
        for_weight = torch.zeros_like(weight) if learning else None
        for start in range(0, len(hidden), chunk):
            part, known = hidden[start : start + chunk], labels[start : start + chunk] != ignored
            index = labels[start : start + chunk].where(known, 0).unsqueeze(1)
            logits = (part @ weight.T).float()
            log_total = logits.logsumexp(1, keepdim=True)
            total += (log_total - logits.gather(1, index)).squeeze(1).where(known, 0).sum()
            if for_hidden is not None and for_weight is not None:
                shares = _less_one(logits.sub_(log_total).exp_(), index).mul_(known.unsqueeze(1)).to(weight.dtype)
                torch.mm(shares, weight, out=for_hidden[start : start + chunk])
                for_weight.addmm_(shares.T, part)
        ctx.save_for_backward(for_hidden, for_weight)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        for_hidden, for_weight = ctx.saved_tensors
        return for_hidden * gradient, for_weight * gradient, None, None, None


def head_log_probs(hidden: Tensor, weight: Tensor, labels: Tensor, chunk: int) -> Tensor:
    """Return each token's log-probability under softmax(hidden · weightᵀ), (tokens,) in fp32, of bf16 inputs too.

    Logits exist for `chunk` tokens at a time, and once more backward: a token's gradient is not known before.

    Args:
        hidden: (tokens, width).
        weight: (vocabulary, width).
        labels: (tokens) indices into the vocabulary.
        chunk: tokens.
    """
    return _HeadLogProbs.apply(hidden, weight, labels, chunk)


class _HeadLogProbs(torch.autograd.Function):
    """PyTorch's `linear_cross_entropy` without reduction rounds each to the inputs' type: bf16 has two digits."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, chunk: int) -> Tensor:
        found = torch.empty(len(hidden), device=hidden.device)
        log_totals = torch.empty_like(found)
        for start in range(0, len(hidden), chunk):
            here = slice(start, start + chunk)
            logits = (hidden[here] @ weight.T).float()
            log_totals[here] = logits.logsumexp(1)
            found[here] = logits.gather(1, labels[here].unsqueeze(1)).squeeze(1) - log_totals[here]
        ctx.save_for_backward(hidden, weight, labels, log_totals)
        ctx.chunk = chunk
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, weight, labels, log_totals = ctx.saved_tensors
        for_hidden, for_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        for start in range(0, len(hidden), ctx.chunk):
            here = slice(start, start + ctx.chunk)
            shares = (hidden[here] @ weight.T).float().sub_(log_totals[here].unsqueeze(1)).exp_()
            shares = _less_one(shares, labels[here].unsqueeze(1)).mul_(-gradient[here].unsqueeze(1)).to(weight.dtype)
            torch.mm(shares, weight, out=for_hidden[here])
            for_weight.addmm_(shares.T, hidden[here])
        return for_hidden, for_weight, None, None


def _less_one(shares: Tensor, index: Tensor) -> Tensor:
    """Subtract 1 from each row's share of its label, (tokens, 1), in place: the cross-entropy's gradient."""
    return shares.scatter_add_(1, index, shares.new_full(index.shape, -1.0))


def rope_table(length: int, dim: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the rotary angles of positions 0 … length - 1, each (length, 1, dim / 2) in fp32."""
    frequencies = theta ** -(torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequencies).unsqueeze(1)
    return angles.cos(), angles.sin()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the interleaved pairs (2i, 2i + 1) of `x` (batch, length, heads, dim) by their position's angle, in fp32.

    Pairing i with i + dim / 2 instead, as Llama's code does, gives other logits whose argmax mostly agrees.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # the compiler has no complex numbers
        even, odd = pairs.unbind(-1)
        turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    else:
        whole = pairs.clone(memory_format=torch.contiguous_format)  # a slice may begin at an odd place
        turned = torch.view_as_real(torch.view_as_complex(whole) * torch.complex(cos, sin))
    return turned.flatten(-2).to(x.dtype)
