"""The bytes of a web archive, decompressed, in stretches that end where a record can begin anew.

A WARC file is usually one gzip member a record. A member that begins as a record does therefore ends the stretch
before it: a record whose length is wrong takes nothing of the next one, and behind damage there is a place to go on.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from plm_data.sources.file_bytes import BLOCK, ENDLESS, BrokenFile, decompressed, reading, stretch
from plm_data.sources.remote import Remote

CODECS = {".gz": "gzip", ".zst": "zstd"}
RECORD_START = b"WARC/"
_MEMBER_START = b"\x1f\x8b\x08"
# Small, since what follows a member is copied for each one; and as much of a member as tells how it begins.
_RAW, _TASTE = 1 << 16, 1 << 12
# Blocks of a broken member that are searched for the next one.
_REMEMBERED = 16
_GZIP = 31


@dataclass(frozen=True)
class Break:
    """The end of a stretch: the next record begins, or (``damage``: reason and detail) bytes are lost there."""

    damage: tuple[str, str] | None = None


def archive_blocks(path: Path | Remote, label: str) -> Iterator[bytes | Break]:
    """Decompressed blocks and breaks of a file, by its label's suffix. Raises ``OSError`` if it cannot be read."""
    codec = CODECS.get(PurePosixPath(urlsplit(label).path if isinstance(path, Remote) else label).suffix.lower())
    if codec == "gzip":
        with reading(path) as file:
            yield from _gzip_blocks(file)
    elif codec is None:
        yield from stretch(path, 0, ENDLESS)
    else:
        try:
            yield from decompressed(path, codec, label, salvage=True)
        except BrokenFile as error:
            yield Break(("damaged-archive", error.detail))


def _gzip_blocks(file: BinaryIO) -> Iterator[bytes | Break]:
    raw, first = b"", True
    while raw := raw or file.read(_RAW):
        # A file may be padded with zeros.
        if not (raw := raw.lstrip(b"\0")):
            continue
        decoder = zlib.decompressobj(_GZIP)
        # Until it is told how the member begins, what there is of it.
        head: bytes | None = b""
        chunks, damage = deque([raw]), None
        try:
            while not decoder.eof:
                if not raw:
                    if not (raw := file.read(_RAW)):
                        damage = ("truncated", "gzip: the file ends within a member")
                        break
                    chunks.append(raw)
                    if len(chunks) > _REMEMBERED:
                        chunks.popleft()
                block = decoder.decompress(raw, BLOCK)
                raw = decoder.unconsumed_tail
                if head is not None:
                    block = head + block
                    if len(block) < len(RECORD_START) and not decoder.eof:
                        head = block
                        continue
                    if block.startswith(RECORD_START) and not first:
                        yield Break()
                    head = None
                if block:
                    yield block
        except zlib.error as error:
            damage = ("damaged-archive", f"gzip: {str(error).rpartition(': ')[2]}")
        if damage is None:
            raw, first = decoder.unused_data, False
            continue
        if head is not None and not first:
            # It is not the record before that is damaged.
            yield Break()
        yield Break(damage)
        # What is broken may have been read far over its end; its own start is not the one to go on from.
        raw, first = _next_member(file, b"".join(chunks)[1:]), True


def _next_member(file: BinaryIO, raw: bytes) -> bytes:
    """From ``raw`` on, the bytes from the next member that begins as a record does; none if there is no such member."""
    while True:
        at = raw.find(_MEMBER_START)
        while at >= 0:
            if len(raw) - at < _TASTE:
                raw, at = raw[at:] + file.read(_RAW), 0
            if _begins_record(raw[at : at + _TASTE]):
                return raw[at:]
            at = raw.find(_MEMBER_START, at + 1)
        more = file.read(_RAW)
        if not more:
            return b""
        raw = raw[-len(_MEMBER_START) + 1 :] + more


def _begins_record(raw: bytes) -> bool:
    try:
        return zlib.decompressobj(_GZIP).decompress(raw, len(RECORD_START)).startswith(RECORD_START)
    except zlib.error:
        return False
