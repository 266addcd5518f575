"""The HTTP response in a record of a web archive: its status, its header, its body as the page was.

Archives keep what the server sent, or the body with its codings undone while the header still names them. So a coding
is undone where the body has it, and nothing of a body is made larger than ``limit``.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import brotli

_STATUS = re.compile(rb"\s*HTTP/\d+(?:\.\d+)?[ \t]+(\d{3})(?!\d)[^\n]*\n?", re.IGNORECASE)
_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,16})[ \t]*(?:;[^\n]*)?\r?\n")
_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15
_GZIP_MEMBER = b"\x1f\x8b"
# What is left behind a member is copied for each one, so no more than this is given to a decoder at a time.
_WINDOW = 1 << 12
MAX_HEADER = 1 << 18
_MOST_CODINGS = 4


class BadMessage(Exception):
    """Not a response that can be used: ``reason`` and ``detail``."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Response:
    """``fields``: the first of a name, by names in lower case; ``rest``: the body in its codings."""

    status: int
    fields: dict[str, str]
    rest: bytes

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty if none is said."""
        return media_type(self.fields.get("content-type", ""))

    @property
    def charset(self) -> str | None:
        return charset_of(self.fields.get("content-type", ""))

    def body(self, limit: int) -> bytes:
        """The body without its codings; raises ``BadMessage``."""
        data = self.rest
        if "chunked" in self.fields.get("transfer-encoding", "").lower():
            data = _unchunked(data)
        named = [name.strip().lower() for name in self.fields.get("content-encoding", "").split(",")]
        codings = [name for name in named if name not in ("", "identity", "none")]
        if len(codings) > _MOST_CODINGS:
            raise BadMessage("broken-http", f"{len(codings):,} codings, one over the other")
        for coding in reversed(codings):
            data = _decoded(data, coding, limit)
        if len(data) > limit:
            raise BadMessage("too-long", f"a page of {len(data):,} bytes; max_page_bytes is {limit:,}")
        return data


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def charset_of(content_type: str) -> str | None:
    """The charset parameter of a content type, as it is written."""
    found = re.search(r";\s*charset\s*=\s*[\"']?([^\s\"';,]+)", content_type, re.IGNORECASE)
    return found[1] if found else None


def parse_response(block: bytes) -> Response:
    """The response that a record's block holds; raises ``BadMessage`` if it holds none."""
    status = _STATUS.match(block)
    if status is None:
        raise BadMessage("broken-http", f"no status line where {block[:40]!r} stands")
    # The status line's own end may be the first of the two.
    end = _END_OF_HEADER.search(block, status.end() - 1)
    header = block[status.end() : end.start()] if end else block[status.end() :]
    if len(header) > MAX_HEADER:
        raise BadMessage("broken-http", f"a header of {len(header):,} bytes")
    return Response(int(status[1]), _fields(header), block[end.end() :] if end else b"")


def _fields(header: bytes) -> dict[str, str]:
    fields: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in header.decode("utf-8", "replace").split("\n"):
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t") and fields:
            lines.append(line.strip())
        elif colon:
            # Servers write lines that are no fields; browsers pass over them too.
            lines = [value.strip()]
            fields.setdefault(name.strip().lower(), lines)
    return {name: " ".join(lines) for name, lines in fields.items()}


def _unchunked(data: bytes) -> bytes:
    """The body from its chunks; as it is where it has none, since an archive may have joined them."""
    parts: list[bytes] = []
    at = 0
    while size := _CHUNK_SIZE.match(data, at):
        length = int(size[1], 16)
        if length == 0:
            return b"".join(parts)
        if size.end() + length > len(data):
            break
        parts.append(data[size.end() : size.end() + length])
        at = size.end() + length
        at += 2 if data.startswith(b"\r\n", at) else int(data.startswith(b"\n", at))
    if not parts:
        return data
    raise BadMessage("broken-http", f"its chunks break off after {at:,} of {len(data):,} bytes")


def _decoded(data: bytes, coding: str, limit: int) -> bytes:
    decode = _DECODERS.get(coding)
    if decode is None:
        raise BadMessage("broken-http", f"Content-Encoding {coding[:40]!r} is not known")
    try:
        return decode(data, limit)
    except (zlib.error, brotli.error, EOFError) as error:
        if data.lstrip().startswith(b"<"):
            return data
        raise BadMessage("broken-http", f"its {coding} coding cannot be undone: {error}") from error


def _gunzipped(data: bytes, limit: int) -> bytes:
    return _inflated(data, limit, _GZIP)


def _undeflated(data: bytes, limit: int) -> bytes:
    """``deflate`` is zlib's format by the standard, and bare deflate from some servers."""
    try:
        return _inflated(data, limit, _ZLIB)
    except zlib.error:
        return _inflated(data, limit, _RAW_DEFLATE)


def _inflated(data: bytes, limit: int, window: int) -> bytes:
    found, at = bytearray(), 0
    while True:
        decoder = zlib.decompressobj(window)
        while not decoder.eof:
            if not (block := data[at : at + _WINDOW]):
                raise EOFError("it breaks off")
            found += decoder.decompress(block, limit + 1 - len(found))
            if len(found) > limit:
                raise _too_long(limit)
            at += len(block) - len(decoder.unused_data)
        # gzip may come in several members; what else stands behind is none of it.
        if window != _GZIP or not data.startswith(_GZIP_MEMBER, at):
            return bytes(found)


def _unbrotlied(data: bytes, limit: int) -> bytes:
    decoder = brotli.Decompressor()
    found = bytearray()
    while block := decoder.process(data, output_buffer_limit=limit + 1 - len(found)):
        found += block
        data = b""
        if len(found) > limit:
            raise _too_long(limit)
    if not decoder.is_finished():
        raise EOFError("it breaks off")
    return bytes(found)


def _too_long(limit: int) -> BadMessage:
    return BadMessage("too-long", f"a page that unpacks to more than {limit:,} bytes, which is max_page_bytes")


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzipped, "x-gzip": _gunzipped, "deflate": _undeflated, "br": _unbrotlied,
}  # fmt: skip
