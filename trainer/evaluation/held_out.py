"""The loss on data that the model is not trained on, packed as in training."""

import torch

from trainer.data import batches
from trainer.model import IGNORE_INDEX, PLM
from trainer.shards import Phase


@torch.no_grad()
def held_out_loss(model: PLM, phase: Phase, sequence_length: int, batch_size: int) -> float:
    """Return the mean cross-entropy, in nats a token, over a phase's tokens but each document's first."""
    device = model.model.embed_tokens.weight.device
    total, count = 0.0, 0
    for batch in batches(phase, sequence_length, batch_size):
        labels = int((batch.labels != IGNORE_INDEX).sum())
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            loss = model.loss(batch.input_ids.to(device), batch.labels.to(device), batch.document_ids.to(device))
        total += loss.item() * labels
        count += labels
    return total / max(count, 1)
