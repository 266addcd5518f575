"""Parquet tables as the steps write and read them: whole or not at all, in slices, the same bytes each time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from plm_data.store import temporary_name


def write_parquet(table: pa.Table | pl.DataFrame, path: Path, row_group_rows: int | None = None) -> None:
    """Write a Parquet file (zstd) whole or not at all; the same table always gives the same bytes."""
    if isinstance(table, pl.DataFrame):
        table = table.to_arrow(compat_level=pl.CompatLevel.oldest())
    temporary = temporary_name(path)
    pq.write_table(
        table.replace_schema_metadata(None), temporary, compression="zstd", compression_level=3,
        row_group_size=row_group_rows, store_schema=False,
    )  # fmt: skip
    os.replace(temporary, path)


def part_file(out: Path, partition: int, stem: str = "part") -> Path:
    return out / f"{stem}-{partition:05d}.parquet"


def read_batches(path: Path, columns: Sequence[str], rows: int = 2048) -> Iterator[pl.DataFrame]:
    """A document file in slices, so that memory is bounded by the slice and not by the file.

    A file without rows gives one slice without rows, so that there always is one.
    """
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows == 0:
            yield pl.read_parquet(path, columns=list(columns)).select(columns)
            return
        for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame.select(columns)
