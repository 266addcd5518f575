"""Log-probabilities of given tokens, without the logits of the whole vocabulary for more than a chunk of them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.model import IGNORE_INDEX, LOSS_CHUNK, PLM


def token_log_probs(
    model: PLM, input_ids: Tensor, labels: Tensor, document_ids: Tensor | None = None, chunk: int = LOSS_CHUNK
) -> Tensor:
    """Return log π(label | what is before it), in nats, (batch, length) fp32; 0 where the label is `IGNORE_INDEX`.

    The head runs over the labelled positions alone, `chunk` at a time, and once more backward: logits of a batch of
    answers would be its largest tensor by far. `PLM.loss`'s kernel gives no log-probabilities of single tokens.

    Args:
        model: the policy; gradients flow to its parameters.
        input_ids: (batch, length).
        labels: (batch, length), shifted already, as for `PLM.loss`.
        document_ids: (batch, length), as for `PLM`; padding behind a row needs none, for attention is causal.
        chunk: positions whose logits exist at once.
    """
    targets = labels != IGNORE_INDEX
    hidden = model.model(input_ids, document_ids)[targets]
    weight = model.model.embed_tokens.weight
    device = input_ids.device.type
    if torch.is_autocast_enabled(device):  # a function of one's own is not cast by autocast
        dtype = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    values = _HeadLogProbs.apply(hidden, weight, labels[targets], chunk)
    return torch.zeros(labels.shape, dtype=values.dtype, device=values.device).masked_scatter(targets, values)


def sequence_log_probs(log_probs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's sum of log-probabilities and its number of labels, (batch,) each."""
    return log_probs.sum(-1), (labels != IGNORE_INDEX).sum(-1)


class _HeadLogProbs(torch.autograd.Function):
    """log softmax(hidden · weightᵀ)[label] by chunks; the softmax is computed again backward instead of kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, chunk: int) -> Tensor:
        ctx.save_for_backward(hidden, weight, labels)
        ctx.chunk = chunk
        parts = [
            -F.cross_entropy(_logits(h, weight), wanted, reduction="none")
            for h, wanted in zip(hidden.split(chunk), labels.split(chunk), strict=True)
        ]
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, labels = ctx.saved_tensors
        of_hidden = torch.empty_like(hidden)
        of_weight = torch.zeros_like(weight, dtype=_at_least_float(weight.dtype))  # sums of chunks: not in bf16
        for start in range(0, len(labels), ctx.chunk):
            span = slice(start, start + ctx.chunk)
            # d log p(label) / d logits = onehot(label) − p
            of_logits = _logits(hidden[span], weight).softmax(-1).neg_()
            of_logits.scatter_add_(1, labels[span, None], torch.ones_like(of_logits[:, :1]))
            of_logits = of_logits.mul_(gradients[0][span, None]).to(hidden.dtype)
            of_hidden[span] = of_logits @ weight
            of_weight += of_logits.T @ hidden[span]
        return of_hidden, of_weight.to(weight.dtype), None, None


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    logits = hidden @ weight.T
    return logits.to(_at_least_float(logits.dtype))


def _at_least_float(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
