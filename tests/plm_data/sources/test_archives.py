"""Archives: members as documents, nothing on disk, and every kind of attack beside its harmless neighbour."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from plm_data.errors import SourceError
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.files import FilesReader
from tests.plm_data.sources.local_files import GOOD, documents, lines, parquet, read, refused, spec, zstd
from tests.plm_data.sources.servers import web

NAMED = [(row["id"], row["text"]) for row in GOOD]
KINDS = ["zip", "tar", "tar.gz", "tgz", "tar.zst"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def packed(kind: str, members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data) if isinstance(data, bytes) else 0
            archive.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    data = buffer.getvalue()
    return {"tar": bytes, "tar.zst": zstd}.get(kind, gzip.compress)(data)


def dropped(items: list[Raw | Rejected]) -> dict[str, str]:
    return {item.name: item.reason for item in items if isinstance(item, Rejected) and item.verdict == "dropped"}


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_read_as_files_are(here: Path, kind: str) -> None:
    parquet(here / "p", pa.array(["x"]))
    members = {
        "rows/a.jsonl": lines(GOOD), "rows/b.jsonl.gz": gzip.compress(lines(GOOD)), "rows/c.json.zst": zstd(lines(GOOD)),
        "d.md": b"# D\n", "e.txt": "\ufeffé".encode(), "bad.jsonl": b'[]\n{"id": "f", "text": "f"}\n',
        "p.parquet": (here / "p").read_bytes(), "deep/inner.zip": packed("zip", {"a.txt": b"x"}), "g.csv": b"g",
        "deep/.git/h.txt": b"h", "__MACOSX/i.txt": b"i", "j..k.txt": b"dots in a name",
    }  # fmt: skip
    name = f"all.{kind}"
    (here / name).write_bytes(packed(kind, members))
    before = sorted(here.rglob("*"))
    found = read(name)
    assert Counter(documents(found)) == Counter(
        NAMED * 3
        + [(f"{name}!d.md", "# D\n"), (f"{name}!e.txt", "é"), ("f", "f"), (f"{name}!j..k.txt", "dots in a name")]
    )
    assert dropped(found) == {
        f"{name}!p.parquet": "parquet-in-archive", f"{name}!deep/inner.zip": "nested-archive",
        f"{name}!g.csv": "unknown-format", f"{name}!deep/.git/h.txt": "hidden", f"{name}!__MACOSX/i.txt": "hidden",
    }  # fmt: skip
    assert [i for i in found if isinstance(i, Rejected) and i.verdict == "quarantined"] == [
        Rejected(f"{name}!bad.jsonl:1", "quarantined", "not-an-object", "a list where an object is expected")
    ]
    assert sorted(here.rglob("*")) == before, "nothing is unpacked to disk"
    assert Counter(read(name, pieces=3)) == Counter(found)
    assert FilesReader("web", spec(name)).size_bound() is None


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_unsafe_names_links_and_devices_are_quarantined_and_their_neighbours_are_read(here: Path) -> None:
    members = {
        "../up.txt": b"x", "a/../../up.txt": b"x", "/abs.txt": b"x", "C:/drive.txt": b"x", "..\\win.txt": b"x",
        "ok/a...b.txt": b"fine", "a/b..txt": b"fine",
        "s.txt": link("s.txt", tarfile.SYMTYPE), "h.txt": link("h.txt", tarfile.LNKTYPE, "ok.txt"),
        "c.txt": link("c.txt", tarfile.CHRTYPE), "f.txt": link("f.txt", tarfile.FIFOTYPE),
    }  # fmt: skip
    (here / "a.tar").write_bytes(packed("tar", members))
    found = read("a.tar")
    assert {name.removeprefix("a.tar!"): reason for name, reason in refused(found)} == {
        "../up.txt": "unsafe-name", "a/../../up.txt": "unsafe-name", "/abs.txt": "unsafe-name",
        "C:/drive.txt": "unsafe-name", "..\\win.txt": "unsafe-name", "s.txt": "link", "h.txt": "link",
        "c.txt": "device", "f.txt": "device",
    }  # fmt: skip
    assert documents(found) == [("a.tar!ok/a...b.txt", "fine"), ("a.tar!a/b..txt", "fine")]

    with zipfile.ZipFile(here / "a.zip", "w") as archive:
        archive.writestr("../up.txt", "x")
        archive.writestr("ok.txt", "fine")
        for name, mode in (("s.txt", 0o120777), ("d.txt", 0o020666)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, "/etc/passwd")
    found = read("a.zip")
    assert refused(found) == [("a.zip!../up.txt", "unsafe-name"), ("a.zip!s.txt", "link"), ("a.zip!d.txt", "device")]
    assert documents(found) == [("a.zip!ok.txt", "fine")]


def encrypted(data: bytes) -> bytes:
    """A zip of one member with the flag of encryption set, in its head and in the directory."""
    at = data.index(b"PK\x01\x02")
    return b"".join(
        [data[:6], struct.pack("<H", 1), data[8 : at + 8], struct.pack("<H", 1), data[at + 10 :]]
    )  # fmt: skip


def test_what_no_password_is_known_for_and_methods_not_known_are_quarantined_alone(here: Path) -> None:
    (here / "a.zip").write_bytes(encrypted(packed("zip", {"a.txt": b"secret"})))
    assert refused(read("a.zip")) == [("a.zip!a.txt", "encrypted")]
    data = packed("zip", {"a.txt": b"plain"})
    at = data.index(b"PK\x01\x02")
    (here / "b.zip").write_bytes(data[: at + 10] + struct.pack("<H", 99) + data[at + 12 :])
    assert refused(read("b.zip")) == [("b.zip!a.txt", "unknown-compression")]


BLANKS = b" " * 40_000_000


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.zst"])
def test_bombs_are_refused_by_ratio_and_by_size_in_little_memory(here: Path, kind: str) -> None:
    name = f"bomb.{kind}"
    (here / name).write_bytes(packed(kind, {"a.jsonl": b'{"id": "a", "text": "a"}\n', "b.csv": BLANKS}))
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"unpacks to more than 100 times its own size; max_archive_ratio allows"):
            read(name)
        with pytest.raises(SourceError, match=r"unpacks to more than 30,000,000 bytes; max_archive_bytes allows more"):
            read(name, max_archive_ratio=1e6, max_archive_bytes="30MB")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000
    kept = read(name, broken_files="quarantine")
    assert [i.reason for i in kept if isinstance(i, Rejected) and i.verdict == "quarantined"] == ["unreadable-file"]
    # The nearest that is none: what the recipe allows, and what is small whatever its ratio.
    assert documents(read(name, max_archive_ratio=1e6)) == [("a", "a")]
    (here / f"small.{kind}").write_bytes(packed(kind, {"a.txt": b" " * 1_000_000 + b"x"}))
    assert len(documents(read(f"small.{kind}"))) == 1


def test_a_compressed_member_counts_as_what_it_unpacks_to(here: Path) -> None:
    line = b'{"id": "a", "text": "' + b"x" * 900 + b'"}\n'
    for kind in ("zip", "tar"):
        (here / f"a.{kind}").write_bytes(packed(kind, {"a.jsonl.gz": gzip.compress(line * 30_000)}))
        with pytest.raises(SourceError, match="max_archive_ratio allows more"):
            read(f"a.{kind}")


def test_members_of_a_zip_that_share_their_bytes_count_each_time(here: Path) -> None:
    """The better zip bomb: many names for the same stretch of the file."""
    data = packed("zip", {"a.txt": b" " * 10_000_000})
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry, many = data[at:end], 50
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, many, many, len(entry) * many, at, 0)
    (here / "a.zip").write_bytes(data[:at] + entry * many + tail)
    with pytest.raises(SourceError, match="max_archive_ratio allows more"):
        read("a.zip")


def test_a_header_that_would_fill_the_memory_is_refused(here: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 60_000_000
    (here / "a.tar.gz").write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(60_000_000)))
    with pytest.raises(SourceError, match=r"a header of 60,000,000 bytes"):
        read("a.tar.gz", max_archive_ratio=1e6)
    long = "n" * 300 + ".txt"
    (here / "b.tar").write_bytes(packed("tar", {long: b"x"}))
    assert documents(read("b.tar")) == [(f"b.tar!{long}", "x")]


def header(kind: bytes, data: bytes = b"") -> bytes:
    """A header of a tar and what it holds."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(data)
    return info.tobuf(tarfile.GNU_FORMAT) + data.ljust(-(-len(data) // 512) * 512, b"\0")


SPARSE = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
SPARSE_MAP = b"3000000\n" + b"1\n" * 3_000_000
NEXT = packed("tar", {"next.txt": b"next"})


@pytest.mark.parametrize(
    "data, reason",
    [
        (header(tarfile.GNUTYPE_LONGNAME, b"n") * 3000 + NEXT, "recursion"),
        (header(tarfile.XHDTYPE, b"2 " * 400_000 + b"=") + NEXT, "an extended header that is none"),
        (header(tarfile.XHDTYPE, b"9" * 100) + NEXT, "an extended header that is none"),
        (header(tarfile.XHDTYPE, SPARSE) + header(b"0", SPARSE_MAP) + NEXT, "sparse-file"),
        (header(tarfile.XHDTYPE, b"".join(b"8 %03d=x\n" % i for i in range(1000))) + NEXT, ""),
    ],
    ids=["nested", "names-in-names", "no-length", "sparse-map", "many-fields"],
)
def test_headers_of_a_tar_take_little_time_and_memory(here: Path, data: bytes, reason: str) -> None:
    (here / "a.tar").write_bytes(data)
    del data
    began = time.process_time()
    tracemalloc.start()
    try:
        found = read("a.tar", broken_files="quarantine")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000 and time.process_time() - began < 5
    told = [f"{i.reason} {i.detail}" for i in found if isinstance(i, Rejected)]
    assert all(reason in each for each in told) and len(told) == bool(reason)
    assert (documents(found) == [("a.tar!next.txt", "next")]) == (reason in ("", "sparse-file"))


def test_fields_for_all_members_are_not_copied_for_each(here: Path) -> None:
    fields = b"".join(b"%d k%04d=\n" % (len("10 k0000=\n"), i) for i in range(10_000))
    data = header(tarfile.XGLTYPE, fields) + b"".join(header(b"0") for _ in range(10_000)) + NEXT
    (here / "a.tar").write_bytes(data)
    began = time.process_time()
    assert ("a.tar!next.txt", "next") in documents(read("a.tar"))
    assert time.process_time() - began < 5


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_header_that_is_damaged_is_not_taken_for_the_end(here: Path, kind: str) -> None:
    whole = bytearray(packed("tar", {f"{i}.txt": b"text" for i in range(3)}))
    whole[1024 + 20] ^= 1
    (here / f"a.{kind}").write_bytes(gzip.compress(whole) if kind == "tar.gz" else whole)
    with pytest.raises(SourceError, match=r"is broken: bad checksum at byte 1,024"):
        read(f"a.{kind}")
    (here / f"a.{kind}").write_bytes(whole[:1300] if kind == "tar" else gzip.compress(whole[:1300]))
    with pytest.raises(SourceError, match=r"is broken: truncated header at byte 1,024"):
        read(f"a.{kind}")


def test_a_sparse_file_that_breaks_off_is_told(here: Path) -> None:
    info = bytearray(header(b"S"))
    info[482] = 1  # its map goes on
    info[148:156] = b" " * 8
    info[148:156] = b"%06o\0 " % sum(info[:512])
    more = bytearray(512)
    more[504] = 1
    (here / "a.tar").write_bytes(info + more)
    assert refused(read("a.tar")) == [("a.tar!x", "sparse-file")]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_all_at_once_are_refused(here: Path, method: int) -> None:
    with zipfile.ZipFile(here / "a.zip", "w") as archive:
        archive.writestr("bomb.txt", BLANKS, method)
        archive.writestr("b.txt", "b", zipfile.ZIP_DEFLATED)
    # It says that it is small, as a bomb does.
    data = (here / "a.zip").read_bytes().replace(len(BLANKS).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    (here / "a.zip").write_bytes(data)
    tracemalloc.start()
    try:
        found = read("a.zip")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused(found) == [("a.zip!bomb.txt", "unknown-compression")] and documents(found) == [("a.zip!b.txt", "b")]
    assert peak < 12_000_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["truncated", "not"])
def test_a_broken_archive_stops_the_build_or_gives_what_can_be_read(here: Path, kind: str, how: str) -> None:
    noise = [{"id": f"d{i}", "text": os.urandom(300).hex()} for i in range(300)]
    whole = packed(kind, {"a.jsonl": lines(noise[:150]), "b.jsonl": lines(noise[150:])})
    name = f"a.{kind}"
    (here / name).write_bytes(whole[: len(whole) * 3 // 4] if how == "truncated" else b"something else entirely\n" * 40)
    with pytest.raises(SourceError, match=rf"sources\.web: a\.{kind}.* is broken: .+ or set broken_files: quarantine"):
        read(name)
    found = read(name, broken_files="quarantine")
    reasons = {item.reason for item in found if isinstance(item, Rejected)}
    assert "unreadable-file" in reasons and reasons <= {"unreadable-file", "not-json"}
    # A zip's directory is at its end, and without it nothing is known.
    assert (len(documents(found)) >= 150) == (how == "truncated" and kind != "zip")


def test_a_member_that_is_broken_costs_no_other(here: Path) -> None:
    broken = gzip.compress(lines(GOOD) * 50)[:-40]
    for kind in ("zip", "tar"):
        (here / f"a.{kind}").write_bytes(packed(kind, {"a.jsonl.gz": broken, "b.txt": b"b"}))
        found = read(f"a.{kind}", broken_files="quarantine")
        assert (f"a.{kind}!b.txt", "b") in documents(found)
        assert [item.name for item in found if isinstance(item, Rejected) and item.reason == "unreadable-file"] == [
            f"a.{kind}!a.jsonl.gz"
        ]


def test_an_archive_is_streamed(here: Path) -> None:
    rows = lines([{"id": f"d{i}", "text": os.urandom(2000).hex()} for i in range(6000)])
    (here / "a.tar").write_bytes(packed("tar", {"a.jsonl": rows}))
    del rows
    tracemalloc.start()
    try:
        assert sum(1 for _ in FilesReader("web", spec("a.tar")).read(0, 1)) == 6000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12_000_000 < (here / "a.tar").stat().st_size / 2


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_are_read_over_the_network(kind: str) -> None:
    with web({f"a.{kind}": packed(kind, {"a.jsonl": lines(GOOD), "b.md": b"b"})}) as server:
        url = f"{server.url}/a.{kind}"
        assert documents(read(url)) == [*NAMED, (f"{url}!b.md", "b")]


def test_markdown_and_other_prose_is_one_document_a_file(here: Path) -> None:
    for name in ("a.md", "b.markdown", "c.rst", "d.txt", "e.text"):
        (here / name).write_text(f"Title of {name}\n====\n\nOne.\n\nTwo.\n")
    (here / "f.css").write_text("no prose")
    assert documents(read(".")) == [
        (name, f"Title of {name}\n====\n\nOne.\n\nTwo.\n")
        for name in ("a.md", "b.markdown", "c.rst", "d.txt", "e.text")
    ]
