"""What a URL in a recipe leads to: a file, all files below a folder, or those that match a glob."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from fsspec.config import conf
from fsspec.core import url_to_fs
from fsspec.implementations.arrow import ArrowFSWrapper
from fsspec.utils import glob_translate

from plm_data.errors import RecipeError, SourceError
from plm_data.sources.remote import Remote, is_http, remote_file, retried

# A store answers each question about a file after a round trip, so several are asked at a time.
_QUESTIONS = 16
# Folders within folders; no corpus has so many.
_DEEPEST = 100


class _S3(ArrowFSWrapper):
    """Arrow's S3 client as fsspec's file system, with the object's ETag and version among what is said of a file."""

    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return re.sub("^s3a?://", "", path).rstrip("/")

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        entry: dict[str, Any] = super().info(path, **options)
        if entry["type"] == "file":
            with self.fs.open_input_file(entry["name"]) as file:
                told = {str(name).lower(): bytes(value).decode() for name, value in file.metadata().items()}
            entry |= {name: told[name] for name in ("etag", "versionid") if told.get(name)}
        return entry


def _s3(bucket: str) -> _S3:
    """The S3 client that the environment describes: AWS's own variables, and FSSPEC_S3_ANON for public buckets."""
    from pyarrow.fs import S3FileSystem, resolve_s3_region

    options: dict[str, Any] = {}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise RecipeError(
                "AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) in the environment is not the URL of a server; expected "
                "http:// or https:// with a host and, if need be, a port, as in http://127.0.0.1:9000."
            )
        options |= {"scheme": parts.scheme, "endpoint_override": parts.netloc}
        region = region or "us-east-1"  # servers of one's own take any
    if str(conf.get("s3", {}).get("anon", "")).lower() in ("1", "true"):
        options["anonymous"] = True
    return _S3(S3FileSystem(region=region or retried(f"s3://{bucket}", resolve_s3_region, bucket), **options))


def open_location(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the URL's path in it. Raises ``RecipeError`` for one that none is there for."""
    scheme = urlsplit(url).scheme.lower()
    if scheme in ("s3", "s3a"):
        system = _s3(urlsplit(url).netloc)
        return system, system._strip_protocol(url)
    try:
        if scheme in ("http", "https"):
            from aiohttp import ClientTimeout

            # As it lies on the server: no compression on the way, which would move every byte; no limit on the whole.
            # Proxies, and passwords for hosts in ~/.netrc, are those of the environment.
            system, place = url_to_fs(
                url,
                headers={"Accept-Encoding": "identity"},
                client_kwargs={
                    "auto_decompress": False,
                    "trust_env": True,
                    "timeout": ClientTimeout(total=None, sock_connect=30, sock_read=60),
                },
            )
        else:
            system, place = url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise RecipeError(
            f"{url}: locations of {scheme}:// cannot be read here: {error}. Install what fsspec asks for, or name the "
            f"data by another location."
        ) from error
    return system, str(place)


def remote_files(url: str, wanted: Callable[[str], bool]) -> list[Remote]:
    """The files that a URL leads to, in the order of their names; ``wanted``: by a file's path, which of a folder's.

    Hidden files and folders are left out, as below a local folder.
    """
    system, place = open_location(url)
    found = list(_found(system, place, url))
    described = partial(retried, url, remote_file, system)
    alone = found == [place]
    with ThreadPoolExecutor(_QUESTIONS) as pool:
        return list(pool.map(described, sorted(name for name in found if alone or wanted(name))))


def _found(system: Any, place: str, url: str) -> Iterator[str]:
    magic = "*[" if is_http(system) else "*[?"  # a URL's query begins with a question mark
    first = min((at for mark in magic if (at := place.find(mark)) >= 0), default=-1)
    if first < 0 or (place[first] == "[" and "*" not in place):
        kind = _kind(system, place, url)
        if kind == "directory":
            yield from _below(system, place, None, None)
        if kind is not None:
            if kind == "file":
                yield place
            return
    if first >= 0:
        root, _, pattern = place[:first].rpartition("/")
        depth = None if "**" in place else (pattern + place[first:]).count("/") + 1
        yield from _below(
            system, f"{root}/" if is_http(system) else root, re.compile(glob_translate(place.rstrip("/"))), depth
        )


def _kind(system: Any, place: str, url: str) -> str | None:
    """``file`` or ``directory``, or None if there is neither. On the web only its end tells a folder from a file."""
    if is_http(system) and urlsplit(url).path.endswith("/"):
        return "directory"
    try:
        return "file" if retried(url, system.info, place)["type"] == "file" else "directory"
    except FileNotFoundError:
        return None


def _below(system: Any, folder: str, pattern: re.Pattern[str] | None, depth: int | None) -> Iterator[str]:
    """The files below a folder that match, or lie in a folder that does; all of them where there is no pattern.

    ``depth``: how many levels of names a match can have. fsspec's own ``find`` leaves out what it cannot list.
    """
    system.invalidate_cache()
    for entry in retried(str(system.unstrip_protocol(folder)), partial(system.ls, folder, detail=True)):
        name = str(entry["name"]).rstrip("/")
        last = name.rpartition("/")[2]
        # A page may link to itself or to what lies above it.
        if last.startswith(".") or name == folder.rstrip("/") or "/./" in name or "/../" in name:
            continue
        if name.count("/") > _DEEPEST:
            raise SourceError(
                f"{str(system.unstrip_protocol(name))[:200]}… lies more than {_DEEPEST} folders deep, as where a "
                f"server makes up its folders as they are asked for. Name the files themselves."
            )
        matches = pattern is None or pattern.match(name) is not None
        if entry["type"] != "directory":
            if matches:
                yield name
        elif matches:
            yield from _below(system, str(entry["name"]), None, None)
        elif depth is None or depth > 1:
            yield from _below(system, str(entry["name"]), pattern, None if depth is None else depth - 1)
