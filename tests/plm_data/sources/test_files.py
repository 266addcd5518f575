"""Local files: every format, every way in which one can be bad beside its nearest good neighbour, and the pieces."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plm_data.build import Build
from plm_data.errors import RecipeError
from plm_data.recipe_file import load_recipe
from plm_data.recipe_sources import FilesSource
from plm_data.sources import files as module
from plm_data.sources import make_reader
from plm_data.sources.base import Raw
from plm_data.sources.file_bytes import split_lines
from plm_data.sources.files import FilesReader
from plm_data.store import digest
from tests.plm_data.sources.local_files import GOOD, documents, lines, parquet, read, refused, spec, write_good, zstd


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, from which the paths of a recipe are meant."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "suffix", [f"{s}{c}" for s in ("jsonl", "ndjson", "json") for c in ("", ".gz", ".zst")] + ["parquet"]
)
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_every_format_gives_the_same_documents(here: Path, suffix: str, pieces: int) -> None:
    write_good(here)
    found = read(f"a.{suffix}", pieces=pieces, license_column="lic")
    expected = [Raw(row["id"], row["text"], row["lic"] or "NOASSERTION") for row in GOOD]
    assert Counter(found) == Counter(expected)
    assert {item.license for item in read(f"a.{suffix}") if isinstance(item, Raw)} == {"CC0-1.0"}


@pytest.mark.parametrize("suffix", ["TXT", "md", "txt.gz", "md.zst"])
def test_a_text_is_one_document_under_its_path(here: Path, suffix: str) -> None:
    pack = {"gz": gzip.compress, "zst": zstd}.get(suffix.rpartition(".")[2], bytes)
    (here / "in").mkdir()
    (here / f"in/a.{suffix}").write_bytes(pack("\ufeffOne\r\n{é}\0\n".encode()))
    (here / f"in/b.{suffix}").write_bytes(pack(b"two \xff"))
    (here / f"in/c.{suffix}").write_bytes(pack(b"x" * 100))
    (here / f"in/d.{suffix}").write_bytes(pack(b"x" * 101))
    (here / f"in/e.{suffix}").write_bytes(pack(b""))
    found = read("in", max_document_bytes=100)
    assert documents(found) == [(f"in/a.{suffix}", "One\r\n{é}\0\n"), (f"in/c.{suffix}", "x" * 100)]
    assert refused(found) == [(f"in/b.{suffix}", "invalid-utf8"), (f"in/d.{suffix}", "too-long")]


def test_paths_are_files_folders_and_globs_and_no_file_is_read_twice(here: Path) -> None:
    for name in ("in/a.txt", "in/deep/b.txt", "in/.hidden.txt", "in/.git/c.txt", "in/notes.csv", "[x].txt", "x.txt"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    (here / "in/deep/loop").symlink_to(here / "in")

    def names(*paths: str) -> list[str]:
        return [name for name, _ in documents(read(*paths))]

    assert names("in", "in/a.txt", "./in/*.txt", str(here / "in/a.txt")) == [str(here / "in/a.txt"), "in/deep/b.txt"]
    assert names("./in") == ["in/a.txt", "in/deep/b.txt"] == names("in/*")
    assert names("in/**/*.txt")[:2] == ["in/a.txt", "in/deep/b.txt"]
    assert names("[x].txt") == ["[x].txt"] and names("[!y].txt") == ["x.txt"]
    assert names(str(here / "x.txt")) == [str(here / "x.txt")]


@pytest.mark.parametrize("path", ["notes.csv", "rows.parquet.gz", "noext"])
def test_a_named_file_of_an_unknown_format_is_refused(here: Path, path: str) -> None:
    (here / path).write_text("x")
    (here / "good.txt").write_text("x")
    expected = rf"sources\.web\.paths: {path} has a suffix .* expected \.parquet; \.jsonl"
    with pytest.raises(RecipeError, match=expected):
        FilesReader("web", spec("good.txt", path)).size_bound()
    assert len(read(".")) == 1


@pytest.mark.parametrize("path", ["nowhere.jsonl", "no/*.jsonl", "empty", "*.csv"])
def test_a_path_that_leads_to_nothing_is_refused(here: Path, path: str) -> None:
    (here / "empty").mkdir()
    (here / "a.csv").write_text("x")
    with pytest.raises(RecipeError, match=r"sources\.web\.paths: .* leads to no file that can be read"):
        FilesReader("web", spec(path)).fingerprint()


def test_a_dangling_link_is_refused_before_any_work(here: Path) -> None:
    (here / "b.txt").write_text("x")
    (here / "a.csv").symlink_to("gone")
    assert len(read(".")) == 1
    (here / "a.txt").symlink_to("gone")
    for path in ("a.txt", "."):
        with pytest.raises(RecipeError, match=r"a\.txt cannot be read: No such file"):
            FilesReader("web", spec(path)).size_bound()


@pytest.mark.parametrize("path", ["in/pipe.jsonl", "in", "in/*"])
def test_a_pipe_is_refused_and_not_waited_for(here: Path, path: str) -> None:
    (here / "in").mkdir(exist_ok=True)
    os.mkfifo(here / "in" / "pipe.jsonl")
    with pytest.raises(RecipeError, match=r"in/pipe\.jsonl cannot be read: not a regular file"):
        FilesReader("web", spec(path)).fingerprint()


def test_a_recipe_needs_paths_and_knows_no_other_word_for_broken_files() -> None:
    assert spec("a", max_document_bytes="20MB").max_document_bytes == 20_000_000
    for options in ({"paths": ()}, {"paths": ("",)}, {"broken_files": "skip"}):
        with pytest.raises(ValidationError):
            FilesSource.model_validate(spec("a").model_dump() | options)


BIG = "1" * 30
LINES = [
    (b'{"id": "a", "text": "x"}', "a"),
    (b'{"id": "a", "text": "x"}\r', "a"),
    (b'{"text": "x"}', digest("x")),
    (b'{"id": null, "text": "x"}', digest("x")),
    (b'{"id": "", "text": "x"}', ""),
    (b'{"id": -7, "text": "x"}', "-7"),
    (f'{{"id": {BIG}, "text": "x"}}'.encode(), BIG),
    (b'{"id": 18446744073709551615, "text": "x"}', "18446744073709551615"),
    (b'{"id": 1.0, "text": "x"}', "bad-id"),
    (b'{"id": 1e30, "text": "x"}', "bad-id"),
    (b'{"id": true, "text": "x"}', "bad-id"),
    (b'{"id": ["a"], "text": "x"}', "bad-id"),
    (b'{"id": {"a": 1}, "text": "x"}', "bad-id"),
    (b'{"id": "a", "text": ""}', "a"),
    (b'{"id": "a", "text": null}', "no-text"),
    (b'{"id": "a", "txt": "x"}', "no-text"),
    (b'{"id": "a", "text": 5}', "no-text"),
    (b'{"id": "a", "text": ["x"]}', "no-text"),
    (b'{"id": "a", "text": "\\u0000x"}', "a"),
    (b'{"id": "a", "text": "x\0"}', "not-json"),
    (b"\0", "not-json"),
    (b'{"id": "a", "text": "\\ud83d\\ude00"}', "a"),
    (b'{"id": "a", "text": "\\ud83d"}', "invalid-utf8"),
    (b'{"id": "a", "text": "\\ude00x"}', "invalid-utf8"),
    (b'{"id": "\\ud83d", "text": "x"}', "invalid-utf8"),
    ('{"id": "é", "text": "x"}'.encode(), "é"),
    ('{"id": "a", "text": "é"}'.encode("latin-1"), "invalid-utf8"),
    (b'{"id": "a", "text": "\xed\xa0\x80"}', "invalid-utf8"),
    (b'{"id": "a", "text": "x"', "not-json"),
    (b'{"id": "a", "text": "x"} {}', "not-json"),
    (b'{"id": "a", "text": "x", "n": NaN}', "not-json"),
    (b"[" * 5000, "not-json"),
    (b'["text"]', "not-an-object"),
    (b'"text"', "not-an-object"),
    (b"null", "not-an-object"),
    (b"12", "not-an-object"),
]


@pytest.mark.parametrize("line, expected", LINES)
@pytest.mark.parametrize("codec", ["", ".gz", ".zst"])
def test_a_bad_line_is_quarantined_by_its_number_and_a_good_one_read(
    here: Path, line: bytes, expected: str, codec: str
) -> None:
    data = b'{"id": "first", "text": "1"}\n\n \t\r\n' + line + b'\n{"id": "last", "text": "2"}'
    (here / f"a.jsonl{codec}").write_bytes({"": bytes, ".gz": gzip.compress, ".zst": zstd}[codec](data))
    found = read(f"a.jsonl{codec}")
    assert [found[0].name, found[-1].name] == ["first", "last"] and len(found) == 3
    if isinstance(found[1], Raw):
        assert found[1].name == expected
    else:
        assert refused(found) == [(f"a.jsonl{codec}:4", expected)] and found[1].detail


def test_a_rejected_row_names_the_path_as_it_was_given(here: Path) -> None:
    (here / "a.jsonl").write_text("[]\n")
    assert refused(read("./a.jsonl")) == [("a.jsonl:1", "not-an-object")]
    assert refused(read(str(here / "a.jsonl"))) == [(f"{here}/a.jsonl:1", "not-an-object")]


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\r\n  \n", b"\xef\xbb\xbf"])
def test_files_without_a_line_hold_no_document(here: Path, data: bytes) -> None:
    (here / "a.jsonl").write_bytes(data)
    (here / "b.jsonl.gz").write_bytes(gzip.compress(data))
    assert read("a.jsonl", "b.jsonl.gz") == []


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet", "txt", "md.gz"])
def test_an_empty_file_holds_no_document(here: Path, suffix: str) -> None:
    (here / f"a.{suffix}").write_bytes(b"")
    assert read(f"a.{suffix}") == []


def test_a_byte_order_mark_is_no_part_of_the_first_line(here: Path) -> None:
    (here / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"id": "a", "text": "x"}\n')
    (here / "b.jsonl.zst").write_bytes(zstd(b'\xef\xbb\xbf{"id": "b", "text": "x"}\n'))
    assert documents(read("a.jsonl", "b.jsonl.zst")) == [("a", "x"), ("b", "x")]


def test_a_text_may_be_as_long_as_max_document_bytes(here: Path) -> None:
    texts = {"x": "x" * 100, "é": "é" * 50, "long": "x" * 101, "wide": "é" * 50 + "x"}
    rows = [{"id": name, "text": text} for name, text in texts.items()]
    (here / "a.jsonl").write_bytes(lines(rows))
    pq.write_table(pa.Table.from_pylist(rows), here / "b.parquet")
    for path, at in (("a.jsonl", ""), ("b.parquet", "row ")):
        found = read(path, max_document_bytes=100)
        assert documents(found) == [(name, texts[name]) for name in ("x", "é")]
        assert refused(found) == [(f"{path}:{at}{n}", "too-long") for n in (3, 4)]


@pytest.mark.parametrize("codec", ["", ".gz", ".zst"])
def test_a_line_of_50_mb_is_passed_over_and_never_held(here: Path, codec: str) -> None:
    data = b'{"id": "a", "text": "x"}\n{"id": "b", "text": "' + b"x" * 50_000_000 + b'"}\n{"id": "c", "text": "x"}\n'
    (here / f"a.jsonl{codec}").write_bytes({"": bytes, ".gz": gzip.compress, ".zst": zstd}[codec](data))
    del data
    tracemalloc.start()
    try:
        found = read(f"a.jsonl{codec}", max_document_bytes="1MB")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [name for name, _ in documents(found)] == ["a", "c"]
    assert refused(found) == [(f"a.jsonl{codec}:2", "too-long")]
    assert peak < 8_000_000


def test_a_text_of_50_mb_is_too_long_by_default_and_fits_a_larger_limit(here: Path) -> None:
    row = {"id": "b", "text": "x" * 50_000_000}
    (here / "a.jsonl").write_bytes(lines([row]))
    pq.write_table(pa.Table.from_pylist([GOOD[0], row]), here / "b.parquet")
    assert refused(read("a.jsonl", "b.parquet")) == [("a.jsonl:1", "too-long"), ("b.parquet:row 2", "too-long")]
    assert len(documents(read("a.jsonl", "b.parquet", max_document_bytes="50MB"))) == 3


@given(
    data=st.lists(st.sampled_from([b"", b"a", b"bc", b"\r", b"defgh"]), max_size=12),
    cut=st.integers(1, 9),
    limit=st.integers(1, 6),
    end=st.booleans(),
)
def test_lines_do_not_depend_on_the_blocks_they_come_in(data: list[bytes], cut: int, limit: int, end: bool) -> None:
    whole = b"\n".join(data) + b"\n" * end
    blocks = [whole[i : i + cut] for i in range(0, len(whole), cut)]
    *first, last = whole.split(b"\n")
    expected = [line if len(line) <= limit else len(line) for line in ([*first, last] if last else first)]
    assert list(split_lines(blocks, limit)) == expected


SOME_LINES = [
    b'{"id": "a", "text": "x"}',
    b'{"text": "a text of some length"}',
    b"",
    b"[]",
    b"\r",
    b'{"text": 1}',
    b"x" * 70,
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.lists(st.sampled_from(SOME_LINES), max_size=15), range_=st.integers(1, 90), end=st.booleans())
def test_pieces_share_the_lines_out_whatever_their_ranges(
    here: Path, monkeypatch: pytest.MonkeyPatch, data: list[bytes], range_: int, end: bool
) -> None:
    (here / "a.jsonl").write_bytes(b"\n".join(data) + b"\n" * end)
    (here / "b.jsonl").write_bytes(b"\n".join(data[::-1]))
    whole = Counter(read("a.jsonl", "b.jsonl"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "_RANGE", range_)
        for pieces in (1, 2, 5):
            assert Counter(read("a.jsonl", "b.jsonl", pieces=pieces)) == whole


def test_pieces_divide_the_work(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_good(here / "in")
    monkeypatch.setattr(module, "_RANGE", 200)
    reader = FilesReader("web", spec("in/a.parquet", "in/a.jsonl"))
    assert all(8 <= len(list(reader.read(piece, 5))) <= 24 for piece in range(5))
    whole = Counter(read("in"))
    assert sum(whole.values()) == 40 * 10
    assert all(Counter(read("in", pieces=pieces)) == whole for pieces in (2, 5, 100))


# Before any work


def test_the_bound_holds_the_text_and_is_unknown_for_compressed_files(here: Path) -> None:
    write_good(here)
    size = sum(len(row["text"].encode()) for row in GOOD)
    for path in ("a.jsonl", "a.parquet"):
        assert size <= FilesReader("web", spec(path)).size_bound() < 100 * len(GOOD)
    (here / "b.txt").write_text("12345")
    assert FilesReader("web", spec("b.txt")).size_bound() == 5
    assert FilesReader("web", spec("a.jsonl", "a.jsonl.gz")).size_bound() is None
    parquet(
        here / "c.parquet",
        pa.array(["x" * 1000] * 50),
        use_dictionary=False,
        column_encoding={"text": "DELTA_BYTE_ARRAY"},
    )
    assert FilesReader("web", spec("c.parquet")).size_bound() is None


def test_the_fingerprint_follows_names_contents_and_options(here: Path) -> None:
    write_good(here)

    def fingerprint(*paths: str, **options: object) -> str:
        return FilesReader("web", spec(*paths, **options)).fingerprint()

    one = fingerprint("a.jsonl", "a.parquet")
    assert fingerprint("a.parquet", "./a.jsonl") == one == fingerprint("a.parquet", "a.jso*l")
    others = [
        fingerprint("a.jsonl", "a.parquet", **option)
        for option in ({"text": "lic"}, {"id": None}, {"license_column": "lic"}, {"max_document_bytes": 9},
                       {"broken_files": "quarantine"})
    ]  # fmt: skip
    os.rename("a.jsonl", "c.jsonl")
    others.append(fingerprint("c.jsonl", "a.parquet"))
    (here / "c.jsonl").write_bytes(lines(GOOD[1:]))
    others.append(fingerprint("c.jsonl", "a.parquet"))
    assert len({one, *others}) == 8


def test_a_name_that_is_not_utf8_gives_one_that_is(here: Path) -> None:
    for suffix, data in ((b"txt", b"text"), (b"jsonl", b"[]"), (b"jsonl.gz", gzip.compress(b"[]"))):
        Path(os.fsdecode(b"a\xff." + suffix)).write_bytes(data)
    parquet(here / "a.parquet", pa.array([None, "x"]))
    os.rename("a.parquet", b"a\xff.parquet")
    assert {item.name.encode() for item in read(".")} == {
        b"a\\udcff.txt", b"a\\udcff.jsonl:1", b"a\\udcff.jsonl.gz:1", b"a\\udcff.parquet:row 1", digest("x").encode(),
    }  # fmt: skip


RECIPE = """\
name: tiny
seed: 1
partitions: 3
sources:
  notes: {reader: files, paths: [in], broken_files: quarantine, domain: web, language: en, license: CC0-1.0, priority: 1}
phases:
  phase1: {segment: stable, tokens: 20, mix: {notes: 1.0}}
"""


def test_a_build_collects_every_row(here: Path) -> None:
    write_good(here / "in")
    (here / "in/b.jsonl").write_text('[]\n{"id": "e", "text": "x"}\n')
    (here / "in/c.jsonl.gz").write_bytes(gzip.compress(b'{"id": "f", "text": "x"}\n')[:-4])
    (here / "tiny.yaml").write_text(RECIPE)
    made = Build(load_recipe(here / "tiny.yaml"), here / "home", workers=1)
    assert isinstance(make_reader("notes", made.recipe.sources["notes"]), FilesReader)
    counts = made.collected["notes"].counts
    assert counts.read == 10 * len(GOOD) + 4 == counts.kept + counts.dropped + counts.quarantined
    assert counts.kept >= len(GOOD) + 2 and counts.quarantined >= 2
