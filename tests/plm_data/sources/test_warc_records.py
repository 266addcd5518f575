"""Records of web archives: the same however they lie in the file, and what is broken costs no other record."""

from __future__ import annotations

import gzip
import io
import time
import zlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from fastwarc.warc import ArchiveIterator
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.sources.archive_bytes import archive_blocks
from plm_data.sources.warc_records import Bad, Record, read_records
from tests.plm_data.sources.web_archives import record

MAX = 100_000


def read(path: Path, max_block: int = MAX) -> list[Record | Bad]:
    return list(read_records(archive_blocks(path, path.name), max_block))


def of_bytes(data: bytes, max_block: int = MAX) -> list[Record | Bad]:
    return list(read_records(iter([data]), max_block))


def found(records: list[Record | Bad]) -> list[bytes | str | None]:
    """The block of each record, the reason of each that is broken."""
    return [each.block if isinstance(each, Record) else each.reason for each in records]


def members(*data: bytes) -> bytes:
    return b"".join(gzip.compress(each, mtime=0) for each in data)


A, B, C = (record(name * 20, url=f"http://{name.decode()}/") for name in (b"a", b"b", b"c"))
BLOCKS = [b"a" * 20, b"b" * 20, b"c" * 20]

blocks = st.lists(
    st.one_of(
        st.binary(max_size=300),
        # What looks like the archive's own structure.
        st.sampled_from([b"\r\n\r\n", b"WARC/1.0", gzip.compress(A, mtime=0), b"\r\n" * 700, b"\x1f\x8b\x08", b""]),
    ),
    max_size=6,
)


@settings(max_examples=60)
@given(blocks, st.data())
def test_records_are_the_same_however_they_lie_in_a_file(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("warc")
    whole = [record(block) for block in contents]
    plain = b"".join(whole)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(plain)), max_size=4)))
    chunks = [plain[a:b] for a, b in zip([0, *cuts], [*cuts, len(plain)], strict=True)]
    forms = {
        "a.warc": plain,
        "one.warc.gz": gzip.compress(plain),
        "records.warc.gz": members(*whole),
        "chunks.warc.gz": members(*chunks),
        "padded.warc.gz": members(*whole) + bytes(600),
        "a.warc.zst": bytes(pa.compress(plain, "zstd", asbytes=True)),
    }
    for name, form in forms.items():
        (folder / name).write_bytes(form)
        assert found(read(folder / name)) == contents, name


@settings(max_examples=60)
@given(blocks, st.data())
def test_blocks_may_be_cut_anywhere(contents: list[bytes], data: st.DataObject) -> None:
    plain = b"".join(map(record, contents))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(plain)), max_size=8)))
    parts = [plain[a:b] for a, b in zip([0, *cuts], [*cuts, len(plain)], strict=True)]
    assert found(list(read_records(iter(parts), MAX))) == contents


def test_fields_are_read_as_another_reader_reads_them() -> None:
    data = b"".join([A, record(b"x", WARC_Record_ID="<urn:a>", X_Folded="one\r\n\ttwo"), B])
    theirs = [
        ({k.lower(): v for k, v in r.headers.to_tuples()}, r.reader.read())
        for r in ArchiveIterator(io.BytesIO(data), parse_http=False)
    ]
    ours = [(each.fields, each.block) for each in of_bytes(data) if isinstance(each, Record)]
    assert [(fields, block) for fields, block in ours if "x-folded" not in fields] == [
        (fields, block) for fields, block in theirs if "x-folded" not in fields
    ]
    assert len(theirs) == 3 and ours[1][0]["x-folded"] == "one two"


def test_line_ends_may_be_missing_or_bare_or_many() -> None:
    bare = A.replace(b"\r\n", b"\n")
    assert found(of_bytes(b"\r\n" + bare + A.rstrip() + B + b"\n" * 50 + C)) == [
        b"a" * 20,
        b"a" * 20,
        b"b" * 20,
        b"c" * 20,
    ]


