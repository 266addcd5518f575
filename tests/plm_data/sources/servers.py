"""Servers on loopback: S3 as a process of its own, the web with faults on order, and a proxy that breaks connections."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote

import boto3


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def s3_process(key: str, secret: str) -> Iterator[str]:
    """moto's S3 server as a process; its endpoint."""
    port = free_port()
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "the S3 server did not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def s3_client(endpoint: str, key: str, secret: str):
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
    )


@dataclass
class Web:
    """Files under their paths, and what is to go wrong. ``served``: bytes given by path; ``asked``: requests."""

    files: dict[str, bytes]
    url: str = ""
    ranges: bool = True
    etags: bool = True
    sizes: bool = True
    # The next so many requests for a body break off after so many bytes, or are answered 503.
    breaks: int = 0
    break_after: int = 1000
    failures: int = 0
    served: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    # Called with the number of requests for bodies so far: a test changes files with it.
    on_body: object = None


@contextmanager
def web(files: dict[str, bytes], **options: object) -> Iterator[Web]:
    """An HTTP server of these files (``name`` or ``folder/name``)."""
    state = Web(files, **options)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = unquote(self.path).lstrip("/")
            state.asked.append((self.command, path, self.headers.get("Range", "")))
            if state.failures:
                state.failures -= 1
                self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
                return
            if path == "" or path.endswith("/"):
                names = {name.removeprefix(path).partition("/") for name in state.files if name.startswith(path)}
                links = "".join(f'<a href="{first}{slash}">x</a>' for first, slash, _ in sorted(names))
                self._send(HTTPStatus.OK, f'<a href="../">up</a>{links}'.encode(), body, {"Content-Type": "text/html"})
                return
            data = state.files.get(path)
            if data is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            headers = {"Content-Type": "application/octet-stream"}
            if state.etags:
                headers["ETag"] = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
            status = HTTPStatus.OK
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if wanted and state.ranges:
                start, end = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
                headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
                data, status = data[start : end + 1], HTTPStatus.PARTIAL_CONTENT
            self._send(status, data, body, headers, path)

        def _send(self, status: int, data: bytes, body: bool, headers: dict[str, str], path: str = "") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if state.sizes or not body:
                self.send_header("Content-Length", str(len(data)))
            else:
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if not body:
                return
            if callable(state.on_body):
                state.on_body(sum(command == "GET" for command, _, _ in state.asked))
            cut = len(data)
            if state.breaks and path and len(data) > state.break_after:
                state.breaks -= 1
                cut = state.break_after
            state.served[path] = state.served.get(path, 0) + cut
            if state.sizes:
                self.wfile.write(data[:cut])
            else:
                self.wfile.write(b"%x\r\n%s\r\n" % (cut, data[:cut]) + (b"0\r\n\r\n" if cut == len(data) else b""))
            if cut < len(data):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Proxy:
    """A TCP proxy. Of the next ``breaks`` answers of more than ``after`` bytes each is cut off there."""

    endpoint: str = ""
    breaks: int = 0
    after: int = 20_000
    broken: int = 0


@contextmanager
def proxy(endpoint: str) -> Iterator[Proxy]:
    """A proxy before an endpoint ``http://127.0.0.1:PORT``."""
    state = Proxy()
    port = int(endpoint.rpartition(":")[2])
    listening = socket.create_server(("127.0.0.1", 0))
    state.endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def pump(source: socket.socket, target: socket.socket, answers: bool) -> None:
        given = 0
        try:
            while data := source.recv(8192):
                given += len(data)
                if answers and state.breaks and given > state.after:
                    state.breaks, state.broken = state.breaks - 1, state.broken + 1
                    break
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, server, False), (server, client, True)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
