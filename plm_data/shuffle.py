"""Rows from any partition to the partition where they belong, on disk: what every exchange between steps uses.

A scatter file is an Arrow file. Its rows come in rounds of one record batch a bucket, so batch ``i`` belongs to bucket
``i % buckets``: a reader finds its own without looking at the others, and memory is one round or one bucket.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa

from plm_data.rows import gather_rows
from plm_data.store import temporary_name

# Of the rows that are meant, and of all that are held with them, until a round is written.
_ROUND_BYTES, _HELD_BYTES = 32_000_000, 96_000_000


class Scatter:
    """Writes rows to their buckets; made by ``scatter``."""

    def __init__(self, writer: pa.ipc.RecordBatchFileWriter, buckets: int):
        self._writer, self._buckets = writer, buckets
        self._pending: list[tuple[pa.Table, np.ndarray, np.ndarray]] = []
        self._bytes = self._held = 0.0

    def add(self, rows: pa.Table | pl.DataFrame, buckets: np.ndarray, chosen: np.ndarray | None = None) -> None:
        """Add rows; ``buckets``: int ``[rows]``, where each belongs.

        ``chosen``: the numbers of the rows that are meant, where not all are: they are copied once, on their way out.
        """
        if isinstance(rows, pl.DataFrame):
            rows = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if len(buckets):
            self._pending.append((rows, np.arange(rows.num_rows) if chosen is None else chosen, buckets))
            self._held += rows.nbytes
            self._bytes += rows.nbytes * len(buckets) / rows.num_rows
        if self._bytes >= _ROUND_BYTES or self._held >= _HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one round."""
        if not self._pending:
            return
        buckets = np.concatenate([each for _, _, each in self._pending])
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(self._buckets + 1))
        table = gather_rows([rows for rows, _, _ in self._pending], [rows for _, rows, _ in self._pending], order)
        for bucket in range(self._buckets):
            rows = table.slice(bounds[bucket], bounds[bucket + 1] - bounds[bucket])
            batches = rows.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
            self._writer.write_batch(batches[0])
        self._pending, self._bytes, self._held = [], 0.0, 0.0


@contextmanager
def scatter(
    path: Path, schema: pa.Schema, buckets: int, compression: Literal["lz4"] | None = None
) -> Iterator[Scatter]:
    """Write a scatter file, whole or not at all. Its schema's strings are ``large_string``, as Polars gives them."""
    temporary = temporary_name(path)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(temporary, schema, options=options) as writer:
        rows = Scatter(writer, buckets)
        yield rows
        rows.flush()
    os.replace(temporary, path)


def gather_batches(paths: Iterable[Path], bucket: int, buckets: int) -> Iterator[pa.RecordBatch]:
    """The rows of one bucket from scatter files, a batch a file and round; none if there are no rows."""
    for path in paths:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            for index in range(bucket, file.num_record_batches, buckets):
                batch = file.get_batch(index)
                if batch.num_rows:
                    yield batch


def gather(paths: Iterable[Path], bucket: int, buckets: int) -> Iterator[pl.DataFrame]:
    """``gather_batches`` as frames."""
    for batch in gather_batches(paths, bucket, buckets):
        frame = pl.from_arrow(batch)
        assert isinstance(frame, pl.DataFrame)
        yield frame


def gather_all(paths: Iterable[Path], bucket: int, buckets: int, schema: pa.Schema) -> pl.DataFrame:
    """The rows of one bucket from scatter files, in the files' order, as one frame."""
    frames = list(gather(paths, bucket, buckets))
    if not frames:
        empty = pl.from_arrow(schema.empty_table())
        assert isinstance(empty, pl.DataFrame)
        return empty
    return pl.concat(frames, rechunk=True)


def buckets_of(rows: int, rows_a_bucket: int) -> int:
    """How many buckets keep each one small; given by the documents, never by the machine."""
    return max(1, -(-rows // rows_a_bucket))


def scatter_files(folder: Path, stem: str) -> list[Path]:
    """The scatter files of an output, in partition order."""
    return sorted(folder.glob(f"{stem}-*.arrow"))


def scatter_file(out: Path, partition: int, stem: str) -> Path:
    return out / f"{stem}-{partition:05d}.arrow"
