"""A tree of source code: a document a file, named by its place in the tree, with the licence that the tree states.

What is no work of the tree's authors is left out, with its reason: folders of other people's code, lock files, what a
machine has written, and what is no text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from plm_data.errors import RecipeError, SourceError
from plm_data.locations import is_remote
from plm_data.recipe_sources import SourceTreeSource
from plm_data.sources.archives import Bounds, Member, members
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.data_files import DataFile
from plm_data.sources.file_bytes import BrokenFile, content_of, reading
from plm_data.sources.languages import (
    LANGUAGES,
    is_binary,
    language_of,
    lock_file,
    passed_over,
    written_by_machine,
)
from plm_data.sources.remote import Remote
from plm_data.sources.tree_licences import MOST_BYTES, TreeLicences, states_license
from plm_data.store import digest
from plm_data.text.hashing import document_id, partition_of


@dataclass(frozen=True)
class _Entry:
    """A file of a folder; ``name`` is its place in the tree."""

    name: str
    path: Path | Remote
    size: int


class SourceTreeReader:
    """The files of a folder are dealt out to the pieces by their ids; an archive, which is a stream, is one piece's."""

    def __init__(self, name: str, spec: SourceTreeSource):
        self.name, self.spec = name, spec
        if unknown := sorted(set(spec.languages) - LANGUAGES):
            raise RecipeError(
                f"sources.{name}.languages names {', '.join(unknown)}, which the reader does not know; known: "
                f"{', '.join(sorted(LANGUAGES))}."
            )

    @cached_property
    def _tree(self) -> DataFile | list[_Entry | Rejected]:
        """The archive, or what lies in the folder."""
        path = self.spec.path
        try:
            tree = _remote_tree(path) if is_remote(path) else _local_tree(Path(path.removeprefix("file://")))
        except OSError as error:
            raise RecipeError(
                f"sources.{self.name}.path: {error.filename or path} cannot be read: {error.strerror or error}."
            ) from error
        if tree is None:
            raise RecipeError(
                f"sources.{self.name}.path: {path} is no folder and no archive; expected a folder of source code, or "
                f".zip, .tar, .tar.gz, .tgz or .tar.zst."
            )
        return tree

    def fingerprint(self) -> str:
        return digest([self._contents, sorted(self.spec.languages), self.spec.max_document_bytes])

    @cached_property
    def _contents(self) -> dict[str, str]:
        tree = self._tree
        if isinstance(tree, DataFile):
            return {tree.label: content_of(tree.path)}
        return {
            entry.name: entry.reason
            if isinstance(entry, Rejected)
            else content_of(entry.path)
            if self._is_read(entry.name)
            else "not read"
            for entry in tree
        }

    def contents(self) -> dict[str, str]:
        return self._contents

    def check_unchanged(self, fingerprint: str) -> None:
        """Raise ``SourceError`` if a remote tree, whose store says so without its being read, is another one by now."""
        tree = self._tree
        paths = [tree.path] if isinstance(tree, DataFile) else [e.path for e in tree if isinstance(e, _Entry)]
        told = all(isinstance(path, Remote) and path.by_content for path in paths)
        if told and is_remote(self.spec.path) and self.fingerprint() != fingerprint:
            raise SourceError(
                f"sources.{self.name}: {self.spec.path} changed since the build began. Run the same command again to "
                f"read it as it is now."
            )

    def size_bound(self) -> int | None:
        """Bytes of the files that may be documents; None for an archive: nobody knows before it is read."""
        if isinstance(self._tree, DataFile):
            return None
        return sum(e.size for e in self._tree if isinstance(e, _Entry) and self._not_wanted(e.name) is None)

    def read(self, partition: int, partitions: int) -> Iterator[Raw | Rejected]:
        try:
            if isinstance(self._tree, DataFile):
                if partition == 0:
                    yield from self._read_archive(self._tree)
                return
            licences = TreeLicences()
            for entry in self._tree:
                if isinstance(entry, _Entry) and states_license(entry.name):
                    licences.add(entry.name, _beginning(entry.path, MOST_BYTES))
            for entry in self._tree:
                if partition_of(document_id(self.name, entry.name), partitions) == partition:
                    yield (
                        entry
                        if isinstance(entry, Rejected)
                        else self._document(entry.name, partial(_beginning, entry.path), licences)
                    )
        except BrokenFile as error:
            raise SourceError(
                f"sources.{self.name}: {error.where} is broken: {error.detail}. Mend it, or unpack it to a folder."
            ) from error
        except OSError as error:
            raise SourceError(
                f"sources.{self.name}: {error.filename or self.spec.path} cannot be read: {error.strerror or error}."
            ) from error

    def _is_read(self, name: str) -> bool:
        return states_license(name) or self._not_wanted(name) is None

    def _not_wanted(self, name: str) -> tuple[str, str] | None:
        """Why a file is left out for its name."""
        last = name.rpartition("/")[2]
        if last.startswith("."):
            return "hidden", "a hidden file"
        if lock_file(last):
            return "lock-file", "a record of versions that a package manager writes"
        language = language_of(last)
        if language is None:
            return "unknown-language", "no language is known by this name"
        if self.spec.languages and language not in self.spec.languages:
            return "other-language", language
        return None

    def _document(self, name: str, beginning: Callable[[int], bytes], licences: TreeLicences) -> Raw | Rejected:
        """A file as a document, or why it is none; ``beginning``: gives so many of its first bytes."""
        if why := self._not_wanted(name):
            return Rejected(name, "dropped", *why)
        last, most = name.rpartition("/")[2], self.spec.max_document_bytes
        language = language_of(last) or ""
        data = beginning(most + 1)
        if is_binary(data):
            return Rejected(name, "dropped", "binary", "it has null bytes")
        if len(data) > most:
            return Rejected(name, "quarantined", "too-long", f"more than {most:,} bytes")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return Rejected(name, "quarantined", "invalid-utf8", f"byte {error.start + 1} of the file: {error.reason}")
        if not text.strip():
            return Rejected(name, "dropped", "empty-file", "")
        if why := written_by_machine(language, last, text):
            return Rejected(name, "dropped", *why)
        return Raw(name, text, licences.of(name, text))

    def _read_archive(self, file: DataFile) -> Iterator[Raw | Rejected]:
        """Twice over the stream: what states licences may come after what they are for."""
        licences = TreeLicences()
        for member in self._members(file):
            if isinstance(member, Member) and states_license(name := _plain(member.name)) and not _left_out(name):
                licences.add(name, _first(member, MOST_BYTES))
        told = set()
        for member in self._members(file):
            if isinstance(member, Rejected):
                yield member
                continue
            name = _plain(member.name)
            if folder := _left_out(name):
                if folder not in told:
                    told.add(folder)
                    yield _rejected_folder(folder)
                continue
            yield self._document(name, partial(_first, member), licences)

    def _members(self, file: DataFile) -> Iterator[Member | Rejected]:
        for member in members(file, Bounds(self.spec.max_archive_ratio, self.spec.max_archive_bytes)):
            # A name in the tree, not of the archive.
            yield (
                member
                if isinstance(member, Member)
                else Rejected(member.name.removeprefix(f"{file.label}!"), member.verdict, member.reason, member.detail)
            )
        if isinstance(file.path, Remote):
            file.path.check()


