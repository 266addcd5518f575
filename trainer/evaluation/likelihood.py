"""Log-probabilities of given tokens: batched by length, and the logits of a batch never exist all at once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.errors import TrainerError
from trainer.model import LOSS_CHUNK, PLM

BATCH_TOKENS = 8192  # input tokens of a forward pass, padding included


@dataclass(frozen=True)
class Scored:
    """What a model makes of a sequence's scored tokens."""

    log_probs: np.ndarray  # float32 nats, one for each
    greedy: bool  # each of them is the likeliest token at its place


@torch.inference_mode()
def score(
    model: PLM,
    sequences: Sequence[Sequence[int]],
    starts: Sequence[int],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], object] = lambda _: None,
) -> list[Scored]:
    """Return log p(token | those before it in its sequence) for the tokens of each sequence from its start on.

    Sequences are sorted by length and padded at the end, where attention, being causal, sees nothing of it. Those
    that differ in their last token alone, as the choices of a question do, share one row. Products are bf16 on CUDA
    (autocast) and in the weights' type on a CPU; the softmax is fp32 over the whole vocabulary.

    Args:
        model: a PLM.
        sequences: token ids, two or more each.
        starts: index of the first token to score in each, 1 or more; what lies before is context alone.
        batch_tokens: tokens of a forward pass, which bounds its memory; a longer sequence has a pass to itself.
        progress: told of how many more sequences are done.

    Returns:
        In the order of the sequences.

    Raises:
        TrainerError: a sequence is longer than the model's positions allow, or has nothing to score.
    """
    most = model.config.max_position_embeddings
    rows: dict[tuple[int, ...], list[int]] = {}  # what is put in, and the sequences that need it
    for index, (sequence, start) in enumerate(zip(sequences, starts, strict=True)):
        if not 1 <= start < len(sequence) <= most + 1:
            raise TrainerError(
                f"sequence {index}: found {len(sequence)} tokens, scored from {start}, expected a start of 1 or more "
                f"before the end, and at most {most + 1} tokens"
            )
        rows.setdefault(tuple(sequence[:-1]), []).append(index)
    found: dict[int, Scored] = {}
    for batch in _batches(sorted(rows, key=len, reverse=True), batch_tokens):
        members = [(row, index) for row, inputs in enumerate(batch) for index in rows[inputs]]
        length = len(batch[0])
        ends = [len(sequences[index]) for _, index in members]
        first = [starts[index] for _, index in members]
        places = np.concatenate(
            [row * length + np.arange(a - 1, b - 1) for (row, _), a, b in zip(members, first, ends, strict=True)]
        )
        targets = np.concatenate([sequences[index][a:] for (_, index), a in zip(members, first, strict=True)])
        log_probs, likeliest = _at(model, batch, places, targets)
        cuts = np.cumsum([b - a for a, b in zip(first, ends, strict=True)])[:-1]
        parts = zip(np.split(log_probs, cuts), np.split(likeliest, cuts), strict=True)
        for (_, index), (values, best) in zip(members, parts, strict=True):
            found[index] = Scored(values, bool(best.all()))
        progress(len(members))
    return [found[index] for index in range(len(sequences))]


def _batches(rows: Sequence[tuple[int, ...]], batch_tokens: int) -> Iterator[list[tuple[int, ...]]]:
    """Cut rows, longest first, into batches that hold at most so many tokens when padded."""
    start = 0
    while start < len(rows):
        count = max(1, batch_tokens // len(rows[start]))
        yield list(rows[start : start + count])
        start += count


def _at(
    model: PLM, batch: Sequence[Sequence[int]], places: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-probability of each target after its place (row · length + column), and whether it is the best."""
    weight = model.model.embed_tokens.weight
    ids = torch.zeros(len(batch), len(batch[0]), dtype=torch.int64)
    for row, inputs in enumerate(batch):
        ids[row, : len(inputs)] = torch.tensor(inputs)
    unique, inverse = np.unique(places, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(0, len(unique) + LOSS_CHUNK, LOSS_CHUNK))
    log_probs, likeliest = np.empty(len(places), np.float32), np.empty(len(places), bool)
    with torch.autocast(weight.device.type, dtype=torch.bfloat16, enabled=weight.is_cuda):
        hidden = model.model(ids.to(weight.device), None).flatten(0, 1)
        for chunk in range(len(bounds) - 1):
            first = chunk * LOSS_CHUNK
            here = order[bounds[chunk] : bounds[chunk + 1]]
            asked = torch.from_numpy(unique[first : first + LOSS_CHUNK]).to(weight.device)
            logits = F.linear(hidden[asked], weight).float()
            rows, wanted = (torch.from_numpy(values[here]).to(weight.device) for values in (inverse - first, targets))
            values: Tensor = logits[rows, wanted] - logits.logsumexp(-1)[rows]
            log_probs[here] = values.cpu().numpy()
            likeliest[here] = (logits.argmax(-1)[rows] == wanted).cpu().numpy()
    return log_probs, likeliest
