"""Local files: Parquet, JSON Lines and whole texts, read fast, in memory that the files' sizes do not move."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

from plm_data.errors import RecipeError, SourceError
from plm_data.recipe_sources import FilesSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.file_bytes import BrokenFile, LineCounter
from plm_data.sources.file_formats import (
    ACCEPTED,
    Columns,
    LocalFile,
    ParquetShape,
    Unit,
    parquet_shape,
    read_footer,
    read_unit,
)  # fmt: skip
from plm_data.store import digest, file_sha256

# Bytes of a plain JSONL file that one piece reads at a time.
_RANGE = 32 << 20


class FilesReader:
    """Divides the files, not their rows: of the row groups, byte ranges and whole files, piece i reads each i-th.

    A row that cannot be used is quarantined under FILE:LINE or FILE:row N, both from 1.
    """

    def __init__(self, name: str, spec: FilesSource):
        self.name, self.spec = name, spec
        self._columns = Columns(spec.text, spec.id, spec.license_column, spec.license, spec.max_document_bytes)
        # A footer can be large, and a file's row groups come one after the other.
        self._footer = lru_cache(maxsize=1)(read_footer)

    @cached_property
    def files(self) -> list[LocalFile]:
        """Every file once, in the order of their names, however many of the paths lead to it."""
        found: dict[str, LocalFile] = {}
        for pattern in self.spec.paths:
            try:
                matches = list(self._matches(pattern))
            except OSError as error:
                raise self._unreadable(error) from error
            if not matches:
                raise RecipeError(
                    f"sources.{self.name}.paths: {pattern} leads to no file that can be read (looked in {Path.cwd()}); "
                    f"expected {ACCEPTED}."
                )
            for file in matches:
                # One folder may be reached by many links; a link to a file is another name, so another document.
                place = os.path.join(os.path.realpath(file.path.parent), file.path.name)
                found[place] = min(file, found.get(place, file), key=lambda each: each.label)
        return sorted(found.values(), key=lambda file: file.label)

    def _matches(self, pattern: str) -> Iterator[LocalFile]:
        # A file whose name has brackets is found by its name.
        named = os.path.lexists(pattern)
        for match in [pattern] if named else glob.iglob(pattern, recursive=True):
            if os.path.isdir(match):
                yield from (file for file in map(_local_file, walk(match)) if file.kind)
                continue
            file = _local_file(match)
            if file.kind:
                yield file
            elif named:
                raise RecipeError(
                    f"sources.{self.name}.paths: {match} has a suffix that the reader 'files' does not know; "
                    f"expected {ACCEPTED}, or a folder of such files."
                )

    def _unreadable(self, error: OSError, label: str | None = None) -> RecipeError:
        where = label or error.filename
        return RecipeError(f"sources.{self.name}.paths: {where} cannot be read: {error.strerror or error}.")

    def _broken(self, error: BrokenFile) -> SourceError:
        return SourceError(
            f"sources.{self.name}: {error.where} is broken: {error.detail}. Mend it, take it out of paths, or set "
            f"broken_files: quarantine to keep what can be read of it."
        )

    @cached_property
    def _shapes(self) -> dict[Path, ParquetShape | None]:
        """Parquet file → what its footer says; None for a broken one that is to be quarantined."""
        shapes: dict[Path, ParquetShape | None] = {}
        for file in self.files:
            if file.kind != "parquet" or file.size == 0:
                continue
            try:
                shape = parquet_shape(file, self._footer(file), self.spec.text)
            except BrokenFile as error:
                if self.spec.broken_files == "stop":
                    raise self._broken(error) from error
                shapes[file.path] = None
                continue
            except OSError as error:
                raise self._unreadable(error, file.label) from error
            for key, column in (("text", self.spec.text), ("license_column", self.spec.license_column)):
                if column is not None and column not in shape.columns:
                    raise SourceError(
                        f"sources.{self.name}.{key}: {file.label} has no column {column!r}; its columns are "
                        f"{', '.join(shape.columns)}. Name one of them, or take the file out of paths."
                    )
            shapes[file.path] = shape
        return shapes

    @cached_property
    def _units(self) -> list[Unit]:
        units: list[Unit] = []
        for file in self.files:
            # An empty file holds no documents, whatever it is called.
            if file.size == 0:
                continue
            shape = self._shapes.get(file.path)
            if shape is not None:
                before = 0
                for group, rows in enumerate(shape.rows):
                    units.append(Unit(file, group, rows_before=before))
                    before += rows
            elif file.kind == "lines" and file.codec is None:
                units += [Unit(file, at, min(at + _RANGE, file.size)) for at in range(0, file.size, _RANGE)]
            else:
                units.append(Unit(file, stop=file.size))
        return units

    @cached_property
    def _fingerprint(self) -> str:
        try:
            contents = [[file.label, file_sha256(file.path)] for file in self.files]
        except OSError as error:
            raise self._unreadable(error) from error
        spec = self.spec
        options = [spec.text, spec.id, spec.license_column, spec.license, spec.max_document_bytes, spec.broken_files]
        return digest([contents, options])

    def fingerprint(self) -> str:
        return self._fingerprint

    def size_bound(self) -> int | None:
        """Bytes of text at most; None where a file is compressed: nobody knows before it is read."""
        total, shapes = 0, self._shapes
        for file in self.files:
            shape = shapes.get(file.path)
            if file.codec or (shape is not None and shape.text_bytes is None):
                return None
            total += file.size if file.kind != "parquet" else (shape and shape.text_bytes) or 0
        return total

    def read(self, partition: int, partitions: int) -> Iterator[Raw | Rejected]:
        salvage = self.spec.broken_files == "quarantine"
        lines_before = LineCounter()
        for unit in self._units[partition::partitions]:
            try:
                yield from read_unit(unit, self._columns, self._footer, lines_before, salvage)
            except BrokenFile as error:
                if not salvage:
                    raise self._broken(error) from error
                yield Rejected(error.where, "quarantined", "unreadable-file", error.detail)
            except OSError as error:
                raise SourceError(
                    f"sources.{self.name}: {unit.file.label} cannot be read: {error.strerror or error}. "
                    f"Mend what keeps it from being read, or take it out of paths."
                ) from error


def walk(folder: str) -> Iterator[str]:
    """The files below a folder, through links but no folder twice; hidden ones are left out."""
    seen = set()
    for root, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(root, name) for name in names if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _local_file(path: str) -> LocalFile:
    # A name need not be UTF-8, but the name of a document must.
    label = str(Path(path)).encode("utf-8", "backslashreplace").decode()
    file = LocalFile(Path(path), label, 0)
    return replace(file, size=os.stat(path).st_size) if file.kind else file
