"""Files, local or not: Parquet, JSON Lines, whole texts and archives of these, in memory that no file's size moves."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from plm_data.errors import RecipeError, SourceError
from plm_data.locations import is_remote
from plm_data.recipe_sources import FilesSource
from plm_data.sources.archives import Bounds, members
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.data_files import ACCEPTED, DataFile, Kind, format_of
from plm_data.sources.file_bytes import ENDLESS, BrokenFile, LineCounter, content_of
from plm_data.sources.file_formats import (
    Columns,
    ParquetShape,
    Unit,
    parquet_shape,
    read_blocks,
    read_footer,
    read_unit,
)  # fmt: skip
from plm_data.sources.remote import Remote, refuse_changed, with_remote_state
from plm_data.sources.where import Filter
from plm_data.store import digest

# Bytes of a plain JSONL file that one piece reads at a time.
_RANGE = 32 << 20


class FilesReader:
    """Divides the files, not their rows: of the row groups, byte ranges and whole files, piece i reads each i-th.

    A row that cannot be used is quarantined under FILE:LINE or FILE:row N, both from 1.
    """

    def __init__(self, name: str, spec: FilesSource, place: str | None = None, columns: Columns | None = None):
        # Where the source stands in the recipe, for errors.
        self.name, self.spec, self.place = name, spec, place or f"sources.{name}"
        self._columns = columns or Columns(
            spec.text, spec.id, spec.license_column, spec.license, spec.max_document_bytes, Filter(spec.where)
        )
        # A footer can be large, and a file's row groups come one after the other.
        self._footer = lru_cache(maxsize=1)(read_footer)

    @cached_property
    def files(self) -> list[DataFile]:
        """Every file once, in the order of their names, however many of the paths lead to it."""
        found: dict[str, DataFile] = {}
        for pattern in self.spec.paths:
            try:
                matches = list(self._remote(pattern) if is_remote(pattern) else self._matches(pattern))
            except OSError as error:
                raise self._unreadable(error) from error
            if not matches:
                where = "" if is_remote(pattern) else f" (looked in {Path.cwd()})"
                raise RecipeError(
                    f"{self.place}.paths: {pattern} leads to no file that can be read{where}; expected {ACCEPTED}."
                )
            for file in matches:
                # One folder may be reached by many links; a link to a file is another name, so another document.
                place = (
                    file.label
                    if isinstance(file.path, Remote)
                    else os.path.join(os.path.realpath(file.path.parent), file.path.name)
                )
                found[place] = min(file, found.get(place, file), key=lambda each: each.label)
        return sorted(found.values(), key=lambda file: file.label)

    def _remote(self, url: str) -> list[DataFile]:
        from plm_data.sources.remote_listing import remote_files  # late: fsspec, which local files do without

        files = [
            DataFile(remote, remote.url, remote.size)
            for remote in remote_files(url, lambda path: format_of(urlsplit(path).path)[0] is not None)
        ]
        for file in files:
            if file.kind is None:
                raise self._unknown_suffix(file.label)
            if not file.ranges and (file.kind == "parquet" or file.is_zip):
                raise SourceError(
                    f"{self.place}.paths: the server of {file.label} gives whole files only, and a file of this "
                    f"kind is read from its end. Copy it to this machine or to a store that gives byte ranges."
                )
        return files

    def _unknown_suffix(self, label: str) -> RecipeError:
        return RecipeError(
            f"{self.place}.paths: {label} has a suffix that the reader 'files' does not know; "
            f"expected {ACCEPTED}, or a folder of such files."
        )

    def _matches(self, pattern: str) -> Iterator[DataFile]:
        pattern = pattern.removeprefix("file://")
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
                raise self._unknown_suffix(match)

    def _unreadable(self, error: OSError, label: str | None = None) -> RecipeError:
        where = label or error.filename
        return RecipeError(f"{self.place}.paths: {where} cannot be read: {error.strerror or error}.")

    def _broken(self, error: BrokenFile) -> SourceError:
        return SourceError(
            f"{self.place}: {error.where} is broken: {error.detail}. Mend it, take it out of paths, or set "
            f"broken_files: quarantine to keep what can be read of it."
        )

    @cached_property
    def _shapes(self) -> dict[Path | Remote, ParquetShape | None]:
        """Parquet file → what its footer says; None for a broken one that is to be quarantined."""
        shapes: dict[Path | Remote, ParquetShape | None] = {}
        for file in self.files:
            if file.kind != "parquet" and self.spec.where:
                raise RecipeError(
                    f"{self.place}.where: {file.label} is not Parquet, and only that can be filtered by column. "
                    f"Take it out of paths, or take where out."
                )
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
            if complaint := self._columns.complaint(shape.schema):
                key, what = complaint
                raise SourceError(
                    f"{self.place}.{key}: {file.label} {what}. Name a column that serves, or take the file "
                    f"out of paths."
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
            elif (
                file.kind == "lines" and file.codec is None and file.ranges and file.size is not None
                and self._columns.divisible(file.label)
            ):  # fmt: skip
                units += [Unit(file, at, min(at + _RANGE, file.size)) for at in range(0, file.size, _RANGE)]
            else:
                units.append(Unit(file, stop=file.size if file.ranges and file.size is not None else ENDLESS))
        return units

    @cached_property
    def _fingerprint(self) -> str:
        spec = self.spec
        options = [spec.text, spec.id, spec.license_column, spec.license, spec.max_document_bytes, spec.broken_files]
        stated = spec.model_dump(mode="json", include={"where", "max_archive_ratio", "max_archive_bytes"})
        return digest([[list(item) for item in self._contents.items()], options, stated])

    @cached_property
    def _contents(self) -> dict[str, str]:
        try:
            return {file.label: content_of(file.path) for file in self.files}
        except OSError as error:
            raise self._unreadable(error) from error

    def fingerprint(self) -> str:
        return with_remote_state(self._fingerprint, [file.path for file in self.files])

    def check_unchanged(self, fingerprint: str) -> None:
        """Raise ``SourceError`` if the remote files are other ones than at that fingerprint."""
        refuse_changed(f"{self.place}", fingerprint, [file.path for file in self.files])

    def contents(self) -> dict[str, str]:
        return self._contents

    def size_bound(self) -> int | None:
        """Bytes of text at most; None where a file is compressed or an archive: nobody knows before it is read."""
        total, shapes = 0, self._shapes
        for file in self.files:
            shape = shapes.get(file.path)
            if file.codec or file.kind == "archive" or file.size is None:
                return None
            if shape is not None and shape.text_bytes is None:
                return None
            total += file.size if file.kind != "parquet" else (shape and shape.text_bytes) or 0
        return total

    def read(self, partition: int, partitions: int) -> Iterator[Raw | Rejected]:
        salvage = self.spec.broken_files == "quarantine"
        lines_before = LineCounter()
        for unit in self._units[partition::partitions]:
            try:
                if unit.file.kind == "archive":
                    yield from self._archived(unit.file, salvage)
                else:
                    yield from read_unit(unit, self._columns, self._footer, lines_before, salvage)
                _check(unit.file)
            except BrokenFile as error:
                _check(unit.file)
                if not salvage:
                    raise self._broken(error) from error
                yield Rejected(error.where, "quarantined", "unreadable-file", error.detail)
            except OSError as error:
                with suppress(OSError):  # what cannot be asked after cannot be read either
                    _check(unit.file)
                raise SourceError(
                    f"{self.place}: {unit.file.label} cannot be read: {error.strerror or error}. "
                    f"Mend what keeps it from being read, or take it out of paths."
                ) from error

    def _archived(self, file: DataFile, salvage: bool) -> Iterator[Raw | Rejected]:
        """The documents in the members of an archive, and why the others are not read."""
        for member in members(file, Bounds(self.spec.max_archive_ratio, self.spec.max_archive_bytes)):
            if isinstance(member, Rejected):
                yield member
                continue
            kind, codec = format_of(member.name)
            if reason := _unread(member.name, kind):
                yield Rejected(member.label, "dropped", *reason)
                continue
            try:
                yield from read_blocks(kind == "lines", member.label, member.blocks(codec), self._columns)
            except BrokenFile as error:
                if not salvage:
                    raise
                yield Rejected(error.where, "quarantined", "unreadable-file", error.detail)


def _unread(name: str, kind: Kind | None) -> tuple[str, str] | None:
    """Why a member of an archive is not read, if it is not."""
    if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/") if part != "."):
        return "hidden", "a hidden file or folder"
    if kind is None:
        return "unknown-format", "a suffix that is not read"
    if kind == "archive":
        return "nested-archive", "an archive in an archive"
    if kind == "parquet":
        return "parquet-in-archive", "Parquet is read from its end, which a stream does not show"
    return None


def _check(file: DataFile) -> None:
    """That a remote file is still the one that was listed."""
    if isinstance(file.path, Remote):
        file.path.check()


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


def _local_file(path: str) -> DataFile:
    # A name need not be UTF-8, but the name of a document must.
    label = str(Path(path)).encode("utf-8", "backslashreplace").decode()
    file = DataFile(Path(path), label, 0)
    return replace(file, size=regular_size(path)) if file.kind else file


def regular_size(path: str | Path) -> int:
    """Bytes of a file; raises ``OSError`` for a pipe or a device, which may give none or never end."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return found.st_size
