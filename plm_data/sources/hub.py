"""Parquet and JSON Lines of a dataset repository on the Hugging Face hub, read as they lie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.utils import glob_translate

from plm_data.errors import RecipeError, SourceError
from plm_data.recipe_sources import HubSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.data_files import DataFile, format_of
from plm_data.sources.file_bytes import BrokenFile, LineCounter, container
from plm_data.sources.file_formats import Columns, Unit, parquet_shape, read_footer, read_unit
from plm_data.sources.hub_repository import HubFile, Repository
from plm_data.sources.where import Filter
from plm_data.store import digest
from plm_data.text.printable import clip, printable

_SUFFIX = ".parquet"
# Bytes at a file's end that hold the footer of most.
_FOOTER = 64 << 10
# Two stretches no further apart are asked for as one: an answer takes longer to begin than these bytes to come.
_GAP = 256 << 10


class HubReader:
    """Cuts the files, one after the other, into pieces of equal bytes; a row group, line or compressed file is in the
    piece that it begins in.

    So a piece asks for few of the files, and nothing need be read to know which. A row that cannot be used is
    quarantined under FILE:row N or FILE:LINE, from 1.
    """

    def __init__(self, name: str, spec: HubSource, place: str | None = None, columns: Columns | None = None):
        # Where the source stands in the recipe, for errors.
        self.name, self.spec, self.place = name, spec, place or f"sources.{name}"
        # A source without a commit is planned by what it declares, and nothing is asked of the hub.
        self._repository = Repository(self.place, "datasets", spec.path, spec.revision or "")
        self._columns = columns or Columns(
            spec.text, spec.id, spec.license_column, spec.license, spec.max_document_bytes, Filter(spec.where)
        )

    @cached_property
    def files(self) -> list[HubFile]:
        """The files that the globs match, in the order of their names."""
        listed, found = self._repository.files, set[HubFile]()
        for pattern in self.spec.files:
            matches = re.compile(glob_translate(pattern))
            chosen = [file for file in listed if matches.match(file.name)]
            if not chosen:
                names = ", ".join(clip(file.name, 80) for file in listed[:5])
                raise RecipeError(
                    f"{self.place}.files: {pattern} matches none of the {len(listed)} files of {self.spec.path} "
                    f"at {self.spec.revision}, such as {names}."
                )
            found.update(chosen)
        for file in sorted(found):
            kind = format_of(file.name)[0]
            if kind not in ("parquet", "lines"):
                raise RecipeError(
                    f"{self.place}.files: {clip(file.name, 200)} is neither Parquet nor JSON Lines (.jsonl, "
                    f".ndjson, .json, plain or with .gz or .zst), which the reader 'hub' reads; match only such files, "
                    f"or take the reader 'huggingface'."
                )
            if kind == "lines" and self.spec.where:
                raise RecipeError(
                    f"{self.place}.where: {clip(file.name, 200)} is not Parquet, and only that can be filtered "
                    f"by column. Leave it out of files, or take where out."
                )
        return sorted(found)

    def fingerprint(self) -> str:
        contents = [[file.name, file.size, file.checksum] for file in self.files]
        shaping = {"text", "id", "license_column", "license", "max_document_bytes", "broken_files", "where"}
        return digest([self.spec.revision, contents, self.spec.model_dump(mode="json", include=shaping)])

    def contents(self) -> dict[str, str]:
        return {file.name: file.checksum for file in self.files}

    def size_bound(self) -> int | None:
        """The declared size, else what the footers say."""
        if self.spec.bytes is not None:
            return self.spec.bytes
        names = [file.name for file in self.files]
        bound: int | None = self._repository.once(digest(["bytes of text", self.spec.text, names]), self._text_bytes)
        return bound

    def _text_bytes(self) -> int | None:
        total = 0
        for file in self.files:
            kind, codec = format_of(file.name)
            if kind == "lines":
                if codec:
                    return None
                total += file.size
                continue
            try:
                size = parquet_shape(_local(file), self._footer(file), self.spec.text).text_bytes if file.size else 0
            except BrokenFile:
                return None
            if size is None:
                return None
            total += size
        return total

    def read(self, piece: int, pieces: int) -> Iterator[Raw | Rejected]:
        total = sum(file.size for file in self.files)
        begin, end = piece * total // pieces, (piece + 1) * total // pieces
        before = 0
        for file in self.files:
            # An empty file holds no documents, whatever it is called.
            if before < end and begin < before + file.size:
                lines = format_of(file.name)[0] == "lines"
                yield from (self._lines if lines else self._read)(file, begin - before, end - before)
            before += file.size

    def _read(self, file: HubFile, begin: int, end: int) -> Iterator[Raw | Rejected]:
        """The documents of the row groups that begin within two bytes of a file."""
        whole = self._repository.download(file, _SUFFIX) if self.spec.read == "whole" else None
        local = _local(file, whole)
        try:
            footer = read_footer(local) if whole else self._footer(file)
            schema = parquet_shape(local, footer, self.spec.text).schema
        except BrokenFile as error:
            # Of a file whose row groups nobody knows, the piece with its first byte speaks.
            yield from self._broken(error, told=begin <= 0)
            return
        if complaint := self._columns.complaint(schema):
            key, what = complaint
            raise SourceError(
                f"{self.place}.{key}: {local.label} {what}. Name a column that serves, or leave the file out of files."
            )
        rows = 0
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            if begin <= _start(group, file.size) < end:
                try:
                    with self._at_hand(file, whole, footer, group) as path:
                        unit = Unit(_local(file, path), number, rows_before=rows)
                        yield from read_unit(unit, self._columns, lambda _: footer, LineCounter(), salvage=False)
                except BrokenFile as error:
                    yield from self._broken(error)
            rows += group.num_rows

    def _lines(self, file: HubFile, begin: int, end: int) -> Iterator[Raw | Rejected]:
        """The documents of the lines that begin within two bytes of a file; of one to be read whole all or none."""
        whole = format_of(file.name)[1] is not None or not self._columns.divisible(file.name)
        if whole and begin > 0:
            return
        local = _local(file, self._repository.download(file, ".lines"))
        unit = Unit(local, 0, file.size) if whole else Unit(local, max(begin, 0), min(end, file.size))
        salvage = self.spec.broken_files == "quarantine"
        try:
            yield from read_unit(unit, self._columns, read_footer, LineCounter(), salvage)
        except BrokenFile as error:
            yield from self._broken(error)

    def _broken(self, error: BrokenFile, told: bool = True) -> Iterator[Rejected]:
        if self.spec.broken_files == "stop":
            raise SourceError(
                f"{self.place}: {error.where} is broken: {error.detail}. Leave it out of files, or set "
                f"broken_files: quarantine to keep what can be read of it."
            ) from error
        if told:
            yield Rejected(error.where, "quarantined", "unreadable-file", error.detail)

    @contextmanager
    def _at_hand(
        self, file: HubFile, whole: Path | None, footer: pq.FileMetaData, group: pq.RowGroupMetaData
    ) -> Iterator[Path | None]:
        """A local file that holds what is to be read of a row group; None where no row of it can pass."""
        if whole or self._columns.where.rules_out(group):
            yield whole
            return
        ranges = _ranges(group, self._columns.stored(footer.schema.to_arrow_schema()), file)
        with self._repository.sliced(file, ranges, _SUFFIX) as path:
            yield path

    def _footer(self, file: HubFile) -> pq.FileMetaData:
        """A file's footer without the file; raises ``BrokenFile``."""
        begin = max(0, file.size - _FOOTER)
        tail = b"".join(self._repository.stream(file, begin, file.size))
        # The footer's own length stands before the last four bytes.
        needed = int.from_bytes(tail[-8:-4], "little") + 8
        if len(tail) < needed <= file.size:
            tail = b"".join(self._repository.stream(file, file.size - needed, begin)) + tail
        with container(lambda: clip(file.name, 200)):
            return pq.read_metadata(pa.BufferReader(tail))


