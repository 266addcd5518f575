"""The reader of web archives: which records become documents, under which names, and a build from them."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from plm_data.build import Build
from plm_data.engine import run_steps
from plm_data.errors import RecipeError, SourceError
from plm_data.inspect.explain import explain
from plm_data.inspect.tables import open_built
from plm_data.inspect.trace import trace
from plm_data.recipe_file import load_recipe
from plm_data.recipe_sources import MathsSource, WarcSource
from plm_data.sources import make_reader
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.collect import Collect
from plm_data.sources.warc import WarcReader
from plm_data.store import Store
from tests.plm_data.sources.web_archives import ENGLISH, html, page, record, response, write_gzip

DATE = "2024-05-06T07:08:09Z"
WARCINFO = record(b"software: a test", "warcinfo", None, content_type="application/warc-fields")
REQUEST = record(b"GET / HTTP/1.1\r\n\r\n", "request", content_type="application/http; msgtype=request")


def reader(*paths: Path | str, **options: object) -> WarcReader:
    spec = {"reader": "warc", "domain": "web", "language": "en", "license": "NOASSERTION", "priority": 1,
            "paths": list(map(str, paths)), "extract": "fast", **options}  # fmt: skip
    made = make_reader("web", WarcSource.model_validate(spec))
    assert isinstance(made, WarcReader)
    return made


def read(*paths: Path | str, pieces: int = 1, **options: object) -> list[Raw | Rejected]:
    made = reader(*paths, **options)
    return [item for piece in range(pieces) for item in made.read(piece, pieces)]


def reasons(items: list[Raw | Rejected]) -> dict[str, tuple[str, str]]:
    return {item.name: (item.verdict, item.reason) for item in items if isinstance(item, Rejected)}


def test_a_page_becomes_a_document_with_what_is_known_of_it(tmp_path: Path) -> None:
    archive = write_gzip(tmp_path / "a.warc.gz", [WARCINFO, REQUEST, page("http://example.org/river")])
    document, *others = read(archive)
    assert isinstance(document, Raw)
    assert document.name == f"http://example.org/river {DATE}" and document.license == "NOASSERTION"
    assert document.text.startswith("A river") and "Menu entry" not in document.text
    assert document.metadata == {
        "url": "http://example.org/river", "date": DATE, "content_type": "text/html", "title": "A river",
        "language": "en-GB", "encoding": "utf-8" if not document.text.isascii() else document.metadata["encoding"],
    }  # fmt: skip
    assert reasons(others) == {
        f"{archive}: {kind} records": ("dropped", "not-a-page") for kind in ("request", "warcinfo")
    }


def test_what_holds_no_page_is_dropped_and_what_cannot_be_read_is_quarantined(tmp_path: Path) -> None:
    def of(name: str, block: bytes, **options: object) -> bytes:
        return record(block, url=f"http://{name}/", **options)  # type: ignore[arg-type]

    text = html().encode()
    archive = write_gzip(
        tmp_path / "a.warc.gz",
        [
            of("ok", response(text)),
            of("xhtml", response(text, "application/xhtml+xml; charset=utf-8")),
            of("untyped", response(text, None)),
            of("resource", text, kind="resource", content_type="text/html"),
            of("brackets", response(text)).replace(b"http://brackets/", b"<http://brackets/>"),
            of("missing", response(text, status="404 Not Found")),
            of("moved", response(b"", status="301 Moved", Location="/x")),
            of("image", response(b"\x89PNG", "image/png")),
            of("feed", response(text, "application/rss+xml")),
            of("untyped-json", response(b'{"a": 1}', None)),
            of("dns", b"20240506 example.org A 1.2.3.4", content_type="text/dns"),
            of("empty", response(b"<html><body></body></html>")),
            of("long", response(text + b" " * 30_000)),
            of("longer", response(b" " * 500_000)),
            of("bomb", response(gzip.compress(bytes(10**7)), Content_Encoding="gzip")),
            of("not-http", b"<html>"),
            of("cut", response(text), length=10**6),
            of("segment", response(text), WARC_Segment_Number="1"),
            record(response(text), url=None),
            of("revisit", b"", kind="revisit"),
            of("odd", b"", kind="x\x1b[31m"),
            of("odder", b"", kind=""),
        ],
    )
    items = read(archive, max_page_bytes=20_000)
    assert {item.name.split()[0] for item in items if isinstance(item, Raw)} == {
        f"http://{name}/" for name in ("ok", "xhtml", "untyped", "resource", "brackets")
    }
    assert {name.removesuffix(f" {DATE}"): each for name, each in reasons(items).items()} == {
        "http://missing/": ("dropped", "http-status"),
        "http://moved/": ("dropped", "http-status"),
        "http://image/": ("dropped", "not-html"),
        "http://feed/": ("dropped", "not-html"),
        "http://untyped-json/": ("dropped", "not-html"),
        "http://dns/": ("dropped", "not-html"),
        "http://empty/": ("dropped", "no-text"),
        "http://long/": ("quarantined", "too-long"),
        "http://longer/": ("quarantined", "too-long"),
        "http://bomb/": ("quarantined", "too-long"),
        "http://not-http/": ("quarantined", "broken-http"),
        "http://cut/": ("quarantined", "wrong-length"),
        "http://segment/": ("quarantined", "segmented"),
        f"{archive}: record 19": ("quarantined", "broken-header"),
        f"{archive}: revisit records": ("dropped", "not-a-page"),
        f"{archive}: unknown records": ("dropped", "not-a-page"),
    }


def test_wet_texts_are_taken_as_they_are(tmp_path: Path) -> None:
    text = "Menu\nÜber uns\n\n  The text, as it is.\n"
    archive = write_gzip(
        tmp_path / "a.warc.wet.gz",
        [
            WARCINFO,
            record(text.encode(), "conversion", "http://a/", content_type="text/plain", WARC_Identified_Content_Language="deu"),
            record(b"caf\xe9", "conversion", "http://b/", content_type="text/plain"),
            record(b" \n", "conversion", "http://c/", content_type="text/plain"),
        ],
    )  # fmt: skip
    document, *others = read(archive)
    assert isinstance(document, Raw) and document.text == text
    assert document.metadata == {"url": "http://a/", "date": DATE, "content_type": "text/plain", "language": "deu"}
    assert set(reasons(others).values()) == {
        ("quarantined", "invalid-utf8"),
        ("dropped", "no-text"),
        ("dropped", "not-a-page"),
    }


def test_a_licence_of_the_page_goes_before_the_sources(tmp_path: Path) -> None:
    free = page("http://free/", head='<link rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">')
    archive = write_gzip(tmp_path / "a.warc.gz", [free, page("http://other/")])
    items = read(archive, license="CC-BY-4.0")
    assert {item.name.split()[0]: item.license for item in items if isinstance(item, Raw)} == {
        "http://free/": "CC-BY-SA-4.0", "http://other/": "CC-BY-4.0",
    }  # fmt: skip


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 20])
def test_each_document_comes_once_whatever_the_number_of_pieces(tmp_path: Path, pieces: int) -> None:
    for file in range(2):
        pages = [each for i in range(6) for each in (REQUEST, page(f"http://{file}/{i}", f"Page {i}. {ENGLISH}"))]
        write_gzip(tmp_path / f"{file}.warc.gz", [WARCINFO, *pages, b"junk"])
    made = reader(tmp_path)
    items = [[item for item in made.read(piece, pieces)] for piece in range(pieces)]
    names = Counter(item.name for piece in items for item in piece)
    assert set(names.values()) == {1} and len(names) == 2 * (6 + 3)
    if pieces == 7:
        # The pages of a file are dealt out evenly, whatever lies between them.
        assert {sum(isinstance(item, Raw) for item in piece) for piece in items} == {1, 2}


def test_pages_are_read_in_their_own_encoding(tmp_path: Path) -> None:
    """Windows-1252 by the header, Shift_JIS by the page, gb18030 by detection, UTF-8 against a header that is wrong."""
    japanese, chinese = (
        "これは日本語の文章です。川は山から海まで流れている。" * 8,
        "这条河从山上流下来，经过城市和村庄，最后流入大海。" * 8,
    )
    cases = [
        ("Die Flüsse – größer als „früher“. " * 8, "cp1252", "text/html; charset=ISO-8859-1", ""),
        (japanese, "cp932", "text/html", '<meta charset="Shift_JIS">'),
        (chinese, "gb18030", "text/html", ""),
        (japanese, "utf-8", "text/html; charset=windows-1252", ""),
    ]
    archive = write_gzip(
        tmp_path / "a.warc.gz",
        [record(response(html(text, head=head).encode(code), said), url=f"http://{code}/") for text, code, said, head in cases],
    )  # fmt: skip
    items = read(archive, extract="balanced")
    for item, (text, code, _, _) in zip(items, cases, strict=True):
        assert isinstance(item, Raw) and text.strip() in item.text and item.metadata is not None, code
        assert item.metadata["encoding"] == code


def test_a_page_that_the_crawler_cut_off_is_kept_and_told(tmp_path: Path) -> None:
    cut = record(response(html().encode()[:-200]), url="http://a/", WARC_Truncated="length")
    (document,) = read(write_gzip(tmp_path / "a.warc.gz", [cut]))
    assert isinstance(document, Raw) and document.metadata is not None
    assert document.metadata["truncated"] == "length"


def test_captures_of_one_address_are_documents_of_their_own(tmp_path: Path) -> None:
    second = page("http://a/", "Later. " + ENGLISH).replace(DATE.encode(), b"2025-01-01T00:00:00Z")
    items = read(write_gzip(tmp_path / "a.warc.gz", [page("http://a/"), second]))
    assert [item.name for item in items] == [f"http://a/ {DATE}", "http://a/ 2025-01-01T00:00:00Z"]


def test_paths_may_be_files_folders_and_globs_and_each_archive_is_read_once(tmp_path: Path) -> None:
    for name in ("a.warc", "b.warc.gz", "c.wet", "sub/d.WARC.GZ", ".hidden.warc", "sub/e.wat.gz", "f.txt", "g[1].warc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "again.warc").symlink_to(tmp_path / "a.warc")
    found = reader(tmp_path, tmp_path / "*.warc", tmp_path / "g[1].warc", f"{tmp_path}/**/*.GZ").files
    assert [path.name for _, path in found] == ["a.warc", "b.warc.gz", "c.wet", "g[1].warc", "d.WARC.GZ"]


def test_paths_that_lead_to_no_archive_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for path in ("a.txt", "*.warc", ".", "gone.warc"):
        with pytest.raises(
            RecipeError, match=r"sources.web.paths: .* leads to no web archive .* expected \.warc or \.wet"
        ):
            _ = reader(tmp_path / path).files


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    write_gzip(tmp_path / "a.warc.gz", [page("http://a/")])
    assert [label for label, _ in reader(f"file://{tmp_path}/a.warc.gz").files] == [f"{tmp_path}/a.warc.gz"]


def test_an_archive_that_cannot_be_opened_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.warc").symlink_to(tmp_path / "gone.warc")
    with pytest.raises(SourceError, match=r"sources.web: .*a.warc cannot be read: No such file"):
        reader(tmp_path / "a.warc").fingerprint()
    with pytest.raises(SourceError, match=r"sources.web: .*a.warc cannot be read: No such file"):
        read(tmp_path / "a.warc")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.warc")
    with pytest.raises(SourceError, match=r"a\.warc cannot be read: not a regular file"):
        reader(tmp_path).fingerprint()


def test_the_fingerprint_is_of_the_bytes(tmp_path: Path) -> None:
    archive = write_gzip(tmp_path / "a.warc.gz", [page("http://a/")])
    first = reader(archive).fingerprint()
    assert reader(tmp_path).fingerprint() == first
    write_gzip(archive, [page("http://b/")])
    assert reader(archive).fingerprint() != first


def test_the_fingerprint_is_of_all_that_extracts(tmp_path: Path) -> None:
    """jusText, one of Trafilatura's second opinions, cleans its pages with a package of its own version."""
    archive = tmp_path / "a.warc"
    archive.write_bytes(record(b"text", "conversion", "http://b/", content_type="text/plain"))
    libraries = {"trafilatura", "justext", "lxml", "lxml-html-clean", "resiliparse"}
    assert reader(archive).contents().keys() == {str(archive)} | libraries


