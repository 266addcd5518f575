"""Files as blocks of bytes: stretches that end with a line, decompressed streams, and the lines in them.

Nothing here holds more than a block, or the one line that is asked for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from plm_data.sources.remote import SMALL_BLOCK, Remote
from plm_data.store import file_sha256

BLOCK = 1 << 20
# Where a file whose size nobody says may end.
ENDLESS = 1 << 62
_BOM = b"\xef\xbb\xbf"


class BrokenFile(Exception):
    """The container (Parquet, gzip, zstd) cannot be read on from ``where``."""

    def __init__(self, where: str, detail: str):
        super().__init__(where, detail)
        self.where, self.detail = where, detail


@contextmanager
def container(where: Callable[[], str]) -> Iterator[None]:
    """Arrow's complaints about what it reads, as one error; the system's own (they have a number) stay as they are."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BrokenFile(where(), " ".join(str(error).split()).rstrip(".")[:200]) from error


def split_lines(blocks: Iterable[bytes], limit: int) -> Iterator[bytes | int]:
    """The lines without their ends; of a line longer than ``limit`` only its size, and never more in memory."""
    held: list[bytes] = []
    size = 0
    for block in blocks:
        *whole, rest = block.split(b"\n")
        for line in whole:
            if size:
                held.append(line)
                size += len(line)
                yield b"".join(held) if size <= limit else size
                held, size = [], 0
            else:
                yield line if len(line) <= limit else len(line)
        if rest:
            size += len(rest)
            if size <= limit:
                held.append(rest)
            else:
                held.clear()
    if size:
        yield b"".join(held) if size <= limit else size


def without_bom(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """A file's blocks without the byte-order mark that it may begin with."""
    yield next(blocks, b"").removeprefix(_BOM)
    yield from blocks


def reading(path: Path | Remote) -> BinaryIO:
    """A file for Python."""
    return path.open() if isinstance(path, Remote) else path.open("rb")


def content_of(path: Path | Remote) -> str:
    """By what a file's content is known: its sha256, or a store's own word that changes with it (an ETag)."""
    if isinstance(path, Path):
        return file_sha256(path)
    if path.by_content:
        return f"{path.size} {path.version}"
    with path.open() as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stretch(path: Path | Remote, begin: int, end: int, block: int | None = None) -> Iterator[bytes]:
    """The bytes from ``begin`` to ``end``, in blocks, of a size of their own if need be."""
    with path.open(block, end) if isinstance(path, Remote) else path.open("rb", buffering=0) as file:
        file.seek(begin)
        while begin < end and (data := file.read(min(block or BLOCK, end - begin))):
            begin += len(data)
            yield data


def aligned(path: Path | Remote, start: int, stop: int) -> tuple[int, int]:
    """The bytes of the lines that begin within ``start`` and ``stop``."""
    size = (path.size or ENDLESS) if isinstance(path, Remote) else path.stat().st_size
    begin = _line_start(path, start, stop)
    return begin, _line_start(path, stop, size) if begin < stop else begin


def _line_start(path: Path | Remote, offset: int, limit: int) -> int:
    """Where the first line begins at or after ``offset``; ``limit`` if none does before it."""
    if offset == 0:
        return 0
    position = offset - 1
    for block in stretch(path, position, limit, SMALL_BLOCK):
        if (found := block.find(b"\n")) >= 0:
            return position + found + 1
        position += len(block)
    return max(offset, limit)


class LineCounter:
    """How many lines end before a byte of a file; asked for only to name a bad line, and in the files' order."""

    def __init__(self) -> None:
        self._path: Path | Remote = Path()
        self._offset, self._lines = 0, 0

    def __call__(self, path: Path | Remote, offset: int) -> int:
        if path != self._path or offset < self._offset:
            self._path, self._offset, self._lines = path, 0, 0
        self._lines += sum(block.count(b"\n") for block in stretch(path, self._offset, offset))
        self._offset = offset
        return self._lines


def opened(path: Path | Remote, block: int | None = None) -> pa.NativeFile:
    """A file for Arrow, which takes a name that is not UTF-8 only as bytes; a remote one by ``block`` bytes."""
    return pa.PythonFile(path.open(block), mode="r") if isinstance(path, Remote) else pa.OSFile(os.fsencode(path))


def decompressed(path: Path | Remote, codec: str, label: str, salvage: bool) -> Iterator[bytes]:
    """The blocks of a compressed file; raises ``BrokenFile`` under its label where it breaks off."""
    given = 0
    with container(lambda: label):
        try:
            with opened(path) as source, pa.CompressedInputStream(source, codec) as stream:
                while block := stream.read(BLOCK):
                    given += len(block)
                    yield block
        except OSError as error:
            if salvage and error.errno is None:
                yield _rest(path, codec, given)
            raise


def _rest(path: Path | Remote, codec: str, given: int) -> bytes:
    """What a broken stream still holds after ``given`` bytes: the read that fails takes all it had with it."""
    rest = bytearray()
    with suppress(OSError), opened(path) as source, pa.CompressedInputStream(source, codec) as stream:
        while given and (block := stream.read(min(given, BLOCK))):
            given -= len(block)
        while byte := stream.read(1):
            rest += byte
    return bytes(rest)
