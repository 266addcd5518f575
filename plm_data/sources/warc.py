"""Web archives: the pages of WARC files as their main text, and the texts of WET files as they are."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property, lru_cache
from importlib import metadata
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from plm_data.errors import RecipeError, SourceError
from plm_data.locations import is_remote
from plm_data.recipe_sources import WarcSource
from plm_data.sources.archive_bytes import CODECS, archive_blocks
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.file_bytes import content_of
from plm_data.sources.files import regular_size, walk
from plm_data.sources.guarded import Failed, Guarded
from plm_data.sources.http_message import MAX_HEADER, BadMessage, charset_of, media_type, parse_response
from plm_data.sources.remote import Remote, refuse_changed, with_remote_state
from plm_data.sources.warc_records import Bad, Record, read_records
from plm_data.store import digest

if TYPE_CHECKING:
    # It runs in a process of its own, so it is not imported here; but a step's code version follows its imports.
    from plm_data.sources.page_text import Extract

ACCEPTED = ".warc or .wet, plain or with .gz or .zst"
_SUFFIXES = (".warc", ".wet")
# Records that hold a page, or its text; and those that hold none, which are counted.
_PAGES = frozenset({"response", "resource", "conversion"})
_OTHERS = frozenset({"request", "warcinfo", "metadata", "revisit", "continuation"})
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
# All pieces that share a file decompress it, which takes a hundredth of the time of the extraction.
_MOST_SHARES = 8
# Their versions may change a text.
_EXTRACTORS = ("trafilatura", "justext", "lxml", "lxml-html-clean", "resiliparse")


class WarcReader:
    """Divides the files, and the pages of a file where there are fewer files than pieces.

    A document's name is its page's address and the date of its capture, so that captures of one address stay apart.
    """

    def __init__(self, name: str, spec: WarcSource):
        self.name, self.spec = name, spec

    @cached_property
    def files(self) -> list[tuple[str, Path | Remote]]:
        """Label and path of every archive once, in the order of the labels, however many of the paths lead to it."""
        found: dict[str, tuple[str, Path | Remote]] = {}
        for pattern in self.spec.paths:
            try:
                archives = _remote(pattern) if is_remote(pattern) else list(_local(pattern.removeprefix("file://")))
            except OSError as error:
                raise self._unreadable(error.filename, error) from error
            if not archives:
                raise RecipeError(
                    f"sources.{self.name}.paths: {pattern} leads to no web archive (looked in {Path.cwd()}); "
                    f"expected {ACCEPTED}, or a folder of such files."
                )
            for place, label, file in archives:
                found[place] = min((label, file), found.get(place, (label, file)), key=itemgetter(0))
        return sorted(found.values(), key=itemgetter(0))

    @cached_property
    def _contents(self) -> dict[str, str]:
        contents = {name: metadata.version(name) for name in _EXTRACTORS}
        for label, path in self.files:
            try:
                if isinstance(path, Path):
                    regular_size(path)
                contents[label] = content_of(path)
            except OSError as error:
                raise self._unreadable(label, error) from error
        return contents

    def fingerprint(self) -> str:
        return with_remote_state(digest(self._contents), [path for _, path in self.files])

    def check_unchanged(self, fingerprint: str) -> None:
        """Raise ``SourceError`` if the remote files are other ones than at that fingerprint."""
        refuse_changed(f"sources.{self.name}", fingerprint, [path for _, path in self.files])

    def contents(self) -> dict[str, str]:
        return self._contents

    def size_bound(self) -> None:
        """Nobody knows how much of a page is text before it is extracted."""

    def read(self, piece: int, pieces: int) -> Iterator[Raw | Rejected]:
        most = min(_MOST_SHARES, -(-pieces // len(self.files)))
        # What is not here is fetched once.
        shares = {label: 1 if isinstance(path, Remote) else most for label, path in self.files}
        units = [(label, path, share) for label, path in self.files for share in range(shares[label])]
        for label, path, share in units[piece::pieces]:
            try:
                yield from self._read_share(label, path, share, shares[label])
            except OSError as error:
                raise self._unreadable(label, error) from error

    def _unreadable(self, label: str, error: OSError) -> SourceError:
        return SourceError(
            f"sources.{self.name}: {label} cannot be read: {error.strerror or error}. "
            f"Mend what keeps it from being read, or take it out of paths."
        )

    def _read_share(self, label: str, path: Path | Remote, share: int, shares: int) -> Iterator[Raw | Rejected]:
        """Every ``shares``-th page of a file; the first share tells of what is no page."""
        pages, others = 0, Counter[str]()
        for record in read_records(archive_blocks(path, label), self.spec.max_page_bytes + MAX_HEADER):
            if isinstance(record, Bad):
                if share == 0:
                    name = _name(record.fields) or f"{label}: record {record.number}"
                    yield Rejected(
                        name, "quarantined", record.reason, f"{label}, record {record.number}: {record.detail}"
                    )
                continue
            kind = record.fields.get("warc-type", "").lower()
            if kind not in _PAGES:
                others[kind if kind in _OTHERS else "unknown"] += 1
                continue
            pages += 1
            if pages % shares == share:
                yield self._page(label, record, kind)
        for kind, count in sorted(others.items()) if share == 0 else ():
            yield Rejected(f"{label}: {kind} records", "dropped", "not-a-page", f"{count:,} records")

    def _page(self, label: str, record: Record, kind: str) -> Raw | Rejected:
        where = f"{label}, record {record.number}"
        name = _name(record.fields)
        if name is None:
            return Rejected(f"{label}: record {record.number}", "quarantined", "broken-header", "no WARC-Target-URI")
        if record.block is None:
            detail = f"{where}: {record.length:,} bytes; max_page_bytes is {self.spec.max_page_bytes:,}"
            return Rejected(name, "quarantined", "too-long", detail)
        if "warc-segment-number" in record.fields:
            return Rejected(name, "quarantined", "segmented", f"{where}: one of several records that hold a page")
        try:
            if kind == "conversion":
                return self._text(name, record.fields, record.block)
            return self._html(name, record.fields, record.block, kind)
        except BadMessage as error:
            return Rejected(name, "quarantined", error.reason, f"{where}: {error.detail}")

    def _text(self, name: str, fields: dict[str, str], block: bytes) -> Raw | Rejected:
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            raise BadMessage("invalid-utf8", f"byte {error.start + 1}: {error.reason}") from error
        known = {"language": fields.get("warc-identified-content-language", "")}
        return self._document(name, fields, text, None, media_type(fields.get("content-type", "")), known)

    def _html(self, name: str, fields: dict[str, str], block: bytes, kind: str) -> Raw | Rejected:
        said = fields.get("content-type", "")
        if kind == "resource":
            content_type, charset, body = media_type(said), charset_of(said), block
        elif media_type(said) not in ("application/http", ""):
            return Rejected(name, "dropped", "not-html", media_type(said)[:80])
        else:
            response = parse_response(block)
            if response.status != 200:
                return Rejected(name, "dropped", "http-status", str(response.status))
            content_type, charset = response.content_type, response.charset
            if content_type and content_type not in _HTML:
                return Rejected(name, "dropped", "not-html", content_type[:80])
            body = response.body(self.spec.max_page_bytes)
        if content_type not in _HTML and (content_type or not _MARKUP.match(body)):
            return Rejected(name, "dropped", "not-html", content_type[:80] or "no content type, and no markup")
        mode: Extract = self.spec.extract
        found = _guarded(os.getpid(), self.spec.max_seconds, self.spec.max_memory)([mode, charset], body)
        if isinstance(found, Failed):
            return Rejected(name, "quarantined", found.reason, found.detail)
        return self._document(name, fields, found["text"], found["license"], content_type, found["facts"])

    def _document(
        self, name: str, fields: dict[str, str], text: str, license_name: str | None, content_type: str,
        known: dict[str, str],
    ) -> Raw | Rejected:  # fmt: skip
        if not text.strip():
            return Rejected(name, "dropped", "no-text", "nothing is left without what stands around the main text")
        known = {
            "url": _url(fields),
            "date": fields.get("warc-date", ""),
            "content_type": content_type,
            # Why the crawler cut the page off, where it did.
            "truncated": fields.get("warc-truncated", ""),
            **known,
        }
        return Raw(name, text, license_name or self.spec.license, {key: value for key, value in known.items() if value})


@lru_cache(maxsize=1)
def _guarded(process: int, max_seconds: float, max_memory: int) -> Guarded:
    """The extractor of this process (a number of one that it was forked from has another), kept from piece to piece."""
    return Guarded("plm_data.sources.page_text:page_text", max_seconds, max_memory)


def _url(fields: dict[str, str]) -> str:
    # Some writers follow the standard's grammar, which has the address in brackets.
    return fields.get("warc-target-uri", "").removeprefix("<").removesuffix(">")


def _name(fields: dict[str, str]) -> str | None:
    url = _url(fields)
    return f"{url} {fields.get('warc-date', '')}".rstrip() if url else None


def _local(pattern: str) -> Iterator[tuple[str, str, Path]]:
    """Place, label and path of the archives that a path or glob of this machine leads to."""
    # A file whose name has brackets is found by its name.
    for match in [pattern] if os.path.lexists(pattern) else glob.iglob(pattern, recursive=True):
        for name in walk(match) if os.path.isdir(match) else [match]:
            if _is_archive(name):
                label = str(Path(name)).encode("utf-8", "backslashreplace").decode()
                yield os.path.realpath(name), label, Path(name)


def _remote(url: str) -> list[tuple[str, str, Remote]]:
    from plm_data.sources.remote_listing import remote_files  # late: fsspec, which local files do without

    found = remote_files(url, lambda path: _is_archive(urlsplit(path).path))
    return [(file.url, file.url, file) for file in found if _is_archive(urlsplit(file.url).path)]


def _is_archive(name: str) -> bool:
    file = PurePosixPath(name)
    stem = file.with_suffix("") if file.suffix.lower() in CODECS else file
    return stem.suffix.lower() in _SUFFIXES
