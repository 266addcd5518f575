"""The reader of the hub's files: which files, which rows, in which piece, and how little is fetched."""

from __future__ import annotations

import gzip
import io
import json
from copy import deepcopy

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from plm_data.errors import RecipeError, SourceError
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.hub import HubReader
from tests.plm_data.sources.hub_files import PATH, expected, noise, parquet, read, rows, spec, texts
from tests.plm_data.sources.hub_server import REVISION, Fault, HubServer
from tests.plm_data.sources.local_files import zstd

A, B, C = rows(0, 35), rows(35, 4), rows(39, 60)


@pytest.fixture
def corpus(hub: HubServer) -> HubServer:
    hub.add(PATH, {
        "README.md": b"# Corpus", "data/a.parquet": parquet(A), "data/b c.parquet": parquet(B),
        "data/deep/c.parquet": parquet(C, row_group_size=7), "empty.parquet": b"", "data/other.txt": b"text",
    })  # fmt: skip
    return hub


@pytest.mark.parametrize("how", ["whole", "columns"])
@pytest.mark.parametrize("pieces", [1, 2, 3, 8, 31])
def test_every_document_comes_once_however_the_files_are_divided(corpus: HubServer, how: str, pieces: int) -> None:
    items = read(pieces, read=how, license_column="lic")
    assert texts(items) == expected(A, B, C) and len(items) == 99
    assert {item.license for item in items if isinstance(item, Raw)} == {"MIT"}


def test_a_piece_asks_for_the_files_that_it_covers_and_no_other(corpus: HubServer) -> None:
    list(HubReader("web", spec()).read(0, 8))
    fetched = {each.path for each in corpus.downloads()}
    assert len(fetched) == 1 and "a.parquet" in fetched.pop()


def test_rows_that_cannot_be_used_are_quarantined_by_file_and_row(hub: HubServer) -> None:
    bad = [*rows(0, 12), {"id": "none", "text": None, "lic": None, "n": 0, "lang": "en"}]
    hub.add(PATH, {"a.parquet": parquet(bad)})
    for how in ("whole", "columns"):
        items = read(3, read=how, max_document_bytes=399)
        refused = [(item.name, item.verdict, item.reason) for item in items if isinstance(item, Rejected)]
        assert refused == [
            *((f"a.parquet:row {i}", "quarantined", "too-long") for i in range(1, 13)),
            ("a.parquet:row 13", "quarantined", "no-text"),
        ]


def test_globs_choose_among_the_files(corpus: HubServer) -> None:
    assert texts(read(files=["data/*.parquet"])) == expected(A, B)
    assert texts(read(files=["data/**/[ac].parquet"])) == expected(A, C)
    # A file that two globs match is read once.
    assert texts(read(files=["data/a*", "**/a.parquet"])) == expected(A)
    with pytest.raises(
        RecipeError, match=r"sources\.web\.files: \*\.parquets matches none of the 6 files of owner/corp"
    ):
        read(files=["*.parquets"])
    with pytest.raises(RecipeError, match=r"sources\.web\.files: data/other\.txt is neither Parquet nor JSON"):
        read(files=["data/*"])


