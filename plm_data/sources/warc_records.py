"""The records of a web archive, one after the other, in bounded memory, and what is broken between them.

ISO 28500 (WARC 1.0 and 1.1): a version line, named fields, an empty line, a block of ``Content-Length`` bytes, two
line ends. What is not so is told as a ``Bad`` record with its reason, and reading goes on at the next record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from plm_data.sources.archive_bytes import RECORD_START, Break
from plm_data.sources.file_bytes import BLOCK

_VERSION = re.compile(rb"WARC/[01]\.\d+\r?\n")
_NEXT_RECORD = re.compile(rb"\nWARC/[01]\.\d+\r?\n")
_MAX_VERSION_LINE, _MAX_HEADER, _MAX_NEWLINES = 16, 1 << 16, 1 << 10
_END_OF_FILE = Break()


@dataclass(frozen=True)
class Record:
    """``number``: from 1, in the file; ``fields``: by their names in lower case; ``block``: None if it is longer than
    was asked for, ``length`` bytes of it."""

    number: int
    fields: dict[str, str]
    block: bytes | None
    length: int


@dataclass(frozen=True)
class Bad:
    """What is no whole record, numbered among them. ``fields``: as far as they could be read."""

    number: int
    reason: str
    detail: str
    fields: dict[str, str] = field(default_factory=dict)


def read_records(blocks: Iterator[bytes | Break], max_block: int) -> Iterator[Record | Bad]:
    """The records in their order. The same bytes give the same numbers, whichever of the records are wanted."""
    stream, number = _Stream(blocks), 0
    while stream.next_stretch():
        while not stream.at_end():
            number += 1
            yield _record(stream, number, max_block)
        if damage := stream.take_damage():
            number += 1
            yield Bad(number, *damage)


def _record(stream: _Stream, number: int, max_block: int) -> Record | Bad:
    """The record, or the broken stretch, that begins here; leaves the stream at the next one."""
    line = stream.line(_MAX_VERSION_LINE)
    if not _VERSION.fullmatch(line):
        stream.give_back(line)
        skipped = stream.skip_to_record()
        said = "not-a-record", f"{skipped:,} bytes where a record should begin"
        return Bad(number, *(stream.take_damage() or said))
    fields, problem = _fields(stream)
    length = fields.get("content-length", "")
    if problem is None and not (length.isascii() and length.isdecimal() and len(length) < 19):
        problem = "broken-header", f"Content-Length is {length[:40]!r}"
    if problem is not None:
        stream.skip_to_record()
        return Bad(number, *(stream.take_damage() or problem), fields)
    return _with_block(stream, number, fields, int(length), max_block)


def _fields(stream: _Stream) -> tuple[dict[str, str], tuple[str, str] | None]:
    """The named fields, the first of a name, up to the empty line; and what is wrong with them."""
    fields: dict[str, str] = {}
    left, last = _MAX_HEADER, ""
    while (line := stream.line(left)).endswith(b"\n"):
        left -= len(line)
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            return fields, None
        if text[0] in " \t" and last:
            fields[last] += f" {text.strip()}"
            continue
        name, colon, value = text.partition(":")
        if not colon:
            # It may be where the next record begins.
            stream.give_back(b"\n" + line)
            return fields, ("broken-header", f"a line without a colon: {text[:80]!r}")
        last = name.strip().lower()
        fields.setdefault(last, value.strip())
    if stream.at_end():
        return fields, ("truncated", "its header breaks off")
    return fields, ("broken-header", f"a header of more than {_MAX_HEADER:,} bytes")


def _with_block(stream: _Stream, number: int, fields: dict[str, str], length: int, max_block: int) -> Record | Bad:
    # A block that is too long is read over in the same way by everyone, so that all number the records alike.
    start = stream.hold(length) if length <= max_block else None
    found = stream.skip(length)
    between = stream.newlines()
    if (damage := stream.take_damage()) is not None:
        # The checksum of a gzip member stands behind it.
        return Bad(number, *damage, fields)
    ended = between.count(b"\n") > 1 or stream.at_end() or stream.peek(len(RECORD_START)) == RECORD_START
    if found == length and ended:
        return Record(number, fields, None if start is None else stream.held(start, length), length)
    if found < length and not stream.over():
        return Bad(number, "wrong-length", f"Content-Length is {length:,}, but the next record begins before", fields)
    # A length that is too large takes in the next record, whose first line may stand across its end.
    if start is not None and stream.back_to_record(start, start + found):
        pass
    elif found < length:
        return Bad(number, "truncated", f"the archive ends after {found:,} of its {length:,} bytes", fields)
    else:
        stream.skip_to_record()
    return Bad(number, "wrong-length", f"Content-Length is {length:,}, but no record ends there", fields)


class _Stream:
    """Blocks as one stream up to a break; of what is behind it nothing is seen before ``next_stretch``."""

    def __init__(self, blocks: Iterator[bytes | Break]):
        self._blocks = blocks
        self._held, self._at = b"", 0
        self._end: Break | None = None

    def next_stretch(self) -> bool:
        """Go on behind a break, over the line ends that may stand there; False at the end of the file."""
        if self.over():
            return False
        self._end = None
        self.newlines()
        return True

    def over(self) -> bool:
        """Whether the file has no more than what is held."""
        return self._end is _END_OF_FILE

    def at_end(self) -> bool:
        return not self._fill(1)

    def take_damage(self) -> tuple[str, str] | None:
        """Reason and detail of the damage that the stretch ends in, once, when all before it is read."""
        if not self.at_end() or self._end is None:
            return None
        damage = self._end.damage
        if damage is not None:
            self._end = Break()
        return damage

    def peek(self, size: int) -> bytes:
        self._fill(size)
        return self._held[self._at : self._at + size]

    def read(self, size: int) -> bytes:
        """``size`` bytes, or what the stretch still has."""
        found = self.peek(size)
        self._at += len(found)
        return found

    def hold(self, size: int) -> int:
        """Keep the next ``size`` bytes, and as many as tell how they end, until more is asked for; where they begin.

        They are not copied: archives whose records all claim to be long would be, over and over.
        """
        self._fill(size + _MAX_NEWLINES + _MAX_VERSION_LINE)
        return self._at

    def held(self, start: int, size: int) -> bytes:
        return self._held[start : start + size]

    def back_to_record(self, start: int, stop: int) -> bool:
        """Go back to the first record that begins, after a line end, between two places of what is held; if any does.

        Its first line may stand across ``stop``."""
        found = _NEXT_RECORD.search(self._held, start, self._at + _MAX_VERSION_LINE)
        if found is None or found.start() >= stop:
            return False
        self._at = found.start() + 1
        return True

    def skip(self, size: int) -> int:
        """Read over ``size`` bytes, holding no more of them than are held; how many there were."""
        left = size
        while left and self._fill(1):
            found = min(left, len(self._held) - self._at)
            self._at += found
            left -= found
        return size - left

    def line(self, limit: int) -> bytes:
        """Up to a line end, which is part of it, and ``limit`` bytes at most."""
        size = min(256, limit)
        while True:
            whole = self._fill(size)
            end = self._held.find(b"\n", self._at, self._at + size)
            if end >= 0 or not whole or size == limit:
                return self.read(end + 1 - self._at if end >= 0 else size)
            size = min(4 * size, limit)

    def newlines(self) -> bytes:
        """The line ends that come next, read over; no more of them than anyone would write."""
        found = self.peek(_MAX_NEWLINES)
        found = found[: len(found) - len(found.lstrip(b"\r\n"))]
        self._at += len(found)
        return found

    def give_back(self, data: bytes) -> None:
        """Put bytes in front of what comes next."""
        before = self._at - len(data)
        if before >= 0 and self._held.startswith(data, before):
            self._at = before
        else:
            self._held, self._at = data + self._held[self._at :], 0

    def skip_to_record(self) -> int:
        """Go to the next line that a record begins with, or to the end; how many bytes that is."""
        skipped = 0
        while True:
            more = self._fill(BLOCK)
            found = _NEXT_RECORD.search(self._held, self._at)
            to = found.start() + 1 if found else len(self._held) - (_MAX_VERSION_LINE if more else 0)
            skipped, self._at = skipped + to - self._at, to
            if found or not more:
                return skipped

    def _fill(self, size: int) -> bool:
        """Hold at least ``size`` bytes; False if the stretch has no more than it holds."""
        if len(self._held) - self._at >= size or self._end is not None:
            return len(self._held) - self._at >= size
        parts = [self._held[self._at :]]
        have = len(parts[0])
        while have < size and self._end is None:
            block = next(self._blocks, _END_OF_FILE)
            if isinstance(block, Break):
                self._end = block
            else:
                parts.append(block)
                have += len(block)
        self._held, self._at = b"".join(parts), 0
        return have >= size