def test_a_page_that_hangs_the_extractor_is_quarantined_and_the_next_is_read(tmp_path: Path) -> None:
    """Resiliparse takes the square of the depth of a page: minutes for the deep one, a tenth of a second for another."""
    deep, less = (f"<html><body>{'<div>' * depth}{ENGLISH}</body></html>".encode() for depth in (60_000, 1_000))
    archive = write_gzip(
        tmp_path / "a.warc.gz",
        [page("http://a/"), record(response(deep), url="http://deep/"), record(response(less), url="http://less/"), page("http://b/")],
    )  # fmt: skip
    items = read(archive, max_seconds=0.7)
    assert reasons(items) == {f"http://deep/ {DATE}": ("quarantined", "too-slow")}
    assert [item.name.split()[0] for item in items if isinstance(item, Raw)] == [
        "http://a/",
        "http://less/",
        "http://b/",
    ]


RECIPE = """\
name: pages
seed: 3
partitions: 3
tokenizer: {{vocab_size: 512}}
sources:
  web: {{reader: warc, paths: ["{folder}"], extract: {mode}, domain: web, language: en, license: NOASSERTION, priority: 1, dedup: exact}}
curate: {{gopher: null, repetition: null, c4: null, fineweb: null, language: null, guardrails: {{max_quarantined: 0.5}}}}
phases:
  phase1: {{segment: stable, tokens: 500, mix: {{web: 1.0}}}}
"""
WORDS = ("boats", "trees", "stones", "houses", "birds", "roads")