def as_lines(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("pieces", [1, 2, 3, 8, 31])
def test_json_lines_come_once_however_the_files_are_divided(hub: HubServer, pieces: int) -> None:
    hub.add(PATH, {
        "a.jsonl": as_lines(A), "b.jsonl.gz": gzip.compress(as_lines(B)), "c.ndjson.zst": zstd(as_lines(C)),
        "d.parquet": parquet(rows(99, 9)), "e.jsonl": b"",
    })  # fmt: skip
    items = read(pieces, files=["*"], license_column="lic")
    assert texts(items) == expected(A, B, C, rows(99, 9)) and len(items) == 108


def test_a_bad_line_is_quarantined_by_its_number_and_a_cut_off_file_stops_or_gives_what_it_has(hub: HubServer) -> None:
    packed = gzip.compress(as_lines(C))
    hub.add(PATH, {"a.jsonl": as_lines(A[:3]) + b"{no\n" + as_lines(A[3:]), "c.jsonl.gz": packed[:-200]})
    items = read(2, files=["a.jsonl"])
    assert [(i.name, i.reason) for i in items if isinstance(i, Rejected)] == [("a.jsonl:4", "not-json")]
    assert texts(items) == expected(A)
    with pytest.raises(SourceError, match=r"sources\.web: c\.jsonl\.gz.* is broken: .*broken_files: quarantine"):
        read(1, files=["c.jsonl.gz"])
    found = read(3, files=["c.jsonl.gz"], broken_files="quarantine")
    assert 30 < len(texts(found)) < 60
    assert {item.reason for item in found if isinstance(item, Rejected)} >= {"unreadable-file"}


def test_json_lines_are_bounded_by_their_size_where_they_are_plain_and_are_not_filtered(hub: HubServer) -> None:
    hub.add(PATH, {"a.jsonl": as_lines(A), "b.jsonl.gz": gzip.compress(as_lines(B))})
    assert HubReader("web", spec(files=["a.jsonl"])).size_bound() == len(as_lines(A))
    assert HubReader("web", spec(files=["*"])).size_bound() is None
    with pytest.raises(RecipeError, match=r"sources\.web\.where: a\.jsonl is not Parquet"):
        read(files=["a.jsonl"], where={"lang": "en"})


def test_the_fingerprint_takes_the_list_and_no_file(corpus: HubServer) -> None:
    first = HubReader("web", spec()).fingerprint()
    assert corpus.downloads() == [] and len(corpus.seen) == 2  # two pages
    # A commit's list is asked for once.
    assert HubReader("web", spec()).fingerprint() == first and len(corpus.seen) == 2
    assert HubReader("web", spec(priority=2, read="columns", bytes=7)).fingerprint() == first
    for change in ({"files": ["data/*.parquet"]}, {"text": "lang"}, {"where": {"lang": "en"}}):
        assert HubReader("web", spec(**change)).fingerprint() != first


def test_another_byte_is_another_fingerprint(hub: HubServer) -> None:
    found = set()
    for revision, data in (("1" * 40, A), ("2" * 40, A), ("3" * 40, [*A[:-1], {**A[-1], "n": -1}])):
        hub.add(PATH, {"a.parquet": parquet(data)}, revision=revision)
        found.add(HubReader("web", spec(revision=revision)).fingerprint())
    assert len(found) == 3


def test_the_size_is_declared_or_read_from_the_footers(corpus: HubServer) -> None:
    assert HubReader("web", spec(bytes="2GB")).size_bound() == 2_000_000_000 and corpus.seen == []
    bound = HubReader("web", spec()).size_bound()
    size = sum(len(text) for text in expected(A, B, C).values())
    assert bound is not None and size <= bound < 1.5 * size
    assert all(each.range for each in corpus.downloads())


def test_columns_fetches_little_of_a_file_that_is_mostly_something_else(hub: HubServer) -> None:
    # Columns that nobody asks for, in between and larger than what is skipped between two stretches.
    wide = [
        {"id": f"d{i}", "html": noise(-i, 30_000), "text": noise(i), "more": noise(i + 100, 9000)} for i in range(60)
    ]
    data = parquet(wide, row_group_size=30)
    hub.add(PATH, {"a.parquet": data})
    assert texts(read(2, read="columns")) == expected(wide)
    sent = sum(each.sent for each in hub.downloads())
    assert sent < len(data) / 4
    # Whole, it comes once for both pieces.
    hub.seen.clear()
    assert texts(read(2)) == expected(wide)
    assert sum(each.sent for each in hub.downloads()) == len(data)


def test_a_footer_larger_than_what_is_fetched_first_is_fetched_too(hub: HubServer) -> None:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(A).replace_schema_metadata({"notes": noise(1, 200_000)})
    pq.write_table(table, sink, row_group_size=10)
    hub.add(PATH, {"a.parquet": sink.getvalue()})
    assert texts(read(3, read="columns")) == expected(A)
    assert HubReader("web", spec()).size_bound()


def test_row_groups_that_the_filter_rules_out_are_counted_and_not_fetched(hub: HubServer) -> None:
    long = [{**row, "text": noise(i, 8000)} for i, row in enumerate(C)]
    hub.add(PATH, {"a.parquet": parquet(long, row_group_size=15)})
    kept = [row for row in long if 60 <= int(str(row["n"])) <= 62]
    sent = {}
    for how in ("whole", "columns"):
        hub.seen.clear()
        items = read(read=how, where={"n": {"min": 60, "max": 62}})
        sent[how] = sum(each.sent for each in hub.downloads())
        assert texts(items) == expected(kept)
        refused = [item for item in items if isinstance(item, Rejected)]
        assert {(item.verdict, item.reason) for item in refused} == {("dropped", "where")}
        assert len({item.name for item in refused}) == len(refused) == 57
    # One group of four, and what is read to find the footer.
    assert sent["columns"] < sent["whole"] / 4 + 70_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "content"}, r"sources\.web\.text: a\.parquet has no column 'content'; its columns are id, text, lic"),
        ({"license_column": "x"}, r"sources\.web\.license_column: a\.parquet has no column 'x'"),
        ({"where": {"y": 1}}, r"sources\.web\.where: a\.parquet has no column 'y'"),
        ({"where": {"n": "1"}}, r"sources\.web\.where: .* type int64 in the column 'n', .* with the text '1'"),
    ],
)
@pytest.mark.parametrize("how", ["whole", "columns"])
def test_a_column_that_is_not_there_is_one_clear_error(
    hub: HubServer, how: str, options: dict[str, object], message: str
) -> None:
    hub.add(PATH, {"a.parquet": parquet(A)})
    with pytest.raises(SourceError, match=message):
        read(read=how, **options)


