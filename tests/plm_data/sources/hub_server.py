"""A small Hugging Face hub on loopback: the addresses and headers that its clients use, and faults on demand.

Large files lie on a second server, to which the first one redirects, as the hub's do.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

REVISION = "1" * 40
# Files of at least so many bytes are in large-file storage.
_LARGE = 1000
_PAGE = 3


@dataclass
class Fault:
    """What goes wrong with the next ``times`` answers to requests whose address holds ``where``.

    ``kind``: drop (the connection breaks after ``at`` bytes of the body), slow (the body comes in eight pieces, with
    ``at`` milliseconds between), status (``status`` instead of an answer), corrupt (byte ``at`` of the body is another), truncate (the body ends
    after ``at`` bytes, and the headers say so), longer and shorter (the headers say ``at`` bytes more or fewer than
    the body has).
    """

    kind: str
    where: str = "/blobs/"
    times: int = 1
    at: int = 0
    status: int = 500
    retry_after: str | None = None
    code: str | None = None


@dataclass
class Seen:
    """A request as the server got it, and the bytes of body that it sent."""

    method: str
    path: str
    storage: bool
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class HubServer:
    """``repositories``: (datasets or models, OWNER/NAME) → revision → file → its bytes; ``blobs``: sha256 → bytes.

    ``token``: what it must be shown. ``ranges``: whether it knows them. ``commit``: which it says its files are of.
    ``pages_url``: where it says the next pages of a list are.
    """

    repositories: dict[tuple[str, str], dict[str, dict[str, bytes]]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    token: str | None = None
    ranges: bool = True
    commit: str | None = None
    pages_url: str | None = None
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    url: str = ""
    storage_url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: str, files: dict[str, bytes], kind: str = "datasets", revision: str = REVISION) -> None:
        self.repositories.setdefault((kind, path), {})[revision] = files
        self.blobs.update((_sha256(data), data) for data in files.values())

    def fault(self, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.where in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def downloads(self) -> list[Seen]:
        """The requests for the bytes of large files."""
        return [each for each in self.seen if each.storage]


@contextmanager
def serving() -> Iterator[HubServer]:
    hub = HubServer()
    servers = []
    for storage in (False, True):
        handler = type("Handler", (_Handler,), {"hub": hub, "storage": storage})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
    hub.url, hub.storage_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@lru_cache
def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@lru_cache
def _entry(name: str, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": oid}
    if len(data) >= _LARGE:
        entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
    return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: HubServer
    storage: bool

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_GET

    def _handle(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.body = self.rfile.read(length) if length else b""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.request_seen = Seen(self.command, self.path, self.storage, headers)
        with self.hub.lock:
            self.hub.seen.append(self.request_seen)
        self.failing = self.hub.fault(self.path)
        if self.failing and self.failing.kind == "status":
            self._refuse(self.failing.status, self.failing.code, self.failing.retry_after)
        elif self.storage:
            self._blob()
        elif self.hub.token and headers.get("authorization") != f"Bearer {self.hub.token}":
            self._refuse(401)
        else:
            self._hub()

    def _hub(self) -> None:
        parts = urlsplit(self.path)
        api = re.fullmatch(r"/api/(datasets|models)/([^/]+/[^/]+)(/.+)?", parts.path)
        resolve = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path)
        if api:
            kind, path = api[1], api[2]
            what, revision, below = [*(api[3] or "/revision/main").split("/", 3)[1:], ""][:3]
        elif resolve:
            kind, path, what, revision, below = resolve[1] or "models", resolve[2], "resolve", resolve[3], resolve[4]
        else:
            self._refuse(404)
            return
        repository = self.hub.repositories.get((kind.rstrip("/"), path))
        if repository is None:
            self._refuse(404, "RepoNotFound")
            return
        revision = next(iter(repository)) if revision == "main" else unquote(revision)
        if revision not in repository:
            self._refuse(404, "RevisionNotFound")
            return
        files = repository[revision]
        if what == "resolve":
            self._resolve(unquote(below), files, revision)
        elif what == "tree":
            self._tree(parts.path, parts.query, unquote(below), files)
        elif what == "paths-info":
            asked = json.loads(self.body) if self.body[:1] == b"{" else parse_qs(self.body.decode())
            names = [asked["paths"]] if isinstance(asked["paths"], str) else asked["paths"]
            found = [_entry(name, files[name]) for name in names if name in files]
            folders = [n for n in names if n not in files and any(f.startswith(f"{n}/") for f in files)]
            self._json(found + [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in folders])
        else:
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": path, "sha": revision, "siblings": siblings, "private": False, "tags": []})

    def _tree(self, path: str, query: str, below: str, files: dict[str, bytes]) -> None:
        options = parse_qs(query)
        prefix = f"{below}/" if below else ""
        inside = sorted(name for name in files if name.startswith(prefix))
        entries = [_entry(name, files[name]) for name in inside]
        if options.get("recursive", ["false"])[0].lower() != "true":
            heads = {name.removeprefix(prefix).split("/")[0] for name in inside}
            entries = [
                _entry(prefix + head, files[prefix + head])
                if prefix + head in files
                else {"type": "directory", "path": prefix + head, "oid": "0" * 40, "size": 0}
                for head in sorted(heads)
            ]
        start = int(options.get("cursor", ["0"])[0])
        link = {}
        if start + _PAGE < len(entries):
            more = "&".join(f"{key}={value[0]}" for key, value in options.items() if key != "cursor")
            link = {"Link": f'<{self.hub.pages_url or self.hub.url}{path}?{more}&cursor={start + _PAGE}>; rel="next"'}
        self._json(entries[start : start + _PAGE], **link)

    def _resolve(self, name: str, files: dict[str, bytes], revision: str) -> None:
        if name not in files:
            self._refuse(404, "EntryNotFound")
            return
        data, entry = files[name], _entry(name, files[name])
        headers = {"X-Repo-Commit": self.hub.commit or revision, "Accept-Ranges": "bytes"}
        if "lfs" not in entry:
            self._body(data, {**headers, "ETag": f'"{entry["oid"]}"'})
            return
        sha256 = entry["lfs"]["oid"]
        linked = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{sha256}"', "ETag": f'"{sha256}"'}
        address = f"{self.hub.storage_url}/blobs/{sha256}?signature=signed-{quote(name, safe='')}"
        self._send(302, b"", {**headers, **linked, "Location": address})

    def _blob(self) -> None:
        sha256 = urlsplit(self.path).path.rsplit("/", 1)[-1]
        data = self.hub.blobs.get(sha256)
        if data is None:
            self._refuse(404)
        else:
            self._body(data, {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"})

    def _body(self, data: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.request_seen.range or "")
        if not asked or not self.hub.ranges:
            self._send(200, data, headers)
            return
        start, stop = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
        if start >= len(data):
            self._send(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
            return
        self._send(206, data[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})

    def _json(self, value: object, **headers: str) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

    def _refuse(self, status: int, code: str | None = None, retry_after: str | None = None) -> None:
        named = {"X-Error-Code": code, "Retry-After": retry_after}
        self._send(status, b"", {name: value for name, value in named.items() if value is not None})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        fault, length = self.failing, len(body)
        kind = fault.kind if fault and status < 300 else None
        if fault and kind == "corrupt":
            body = body[: fault.at] + bytes([body[fault.at] ^ 1]) + body[fault.at + 1 :]
        elif fault and kind == "truncate":
            body, length = body[: fault.at], fault.at
        elif fault and kind in ("longer", "shorter"):
            length += fault.at if kind == "longer" else -fault.at
        elif fault and kind == "drop":
            body = body[: fault.at]
        self.request_seen.status = status
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        step = max(1, len(body) // 8) if kind == "slow" else 1 << 16
        try:
            for at in range(0, len(body), step):
                self.wfile.write(body[at : at + step])
                self.request_seen.sent += len(body[at : at + step])
                if fault and kind == "slow":
                    time.sleep(fault.at / 1000)
            self.wfile.flush()
        except OSError:  # the client has what it wants
            self.close_connection = True
        if kind in ("drop", "longer", "shorter"):
            self.close_connection = True
