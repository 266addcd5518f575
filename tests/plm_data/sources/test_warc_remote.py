"""Web archives that lie elsewhere: the same documents, through a dropped connection too, and each file fetched once."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from plm_data.errors import RecipeError, SourceError
from plm_data.sources import remote
from plm_data.sources.base import Raw
from tests.plm_data.sources.servers import web
from tests.plm_data.sources.test_warc import read, reader
from tests.plm_data.sources.web_archives import page

PAGES = [page(f"http://example.org/{i}", title=f"Page {i}") for i in range(30)]
GZIP = b"".join(gzip.compress(each, mtime=0) for each in PAGES[:15])
PLAIN = b"".join(PAGES[15:])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(remote, "_PAUSE", 0.001)
    monkeypatch.setattr(remote, "BLOCK", 4000)


@pytest.mark.parametrize("pieces", [1, 5])
def test_archives_over_http_give_what_they_give_here(tmp_path: Path, pieces: int) -> None:
    (tmp_path / "a.warc.gz").write_bytes(GZIP)
    (tmp_path / "b.warc").write_bytes(PLAIN)
    local = sorted((item.name, item.text) for item in read(tmp_path) if isinstance(item, Raw))
    assert len(local) == 30
    with web({"crawl/a.warc.gz": GZIP, "crawl/b.warc": PLAIN, "crawl/notes.txt": b"not an archive"}) as server:
        server.breaks, server.break_after, server.failures = 2, 1500, 1
        found = read(f"{server.url}/crawl/", pieces=pieces)
        assert sorted((item.name, item.text) for item in found if isinstance(item, Raw)) == local
        assert server.breaks == server.failures == 0
        # Each file once, but for the blocks that broke off, and whatever the number of pieces.
        assert server.served["crawl/b.warc"] < 1.5 * len(PLAIN) and "crawl/notes.txt" not in server.served


def test_an_archive_that_changes_while_a_build_reads_it_stops_it() -> None:
    with web({"b.warc": PLAIN}) as server:
        url = f"{server.url}/b.warc"
        before = reader(url).fingerprint()
        assert reader(url).fingerprint() == before
        reader(url).check_unchanged(before)
        server.files["b.warc"] = PLAIN.replace(b"Page 20", b"Page 2x")
        assert reader(url).fingerprint() != before
        with pytest.raises(SourceError, match=r"sources\.web: files of http://127.0.0.1:\d+/b\.warc changed since"):
            reader(url).check_unchanged(before)


def test_a_url_that_leads_to_no_archive_is_refused() -> None:
    with web({"a.txt": b"text", "in/b.txt": b"text"}) as server:
        for place in ("a.txt", "in/"):
            with pytest.raises(RecipeError, match=r"leads to no web archive.*expected \.warc or \.wet"):
                read(f"{server.url}/{place}")