@pytest.mark.parametrize("how", ["whole", "columns"])
def test_a_file_that_is_broken_on_the_hub_stops_the_build_or_is_quarantined_once(hub: HubServer, how: str) -> None:
    hub.add(PATH, {"a.parquet": parquet(A), "b.parquet": noise(1, 5000).encode()})
    with pytest.raises(
        SourceError, match=r"sources\.web: b\.parquet is broken: .* Leave it out of files, or set broken"
    ):
        read(read=how)
    items = read(9, read=how, broken_files="quarantine")
    assert texts(items) == expected(A)
    assert [(item.name, item.reason) for item in items if isinstance(item, Rejected)] == [
        ("b.parquet", "unreadable-file")
    ]


@pytest.mark.parametrize("how", ["whole", "columns"])
def test_a_row_group_that_is_broken_on_the_hub_leaves_the_others(hub: HubServer, how: str) -> None:
    data = parquet(A, compression="none", write_page_checksum=True)
    at = data.index(str(A[15]["text"]).encode())
    hub.add(PATH, {"a.parquet": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]})
    with pytest.raises(SourceError, match=r"sources\.web: a\.parquet:row 11 is broken: .*CRC"):
        read(read=how)
    items = read(4, read=how, broken_files="quarantine")
    assert texts(items) == expected(A[:10], A[20:])
    assert [item.name for item in items if isinstance(item, Rejected)] == ["a.parquet:row 11"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("status", "/api/", status=401), r"shows no dataset owner/corpus: there is none, or it wants a token"),
        (Fault("status", "/api/", status=404, code="RepoNotFound"), r"shows no dataset owner/corpus: there is none"),
        (Fault("status", "/api/", status=404, code="RevisionNotFound"), rf"has no revision {REVISION} of owner/corpus"),
        (Fault("status", "/resolve/", status=403, code="GatedRepo"), r"refuses owner/corpus: accept its terms"),
        (
            Fault("status", "/resolve/", status=404, code="EntryNotFound"),
            r"does not give data/a\.parquet of .*status 404",
        ),
    ],
)
def test_what_no_second_try_can_mend_is_said_at_once(
    corpus: HubServer, waits: list[float], fault: Fault, message: str
) -> None:
    corpus.faults.append(deepcopy(fault))
    with pytest.raises(SourceError, match=rf"^sources\.web: 127\.0\.0\.1:\d+ {message}"):
        read()
    assert waits == [] and sum(fault.where in each.path for each in corpus.seen) == 1


def test_a_commit_that_is_not_the_one_asked_for_is_refused(corpus: HubServer) -> None:
    corpus.commit = "2" * 40
    with pytest.raises(SourceError, match=rf"it is of the commit {'2' * 40}, not of the revision asked for"):
        read()


def test_a_list_that_is_no_hubs_is_refused(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(PATH, {"a.parquet": parquet(A)})
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/api/datasets/owner/corpus?")
    with pytest.raises(SourceError, match=r"in a form that is not the hub's; see that HF_ENDPOINT is a hub"):
        read()


def test_a_list_without_end_is_refused(hub: HubServer) -> None:
    hub.add(PATH, {f"{i}.parquet": b"" for i in range(9)})
    # What the server appends is no part of what is asked for: each next page is the first one.
    hub.pages_url = f"{hub.url}/api/datasets/{PATH}/tree/{REVISION}?recursive=true#"
    with pytest.raises(SourceError, match=r"in a form that is not the hub's"):
        read()
    assert len(hub.seen) == 2


@pytest.mark.parametrize(
    "change", [{"revision": "main"}, {"revision": "1" * 39}, {"path": "../../etc"}, {"path": "a/b/c"}, {"files": []}]
)
def test_a_recipe_must_name_a_repository_and_a_commit(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        spec(**change)
