"""Archives (zip, tar and compressed tar) as streams of their members. Nothing is unpacked to disk.

A member's name is never a path here, only a label; what could lead a tool that does unpack out of its folder (``..``,
absolute names, links) is refused all the same, because its text is somebody's attack and no document.
"""

from __future__ import annotations

import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from plm_data.sources.base import Rejected
from plm_data.sources.data_files import DataFile
from plm_data.sources.file_bytes import BLOCK, BrokenFile, container, opened, reading

# An archive may unpack to this much whatever its ratio: a page of blanks is no attack.
_HARMLESS = 16 << 20
# Headers that tarfile reads whole: long names and attributes, which take a few thousand bytes.
_LARGEST_HEADER = 1 << 20
# Where a compressed tar breaks off, the read that fails takes with it what it had.
_TAR_BLOCK = 1 << 16
# Of bzip2 and LZMA zipfile unpacks all that one read of the file gives: a few kB become gigabytes at once.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADER_ERRORS: Any = tarfile  # names of the library that its types do not list
_DRIVE = re.compile(r"^[A-Za-z]:")
# ValueError: names that are not UTF-8, places before the beginning; NotImplementedError: kinds of zip not known;
# RecursionError: a tar's headers that are all about the next one.
_COMPLAINTS = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError,
    RecursionError,
)  # fmt: skip


@dataclass(frozen=True)
class Bounds:
    """What an archive may unpack to: so many times its own size, and so many bytes."""

    ratio: float
    bytes: int


class Budget:
    """The bytes that an archive may still unpack to; raises ``BrokenFile`` once there are none left."""

    def __init__(self, file: DataFile, bounds: Bounds):
        self._label = file.label
        by_ratio = bounds.bytes if file.size is None else max(_HARMLESS, int(file.size * bounds.ratio))
        self._left = min(bounds.bytes, by_ratio)
        self._detail = (
            f"it unpacks to more than {bounds.ratio:g} times its own size; max_archive_ratio allows more"
            if by_ratio < bounds.bytes
            else f"it unpacks to more than {bounds.bytes:,} bytes; max_archive_bytes allows more"
        )

    def allow(self, count: int) -> None:
        """Whether so many bytes may come."""
        if count > self._left:
            raise BrokenFile(self._label, self._detail)

    def spend(self, count: int) -> None:
        """So many bytes have come."""
        self._left -= count
        self.allow(0)


class _Counted:
    """A stream that is opened when it is read, and spends what is read of it."""

    def __init__(self, opens: Callable[[], Any], budget: Budget):
        self._opens, self._budget = opens, budget
        self._stream: Any = None
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        if self._stream is None:
            self._stream = self._opens()
        data = bytes(self._stream.read(size))
        self._budget.spend(len(data))
        return data

    def close(self) -> None:
        self.closed = True
        if self._stream is not None:
            self._stream.close()


@dataclass(frozen=True)
class Member:
    """A regular file in an archive. ``stream`` is good until the next member is asked for."""

    name: str
    label: str
    size: int
    stream: Any
    budget: Budget

    def blocks(self, codec: str | None = None) -> Iterator[bytes]:
        """Its bytes, unpacked once more if it is compressed itself; raises ``BrokenFile`` under its label."""
        with unpacking(lambda: self.label):
            if codec is None:
                while block := self.stream.read(BLOCK):
                    yield block
                return
            with pa.CompressedInputStream(pa.PythonFile(self.stream, mode="r"), codec) as stream:
                while block := stream.read(BLOCK):
                    self.budget.spend(len(block))
                    yield block


@contextmanager
def unpacking(where: Callable[[], str]) -> Iterator[None]:
    """What the archive libraries complain of, as ``BrokenFile``."""
    with container(where):
        try:
            yield
        except _COMPLAINTS as error:
            raise BrokenFile(where(), str(error).rstrip(".")[:200] or type(error).__name__) from error


def members(file: DataFile, bounds: Bounds) -> Iterator[Member | Rejected]:
    """The regular files of an archive in its order, and what is refused in it; folders are passed over.

    Raises ``BrokenFile`` where the archive breaks off, or would unpack to more than its bounds.
    """
    budget = Budget(file, bounds)
    with unpacking(lambda: file.label):
        if file.codec:
            with opened(file.path) as packed, pa.CompressedInputStream(packed, file.codec) as stream:
                yield from _tar_members(stream, file.label, budget)
            return
        with reading(file.path) as source:
            read = _zip_members if file.is_zip else _tar_members
            yield from read(source, file.label, budget)


def _labelled(archive: str, name: str) -> str:
    return f"{archive}!{name.encode('utf-8', 'backslashreplace').decode()}"