@pytest.mark.parametrize("length", [0, 15, 19, 25, 30, 250, 10**9])
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_length_costs_its_own_record(tmp_path: Path, length: int, packed: bool) -> None:
    wrong = record(b"b" * 20, length=length)
    path = tmp_path / ("a.warc.gz" if packed else "a.warc")
    path.write_bytes(members(A, wrong, C, A) if packed else A + wrong + C + A)
    # 10**9 bytes are never held, so in a plain file nothing can be found among them.
    lost = length == 10**9 and not packed
    assert found(read(path)) == [
        BLOCKS[0],
        "truncated" if lost else "wrong-length",
        *([] if lost else [BLOCKS[2], BLOCKS[0]]),
    ]


def test_a_length_that_only_leaves_line_ends_out_is_right() -> None:
    """What is nearest to a wrong length: a block that ends in line ends."""
    assert found(of_bytes(record(b"text\r\n\r\n", length=4) + B)) == [b"text", BLOCKS[1]]
    assert found(of_bytes(record(b"text", length=8) + B)) == [b"text\r\n\r\n", BLOCKS[1]]


@pytest.mark.parametrize("keep", [3, 30, 100, -30, -5])
def test_an_archive_that_breaks_off_loses_its_last_record(tmp_path: Path, keep: int) -> None:
    for name, data in (("a.warc", A + B[:keep]), ("a.warc.gz", members(A) + members(B)[:keep])):
        (tmp_path / name).write_bytes(data)
        kinds = found(read(tmp_path / name))
        assert kinds in ([BLOCKS[0], "truncated"], [BLOCKS[0], "not-a-record"]), (name, kinds)


def test_an_archive_that_only_lacks_its_last_line_ends_is_whole() -> None:
    assert found(of_bytes(A + B[:-4])) == BLOCKS[:2]


