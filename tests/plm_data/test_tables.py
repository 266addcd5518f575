"""Tables: the same bytes each time, whole or not at all, read as the slices they were written in."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plm_data.tables import part_file, read_slices, slice_writer, write_parquet


def frame(start: int, rows: int) -> pl.DataFrame:
    numbers = pl.Series("n", range(start, start + rows), dtype=pl.Int64)
    return pl.DataFrame({"id": pl.Series("id", [f"{n:04d}" for n in numbers], dtype=pl.String), "n": numbers})


def test_a_table_is_written_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_parquet(frame(0, 2500), tmp_path / name, row_group_rows=1000)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [each.height for each in read_slices(tmp_path / "a", ["id"])] == [1000, 1000, 500]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_slices_come_back_as_row_groups_and_none_is_empty(tmp_path: Path, sizes: list[int]) -> None:
    path, start = part_file(tmp_path, 0), 0
    with slice_writer(path) as write:
        for size in sizes:
            write(frame(start, size))
            start += size
    found = list(read_slices(path, ["n", "id"]))
    assert [each.height for each in found] == ([size for size in sizes if size] or [0])
    whole = pl.concat(found)
    assert whole.equals(frame(0, start).select("n", "id")) and whole.schema == {"n": pl.Int64, "id": pl.String}


def test_a_slice_however_large_is_one_row_group(tmp_path: Path) -> None:
    # pyarrow by itself would begin a new group after 2^20 rows.
    with slice_writer(tmp_path / "f") as write:
        write(pl.DataFrame({"n": pl.Series(range(2**20 + 1), dtype=pl.Int32)}))
    assert pq.ParquetFile(tmp_path / "f").num_row_groups == 1


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write_parquet(frame(0, 1), tmp_path / "f")
    with pytest.raises(OSError, match="disk full"), slice_writer(tmp_path / "f") as write:
        write(frame(5, 3))
        raise OSError("disk full")
    assert pl.read_parquet(tmp_path / "f").equals(frame(0, 1))
