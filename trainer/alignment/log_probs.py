"""Log-probabilities of given tokens, without the logits of the whole vocabulary for more than a chunk of them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.model import IGNORE_INDEX, LOSS_CHUNK, PLM


def token_log_probs(
    model: PLM, input_ids: Tensor, labels: Tensor, document_ids: Tensor | None = None, chunk: int = LOSS_CHUNK
) -> Tensor:
    """Return log π(label | what is before it), in nats, (batch, length) fp32; 0 where the label is `IGNORE_INDEX`.

    The head runs over the labelled positions alone, `chunk` at a time, and once more backward. `PLM.token_losses` runs
    it over all positions, of which a refinement's context, for one, is most.

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
    if torch.is_autocast_enabled(device):  # the chunked kernel does not cast by itself
        dtype = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    count = hidden.shape[0]
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=max(1, min(chunk, count)))
    values = -F.linear_cross_entropy(hidden, weight, labels[targets], reduction="none", options=options).float()
    return torch.zeros(labels.shape, device=values.device).masked_scatter(targets, values)


def sequence_log_probs(log_probs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each row's sum of log-probabilities and its number of labels, (batch,) each."""
    return log_probs.sum(-1), (labels != IGNORE_INDEX).sum(-1)
