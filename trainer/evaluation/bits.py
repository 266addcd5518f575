"""Bits per byte of held-out text, by source and by domain: a loss that tokenizers do not change.

The nats of a document's tokens are summed, divided by ln 2, and by the UTF-8 bytes of its text:

- The first token is scored too, given `<|endoftext|>`, as lm-evaluation-harness does. Packing never trains that
  prediction (a document's first token is nobody's label), so `first_tokens` says how much of the figure it is.
- The `<|endoftext|>` that closes a document stands for no byte of it, and is not scored.
- A document longer than the window is scored in windows that advance by half of one. Every token is scored once; those
  after the first window see at least half a window of the document before them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from trainer.errors import TrainerError
from trainer.evaluation.intervals import ratio
from trainer.evaluation.likelihood import score
from trainer.model import PLM
from trainer.shards import Phase, Shard, verify_shards


@dataclass(frozen=True)
class _Document:
    """One document's measure."""

    source: str
    domain: str
    tokens: int
    bytes: int
    nats: float
    first_nats: float  # of the first token alone


def windows(tokens: int, window: int) -> list[tuple[int, int, int]]:
    """Return (first input, first scored, end) of each window over a document of so many tokens.

    Positions count from 0 at the `<|endoftext|>` before the document, so token i of it is at i + 1. A window holds
    `window` inputs at most; the last token of `end` is a label alone.
    """
    found, scored, start = [], 1, 0
    while scored <= tokens:
        end = min(start + window, tokens) + 1
        found.append((start, scored, end))
        scored, start = end, start + max(1, window // 2)
    return found


def bits_per_byte(
    model: PLM,
    phase: Phase,
    end_of_text: int,
    window: int,
    *,
    limit: int | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> dict[str, Any]:
    """Measure a phase of documents.

    Args:
        model: a PLM.
        phase: held-out documents.
        end_of_text: id of `<|endoftext|>`.
        window: tokens that the model sees at once.
        limit: measure so many documents at most, the first of the phase; None: all.
        progress: told of how many more documents are measured.

    Returns:
        `total`, and lists `sources` and `domains` in the order of their names, each entry with name, documents, bytes,
        tokens, bits_per_byte, its 95% `interval` over documents (None for a single one), and `first_tokens`, the bits
        a byte that first tokens are of it.

    Raises:
        TrainerError: a shard differs from its manifest, or there is no text in it.
    """
    verify_shards(phase)
    documents: list[_Document] = []
    for shard in phase.shards:
        for group in _groups(shard, phase.vocab_size):
            rows = group[: None if limit is None else limit - len(documents)]
            documents += _measure(model, rows, end_of_text, window)
            progress(len(rows))
            if len(documents) == limit:
                break
    if not sum(document.bytes for document in documents):
        raise TrainerError(f"{phase.path}: found no text, expected held-out documents; build the phase again")
    return {
        "total": _entry("all", documents),
        "sources": _entries(documents, [document.source for document in documents]),
        "domains": _entries(documents, [document.domain for document in documents]),
    }


_Row = tuple[str, str, str, list[int]]  # source, domain, text, tokens


def _groups(shard: Shard, vocab_size: int) -> Iterator[list[_Row]]:
    """Yield a shard's documents, a row group at a time."""
    columns = ["source", "domain", "text", "tokens"]
    with pq.ParquetFile(shard.path) as file:
        if missing := set(columns) - set(file.schema_arrow.names):
            raise TrainerError(f"{shard.path}: found no column {sorted(missing)[0]}, expected a shard of documents")
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns)
            rows = list(zip(*(table.column(name).to_pylist() for name in columns), strict=True))
            for number, row in enumerate(rows):
                if any(value is None for value in row) or any(not 0 <= token < vocab_size for token in row[3]):
                    raise TrainerError(
                        f"{shard.path}: row {number} of row group {group}: found a null, or a token outside 0 … "
                        f"{vocab_size - 1}; build the phase again"
                    )
            yield rows


def _measure(model: PLM, rows: Sequence[_Row], end_of_text: int, window: int) -> list[_Document]:
    sequences, starts, owners = [], [], []
    texts = [tokens[:-1] if tokens[-1:] == [end_of_text] else tokens for *_, tokens in rows]
    for number, tokens in enumerate(texts):
        whole = [end_of_text, *tokens]
        for start, scored, end in windows(len(tokens), window):
            sequences.append(whole[start:end])
            starts.append(scored - start)
            owners.append(number)
    parts: list[list[np.ndarray]] = [[] for _ in rows]
    for owner, scored_tokens in zip(owners, score(model, sequences, starts), strict=True):
        parts[owner].append(-scored_tokens.log_probs.astype(np.float64))
    return [
        _Document(
            source,
            domain,
            len(tokens),
            len(text.encode()),
            math.fsum(np.concatenate(nats)) if nats else 0.0,
            float(nats[0][0]) if nats else 0.0,
        )
        for (source, domain, text, _), tokens, nats in zip(rows, texts, parts, strict=True)
    ]


def _entries(documents: Sequence[_Document], names: Sequence[str]) -> list[dict[str, Any]]:
    groups: dict[str, list[_Document]] = {}
    for name, document in zip(names, documents, strict=True):
        groups.setdefault(name, []).append(document)
    return [_entry(name, groups[name]) for name in sorted(groups)]


def _entry(name: str, documents: Sequence[_Document]) -> dict[str, Any]:
    sizes = np.array([document.bytes for document in documents], np.float64)
    bits = np.array([document.nats for document in documents]) / math.log(2)
    first = math.fsum(document.first_nats for document in documents) / math.log(2)
    total = math.fsum(sizes)
    return {
        "name": name,
        "documents": len(documents),
        "bytes": int(total),
        "tokens": sum(document.tokens for document in documents),
        "bits_per_byte": math.fsum(bits) / total if total else None,
        "interval": ratio(bits, sizes) if total else None,
        "first_tokens": first / total if total else None,
    }
