"""Files that lie elsewhere: any location that fsspec knows, by blocks that a dropped connection does not lose.

Credentials come from the environment or from the libraries' own configuration; none is ever part of a location.
"""

from __future__ import annotations

import errno
import io
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from plm_data.errors import PlmError, SourceError
from plm_data.locations import redacted
from plm_data.store import digest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")

# One request's worth: large enough that the round trip does not count, small enough to be asked for again.
BLOCK = 4 << 20
# For what is short: what a Parquet file says at its end, and where a line begins.
SMALL_BLOCK = 128 << 10
# Columns of a Parquet row group are read side by side, each at its own place.
_HELD_BLOCKS = 8
# Waits of 0.5, 1, 2, 4 and 8 seconds lie between the tries.
_TRIES, _PAUSE = 6, 0.5

_LASTING = (PlmError, ImportError, FileNotFoundError, PermissionError, IsADirectoryError, ValueError, TypeError)
_REFUSED = re.compile(r"ACCESS_DENIED|NO_SUCH|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT|HTTP status 4(?!08|29)\d\d")

# Facts of a file by which stores know its content, and those that only say when it was written; in lower case.
_BY_CONTENT = ("etag", "versionid", "generation", "md5hash", "content-md5", "blob_id", "checksum")
_BY_TIME = ("mtime", "lastmodified", "last-modified", "last_modified", "updated", "created")


def _status(error: BaseException) -> int | None:
    for name in ("status", "code", "status_code"):
        if isinstance(value := getattr(error, name, None), int):
            return value
    return None


def _cause(error: BaseException) -> BaseException:
    """fsspec says of whatever kept it from an HTTP file that there is no such file; the cause knows better."""
    return error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error


def _is_transient(error: BaseException) -> bool:
    if (status := _status(error)) is not None:
        return status >= 500 or status in (408, 425, 429)
    return not isinstance(error, _LASTING) and not _REFUSED.search(str(error))


def retried(what: str, action: Callable[..., T], *arguments: Any) -> T:
    """What an action gives, tried again after growing pauses while what keeps it from that may pass.

    Raises ``OSError`` (with a number) that names ``what``; no URL in its text has a query.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return action(*arguments)
        except PlmError:
            raise
        except Exception as error:
            cause = _cause(error)
            if isinstance(cause, FileNotFoundError) or _status(cause) == 404:
                raise FileNotFoundError(errno.ENOENT, "no such file", what) from None
            text = " ".join(redacted(f"{type(cause).__name__}: {cause}").split())[:300].rstrip(".")
            if not _is_transient(cause):
                raise OSError(errno.EACCES, text, what) from None
            if attempt == _TRIES:
                raise OSError(errno.EIO, f"{text} (tried {_TRIES} times)", what) from None
        time.sleep(_PAUSE * 2 ** (attempt - 1))
    raise AssertionError("the last try returns or raises")


@dataclass(frozen=True)
class Remote:
    """A file that is not on this machine, as it was when it was listed.

    ``version``: the store's facts by which a change is noticed; ``by_content``: they change with every change of the
    content. ``size`` is None where nobody says. ``ranges``: any stretch of it can be asked for.
    """

    system: Any = field(repr=False, compare=False)
    place: str
    url: str
    size: int | None
    version: str
    by_content: bool
    ranges: bool = True

    def open(self, block: int | None = None, end: int | None = None) -> io.BufferedReader:
        """The file's bytes, which are asked for by ``block``, and as if they ended at ``end``. Not thread-safe."""
        known = [each for each in (self.size, end) if each is not None]
        return io.BufferedReader(RemoteStream(self, block or BLOCK, min(known, default=None)), 1 << 16)

    def check(self) -> None:
        """Raise ``SourceError`` if the file is no longer the one that was listed."""
        now = retried(self.url, remote_file, self.system, self.place, self.ranges)
        if (now.size, now.version) != (self.size, self.version):
            raise SourceError(
                f"{self.url} changed while it was read: it had {_told(self)}, and now has {_told(now)}. Run the same "
                f"command again to read it as it is now; a corpus that is still being written cannot be reproduced."
            )


def _told(file: Remote) -> str:
    size = "an unknown size" if file.size is None else f"{file.size:,} bytes"
    return f"{size} and {file.version or 'no ETag or time'}"


def remote_file(system: Any, place: str, ranges: bool | None = None) -> Remote:
    """A file as its store describes it now. ``ranges``: whether stretches can be asked for, where it is known."""
    system.invalidate_cache()
    info = system.info(place)
    facts = {str(name).lower(): str(value) for name, value in info.items() if value}
    # A weak ETag (RFC 9110, 8.8.1) may stay when the bytes change.
    strong = {k: facts[k] for k in _BY_CONTENT if k in facts and not facts[k].startswith("W/")}
    told = strong or {k: facts[k] for k in _BY_TIME if k in facts}
    size = info.get("size")
    if ranges is None:
        ranges = size is not None and info.get("partial", True) and _gives_ranges(system, place, size)
    version = ", ".join(f"{k} {v}" for k, v in told.items())
    return Remote(system, place, str(system.unstrip_protocol(place)), size, version, bool(strong), ranges)