def _local(file: HubFile, path: Path | None = None) -> DataFile:
    return DataFile(path or Path(f"footer{_SUFFIX}"), printable(file.name), file.size)


def _span(chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    start = chunk.data_page_offset
    # Some writers put a 0 where there is no dictionary.
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    return start, start + chunk.total_compressed_size


def _start(group: pq.RowGroupMetaData, size: int) -> int:
    """The first byte of a row group, within its file whatever the footer says: some piece must read it."""
    starts = [_span(group.column(i))[0] for i in range(group.num_columns)]
    return min(max(min(starts, default=0), 0), size - 1)


def _ranges(group: pq.RowGroupMetaData, names: list[str], file: HubFile) -> list[tuple[int, int]]:
    """The stretches of a file that hold some columns of a row group; raises ``BrokenFile`` if it has none such."""
    ranges: list[tuple[int, int]] = []
    for chunk in map(group.column, range(group.num_columns)):
        if any(chunk.path_in_schema == name or chunk.path_in_schema.startswith(f"{name}.") for name in names):
            start, stop = _span(chunk)
            if not 0 <= start <= stop <= file.size:
                raise BrokenFile(clip(file.name, 200), f"bytes {start:,} to {stop:,} of {file.size:,}")
            if ranges and 0 <= start - ranges[-1][1] <= _GAP:
                start = ranges.pop()[0]
            ranges.append((start, stop))
    return ranges
