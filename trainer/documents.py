"""Reads a phase's documents from any token on, a row group at a time, with the label of each token."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer.errors import TrainerError
from trainer.model import IGNORE_INDEX
from trainer.shards import Phase, Shard


@dataclass(frozen=True)
class Documents:
    """Documents in a row, of which the first and the last may be there in part."""

    tokens: np.ndarray  # int32
    labels: np.ndarray  # int32, a token each: the next of its document, or IGNORE_INDEX where no loss is taken
    lengths: np.ndarray  # int64, tokens of each document
    sources: np.ndarray  # int64, index of each document's source in the phase's; empty where they are not read


def read_documents(phase: Phase, start: int, stop: int, with_sources: bool = False) -> Iterator[Documents]:
    """Yield the phase's tokens from `start` to `stop`, a row group at a time.

    The manifest tells which shard holds `start`, and the shard's footer which row group, so that nothing before that
    row group is read.

    Raises:
        TrainerError: a shard cannot be read, disagrees with the manifest, or holds a token, target or source that it
            must not.
    """
    ends = np.cumsum([shard.tokens for shard in phase.shards])
    number = int(np.searchsorted(ends, start, side="right"))
    position = int(ends[number - 1]) if number else 0
    for shard in phase.shards[number:]:
        if position >= stop:
            return
        with _open(shard) as file:
            counts = _group_tokens(file, shard)
            rows = 0
            for group, count in enumerate(counts):
                if start < position + count and position < stop:
                    found = _read_group(file, phase, shard, group, rows, count, with_sources)
                    yield _part(found, start - position, stop - position)
                position += count
                rows += file.metadata.row_group(group).num_rows


def read_lengths(phase: Phase) -> np.ndarray:
    """Return the tokens of each of the phase's documents, int64; every shard is read.

    Raises:
        TrainerError: a shard cannot be read or disagrees with the manifest.
    """
    lengths = [np.empty(0, np.int64)]
    for shard in phase.shards:
        with _open(shard) as file:
            found = [_lengths(_column(file, shard, group, "tokens")) for group in range(file.num_row_groups)]
        rows, tokens = sum(map(len, found)), sum(int(part.sum()) for part in found)
        if (rows, tokens) != (shard.rows, shard.tokens):
            raise _disagrees(shard, rows, tokens)
        lengths += found
    return np.concatenate(lengths)


def regroup(groups: Iterable[Documents], counts: Iterable[int]) -> Iterator[Documents]:
    """Yield the same documents with `counts` tokens in turn."""
    groups = iter(groups)
    held: list[Documents] = []
    available = 0
    for count in counts:
        while available < count:
            held.append(next(groups))
            available += len(held[-1].tokens)
        whole = _join(held)
        yield _part(whole, 0, count)
        held, available = [_part(whole, count, available)], available - count


def _join(parts: list[Documents]) -> Documents:
    if len(parts) == 1:
        return parts[0]
    names = ("tokens", "labels", "lengths", "sources")
    return Documents(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _part(documents: Documents, start: int, stop: int) -> Documents:
    """Return tokens `start` to `stop`, without a copy; a document of which there is nothing left goes."""
    start, stop = max(0, start), min(stop, len(documents.tokens))
    ends = np.cumsum(documents.lengths)
    lengths = np.clip(ends, start, stop) - np.clip(ends - documents.lengths, start, stop)
    kept = lengths > 0
    sources = documents.sources[kept] if len(documents.sources) else documents.sources
    return Documents(documents.tokens[start:stop], documents.labels[start:stop], lengths[kept], sources)


def _open(shard: Shard) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(shard.path, read_dictionary=["source"])
    except (OSError, pa.ArrowException) as error:
        raise TrainerError(
            f"{shard.path}: cannot be read ({error}), expected a shard in Parquet; build the phase again"
        ) from None


def _group_tokens(file: pq.ParquetFile, shard: Shard) -> list[int]:
    """Return the tokens of each row group, from the footer where it tells.

    The footer counts the values of the tokens' column, and there a list that is empty or null counts one. So its sum
    is the shard's tokens just where there is no such list; else the row groups are read to count.
    """
    metadata = file.metadata
    leaves = [number for number, column in enumerate(file.schema) if column.path.split(".")[0] == "tokens"]
    if len(leaves) != 1:
        raise TrainerError(f"{shard.path}: found no column of tokens, expected a phase's shard; build the phase again")
    groups = range(metadata.num_row_groups)
    counts = [metadata.row_group(group).column(leaves[0]).num_values for group in groups]
    if sum(counts) != shard.tokens:
        counts = [int(_lengths(_column(file, shard, group, "tokens")).sum()) for group in groups]
    if (metadata.num_rows, sum(counts)) != (shard.rows, shard.tokens):
        raise _disagrees(shard, metadata.num_rows, sum(counts))
    return counts


def _disagrees(shard: Shard, rows: int, tokens: int) -> TrainerError:
    return TrainerError(
        f"{shard.path}: found {rows} rows and {tokens} tokens, expected {shard.rows} and {shard.tokens} "
        "from the manifest; build the phase again"
    )


def _column(file: pq.ParquetFile, shard: Shard, group: int, name: str) -> pa.Array:
    try:
        return file.read_row_group(group, columns=[name]).column(name).combine_chunks()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise TrainerError(
            f"{shard.path}: row group {group}: cannot read {name} ({error}); build the phase again"
        ) from None


def _lengths(column: pa.Array) -> np.ndarray:
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def _read_group(
    file: pq.ParquetFile, phase: Phase, shard: Shard, group: int, rows: int, count: int, with_sources: bool
) -> Documents:
    """Read a row group whole; `rows` are before it in the shard, and `count` tokens are expected."""
    column = _column(file, shard, group, "tokens")
    values, lengths = column.flatten(), _lengths(column)
    where = f"{shard.path}: row group {group}"
    if values.null_count or len(values) != count:
        raise TrainerError(
            f"{where}: found {len(values) - values.null_count} tokens, expected {count} from the footer and the "
            "manifest; build the phase again"
        )
    tokens = values.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    if count and not 0 <= tokens.min() <= tokens.max() < phase.vocab_size:
        raise TrainerError(
            f"{where}: found tokens from {tokens.min()} to {tokens.max()}, "
            f"expected 0 to {phase.vocab_size - 1}; build the phase again"
        )
    labels = np.empty_like(tokens)
    labels[:-1] = tokens[1:]
    labels[np.cumsum(lengths)[lengths > 0] - 1] = IGNORE_INDEX
    if phase.kind == "conversations":
        wanted = _wanted(_column(file, shard, group, "targets"), lengths, shard, group, rows)
        labels[:-1][~wanted[1:]] = IGNORE_INDEX
    sources = np.empty(0, np.int64)
    if with_sources:
        sources = _sources(_column(file, shard, group, "source"), phase, shard, rows)
    return Documents(tokens, labels, lengths, sources)


def _wanted(targets: pa.Array, lengths: np.ndarray, shard: Shard, group: int, rows: int) -> np.ndarray:
    """Return, for each token of a row group, whether a loss is taken on it: those in [start, end) of a pair."""
    flat, counts = targets.flatten(), _lengths(targets)
    if flat.null_count:
        raise TrainerError(f"{shard.path}: row group {group}: found targets that are null; build the phase again")
    if (odd := counts % 2 > 0).any():
        raise TrainerError(
            f"{shard.path}: row {rows + int(odd.argmax())}: found targets that are no pairs of start and end; "
            "build the phase again"
        )
    bounds = flat.to_numpy(zero_copy_only=False).astype(np.int64)
    owners = np.repeat(np.arange(len(lengths)), counts // 2)
    starts, ends = bounds[::2], bounds[1::2]
    bad = (starts < 0) | (starts >= ends) | (ends > lengths[owners])
    if bad.any():
        pair = int(np.argmax(bad))
        raise TrainerError(
            f"{shard.path}: row {rows + owners[pair]}: found a target from {starts[pair]} to {ends[pair]}, expected "
            f"positions from 0 to {lengths[owners[pair]]}, the end behind the start; build the phase again"
        )
    begins = (np.cumsum(lengths) - lengths)[owners]
    steps = np.zeros(int(lengths.sum()) + 1, np.int32)
    np.add.at(steps, begins + starts, 1)
    np.add.at(steps, begins + ends, -1)
    return np.cumsum(steps[:-1]) > 0


def _sources(column: pa.Array, phase: Phase, shard: Shard, rows: int) -> np.ndarray:
    found = pc.index_in(column.cast(pa.string()), value_set=pa.array(phase.sources, pa.string()))
    if found.null_count:
        row = found.is_null().to_numpy(zero_copy_only=False).argmax()
        raise TrainerError(
            f"{shard.path}: row {rows + row}: source: found {column[int(row)].as_py()!r}, expected one of "
            f"{phase.sources} from the manifest; build the phase again"
        )
    return np.asarray(found.to_numpy(zero_copy_only=False).astype(np.int64))
