"""Files over HTTP and in fsspec's other stores: globs, faults survived with the same documents, changes noticed."""

from __future__ import annotations

import gzip
import io
import os
from collections import Counter
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plm_data.engine import run_steps
from plm_data.errors import RecipeError, SourceError
from plm_data.sources import remote as module
from plm_data.sources.base import Rejected
from plm_data.sources.collect import Collect
from plm_data.sources.files import FilesReader
from plm_data.store import Store
from tests.plm_data.sources.local_files import documents, lines, read, refused, spec, write_good, zstd
from tests.plm_data.sources.servers import web


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and blocks small enough for a test."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "_PAUSE", 0.001)
    monkeypatch.setattr(module, "BLOCK", 16_000)


def parquet_bytes(rows: list[dict], **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, **options)
    return buffer.getvalue()


MANY = [{"id": f"d{i}", "text": f"text {i} " + "é" * (i % 50)} for i in range(2000)]
NAMED = [(row["id"], row["text"]) for row in MANY]


def files() -> dict[str, bytes]:
    data = lines(MANY)
    return {
        "a.jsonl": data, "b.jsonl.gz": gzip.compress(data), "c.jsonl.zst": zstd(data),
        "d.parquet": parquet_bytes(MANY, row_group_size=700), "e.md": b"# A page\n",
    }  # fmt: skip


def test_what_is_read_over_http_is_what_the_files_give_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_good(tmp_path / "in")
    (tmp_path / "in/bad.jsonl").write_text('[]\n{"id": "x", "text": 1}\n')
    local = Counter(read("in"))
    with web({f"in/{file.name}": file.read_bytes() for file in (tmp_path / "in").iterdir()}) as server:

        def here(item):
            return (
                item
                if not isinstance(item, Rejected)
                else Rejected(item.name.removeprefix(f"{server.url}/"), item.verdict, item.reason, item.detail)
            )

        for pieces in (1, 3):
            assert Counter(map(here, read(f"{server.url}/in/", pieces=pieces))) == local


def test_globs_and_folders_where_the_server_lists_them() -> None:
    text = b'{"id": "a", "text": "x"}\n'
    served = {
        "in/a.jsonl": text, "in/b.txt": b"b", "in/deep/c.jsonl": text, "in/deep/er/d.jsonl": text,
        "in/.hidden/e.jsonl": text, "in/f.csv": b"f",
    }  # fmt: skip
    with web(served) as server:

        def found(path: str) -> list[str]:
            reader = FilesReader("web", spec(f"{server.url}/{path}"))
            return [file.label.removeprefix(f"{server.url}/") for file in reader.files]

        assert found("in/") == ["in/a.jsonl", "in/b.txt", "in/deep/c.jsonl", "in/deep/er/d.jsonl"]
        assert found("in/*.jsonl") == ["in/a.jsonl"]
        assert found("in/**/*.jsonl") == ["in/a.jsonl", "in/deep/c.jsonl", "in/deep/er/d.jsonl"]
        assert found("in/d*") == ["in/deep/c.jsonl", "in/deep/er/d.jsonl"]
        assert found("in/deep/[cd].jsonl") == ["in/deep/c.jsonl"]
        assert found("in/a.jsonl") == ["in/a.jsonl"]
        with pytest.raises(RecipeError, match=r"in/z\*\.jsonl leads to no file that can be read; expected"):
            found("in/z*.jsonl")
        with pytest.raises(RecipeError, match=r"in/z\.jsonl leads to no file that can be read; expected"):
            found("in/z.jsonl")
        with pytest.raises(RecipeError, match=r"f\.csv has a suffix that the reader 'files' does not know"):
            found("in/f.csv")


@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.parquet"])
@pytest.mark.parametrize("fault", ["breaks", "failures"])
def test_dropped_connections_and_errors_of_the_server_change_nothing(name: str, fault: str) -> None:
    with web(files()) as server:
        reader = FilesReader("web", spec(f"{server.url}/{name}"))
        assert reader.files
        setattr(server, fault, 3)
        assert sorted(documents(list(reader.read(0, 1)))) == sorted(NAMED)
        assert getattr(server, fault) == 0


def test_a_server_that_gives_no_ranges_is_read_as_a_stream_and_taken_up_where_it_broke() -> None:
    for sizes in (True, False):
        with web(files(), ranges=False, sizes=sizes, break_after=40_000) as server:
            for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst"):
                reader = FilesReader("web", spec(f"{server.url}/{name}"))
                assert [file.ranges for file in reader.files] == [False]
                server.breaks = 2
                assert documents([item for piece in range(2) for item in reader.read(piece, 2)]) == NAMED
            with pytest.raises(SourceError, match=r"d\.parquet gives whole files only"):
                read(f"{server.url}/d.parquet")


def test_stretches_of_lines_fetch_little_more_than_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_BLOCK", 500)
    monkeypatch.setattr("plm_data.sources.file_bytes.SMALL_BLOCK", 500)
    monkeypatch.setattr("plm_data.sources.files._RANGE", 48_000)
    data = lines(MANY)
    with web({"a.jsonl": data}) as server:
        assert documents(read(f"{server.url}/a.jsonl")) == NAMED
        assert server.served["a.jsonl"] < 1.1 * len(data)