def _refusal(name: str) -> tuple[str, str] | None:
    """Why a member's name is refused."""
    plain = name.replace("\\", "/")
    if plain.startswith("/") or _DRIVE.match(plain):
        return "unsafe-name", "an absolute name"
    if ".." in plain.split("/"):
        return "unsafe-name", "a name with .."
    return None


class _TarInfo(tarfile.TarInfo):
    """A member as tarfile reads it, but in time and memory that its headers' bytes bound.

    Headers larger than any that is meant are not read. Of the others only name and size are taken, from sparse files
    not even that: they are refused. And a header that is none is the end of no archive.
    """

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Any:
        try:
            return super().fromtarfile(tar)
        except (_HEADER_ERRORS.InvalidHeaderError, _HEADER_ERRORS.TruncatedHeaderError) as error:
            raise tarfile.ReadError(f"{error} at byte {tar.offset:,}") from error

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if not self.isreg() and self.type not in _PLAIN_TYPES and self.size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]

    def _proc_pax(self, tar: Any) -> Any:
        fields = _pax_fields(tar.fileobj.read(self._block(self.size))[: self.size])  # type: ignore[attr-defined]
        member: Any = self.fromtarfile(tar)
        # What is said of all members that follow is no name and no size.
        if self.type == tarfile.XGLTYPE:
            return member
        if any(name.startswith("GNU.sparse.") for name in fields):
            member.sparse = []
        member.name = fields.get("GNU.sparse.name") or fields.get("path") or member.name
        if "size" in fields:
            member.size = int(fields["size"])
            if member.isreg() or member.type not in _PLAIN_TYPES:
                tar.offset = member.offset_data + member._block(member.size)
        return member

    def _proc_sparse(self, tar: Any) -> Any:
        more = self._sparse_structs[1]  # type: ignore[attr-defined]
        while more:
            block = tar.fileobj.read(tarfile.BLOCKSIZE)
            more = len(block) == tarfile.BLOCKSIZE and block[504]
        self.sparse: Any = []
        self.offset_data = tar.fileobj.tell()
        tar.offset = self.offset_data + self._block(self.size)  # type: ignore[attr-defined]
        return self


def _pax_fields(data: bytes) -> dict[str, str]:
    """The fields of an extended header: ``LENGTH NAME=VALUE``, each with a line end."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at]:
        length = data[at : at + 8].partition(b" ")[0]
        stop = at + int(length) if length.isdigit() else at
        name, equals, value = data[at + len(length) + 1 : stop].removesuffix(b"\n").partition(b"=")
        if not equals:
            raise tarfile.ReadError(f"an extended header that is none from its byte {at:,} on")
        fields[name.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        at = stop
    return fields


_PLAIN_TYPES = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)


def _tar_members(source: Any, archive: str, budget: Budget) -> Iterator[Member | Rejected]:
    stream: Any = _Counted(lambda: source, budget)
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_TAR_BLOCK, tarinfo=_TarInfo, errors="surrogateescape") as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header
            label = _labelled(archive, info.name)
            if info.isdir():
                continue
            if info.issym() or info.islnk():
                yield Rejected(label, "quarantined", "link", "a link to another file")
            elif not info.isreg():
                yield Rejected(label, "quarantined", "device", "a device or a pipe")
            elif info.issparse():
                yield Rejected(label, "quarantined", "sparse-file", "its size is no measure of what is stored")
            elif why := _refusal(info.name):
                yield Rejected(label, "quarantined", *why)
            else:
                yield Member(info.name, label, info.size, tar.extractfile(info), budget)


def _zip_members(source: Any, archive: str, budget: Budget) -> Iterator[Member | Rejected]:
    with zipfile.ZipFile(source) as packed:
        infos = packed.infolist()
        budget.allow(sum(info.file_size for info in infos))
        for info in infos:
            label = _labelled(archive, info.filename)
            mode = info.external_attr >> 16
            if info.is_dir():
                continue
            if stat.S_ISLNK(mode):
                yield Rejected(label, "quarantined", "link", "a link to another file")
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                yield Rejected(label, "quarantined", "device", "a device or a pipe")
            elif why := _refusal(info.filename):
                yield Rejected(label, "quarantined", *why)
            elif info.flag_bits & 1:
                yield Rejected(label, "quarantined", "encrypted", "its text cannot be read without a password")
            elif info.compress_type not in _METHODS:
                yield Rejected(label, "quarantined", "unknown-compression", f"method {info.compress_type}")
            else:
                stream = _Counted(partial(packed.open, info), budget)
                yield Member(info.filename, label, info.file_size, stream, budget)
                stream.close()
