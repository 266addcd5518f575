"""The loss on data that the model is not trained on, packed as in training."""

import math

import torch
from torch import nn

from trainer.config import TrainConfig
from trainer.data import batches
from trainer.distributed import Ranks, measuring
from trainer.model import IGNORE_INDEX
from trainer.precision import autocast
from trainer.shards import Phase


def held_out_losses(loss: nn.Module, phase: Phase, train: TrainConfig, ranks: Ranks) -> tuple[float, dict[str, float]]:
    """Return the mean cross-entropy in nats a token over a phase's labels: of all of them, and by source.

    Documents are packed at the run's sequence length; each document's first token is no label. Of several ranks all
    call this together and get the same.

    Args:
        loss: the model's loss, as `parallelise` gives it.
        phase: documents or conversations.
        train: the run's settings.
        ranks: of the run.
    """
    count = len(phase.sources)
    sums = torch.zeros(2, count, dtype=torch.float64)
    size = train.micro_batch_size or math.ceil(train.batch_size / ranks.world)  # as many as a forward pass of training
    stream = batches(
        phase, train.sequence_length, size * ranks.world, rank=ranks.rank, world=ranks.world, with_sources=True
    )
    for batch in stream:
        inputs = (each.to(ranks.device) for each in (batch.input_ids, batch.labels, batch.document_ids))
        with measuring(loss), autocast(train, ranks.device):
            nats = loss(*inputs, by_token=True).double().cpu()
        learned = batch.labels != IGNORE_INDEX
        assert batch.sources is not None
        of = batch.sources[learned]
        sums[0].index_add_(0, of, nats[learned])
        sums[1].index_add_(0, of, torch.ones(len(of), dtype=torch.float64))
    totals = torch.tensor(ranks.sums(sums.flatten().tolist()), dtype=torch.float64).view(2, count)
    means = {
        name: float(nats / labels) for name, nats, labels in zip(phase.sources, *totals.tolist(), strict=True) if labels
    }
    return float(totals[0].sum() / totals[1].sum().clamp(min=1)), means