def test_only_the_columns_and_row_groups_that_are_needed_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_BLOCK", 4_000)
    rows = [{"id": f"d{i}", "other": os.urandom(400).hex(), "text": f"text {i}"} for i in range(2000)]
    data = parquet_bytes(rows, row_group_size=500, compression="none")
    with web({"a.parquet": data}) as server:
        assert len(documents(read(f"{server.url}/a.parquet"))) == 2000
        assert server.served["a.parquet"] < len(data) / 4
        server.served.clear()
        reader = FilesReader("web", spec(f"{server.url}/a.parquet"))
        assert len(documents(list(reader.read(0, 4)))) == 500
        assert server.served["a.parquet"] < len(data) / 10


def test_a_lasting_error_is_told_at_once_and_a_passing_one_after_the_tries() -> None:
    with web(files()) as server:
        reader = FilesReader("web", spec(f"{server.url}/a.jsonl"))
        assert reader.files
        server.asked.clear()
        server.failures = 1000
        with pytest.raises(SourceError, match=r"a\.jsonl cannot be read: .*503.*tried 6 times"):
            list(reader.read(0, 1))
        server.failures = 0
        server.asked.clear()
        del server.files["a.jsonl"]
        with pytest.raises(SourceError, match=r"a\.jsonl cannot be read: no such file"):
            list(reader.read(0, 1))
        assert len(server.asked) <= 3


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changes_while_it_is_read_is_an_error(etags: bool) -> None:
    with web(files(), etags=etags) as server:
        reader = FilesReader("web", spec(f"{server.url}/a.jsonl", f"{server.url}/c.jsonl.zst"))
        assert len(reader.files) == 2
        whole = server.files["a.jsonl"]
        # As long as before, where the ETag tells; one line longer where only the size can.
        server.files["a.jsonl"] = whole.replace(b"text 1", b"TEXT 1") if etags else whole + b"{}\n"
        with pytest.raises(SourceError, match=r"a\.jsonl changed while it was read: it had [\d,]+ bytes"):
            list(reader.read(0, 2))
        assert len(documents(list(reader.read(1, 2)))) == 2000


def test_a_file_that_is_cut_short_under_the_reader_is_changed_and_not_broken() -> None:
    with web(files()) as server:
        reader = FilesReader("web", spec(f"{server.url}/b.jsonl.gz", broken_files="quarantine"))
        assert reader.files
        server.files["b.jsonl.gz"] = gzip.compress(lines(MANY[::-1]))[::-1]
        with pytest.raises(SourceError, match=r"b\.jsonl\.gz changed while it was read"):
            list(reader.read(0, 1))


def test_a_file_that_changes_between_two_pieces_stops_the_build_which_then_goes_on_with_the_new_one(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)

    def step(server) -> Collect:
        source = spec(f"{server.url}/a.jsonl")
        return Collect(source="web", spec=source, fingerprint=FilesReader("web", source).fingerprint(), pieces=2)

    with web(files()) as server:
        begun = step(server)
        assert begun.run(0, tmp_path).kept == 2000
        server.files["a.jsonl"] = lines(MANY[:1500])
        with pytest.raises(
            SourceError, match=r"sources\.web: files of http://.*/a\.jsonl changed since the build began"
        ):
            begun.run(1, tmp_path)
        assert run_steps(store, [step(server)], "collect")[0].counts.kept == 1500


def test_the_fingerprint_is_the_etag_or_the_content_where_there_is_none() -> None:
    def fingerprint(server) -> str:
        return FilesReader("web", spec(f"{server.url}/a.jsonl")).fingerprint()

    for etags in (True, False):
        with web(files(), etags=etags) as server:
            one = fingerprint(server)
            fetched = server.served.get("a.jsonl", 0)
            assert (fetched < 100) == etags
            assert fingerprint(server) == one
            server.files["a.jsonl"] = server.files["a.jsonl"].replace(b"text 1", b"TEXT 1")
            assert fingerprint(server) != one


def test_fsspecs_other_stores_are_read_too() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({f"/plm-files/{name}": data for name, data in files().items()})
    try:
        found = read("memory://plm-files")
        assert Counter(documents(found)) == Counter(NAMED * 4 + [("memory:///plm-files/e.md", "# A page\n")])
        assert len(documents(read("memory://plm-files/*.jsonl*"))) == 6000
    finally:
        memory.rm("/plm-files", recursive=True)


def test_a_store_that_is_not_installed_is_named_with_what_to_do() -> None:
    with pytest.raises(RecipeError, match=r"nosuch://x/a\.jsonl: locations of nosuch:// cannot be read here"):
        read("nosuch://x/a.jsonl")


def test_a_bad_line_beyond_the_first_range_is_named_without_what_lies_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plm_data.sources.files._RANGE", 50_000)
    data = lines(MANY[:1500]) + b"[]\n" + lines(MANY[1500:])
    with web({"a.jsonl": data}) as server:
        ((name, reason),) = refused(read(f"{server.url}/a.jsonl"))
        at, _, line = name.removeprefix(f"{server.url}/a.jsonl:byte ").partition(", line ")
        assert reason == "not-an-object" and data[int(at) :].split(b"\n")[int(line) - 1] == b"[]"


def test_folders_without_end_are_refused() -> None:
    """A server that answers any folder with the same page, which names a folder."""
    with web({f"{'a/' * depth}a.jsonl": lines(MANY) for depth in (90, 200)}) as server:
        with pytest.raises(SourceError, match="lies more than 100 folders deep"):
            read(f"{server.url}/")
        del server.files[f"{'a/' * 200}a.jsonl"]
        assert documents(read(f"{server.url}/")) == NAMED