def pages_build(tmp_path: Path, mode: str = "fast") -> Build:
    folder = tmp_path / "archives"
    folder.mkdir(exist_ok=True)
    texts = [f"Number {i} is about {word}. " + ENGLISH.replace("mills", word) for i, word in enumerate(WORDS)]
    write_gzip(
        folder / "a.warc.gz",
        [
            WARCINFO,
            *(page(f"http://a/{i}", each) for i, each in enumerate(texts)),
            page("http://a/0", texts[0]),
            b"junk",
        ],
    )
    write_gzip(
        folder / "b.warc.wet.gz",
        [record(b"A plain text of a few words.", "conversion", "http://b/", content_type="text/plain")],
    )
    path = tmp_path / "pages.yaml"
    path.write_text(RECIPE.format(folder=folder, mode=mode), encoding="utf-8")
    return Build(load_recipe(path), tmp_path / "home", workers=1)


def test_a_build_from_archives_tells_where_its_rows_come_from(tmp_path: Path) -> None:
    build = pages_build(tmp_path)
    shard = build.shards("phase1").path / "shard-00000.parquet"
    rows = pl.read_parquet(shard)
    assert rows.height >= 4 and set(rows["license"]) == {"NOASSERTION"}
    assert not rows["text"].str.contains("Menu entry").any()
    rejected = build.table("rejected").select("rule", "verdict").collect().rows()
    assert sorted(rejected) == [
        ("collect.not-a-page", "dropped"), ("collect.not-a-record", "quarantined"), ("normalise.repeated", "dropped"),
    ]  # fmt: skip
    story = explain(open_built(tmp_path / "pages.yaml", tmp_path / "home"), f"http://a/1 {DATE}")
    assert "metadata  title: A river" in story and "metadata  url: http://a/1" in story
    place = rows["text"].str.contains("A river").arg_max()
    assert place is not None
    link = build.folder / "phase1" / shard.name if (build.folder / "phase1").exists() else shard
    assert "metadata  url: http://a/" in "\n".join(trace(build, link, place))


