"""A source's columns: read together row by row, and refused where they are not of one order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from plm_data.decisions.columns import SourceColumns
from plm_data.errors import StoreError
from plm_data.tables import part_file, write_parquet
from tests.plm_data.decisions.chain import cluster, make_columns, named

DOCUMENTS = [{"id": f"d{i}", "words": i, "chars": 10 * i, "cluster": f"k{i}"} for i in range(9)]


def columns_of(folder: Path, near: bool = True, pieces: int = 2) -> SourceColumns:
    return SourceColumns(**make_columns(folder, DOCUMENTS, near, pieces).columns)


def test_slices_hold_what_is_asked_for_from_whatever_step(tmp_path: Path) -> None:
    columns = columns_of(tmp_path)
    names = ["words", "language", "chars", "near_cluster", "bytes"]
    found = pl.concat(frame for piece in range(2) for frame in columns.slices(piece, names))
    assert found.columns == ["id", *names]
    rows = {row["id"]: row for row in found.to_dicts()}
    assert len(rows) == found.height == 9
    for i in range(9):
        row = rows[named(f"d{i}")]
        assert (row["words"], row["chars"], row["near_cluster"]) == (i, 10 * i, cluster(f"k{i}"))
    assert columns.all(["id", *names]).equals(found)


def test_slices_are_the_row_groups(tmp_path: Path) -> None:
    columns = columns_of(tmp_path)
    heights = [frame.height for piece in range(2) for frame in columns.slices(piece, ["words"])]
    assert sum(heights) == 9 and max(heights) == 2


def test_clusters_are_null_where_they_do_not_count(tmp_path: Path) -> None:
    frame = columns_of(tmp_path, near=False).all(["id", "near_cluster", "near_cluster_size"])
    assert frame.schema == {"id": pl.String, "near_cluster": pl.UInt64, "near_cluster_size": pl.Int64}
    assert frame["near_cluster"].is_null().all() and frame.height == 9


def test_a_column_that_no_step_has_is_a_defect_and_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no step has the columns beauty"):
        list(columns_of(tmp_path).slices(0, ["words", "beauty"]))


def test_rows_in_another_order_are_not_put_beside_each_other(tmp_path: Path) -> None:
    columns = columns_of(tmp_path, pieces=1)
    folder = tmp_path / "other"
    folder.mkdir()
    frame = pl.read_parquet(columns.heuristics.parts()[0])
    write_parquet(frame.reverse(), part_file(folder, 0), row_group_rows=2)
    damaged = replace(columns, heuristics=replace(columns.heuristics, path=folder))
    with pytest.raises(StoreError, match="its rows are not those of .*delete the folder"):
        list(damaged.slices(0, ["words"]))
