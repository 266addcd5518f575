"""Collect and Normalise: each document in the partition of its id, names that come twice, and nothing lost."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plm_data.engine import run_steps
from plm_data.recipe_sources import FilesSource
from plm_data.shuffle import scatter_files
from plm_data.sources import collect
from plm_data.sources.base import Raw
from plm_data.sources.collect import Collect, Normalise
from plm_data.sources.python_env import UNKNOWN_LICENSE
from plm_data.store import Counts, Output, Store
from plm_data.text.hashing import document_id, partition_of
from plm_data.text.normalise import content_hash


def files_spec(folder: Path, **options: object) -> FilesSource:
    return FilesSource.model_validate(
        {
            "reader": "files",
            "paths": [str(folder)],
            "domain": "web",
            "language": "en",
            "license": "CC0-1.0",
            "priority": 1,
        }
        | options
    )


def collected(folder: Path, files: list[list[dict]], pieces: int, **options: object) -> tuple[Output, Output]:
    """Rows in JSONL files, collected and normalised in a fresh store."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, rows in enumerate(files):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"rows-{i}.jsonl").write_text(text, encoding="utf-8")
    spec = files_spec(folder, **options)
    store = Store(folder / ".store")
    found = run_steps(store, [Collect(source="s", spec=spec, fingerprint="x", pieces=pieces)], "collect")[0]
    return found, run_steps(store, [Normalise(collected=found, pieces=pieces)], "normalise")[0]


def refused(output: Output) -> list[tuple[str, str, str]]:
    return sorted(pl.read_parquet(output.parts("rejected")).select("name", "verdict", "reason").rows())


ROWS = [{"id": f"d{i}", "text": f"Text {i}.  \r\n" + "x" * (i % 7)} for i in range(40)]


@pytest.mark.parametrize("pieces", [1, 3, 8])
def test_every_document_lies_in_the_partition_of_its_id_whatever_file_it_came_in(tmp_path: Path, pieces: int) -> None:
    rows = ROWS.copy()
    random.Random(pieces).shuffle(rows)
    found, documents = collected(tmp_path, [rows[:5], [], rows[5:]], pieces)
    assert found.counts == documents.counts == Counts(40, 40)
    for partition, part in enumerate(documents.parts()):
        assert {partition_of(identity, pieces) for identity in pl.read_parquet(part)["id"]} <= {partition}
    frame = pl.read_parquet(documents.parts()).sort("name")
    expected = {document_id("s", row["id"]): row["text"].replace("  \r\n", "\n").rstrip("\n") for row in ROWS}
    assert dict(frame.select("id", "text").iter_rows()) == expected
    assert frame["content_hash"].to_list() == content_hash(frame["text"]).to_list()
    assert frame["bytes"].to_list() == [len(text.encode()) for text in frame["text"]]
    assert set(frame["license"]) == {"CC0-1.0"}


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_of_documents_with_one_name_the_same_one_stays_in_any_order(tmp_path: Path, order: list[int]) -> None:
    rows = [
        {"id": "a", "text": "one"},
        {"id": "a", "text": "two"},
        {"id": "a", "text": "one"},
        {"id": "b", "text": "one"},
    ]
    _, documents = collected(tmp_path, [[rows[i]] for i in order], pieces=2)
    hashes = dict(zip(("one", "two"), content_hash(pl.Series(["one", "two"])), strict=True))
    winner = min(hashes, key=hashes.__getitem__)
    kept = dict(pl.read_parquet(documents.parts()).select("name", "text").iter_rows())
    assert kept == {"a": winner, "b": "one"}
    other = ("a", "quarantined", "repeated-name")
    same = ("a", "dropped", "repeated")
    assert refused(documents) == ([same, other] if winner == "one" else [other, other])
    assert documents.counts.read == 4 == documents.counts.kept + len(refused(documents))


def test_slices_of_few_bytes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = collected(tmp_path / "whole", [ROWS, ROWS[:3]], pieces=2)
    monkeypatch.setattr(collect, "SLICE_BYTES", 60)
    found, sliced = collected(tmp_path / "sliced", [ROWS, ROWS[:3]], pieces=2)
    one, two = (pl.read_parquet(output.parts()).sort("id") for output in (whole, sliced))
    assert one.equals(two) and refused(whole) == refused(sliced) and len(refused(sliced)) == 3
    assert len(scatter_files(found.path, "found")) == 2


def peak_of(action: Callable[[], object]) -> int:
    """Most bytes of Python's memory at a time."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_rows_that_a_filter_drops_take_no_memory_and_each_is_counted(tmp_path: Path) -> None:
    rows = 50_000
    # Two values in turn, so that no row group is ruled out as a whole.
    table = {"id": [f"d{i}" for i in range(rows)], "text": ["t"] * rows, "lang": ["de", "fr"] * (rows // 2)}
    table["lang"][-1] = "en"
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    run = partial(collected, tmp_path, [], 1, paths=[str(tmp_path / "rows.parquet")], where={"lang": "en"})
    assert peak_of(run) < 16_000_000
    found, _ = run()
    assert found.counts == Counts(rows, 1, rows - 1)
    reasons = pl.read_parquet(found.parts("rejected"))
    assert reasons["name"].n_unique() == rows - 1 and set(reasons["reason"]) == {"where"}


def test_documents_without_text_take_no_more_memory_than_others(tmp_path: Path) -> None:
    rows = [{"id": f"{i}", "text": ""} for i in range(60_000)]
    collected(tmp_path, [rows], pieces=1)  # the file
    step = Collect(source="s", spec=files_spec(tmp_path), fingerprint="x", pieces=1)
    assert peak_of(lambda: step.run(0, tmp_path)) < 9_000_000


def test_texts_that_hold_nothing_or_are_broken_are_quarantined_and_their_nearest_are_not(tmp_path: Path) -> None:
    rows = [
        {"id": "empty", "text": " \n\u3000\x00"}, {"id": "dot", "text": " .\n"},
        {"id": "broken", "text": "\ufffd\ufffd" + "x" * 37}, {"id": "nearly", "text": "\ufffd\ufffd" + "x" * 38},
    ]  # fmt: skip
    _, documents = collected(tmp_path, [rows], pieces=3)
    assert refused(documents) == [("broken", "quarantined", "broken-encoding"), ("empty", "quarantined", "empty")]
    assert set(pl.read_parquet(documents.parts())["name"]) == {"dot", "nearly"}


def test_half_a_surrogate_pair_is_replaced_and_loses_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd:
        def read(self, partition: int, partitions: int) -> Iterator[Raw]:
            yield Raw("a", "x \ud800 y", UNKNOWN_LICENSE)

    monkeypatch.setattr(collect, "make_reader", lambda name, spec: Odd())
    _, documents = collected(tmp_path, [], pieces=1)
    frame = pl.read_parquet(documents.parts())
    assert frame.select("text", "license").rows() == [("x ? y", "CC0-1.0")]


def test_a_rows_own_licence_comes_before_the_sources(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "one", "lic": "MIT"}, {"id": "b", "text": "two", "lic": None}]
    _, documents = collected(tmp_path, [rows], pieces=1, license_column="lic")
    assert dict(pl.read_parquet(documents.parts()).select("name", "license").iter_rows()) == {
        "a": "MIT",
        "b": "CC0-1.0",
    }