def _plain(name: str) -> str:
    """A member's name in the tree."""
    return name.removeprefix("./").encode("utf-8", "backslashreplace").decode()


def _first(member: Member, most: int) -> bytes:
    data = b""
    for block in member.blocks():
        data += block
        if len(data) >= most:
            break
    return data[:most]


def _beginning(path: Path | Remote, most: int) -> bytes:
    with reading(path) as file:
        data = file.read(most)
    if isinstance(path, Remote):
        path.check()
    return data


def _left_out(name: str) -> str | None:
    """The topmost folder in a name that is passed over."""
    parts = name.split("/")
    return next(("/".join(parts[: i + 1]) for i, part in enumerate(parts[:-1]) if passed_over(part)), None)


def _rejected_folder(folder: str) -> Rejected:
    reason = passed_over(folder.rpartition("/")[2]) or ""
    return Rejected(f"{folder}/", "dropped", reason, "a folder of this name, with all below it")


def _local_tree(root: Path) -> DataFile | list[_Entry | Rejected] | None:
    if root.is_dir():
        return sorted(_walk(root), key=lambda entry: entry.name)
    file = DataFile(root, str(root).encode("utf-8", "backslashreplace").decode(), root.stat().st_size)
    return file if file.kind == "archive" else None


def _walk(root: Path) -> Iterator[_Entry | Rejected]:
    """The files below a folder. Links are not followed: they may lead out of the tree."""
    for folder, folders, names in os.walk(root, onerror=_raise):
        prefix = "" if Path(folder) == root else Path(folder).relative_to(root).as_posix() + "/"
        prefix = prefix.encode("utf-8", "backslashreplace").decode()
        for name in [name for name in folders if passed_over(name)]:
            folders.remove(name)
            yield _rejected_folder(f"{prefix}{name}")
        for name in [*folders, *names]:
            path = Path(folder, name)
            shown = prefix + name.encode("utf-8", "backslashreplace").decode()
            if path.is_symlink():
                yield Rejected(shown, "dropped", "link", "a link to another file")
            elif name in names:
                if path.is_file():
                    yield _Entry(shown, path, path.stat().st_size)
                else:
                    yield Rejected(shown, "quarantined", "device", "a device or a pipe")


def _raise(error: OSError) -> None:
    raise error


def _remote_tree(url: str) -> DataFile | list[_Entry | Rejected] | None:
    from plm_data.sources.remote_listing import remote_files  # late: fsspec, which a local tree does without

    found = remote_files(url, lambda place: True)
    if len(found) == 1 and found[0].url.rstrip("/") == url.rstrip("/"):
        file = DataFile(found[0], found[0].url, found[0].size)
        return file if file.kind == "archive" else None
    entries: list[_Entry | Rejected] = []
    base, left_out = url.rstrip("/") + "/", set()
    for remote in found:
        name = remote.url.removeprefix(base)
        if folder := _left_out(name):
            left_out.add(folder)
        else:
            entries.append(_Entry(name, remote, remote.size or 0))
    return sorted([*entries, *map(_rejected_folder, left_out)], key=lambda entry: entry.name) if found else None