@pytest.mark.parametrize(
    "broken, reason",
    [
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "not-a-record"),
        (B.replace(b"WARC/1.0", b"WRAC/1.0"), "not-a-record"),
        (B.replace(b"Content-Length: 20\r\n", b""), "broken-header"),
        (B.replace(b": 20", b": twenty"), "broken-header"),
        (B.replace(b": 20", b": -20"), "broken-header"),
        (B.replace(b": 20", b": 9999999999999999999999"), "broken-header"),
        (B.replace(b"WARC-Type: ", b"WARC-Type "), "broken-header"),
        (b"WARC/1.0\r\nWARC-Type: response\r\n", "broken-header"),
        (b"WARC/1.0\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "broken-header"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_record_costs_no_other_one(tmp_path: Path, broken: bytes, reason: str, packed: bool) -> None:
    path = tmp_path / ("a.warc.gz" if packed else "a.warc")
    path.write_bytes(members(A, broken, C) if packed else A + broken + C)
    kinds = found(read(path))
    # In its own member the last but one breaks off; in a plain file its header runs into the next record.
    assert kinds == [BLOCKS[0], reason, BLOCKS[2]] or (packed and kinds == [BLOCKS[0], "truncated", BLOCKS[2]])


def test_a_file_that_is_no_archive_is_one_broken_record(tmp_path: Path) -> None:
    for name in ("a.warc", "a.warc.gz", "a.warc.zst"):
        (tmp_path / name).write_bytes(b"<html>no archive</html>\n" * 100_000)
        (only,) = read(tmp_path / name)
        assert isinstance(only, Bad) and only.reason in ("not-a-record", "damaged-archive"), name
        (tmp_path / name).write_bytes(b"")
        assert read(tmp_path / name) in ([], [Bad(1, "damaged-archive", only.detail)])


def test_a_block_that_is_too_long_is_not_held_and_the_next_is_read() -> None:
    records = of_bytes(A + record(b"x" * 5000) + record(b"y" * 4999) + C, max_block=4999)
    assert found(records) == [BLOCKS[0], None, b"y" * 4999, BLOCKS[2]]
    assert isinstance(records[1], Record) and records[1].length == 5000


@settings(max_examples=150)
@given(st.data())
def test_a_flipped_byte_costs_at_most_the_record_it_is_in(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    packed = [members(each) for each in (A, B, C)]
    at = data.draw(st.integers(len(packed[0]), len(packed[0]) + len(packed[1]) - 1))
    whole = bytearray(b"".join(packed))
    whole[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.warc.gz"
    path.write_bytes(whole)
    records = found(read(path))
    assert records[0] == BLOCKS[0] and records[-1] == BLOCKS[2]
    # A byte of gzip's own header (time, system) changes nothing; else the record is told to be broken.
    assert records[1:-1] in ([BLOCKS[1]], ["damaged-archive"], ["truncated"], ["not-a-record"])


@settings(max_examples=150)
@given(st.integers(1, 40), st.integers(0, 39))
def test_bytes_that_are_missing_cost_no_more_than_the_two_records_they_are_of(
    tmp_path_factory: pytest.TempPathFactory, size: int, before: int
) -> None:
    """Without its end a member is read on into the next one, which may be noticed far behind."""
    packed = [members(each) for each in (A, B, C, A, C)]
    at = len(packed[0]) + len(packed[1]) - min(before, size)
    whole = b"".join(packed)
    path = tmp_path_factory.getbasetemp() / "missing.warc.gz"
    path.write_bytes(whole[:at] + whole[at + size :])
    records = found(read(path))
    assert records[0] == BLOCKS[0] and records[-2:] == [BLOCKS[0], BLOCKS[2]]
    assert len(records) <= 5 and BLOCKS[2] not in records[1:-3]


def test_records_that_a_broken_member_was_read_over_are_found(tmp_path: Path) -> None:
    """A stored block without its end takes 50,000 bytes for its own, which are a few hundred members."""
    many = [record(b"%05d" % i) for i in range(400)]
    stored = gzip.compress(b"")[:10] + b"\x00\xff\xff\x00\x00" + record(bytes(70_000))
    path = tmp_path / "a.warc.gz"
    path.write_bytes(members(A) + stored[:15_000] + members(*many))
    records = found(read(path))
    assert records == [BLOCKS[0], "damaged-archive", *(b"%05d" % i for i in range(400))]


@settings(max_examples=150)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_read_to_their_end(tmp_path_factory: pytest.TempPathFactory, junk: bytes, packed: bool) -> None:
    path = tmp_path_factory.getbasetemp() / ("junk.warc.gz" if packed else "junk.warc")
    path.write_bytes(members(A, junk) + junk + members(C) if packed else A + junk + b"\n" + C)
    records = found(read(path))
    assert records[0] in (BLOCKS[0], "wrong-length") and records[-1] == BLOCKS[2]


def test_records_that_all_claim_to_be_long_take_no_longer(tmp_path: Path) -> None:
    many = 60_000
    path = tmp_path / "a.warc"
    path.write_bytes(record(b"x", length=15_000_000) * many + A)
    began = time.process_time()
    reasons = Counter(each.reason for each in read(path, 20_000_000) if isinstance(each, Bad))
    assert reasons["wrong-length"] >= many - 1
    assert time.process_time() - began < 10  # it took 50 seconds, and a file ten times as long twenty times as much


def test_memory_is_bounded_by_the_block_that_is_asked_for(tmp_path: Path) -> None:
    """A record that unpacks to 200 MB out of 200 KB is read over."""
    import tracemalloc

    path = tmp_path / "a.warc.gz"
    size = 200 << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = record(b"", length=size)[:-4]
    packed = packer.compress(head) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(200))
    path.write_bytes(members(A) + packed + packer.compress(b"\r\n\r\n") + packer.flush() + members(C))
    tracemalloc.start()
    assert found(read(path)) == [BLOCKS[0], None, BLOCKS[2]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20