def with_remote_state(fingerprint: str, paths: Sequence[Path | Remote]) -> str:
    """A fingerprint, and behind a colon what the stores say of the remote files among those that it is of."""
    return ":".join(filter(None, (fingerprint, _state(paths))))


def refuse_changed(asked_by: str, fingerprint: str, paths: Sequence[Path | Remote]) -> None:
    """Raise ``SourceError`` if the stores say another thing of the remote files now than in a fingerprint."""
    if fingerprint.partition(":")[2] != _state(paths):
        remote = [path.url for path in paths if isinstance(path, Remote)]
        named = ", ".join(remote[:3]) + (f" and {len(remote) - 3} more" if len(remote) > 3 else "")
        raise SourceError(
            f"{asked_by}: files of {named} changed since the build began. Run the same command again to read them as "
            f"they are now."
        )


def _state(paths: Sequence[Path | Remote]) -> str:
    remote = [path for path in paths if isinstance(path, Remote)]
    return digest([[each.url, each.size, each.version if each.by_content else ""] for each in remote]) if remote else ""


def is_http(system: Any) -> bool:
    """Whether a file system is the web's, which has no folders of its own and need not give ranges."""
    return "http" in system.protocol if isinstance(system.protocol, tuple) else system.protocol == "http"


def _gives_ranges(system: Any, place: str, size: int) -> bool:
    """Whether a web server gives the stretch that is asked for; every other store does."""
    if not is_http(system) or size < 2:
        return True
    try:
        with _opened(system, place, size) as file:
            file.seek(size - 1)
            return len(file.read(1)) == 1
    except ValueError:  # fsspec's word for an answer that is not the stretch that it asked for
        return False


def _opened(system: Any, place: str, size: int | None) -> Any:
    known = {"size": size} if is_http(system) else {}
    return system.open(place, "rb", block_size=BLOCK, cache_type="none", **known)


class RemoteStream(io.RawIOBase):
    """A remote file's bytes. What was read last is held in blocks; a break is taken up at the byte where it came."""

    def __init__(self, remote: Remote, block: int, end: int | None):
        super().__init__()
        self._remote, self._size, self._end, self._at = remote, block, end, 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._handle: Any = None
        self._handle_at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._end is None:
            raise io.UnsupportedOperation("the server does not say how long the file is")
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end or 0}[whence]
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        number, skip = divmod(self._at, self._size)
        target = memoryview(buffer)
        piece = memoryview(self._block(number))[skip : skip + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        self._let_go()
        super().close()

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        start = number * self._size
        length = self._size if self._end is None else min(self._size, self._end - start)
        read = self._range if self._remote.ranges else self._next
        block = bytearray()
        while len(block) < length:
            piece = retried(self._remote.url, read, start + len(block), length - len(block))
            if not piece:  # only a file of unknown size may end here
                break
            block += piece
        self._blocks[number] = bytes(block)
        if len(self._blocks) > _HELD_BLOCKS:
            self._blocks.popitem(last=False)
        return self._blocks[number]

    def _range(self, at: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``at``, at least one."""
        try:
            if self._handle is None:
                self._handle = _opened(self._remote.system, self._remote.place, self._remote.size)
            self._handle.seek(at)
            data = bytes(self._handle.read(length))
            if not data:
                raise ConnectionError(f"no bytes came from byte {at:,} on")
        except BaseException:
            self._let_go()
            raise
        return data

    def _next(self, at: int, length: int) -> bytes:
        """The same of a server that gives a file from its beginning only: what lies before is read and let go."""
        try:
            if self._handle is None or self._handle_at > at:
                self._let_go()
                self._handle, self._handle_at = self._remote.system.open(self._remote.place, "rb", block_size=0), 0
            while self._handle_at <= at:
                wanted = length if self._handle_at == at else min(BLOCK, at - self._handle_at)
                data = bytes(self._handle.read(wanted))
                if not data and (self._handle_at < at or self._remote.size is not None):
                    raise ConnectionError(f"no bytes came from byte {self._handle_at:,} on")
                self._handle_at += len(data)
                if not data:
                    break
        except BaseException:
            self._let_go()
            raise
        return data

    def _let_go(self) -> None:
        if self._handle is not None:
            with suppress(Exception):  # of a broken connection nothing more is wanted
                self._handle.close()
        self._handle = None
