"""Packs a phase's documents into sequences of one length, and resumes from a count of sequences."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from trainer.errors import TrainerError
from trainer.model import IGNORE_INDEX
from trainer.shards import Phase, Shard


@dataclass(frozen=True)
class Batch:
    """Sequences for one optimiser step, int64, (batch, length) each.

    `labels` holds the token after each input token, or `IGNORE_INDEX` where that is another document's or none.
    `document_ids` numbers the documents' pieces within a row, from 0; padding has a number of its own.
    """

    input_ids: Tensor
    labels: Tensor
    document_ids: Tensor
    tokens: int  # without padding
    sequences: int  # of this phase, consumed once this batch is: the state that resumes after it


def count_sequences(tokens: int, sequence_length: int) -> int:
    """Return the sequences that `tokens` tokens fill, the last one perhaps in part."""
    return math.ceil(tokens / sequence_length)


def batches(
    phase: Phase,
    sequence_length: int,
    batch_size: int,
    *,
    consumed: int = 0,
    window: int = 1,
    seed: int = 0,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Batch]:
    """Yield the phase's documents, concatenated in shard order and cut every `sequence_length` tokens.

    Every token is an input exactly once, and every token but a document's first is a label exactly once: a document
    that runs over the end of a sequence goes on in the next as a piece of its own, whose first token is the label of
    the last token before the cut. The phase's last batch may hold fewer sequences; its last sequence is padded.

    A document that is longer than a batch would make up whole batches by itself. So the order of the sequences is
    drawn within each `window` of them, from the seed and the window's number: the count still resumes exactly.

    Args:
        phase: shards to read; a row group and a window are in memory at a time.
        sequence_length: tokens a sequence.
        batch_size: sequences a batch.
        consumed: sequences of this phase to skip, the `Batch.sequences` of the last batch that was used.
        window: sequences to shuffle among, rounded down to whole batches; of one batch, the shards' order is kept.
        seed: of the shuffling.
        start: tokens of the phase before the stretch that is read, of which `consumed` counts.
        stop: where that stretch ends; None: with the phase. Both lie where a document ends.

    Raises:
        TrainerError: a shard's tokens disagree with the manifest.
    """
    window = max(1, window // batch_size) * batch_size
    number, skip = divmod(consumed, window)
    span = window * sequence_length
    tokens = np.empty(0, np.int64)
    documents = np.empty(0, np.int64)
    for new_tokens, new_documents in _read(phase, start + number * span, phase.tokens if stop is None else stop):
        tokens = np.concatenate((tokens, new_tokens))
        documents = np.concatenate((documents, new_documents))
        first = 0
        while len(tokens) - first > span:  # one more than the window holds: the last token's label
            end = first + span + 1
            rows = _pack(tokens[first:end], documents[first:end], sequence_length, span)
            yield from _draw(rows, batch_size, window, number, skip, seed)
            first, number, skip = first + span, number + 1, 0
        tokens, documents = tokens[first:], documents[first:]
    if len(tokens):
        rows = _pack(tokens, documents, sequence_length, len(tokens))
        yield from _draw(rows, batch_size, window, number, skip, seed)


def _read(phase: Phase, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (tokens, document of each token) a row group, of the phase's tokens from `start` to `stop`."""
    position = rows_before = 0
    for shard in phase.shards:
        if position >= stop:
            return
        if start >= position + shard.tokens:  # whole shards are skipped by the manifest's count
            position += shard.tokens
        else:
            for tokens, documents in _read_shard(shard, phase.vocab_size):
                first, last = max(0, start - position), min(len(tokens), stop - position)
                if first < last:
                    yield tokens[first:last], documents[first:last] + rows_before
                position += len(tokens)
        rows_before += shard.rows


def _read_shard(shard: Shard, vocab_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rows = total = 0
    with pq.ParquetFile(shard.path) as file:
        for group in range(file.num_row_groups):
            column = file.read_row_group(group, columns=["tokens"]).column("tokens").combine_chunks()
            tokens = column.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocab_size:
                raise TrainerError(
                    f"{shard.path}: row group {group}: found tokens from {tokens.min()} to {tokens.max()}, "
                    f"expected 0 to {vocab_size - 1}; build the phase again"
                )
            yield tokens, np.repeat(np.arange(rows, rows + len(lengths)), lengths)
            rows += len(lengths)
            total += len(tokens)
    if (rows, total) != (shard.rows, shard.tokens):
        raise TrainerError(
            f"{shard.path}: found {rows} rows and {total} tokens, expected {shard.rows} and {shard.tokens} "
            "from the manifest; build the phase again"
        )


def _pack(tokens: np.ndarray, documents: np.ndarray, length: int, count: int) -> np.ndarray:
    """Lay `count` tokens out in rows; a token past them serves as the last one's label alone.

    Returns:
        (3, rows, length): inputs, labels, and documents, -1 where there is padding.
    """
    rows = count_sequences(count, length)
    packed = np.empty((3, rows * length), np.int64)
    packed[:] = [[0], [IGNORE_INDEX], [-1]]
    packed[0, :count] = tokens[:count]
    packed[2, :count] = documents[:count]
    same = np.flatnonzero(documents[1:] == documents[:-1])
    packed[1, same] = tokens[same + 1]
    return packed.reshape(3, rows, length)


def _draw(rows: np.ndarray, batch_size: int, window: int, number: int, skip: int, seed: int) -> Iterator[Batch]:
    """Yield a window's rows in batches, in the order that belongs to the window's number."""
    total = rows.shape[1]
    order = np.random.default_rng((seed, number)).permutation(total) if window > batch_size else np.arange(total)
    for start in range(skip, total, batch_size):
        inputs, labels, documents = rows[:, order[start : start + batch_size]]
        changes = np.diff(documents, axis=1, prepend=documents[:, :1]) != 0
        yield Batch(
            input_ids=torch.from_numpy(inputs),
            labels=torch.from_numpy(labels),
            document_ids=torch.from_numpy(changes.cumsum(axis=1)),
            tokens=int((documents >= 0).sum()),
            sequences=number * window + min(start + batch_size, total),
        )
