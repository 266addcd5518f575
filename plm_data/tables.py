"""Parquet tables as the steps write and read them: whole or not at all, in slices, the same bytes each time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from plm_data.store import temporary_name

# Text of one slice of a documents file, which is one row group: what a step holds of a partition at a time.
SLICE_BYTES = 8_000_000
ZSTD_LEVEL = 3


def _arrow(table: pa.Table | pl.DataFrame) -> pa.Table:
    if isinstance(table, pl.DataFrame):
        table = table.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.replace_schema_metadata(None)


def write_parquet(table: pa.Table | pl.DataFrame, path: Path, row_group_rows: int | None = None) -> None:
    """Write a Parquet file (zstd) whole or not at all; the same table always gives the same bytes."""
    temporary = temporary_name(path)
    pq.write_table(
        _arrow(table), temporary, compression="zstd", compression_level=ZSTD_LEVEL,
        row_group_size=row_group_rows, store_schema=False,
    )  # fmt: skip
    os.replace(temporary, path)


def runs(texts: pl.Series, size: int = SLICE_BYTES) -> list[tuple[int, int]]:
    """First row and length of runs of texts of about ``size`` bytes, at least one text each."""
    numbers = np.cumsum(texts.str.len_bytes().to_numpy(), dtype=np.int64) // size
    bounds = [*np.flatnonzero(np.diff(numbers, prepend=-1)).tolist(), len(texts)]
    return [(a, b - a) for a, b in pairwise(bounds)]


@contextmanager
def slice_writer(path: Path, noise: Sequence[str] = ()) -> Iterator[Callable[[pa.Table | pl.DataFrame], None]]:
    """Write a Parquet file slice by slice, each a row group, whole or not at all. ``noise``: columns no zstd helps.

    Slices without rows are left out, but the first one given says the columns, so give at least one.
    """
    temporary = temporary_name(path)
    writer: pq.ParquetWriter | None = None

    def write(frame: pa.Table | pl.DataFrame) -> None:
        nonlocal writer
        table = _arrow(frame)
        if writer is None:
            plain = set(noise)
            writer = pq.ParquetWriter(
                temporary,
                table.schema,
                store_schema=False,
                compression={name: "none" if name in plain else "zstd" for name in table.column_names},
                compression_level={name: ZSTD_LEVEL for name in table.column_names if name not in plain},
                use_dictionary=[name for name in table.column_names if name not in plain],
            )
        if table.num_rows:
            writer.write_table(table, row_group_size=table.num_rows)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
    os.replace(temporary, path)


def part_file(out: Path, partition: int, stem: str = "part") -> Path:
    return out / f"{stem}-{partition:05d}.parquet"


def read_slices(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """A Parquet file by its row groups, so that memory is bounded by these and not by the file.

    A file without rows gives one slice without rows, so that there always is one. The attribute files of a
    documents file have its row groups, so their slices go together row by row.
    """
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows == 0:
            yield pl.read_parquet(path, columns=list(columns)).select(columns)
            return
        for group in range(file.metadata.num_row_groups):
            frame = pl.from_arrow(file.read_row_group(group, columns=list(columns)))
            assert isinstance(frame, pl.DataFrame)
            yield frame.select(columns)
