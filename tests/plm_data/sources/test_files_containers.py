"""Parquet files, and containers that break off."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plm_data.errors import SourceError
from plm_data.sources.base import Rejected
from plm_data.sources.files import FilesReader
from plm_data.store import digest
from tests.plm_data.sources.local_files import GOOD, documents, lines, parquet, read, refused, spec, write_good, zstd


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, from which the paths of a recipe are meant."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unchecked(values: list[bytes | None], kind: pa.DataType) -> pa.Array:
    """Bytes as strings, without a check that they are UTF-8."""
    return pa.array(values, pa.binary()).cast(kind, safe=False)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("dictionary", [True, False])
def test_cells_that_are_not_utf8_are_quarantined_alone(here: Path, kind: pa.DataType, dictionary: bool) -> None:
    texts = unchecked([b"a", b"\xff", "é".encode(), None, b"\xed\xa0\x80"], kind)
    ids = unchecked([b"1", b"2", b"3", b"4", b"5"], kind)
    parquet(here / "a.parquet", texts, ids, use_dictionary=dictionary)
    found = read("a.parquet")
    assert documents(found) == [("1", "a"), ("3", "é")]
    assert refused(found) == [
        ("a.parquet:row 2", "invalid-utf8"), ("a.parquet:row 4", "no-text"), ("a.parquet:row 5", "invalid-utf8"),
    ]  # fmt: skip
    parquet(here / "b.parquet", pa.array(["x", "y"]), unchecked([b"\xff", b"b"], kind))
    assert [item.name for item in read("b.parquet")] == ["b.parquet:row 1", "b"]


@pytest.mark.parametrize(
    "texts",
    [pa.array(["a", None, "long"]).dictionary_encode(), pa.array(["a", None, "long"], pa.string_view()),
     pa.array([b"a", None, b"long"], pa.binary_view())],
)  # fmt: skip
def test_other_ways_to_lay_out_strings(here: Path, texts: pa.Array) -> None:
    parquet(here / "a.parquet", texts, texts)
    found = read("a.parquet", max_document_bytes=3)
    assert documents(found) == [("a", "a")]
    assert refused(found) == [("a.parquet:row 2", "no-text"), ("a.parquet:row 3", "too-long")]


def test_bytes_of_one_length_are_texts_too(here: Path) -> None:
    parquet(here / "a.parquet", pa.array([b"ab", b"\xff\xff"], pa.binary(2)))
    found = read("a.parquet")
    assert documents(found) == [(digest("ab"), "ab")] and refused(found) == [("a.parquet:row 2", "invalid-utf8")]


@pytest.mark.parametrize(
    "texts", [pa.array([1, 2]), pa.array([1.5, 2.5]), pa.array([["a"], ["b"]]), pa.array([{"a": 1}] * 2), pa.nulls(2)]
)
def test_a_column_of_another_type_holds_no_text(here: Path, texts: pa.Array) -> None:
    parquet(here / "a.parquet", texts)
    assert refused(read("a.parquet")) == [(f"a.parquet:row {n}", "no-text") for n in (1, 2)]
    assert FilesReader("web", spec("a.parquet")).size_bound() is not None


@pytest.mark.parametrize(
    "ids, names",
    [
        (pa.array([7, None]), ["7", digest("y")]),
        (pa.array([2**64 - 1, 0], pa.uint64()), [str(2**64 - 1), "0"]),
        (pa.array(["a", None]), ["a", digest("y")]),
        (pa.nulls(2), [digest("x"), digest("y")]),
        (None, [digest("x"), digest("y")]),
        (pa.array([1.0, None]), ["a.parquet:row 1", digest("y")]),
        (pa.array([True, None]), ["a.parquet:row 1", digest("y")]),
        (pa.array([["a"], None]), ["a.parquet:row 1", digest("y")]),
        (pa.array([{"a": 1}, None]), ["a.parquet:row 1", digest("y")]),
        (pa.array([10**18, None], pa.timestamp("ns", "Nowhere/Town")), ["a.parquet:row 1", digest("y")]),
    ],
)
def test_ids_of_every_type(here: Path, ids: pa.Array | None, names: list[str]) -> None:
    parquet(here / "a.parquet", pa.array(["x", "y"]), ids)
    found = read("a.parquet")
    assert [item.name for item in found] == names
    assert {reason for _, reason in refused(found)} <= {"bad-id"}


def test_columns_that_a_parquet_file_does_not_have_are_named(here: Path) -> None:
    write_good(here)
    for option in ({"text": "content"}, {"license_column": "content"}):
        (key,) = option
        with pytest.raises(
            SourceError,
            match=rf"sources\.web\.{key}: a\.parquet has no column 'content'; its columns are id, text, lic\.",
        ):
            FilesReader("web", spec("a.parquet", **option)).size_bound()
    assert {name for name, _ in documents(read("a.parquet", id="content"))} == {digest(row["text"]) for row in GOOD}


def test_rows_are_numbered_through_the_row_groups(here: Path) -> None:
    texts = [None if i in (3, 250, 999) else f"t{i}" for i in range(1000)]
    parquet(here / "a.parquet", pa.array(texts), row_group_size=300)
    assert sorted(refused(read("a.parquet", pieces=2))) == [(f"a.parquet:row {n}", "no-text") for n in (1000, 251, 4)]


def test_a_row_group_is_streamed(here: Path) -> None:
    noise = [os.urandom(4000).hex() for _ in range(5000)]
    parquet(here / "a.parquet", pa.array(noise), row_group_size=5000, write_batch_size=100)
    reader, used = FilesReader("web", spec("a.parquet")), 0
    for _ in reader.read(0, 1):
        used = max(used, pa.total_allocated_bytes())
    assert used < 16_000_000 < reader.size_bound()


def broken(here: Path, kind: str) -> str:
    """A file of 1000 rows that breaks off after more than 400 of them, if it gives any."""
    how, suffix = kind.split()
    rows = [{"id": f"d{i}", "text": f"t{i} {digest(i)}"} for i in range(1000)]
    path = "a.parquet" if suffix == "parquet" else f"a.jsonl.{suffix}"
    if suffix == "parquet":
        table = pa.Table.from_pylist(rows)
        pq.write_table(
            table, path, row_group_size=250, data_page_size=4000, write_batch_size=50, write_page_checksum=True
        )
        whole, at = Path(path).read_bytes(), None
    else:
        pack = gzip.compress if suffix == "gz" else zstd
        first = pack(lines(rows[:500]))
        # zstd without a checksum notices what is wrong in the frame's head, not everything in its body.
        whole, at = first + pack(lines(rows[500:])), len(first) + (1 if suffix == "zst" else 9000)
    at = at or len(whole) // 2
    flipped = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
    made = {
        "truncated": whole[: len(whole) * 3 // 4],
        "corrupt": flipped,
        "not": b"something else\n",
        "tailless": whole[:-3],
    }
    Path(path).write_bytes(made[how])
    return path


BROKEN = [f"{how} {what}" for what in ("parquet", "gz", "zst") for how in ("truncated", "corrupt", "not", "tailless")]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_stops_the_build_with_what_to_do(here: Path, kind: str) -> None:
    path = broken(here, kind)
    (here / "good.jsonl").write_bytes(lines(GOOD))
    with pytest.raises(
        SourceError, match=rf"sources\.web: {path}.* is broken: .+\. Mend it, .* or set broken_files: quarantine"
    ):
        read("good.jsonl", path)


@pytest.mark.parametrize("kind", BROKEN)
def test_of_a_broken_file_what_can_be_read_is_kept(here: Path, kind: str) -> None:
    path = broken(here, kind)
    (here / "good.jsonl").write_bytes(lines(GOOD))
    found = read("good.jsonl", path, broken_files="quarantine")
    (bad,) = [item for item in found if isinstance(item, Rejected)]
    assert bad.reason == "unreadable-file" and bad.verdict == "quarantined" and bad.detail
    assert bad.name == path or (path == "a.parquet" and bad.name.startswith("a.parquet:row "))
    kept = len(documents(found)) - len(GOOD)
    whole_is_lost = kind.startswith("not") or kind in ("truncated parquet", "tailless parquet")
    assert kept == 0 if whole_is_lost else 400 <= kept <= 1000 - ("gz" not in kind)
    for pieces in (2, 5):
        assert Counter(read("good.jsonl", path, broken_files="quarantine", pieces=pieces)) == Counter(found)


def test_all_that_lies_before_the_break_is_kept(here: Path) -> None:
    data = lines(GOOD)
    (here / "a.jsonl.gz").write_bytes(gzip.compress(data) + gzip.compress(data[:-10])[:-8])
    found = read("a.jsonl.gz", broken_files="quarantine")
    assert len(documents(found)) == 79
    # The line that the break cuts is no row of its own.
    assert refused(found) == [("a.jsonl.gz", "unreadable-file")]


def test_streams_of_several_members_are_read_to_the_end(here: Path) -> None:
    for suffix, pack in (("gz", gzip.compress), ("zst", zstd)):
        (here / f"a.jsonl.{suffix}").write_bytes(b"".join(pack(lines([row])) for row in GOOD) + pack(b""))
        assert len(documents(read(f"a.jsonl.{suffix}"))) == 40


def test_a_file_that_the_system_does_not_give_stops_the_build_in_any_case(here: Path) -> None:
    (here / "a.jsonl").write_bytes(lines(GOOD))
    reader = FilesReader("web", spec("a.jsonl", broken_files="quarantine"))
    assert reader.size_bound()
    (here / "a.jsonl").unlink()
    with pytest.raises(SourceError, match=r"a\.jsonl cannot be read: No such file"):
        list(reader.read(0, 1))
