"""A repository of the Hugging Face hub at one commit: its files listed, downloaded whole, or read in part.

huggingface_hub lists and downloads too, but it checks no hash, takes a token from files as well as from the
environment, and waits as it likes; so only the hub's addresses and headers are shared with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx2
from tqdm import tqdm

from plm_data.errors import RecipeError, SourceError
from plm_data.sources.http import Http, HttpError
from plm_data.store import digest, file_sha256, locked, write_json
from plm_data.text.printable import clip

# Seconds before a download shows a bar.
_BAR_AFTER = 3.0


@dataclass(frozen=True, order=True)
class HubFile:
    """A file as the hub lists it: by ``sha256`` if it lies in large-file storage, else by git's hash, the ``oid``."""

    name: str
    size: int
    oid: str
    sha256: str | None

    @property
    def checksum(self) -> str:
        return self.sha256 or self.oid

    def is_in(self, path: Path) -> bool:
        """Whether a local file holds just the same bytes."""
        if path.stat().st_size != self.size:
            return False
        if self.sha256:
            return file_sha256(path) == self.sha256
        git = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        git.update(path.read_bytes())  # small, or it would have a sha256
        return git.hexdigest() == self.oid


class Repository:
    """``asked_by``: what the recipe calls it, for errors. The token is HF_TOKEN, and nothing but requests has it."""

    def __init__(self, asked_by: str, kind: Literal["datasets", "models"], path: str, revision: str):
        self.asked_by, self.kind, self.path, self.revision = asked_by, kind, path, revision
        self._endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        if not _is_address(self._endpoint):
            # Not the value: an address can hold a password.
            raise RecipeError(f"{asked_by}: HF_ENDPOINT is not the address of a hub; expected https://HOST.")
        self._cache = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser() / "plm"

    @cached_property
    def _http(self) -> Http:
        token = os.environ.get("HF_TOKEN", "").strip()
        if not re.fullmatch(r"[\x21-\x7e]*", token):
            raise RecipeError(f"{self.asked_by}: HF_TOKEN holds a character that no token has; set it anew.")
        return Http(self._endpoint, token or None)

    @cached_property
    def files(self) -> list[HubFile]:
        """Every file, in the order of their names."""
        return [
            HubFile(**entry) for entry in self.once("files", lambda: [asdict(file) for file in sorted(self._list())])
        ]

    def once(self, what: str, ask: Callable[[], Any]) -> Any:
        """What ``ask`` gives, a JSON value, kept in the cache: a commit never changes, so it is asked for once.

        Of each hub for itself: what one says wrongly, another may say right.
        """
        kept = self._cache / f"{digest([self._endpoint, self.kind, self.path, self.revision, what])}.json"
        with suppress(FileNotFoundError, ValueError):
            return json.loads(kept.read_text(encoding="utf-8"))
        value = ask()
        with self._writing():
            self._cache.mkdir(parents=True, exist_ok=True)
            write_json(kept, value)
        return value

    def _list(self) -> Iterator[HubFile]:
        page: str | None = f"{self._endpoint}/api/{self.kind}/{self.path}/tree/{self.revision}?recursive=true"
        asked = set[str]()
        while page:
            try:
                if page in asked:
                    raise ValueError("its pages go round")
                asked.add(page)
                entries, page = self._http.json(page)
                yield from [_listed(entry) for entry in entries if entry["type"] == "file"]
            except HttpError as error:
                raise self._error(error, "the list of its files") from error
            except (KeyError, TypeError, ValueError) as error:
                raise SourceError(
                    f"{self.asked_by}: {self._host} lists the files of {self.path} in a form that is not the hub's; "
                    f"see that HF_ENDPOINT is a hub."
                ) from error

    def stream(self, file: HubFile, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of a file from ``start`` to ``stop``."""
        prefix = "datasets/" if self.kind == "datasets" else ""
        url = f"{self._endpoint}/{prefix}{self.path}/resolve/{self.revision}/{quote(file.name)}"
        try:
            yield from self._http.stream(url, start, stop, file.size, lambda response: self._moved(file, response))
        except HttpError as error:
            raise self._error(error, clip(file.name, 200)) from error

    def download(self, file: HubFile, suffix: str) -> Path:
        """A file of the cache with the bytes that the hub lists, named by their hash; fetched if it is not there.

        What another run left of it is gone on from. Raises ``SourceError`` if the bytes come twice and are others.
        """
        path = self._cache / f"{file.checksum}{suffix}"
        part = path.with_name(f"{path.name}.part")
        with self._writing(), locked(path.with_name(f"{path.name}.lock")):
            if path.is_file():
                if file.is_in(path):
                    return path
                path.unlink()
            # What another run left may be broken, and so may what comes: a second time it is all fetched anew.
            for _ in range(2):
                self._fill(part, file)
                if file.is_in(part):
                    os.replace(part, path)
                    return path
                part.unlink()
        raise SourceError(
            f"{self.asked_by}: {clip(file.name, 200)} of {self.path}: what {self._host} sends has not the hash that it "
            f"lists ({file.checksum}), twice in a row. Try again later, or set HF_ENDPOINT to another hub."
        )

    def _fill(self, part: Path, file: HubFile) -> None:
        """Add to what there is of a file what is still missing."""
        have = part.stat().st_size if part.is_file() else 0
        if have > file.size:
            have = 0
        # None: on a terminal only.
        bar = tqdm(
            total=file.size, initial=have, desc=clip(file.name, 40), unit="B", unit_scale=True, delay=_BAR_AFTER,
            disable=None, leave=False,
        )  # fmt: skip
        with part.open("r+b" if have else "wb") as out, bar:
            out.seek(have)
            for block in self.stream(file, have, file.size):
                out.write(block)
                bar.update(len(block))

    @contextmanager
    def sliced(self, file: HubFile, ranges: list[tuple[int, int]], suffix: str) -> Iterator[Path]:
        """A local file as long as the hub's, with only some ranges of its bytes; it takes no more room than these."""
        with tempfile.TemporaryDirectory(prefix="plm-hub-") as folder:
            path = Path(folder) / f"slices{suffix}"
            with self._writing(), path.open("wb") as out:
                out.truncate(file.size)
                for start, stop in ranges:
                    out.seek(start)
                    for block in self.stream(file, start, stop):
                        out.write(block)
            yield path

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SourceError(
                f"{self.asked_by}: {error.filename or self._cache}: what comes from the hub cannot be kept: "
                f"{error.strerror or error}. Make room there, or set HF_HOME to a folder that can be written."
            ) from error

    @property
    def _host(self) -> str:
        parts = urlsplit(self._endpoint)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    def _moved(self, file: HubFile, response: httpx2.Response) -> str | None:
        """Whether the hub's own answer, which may refer to a storage, is of another commit or another file."""
        headers = (response.history or [response])[0].headers
        commit, linked = headers.get("x-repo-commit"), headers.get("x-linked-etag", "").strip('"')
        if commit not in (None, self.revision):
            return f"it is of the commit {clip(commit, 40)}, not of the revision asked for"
        if linked not in ("", file.checksum):
            return f"it has the hash {clip(linked, 64)}, where {file.checksum} is listed"
        return None

    def _error(self, error: HttpError, what: str) -> SourceError:
        where, token = f"{self.asked_by}: {self._host}", bool(os.environ.get("HF_TOKEN"))
        again = "Run the same command again later: what has come is kept."
        if error.code == "RevisionNotFound":
            said = f"{where} has no revision {self.revision} of {self.path}. Name a commit that it has."
        elif error.code == "RepoNotFound" or error.status == 401:
            asked = "the token in HF_TOKEN may not see it" if token else "it wants a token (set HF_TOKEN)"
            said = f"{where} shows no {self.kind[:-1]} {self.path}: there is none, or {asked}."
        elif error.status == 403:
            said = (
                f"{where} refuses {self.path}: accept its terms on its page there, and set HF_TOKEN to a token that "
                f"may read it."
            )
        elif error.status is None:
            said = f"{where} does not give {what} of {self.path}: {error}. {again}"
        else:
            said = f"{where} does not give {what} of {self.path} at {self.revision}: {error}. See that it has it."
        return SourceError(said)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _listed(entry: dict[str, Any]) -> HubFile:
    """An entry of the hub's list; raises ``ValueError`` where a hash is none: files are named by them here."""
    lfs = entry.get("lfs")
    file = HubFile(str(entry["path"]), int(entry["size"]), entry["oid"], lfs["oid"] if lfs else None)
    if not re.fullmatch("[0-9a-f]{40}", file.oid) or not re.fullmatch("[0-9a-f]{64}", file.sha256 or "0" * 64):
        raise ValueError("not a hash")
    return file
