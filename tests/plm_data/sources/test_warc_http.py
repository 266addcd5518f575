"""HTTP responses as archives hold them: with their codings, without them, and broken."""

from __future__ import annotations

import gzip
import time
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.sources.http_message import MAX_HEADER, BadMessage, charset_of, media_type, parse_response
from tests.plm_data.sources.web_archives import response

PAGE = b"<html><body>" + b"A page of some length. " * 50 + b"</body></html>"
LIMIT = 10_000


def chunked(data: bytes, size: int = 100, trailer: bytes = b"") -> bytes:
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailer + b"\r\n"


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODINGS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}


@pytest.mark.parametrize("coding", [*CODINGS, "identity", "", "none"])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_codings_are_undone(coding: str, in_chunks: bool) -> None:
    body = CODINGS.get(coding, bytes)(PAGE)
    fields = {"Content_Encoding": coding} if coding else {}
    if in_chunks:
        fields["transfer_encoding"], body = "Chunked", chunked(body, trailer=b"X-After: 1\r\n")
    found = parse_response(response(body, **fields))
    assert found.status == 200 and found.body(LIMIT) == PAGE


@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_whose_coding_the_archive_has_undone_is_as_it_is(coding: str) -> None:
    found = parse_response(response(PAGE, Content_Encoding=coding, Transfer_Encoding="chunked"))
    assert found.body(LIMIT) == PAGE


def test_rarer_codings_are_undone() -> None:
    assert parse_response(response(bare_deflate(PAGE), Content_Encoding="deflate")).body(LIMIT) == PAGE
    twice = brotli.compress(gzip.compress(PAGE))
    assert parse_response(response(twice, Content_Encoding="gzip, br")).body(LIMIT) == PAGE
    members = gzip.compress(PAGE[:500]) + gzip.compress(PAGE[500:])
    assert parse_response(response(members, Content_Encoding="gzip")).body(LIMIT) == PAGE


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_what_unpacks_to_more_than_a_page_may_have_is_never_unpacked(coding: str) -> None:
    for size, fits in ((LIMIT, True), (LIMIT + 1, False), (20_000_000, False)):
        packed = brotli.compress(bytes(size), quality=1) if coding == "br" else CODINGS[coding](bytes(size))
        found = parse_response(response(packed, Content_Encoding=coding))
        if fits:
            assert found.body(LIMIT) == bytes(size)
        else:
            with pytest.raises(BadMessage, match="too-long.*max_page_bytes"):
                found.body(LIMIT)
    with pytest.raises(BadMessage, match="too-long"):
        parse_response(response(bytes(LIMIT + 1))).body(LIMIT)


@pytest.mark.parametrize(
    "block, detail",
    [
        (
            response(gzip.compress(PAGE)[:-20], Content_Encoding="gzip"),
            "its gzip coding cannot be undone: it breaks off",
        ),
        (response(brotli.compress(PAGE)[:-5], Content_Encoding="br"), "its br coding cannot be undone"),
        (response(b"\0\1\2\3", Content_Encoding="deflate"), "its deflate coding cannot be undone"),
        (response(PAGE, Content_Encoding="sdch"), "Content-Encoding 'sdch' is not known"),
        (response(chunked(PAGE)[:-200], Transfer_Encoding="chunked"), "its chunks break off"),
        (b"", "no status line"),
        (b"<html>a page without a header</html>", "no status line"),
        (b"HTTP/1.1 OK\r\n\r\n", "no status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "no status line"),
    ],
)
def test_what_is_broken_is_told(block: bytes, detail: str) -> None:
    with pytest.raises(BadMessage) as error:
        parse_response(block).body(LIMIT)
    assert error.value.reason == "broken-http" and detail in error.value.detail


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "block",
    [
        HEAD + b"X: a\n" + b" b\n" * 6_000_000 + b"\n" + PAGE,
        HEAD + b"Content-Encoding: " + b"br, " * 60_000 + b"\r\n\r\n" + b" " * 10_000_000 + PAGE,
        response(gzip.compress(b"", mtime=0) * 500_000 + b"\x1f\x8b\x08", Content_Encoding="gzip"),
    ],
)
def test_no_message_takes_long(block: bytes) -> None:
    began = time.process_time()
    with pytest.raises(BadMessage, match="broken-http"):
        parse_response(block).body(20_000_000)
    assert time.process_time() - began < 8  # each took minutes


def test_the_largest_header_is_read_and_no_larger_one() -> None:
    for extra, fits in ((0, True), (1, False)):
        field = b"X:" + b"x" * (MAX_HEADER - 2 + extra)
        if fits:
            assert parse_response(HEAD + field + b"\r\n\r\n" + PAGE).rest == PAGE
        else:
            with pytest.raises(BadMessage, match="a header of 262,145 bytes"):
                parse_response(HEAD + field + b"\r\n\r\n" + PAGE)


@pytest.mark.parametrize(
    "block",
    [
        b"HTTP/1.0 404 Not Found\nContent-Type: TEXT/HTML ; Charset='x'\nno field\nX: a\n b\n\nbody",
        b"HTTP/2 404\r\ncontent-type:TEXT/HTML ; Charset='x'\r\nX: a\r\n\tb\r\nX: second\r\n\r\nbody",
    ],
)
def test_headers_are_read_as_servers_write_them(block: bytes) -> None:
    found = parse_response(block)
    assert (found.status, found.content_type, found.charset, found.rest) == (404, "text/html", "x", b"body")
    assert found.fields["x"] == "a b"


def test_a_response_may_lack_a_header_or_a_body() -> None:
    assert parse_response(b"HTTP/1.0 200 OK\r\n\r\nbody").rest == b"body"
    assert parse_response(b"HTTP/1.0 200 OK\r\nX: y").rest == b""
    assert parse_response(b"HTTP/1.1 200 OK").fields == {}


@pytest.mark.parametrize(
    "said, charset",
    [
        ("text/html; charset=UTF-8", "UTF-8"),
        ('text/html;charset="a b"', "a"),
        ("text/html; x=y; charset = z;", "z"),
        ("text/html", None),
        ("charset=q", None),
    ],
)
def test_charset_of_a_content_type(said: str, charset: str | None) -> None:
    assert charset_of(said) == charset
    assert media_type(" Text/HTML ;x") == "text/html"


@given(st.binary(max_size=300), st.sampled_from(["gzip", "br", "deflate", ""]), st.booleans())
def test_any_bytes_are_a_body_or_a_bad_message(junk: bytes, coding: str, in_chunks: bool) -> None:
    fields = {"Content_Encoding": coding, **({"Transfer_Encoding": "chunked"} if in_chunks else {})}
    for block in (junk, response(junk, **fields)):
        try:
            assert len(parse_response(block).body(LIMIT)) <= LIMIT
        except BadMessage as error:
            assert error.reason in ("broken-http", "too-long")