def test_what_is_collected_does_not_depend_on_how_it_is_divided(tmp_path: Path) -> None:
    build = pages_build(tmp_path)
    spec = build.recipe.sources["web"]
    found = []
    for pieces in (1, 5):
        out = tmp_path / str(pieces)
        out.mkdir()
        step = Collect(source="web", spec=spec, fingerprint="", pieces=pieces)
        counts = [step.run(piece, out) for piece in range(pieces)]
        known = pl.read_parquet(list(out.glob("metadata-*.parquet"))).sort("id", "metadata")
        found.append((sum(each.kept for each in counts), known.rows()))
        assert all(json.loads(each)["url"] for each in known["metadata"])
    assert found[0] == found[1] and found[0][0] == 8


def test_processes_of_a_pool_extract_as_this_one_does(tmp_path: Path) -> None:
    spec = pages_build(tmp_path, "balanced").recipe.sources["web"]
    step = Collect(source="web", spec=spec, fingerprint="", pieces=3)
    alone, pool = (run_steps(Store(tmp_path / str(n)), [step], "collect", workers=n)[0] for n in (1, 2))
    assert alone.content == pool.content and alone.counts.kept == 8


def test_a_source_that_knows_nothing_beside_its_texts_writes_no_metadata(tmp_path: Path) -> None:
    spec = MathsSource.model_validate(
        {"reader": "worked-maths", "domain": "maths", "language": "en", "license": "MIT", "priority": 1, "documents": 5}
    )
    assert Collect(source="maths", spec=spec, fingerprint="", pieces=1).run(0, tmp_path).kept == 5
    assert not list(tmp_path.glob("metadata-*"))
