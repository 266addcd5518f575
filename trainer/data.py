"""Packs a phase into sequences of one length, in a seeded order, and resumes from a count of sequences.

The phase is packed a *window* at a time: for documents, so many tokens as fill the window's sequences exactly. So the
sequences before any window are known without reading them, and to start or to go on at any count costs the reading of
one window, whatever the size of the phase.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numba import njit
from torch import Tensor

from trainer.documents import Documents, read_documents, read_lengths, regroup
from trainer.errors import TrainerError
from trainer.model import IGNORE_INDEX
from trainer.packing import Pieces, pack_full, pack_whole
from trainer.shards import Phase

WINDOW = 1024  # sequences: packing cuts few documents from a hundred on, and memory holds two windows of any length


@dataclass(frozen=True)
class Batch:
    """One rank's sequences for one optimiser step, int64, (sequences, length) each, and counts of all ranks'.

    `labels` holds the token after each input token, or `IGNORE_INDEX` where that is another document's or none.
    `document_ids` numbers the documents' pieces within a row, from 0; padding has a number of its own.
    """

    input_ids: Tensor
    labels: Tensor
    document_ids: Tensor
    tokens: int  # of all ranks, without padding
    sequences: int  # of this phase, consumed by all ranks once this batch is: the state that resumes after it
    targets: int  # of all ranks, the labels that are not IGNORE_INDEX
    sources: Tensor | None = None  # index in the phase's sources of each token's document, -1 where there is padding


def count_sequences(tokens: int, sequence_length: int) -> int:
    """Return the sequences that documents of `tokens` tokens fill, the last one perhaps in part."""
    return math.ceil(tokens / sequence_length)


def count_conversation_sequences(phase: Phase, sequence_length: int, window: int = WINDOW) -> int:
    """Return the sequences that a phase's conversations take; its shards are read for it, once a process.

    Raises:
        TrainerError: a conversation is longer than a sequence, or a shard disagrees with the manifest.
    """
    return int(_conversation_windows(phase, sequence_length, window, 0, phase.tokens)[1][-1])


def batches(
    phase: Phase,
    sequence_length: int,
    batch_size: int,
    *,
    consumed: int = 0,
    window: int = WINDOW,
    seed: int = 0,
    start: int = 0,
    stop: int | None = None,
    rank: int = 0,
    world: int = 1,
    epoch: int = 0,
    with_sources: bool = False,
) -> Iterator[Batch]:
    """Yield a phase's documents or conversations, packed into sequences, in batches of one rank's share.

    Documents are packed by best fit (`pack_full`), a window at a time. Every token is an input exactly once, and every
    token but a document's first is a label exactly once: a document that is cut goes on in another sequence, and its
    first token there is the label of the last one before the cut. Only the last window is padded, by less than a
    sequence. Conversations are packed the same way but never cut (`pack_whole`), with padding in any sequence, and
    the labels are their targets alone.

    The order of the sequences is drawn within each window, from the seed, the epoch and the window's number; neither
    the batch size nor the ranks matter to it. A batch's sequence i goes to rank i mod `world`. The last batch may hold
    fewer sequences: there, sequences of nothing but padding even the ranks out.

    Args:
        phase: shards to read; at most two windows, eight bytes a token, and a row group are in memory.
        sequence_length: tokens a sequence.
        batch_size: sequences a batch, of all ranks together.
        consumed: sequences of this phase to skip, the `Batch.sequences` of the last batch that was used.
        window: sequences that are packed together and among which the order is drawn.
        seed: of the order.
        start: tokens of the phase before the stretch that is read, of which `consumed` counts.
        stop: where that stretch ends; None: with the phase. Both lie where a document ends.
        rank: this process's number, from 0.
        world: how many processes share a batch.
        epoch: how often the phase was read before; it changes the order alone.
        with_sources: also tell each token's source.

    Raises:
        TrainerError: a batch cannot be shared among the ranks, the phase holds prompts, a conversation is longer than
            a sequence, or a shard disagrees with the manifest or holds what it must not.
    """
    if batch_size % world:
        raise TrainerError(
            f"batch size: found {batch_size} sequences for {world} ranks, expected a multiple of the ranks; "
            "change train.batch_size or the number of processes"
        )
    stop = phase.tokens if stop is None else stop
    windows = _windows(phase, sequence_length, window, consumed, start, stop, (seed, epoch), with_sources)
    parts: list[tuple[_Window, int, int]] = []  # of the batch to come: windows, and from which sequence to which
    missing = batch_size
    for each, first in windows:
        while first < each.pieces.sequences:
            last = min(first + missing, each.pieces.sequences)
            parts.append((each, first, last))
            missing, first = missing - (last - first), last
            if not missing:
                consumed += batch_size
                yield _batch(parts, sequence_length, consumed, rank, world, with_sources)
                parts, missing = [], batch_size
    if parts:
        consumed += batch_size - missing
        yield _batch(parts, sequence_length, consumed, rank, world, with_sources)


@dataclass(frozen=True)
class _Window:
    documents: Documents
    pieces: Pieces  # in the order that is drawn
    tokens: np.ndarray  # int64, before each sequence and in all
    targets: np.ndarray


def _windows(
    phase: Phase,
    length: int,
    window: int,
    consumed: int,
    start: int,
    stop: int,
    seed: tuple[int, int],
    with_sources: bool,
) -> Iterator[tuple[_Window, int]]:
    """Yield (window, its first sequence that is not consumed), from the window that holds the first of all."""
    counts: Iterable[int]
    if phase.kind == "documents":
        span = window * length
        number, skip = divmod(consumed, window)
        position = start + number * span
        counts = (min(span, stop - first) for first in range(position, stop, span))
    elif phase.kind == "conversations":
        bounds, before = _conversation_windows(phase, length, window, start, stop)
        number = int(np.searchsorted(before, consumed, side="right")) - 1
        skip, position, counts = consumed - int(before[number]), int(bounds[number]), np.diff(bounds[number:]).tolist()
    else:
        raise TrainerError(f"{phase.path}: kind: found {phase.kind!r}, expected documents or conversations to train on")
    pack = pack_full if phase.kind == "documents" else pack_whole
    groups = read_documents(phase, position, stop, with_sources)
    for each, documents in enumerate(regroup(groups, counts), number):
        pieces = pack(documents.lengths, length)
        pieces = pieces.reordered(np.random.default_rng((*seed, each)).permutation(pieces.sequences))
        ignored = np.flatnonzero(documents.labels == IGNORE_INDEX)  # few, but in conversations
        bounds = np.searchsorted(ignored, (pieces.starts, pieces.starts + pieces.sizes))
        tokens = pieces.totals(pieces.sizes)
        yield _Window(documents, pieces, tokens, tokens - pieces.totals(bounds[1] - bounds[0])), skip
        skip = 0


@lru_cache(maxsize=8)  # the arrays are small: a few numbers a window
def _conversation_windows(
    phase: Phase, length: int, window: int, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each window of a phase's conversations begins, in tokens and in sequences, and where the last ends.

    A window holds the conversations that begin in a span of `window` times `length` tokens. How many sequences they
    take shows when they are packed, so this reads the lengths of all conversations: O(n), at the start.
    """
    lengths = read_lengths(phase)
    begins = np.cumsum(lengths) - lengths
    if len(lengths) and lengths.max() > length:
        row = int(lengths.argmax())
        for shard in phase.shards:
            if row < shard.rows:
                break
            row -= shard.rows
        raise TrainerError(
            f"{shard.path}: row {row}: found a conversation of {lengths.max()} tokens, expected at most the sequence "
            f"length {length}; raise it, or leave out longer conversations in the recipe"
        )
    inside = (lengths > 0) & (start <= begins) & (begins < stop)
    lengths, begins = lengths[inside], begins[inside]
    firsts = np.flatnonzero(np.diff((begins - start) // (window * length), prepend=-1))
    sequences = [pack_whole(part, length).sequences for part in np.split(lengths, firsts)[1:]]
    return np.append(begins[firsts], stop), np.cumsum([0, *sequences])


def _batch(
    parts: list[tuple[_Window, int, int]],
    length: int,
    consumed: int,
    rank: int,
    world: int,
    with_sources: bool,
) -> Batch:
    """Lay out a rank's share of the sequences in `parts`: window, first, last (not included)."""
    count = sum(last - first for _, first, last in parts)
    own = math.ceil(count / world)
    packed = np.empty((3, own, length), np.int64)
    sources = np.full((own, length), -1) if with_sources else None
    before = done = tokens = targets = 0
    for window, first, last in parts:
        documents, pieces = window.documents, window.pieces
        mine = range(first + (rank - before) % world, last, world)
        layout = (pieces.starts, pieces.sizes, pieces.firsts)
        _lay_out(documents.tokens, documents.labels, *layout, mine.start, last, world, packed, done)
        if sources is not None:
            share = slice(done, done + len(mine))
            sources[share] = _sources(window, mine, packed[2, share])
        before, done = before + last - first, done + len(mine)
        tokens += int(window.tokens[last] - window.tokens[first])
        targets += int(window.targets[last] - window.targets[first])
    packed[:, done:] = [[[0]], [[IGNORE_INDEX]], [[0]]]
    input_ids, labels, document_ids = torch.from_numpy(packed)
    return Batch(
        input_ids=input_ids,
        labels=labels,
        document_ids=document_ids,
        tokens=tokens,
        sequences=consumed,
        targets=targets,
        sources=None if sources is None else torch.from_numpy(sources),
    )


def _sources(window: _Window, sequences: range, numbers: np.ndarray) -> np.ndarray:
    """Return the source of each token from its piece's number, -1 where there is padding."""
    firsts = window.pieces.firsts
    pieces = firsts[list(sequences), None] + numbers
    of_pieces = window.documents.sources[window.pieces.documents]
    padding = pieces == firsts[[sequence + 1 for sequence in sequences], None]
    return np.where(padding, -1, of_pieces[np.minimum(pieces, len(of_pieces) - 1)])


@njit(cache=True, nogil=True)
def _lay_out(
    tokens: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    firsts: np.ndarray,
    first: int,
    last: int,
    step: int,
    packed: np.ndarray,
    row: int,
) -> None:  # pragma: no cover - compiled
    """Lay sequences out from the output's `row` on: (inputs, labels, document ids, row, position)."""
    length = packed.shape[2]
    for sequence in range(first, last, step):
        at = 0
        for piece in range(firsts[sequence], firsts[sequence + 1]):
            start, size = starts[piece], sizes[piece]
            packed[0, row, at : at + size] = tokens[start : start + size]
            packed[1, row, at : at + size] = labels[start : start + size]
            packed[2, row, at : at + size] = piece - firsts[sequence]
            at += size
        if at < length:
            packed[0, row, at:] = 0
            packed[1, row, at:] = IGNORE_INDEX
            packed[2, row, at:] = firsts[sequence + 1] - firsts[sequence]
        row += 1
