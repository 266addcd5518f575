"""Rows to their buckets: each once, whatever the rounds and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plm_data import shuffle
from plm_data.shuffle import gather, gather_all, scatter, scatter_file, scatter_files

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.large_string())])
# Of each file the batches that are added to it, and of each of these the buckets of its rows.
FILES = st.integers(1, 5).flatmap(
    lambda buckets: st.tuples(
        st.just(buckets),
        st.lists(st.lists(st.lists(st.integers(0, buckets - 1), max_size=8), max_size=5), min_size=1, max_size=3),
    )
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, st.sampled_from([1, 100, 32_000_000]), st.sampled_from([None, "lz4"]))
def test_every_row_comes_to_its_bucket_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple, round_bytes: int, compression: str | None
) -> None:
    monkeypatch.setattr(shuffle, "_ROUND_BYTES", round_bytes)
    buckets, files = case
    expected: dict[int, list[tuple[int, str]]] = {bucket: [] for bucket in range(buckets)}
    paths, number = [], 0
    for i, batches in enumerate(files):
        paths.append(scatter_file(tmp_path, i, "rows"))
        with scatter(paths[-1], SCHEMA, buckets, compression) as rows:  # type: ignore[arg-type]
            for places in batches:
                frame = pl.DataFrame({"id": range(number, number + len(places))}, schema={"id": pl.Int64})
                frame = frame.with_columns(text=pl.format("row {}", "id"))
                rows.add(frame, np.array(places, dtype=np.int64))
                for place, row in zip(places, frame.rows(), strict=True):
                    expected[place].append(row)
                number += len(places)
    for bucket in range(buckets):
        found = gather_all(paths, bucket, buckets, SCHEMA)
        assert found.rows() == expected[bucket]
        assert found.schema == {"id": pl.Int64, "text": pl.String}


def test_a_round_is_written_as_soon_as_enough_is_pending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"id": [1, 2], "text": pa.array(["a", "b"], pa.large_string())}, schema=SCHEMA)
    for limit, rounds in ((10**9, 1), (rows.nbytes, 3), (2 * rows.nbytes, 2)):
        monkeypatch.setattr(shuffle, "_ROUND_BYTES", limit)
        with scatter(tmp_path / "f", SCHEMA, 2) as writer:
            for _ in range(3):
                writer.add(rows, np.array([0, 1]))
        assert len(list(gather([tmp_path / "f"], 0, 2))) == rounds


def test_a_scatter_that_fails_leaves_no_file_under_its_name(tmp_path: Path) -> None:
    rows = pa.table({"id": [1], "text": pa.array(["a"], pa.large_string())}, schema=SCHEMA)
    with pytest.raises(OSError, match="disk full"), scatter(tmp_path / "f", SCHEMA, 2) as writer:
        writer.add(rows, np.array([0]))
        raise OSError("disk full")
    assert not (tmp_path / "f").exists()


def test_files_come_in_the_order_of_their_partitions(tmp_path: Path) -> None:
    for partition in (10, 2, 0):
        scatter_file(tmp_path, partition, "rows").touch()
    scatter_file(tmp_path, 1, "others").touch()
    assert [path.name for path in scatter_files(tmp_path, "rows")] == [
        "rows-00000.arrow", "rows-00002.arrow", "rows-00010.arrow",
    ]  # fmt: skip
