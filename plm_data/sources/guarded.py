"""A function of one page called in a process of its own, so that no page can hang a build, fill its memory or end it.

``python -m plm_data.sources.guarded MODULE:FUNCTION MEMORY`` is how it is started. The processor's time is what a page
is allowed, so that a busy machine decides nothing; a page that only waits is ended by the clock, much later.
"""

from __future__ import annotations

import importlib
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from plm_data.errors import SourceError

# Of the clock, for each second that the processor is allowed.
_PATIENCE = 10.0
_START_SECONDS = 120.0
_READY = b"ready"
# What a process needs to start; tokens and passwords are not for one that reads what strangers wrote.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")


@dataclass(frozen=True)
class Failed:
    """Why a call gave nothing; ``reason``: ``too-slow``, ``too-large``, ``extractor-crashed``, ``extractor-failed``."""

    reason: str
    detail: str


class Guarded:
    """``function(*arguments, body)`` of a module, called in a process that is made anew when a call ends it.

    ``max_seconds``: of the processor, a call; ``max_memory``: bytes of address space of the process.
    """

    def __init__(self, function: str, max_seconds: float, max_memory: int):
        self._function, self._max_seconds, self._max_memory = function, max_seconds, max_memory
        self._process: subprocess.Popen[bytes] | None = None
        self._calls = 0

    def __call__(self, arguments: list[Any], body: bytes) -> Any:
        """What the function returns (JSON-able), or ``Failed``.

        A process that has crashed or is out of memory may have been worn by the calls before; so what it was at is
        tried again in a new one.
        """
        worn = self._calls > 0
        result = self._call(arguments, body)
        if worn and isinstance(result, Failed) and result.reason in ("too-large", "extractor-crashed"):
            result = self._call(arguments, body)
        return result

    def close(self) -> None:
        """End the process. It ends by itself when the one that started it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process, self._calls = None, 0

    def _call(self, arguments: list[Any], body: bytes) -> Any:
        process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        self._calls += 1
        try:
            _send(process.stdin, orjson.dumps([self._max_seconds, arguments]), body)
            reply = _receive(process.stdout, _PATIENCE * self._max_seconds)
        except TimeoutError:
            self.close()
            return Failed("too-slow", f"waited for more than {_PATIENCE * self._max_seconds:g} seconds")
        except (EOFError, BrokenPipeError):
            code = process.wait()
            self.close()
            if code == -signal.SIGPROF:
                return Failed("too-slow", f"more than {self._max_seconds:g} seconds of the processor")
            return Failed("extractor-crashed", signal.Signals(-code).name if code < 0 else f"exit code {code}")
        found = orjson.loads(reply)
        if "result" in found:
            return found["result"]
        if found["reason"] == "too-large":
            # What is left of its memory is in pieces.
            self.close()
            return Failed("too-large", f"more than {self._max_memory:,} bytes of memory")
        return Failed(found["reason"], found["detail"])

    def _started(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-P", "-m", __name__, self._function, str(self._max_memory)]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
            )
            self._process, self._calls = process, 0
            assert process.stdout is not None
            try:
                ready = _receive(process.stdout, _START_SECONDS)
            except (EOFError, TimeoutError):
                ready = b""
            if ready != _READY:
                self.close()
                errors.seek(0)
                said = errors.read().decode("utf-8", "replace").strip().splitlines()
                raise SourceError(
                    f"the process that extracts the text of pages ({self._function}) does not start: "
                    f"{said[-1] if said else 'it says nothing'}. Install what it names, or give it more max_memory."
                )
        return process


def _send(pipe: Any, *parts: bytes) -> None:
    data = memoryview(b"".join([len(part).to_bytes(8, "little") + part for part in parts]))
    while data:
        data = data[pipe.write(data) :]


def _receive(pipe: Any, seconds: float) -> bytes:
    """A part that was sent; raises ``TimeoutError``, or ``EOFError`` if the other side is gone."""
    until = time.monotonic() + seconds
    return _exactly(pipe, int.from_bytes(_exactly(pipe, 8, until), "little"), until)


def _exactly(pipe: Any, size: int, until: float) -> bytes:
    parts = []
    while size:
        if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            raise TimeoutError
        if not (part := os.read(pipe.fileno(), min(size, 1 << 20))):
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def main() -> None:
    """Answer calls from standard input on standard output, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # What libraries print must not get among the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    memory = int(sys.argv[2])
    module, name = sys.argv[1].split(":")
    function = getattr(importlib.import_module(module), name)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    _send(answers, _READY)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    while (call := _next_call(sys.stdin.buffer)) is not None:
        seconds, arguments, body = call
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = _answer(function, arguments, body)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(answers, answer)


def _answer(function: Any, arguments: list[Any], body: bytes) -> bytes:
    try:
        return orjson.dumps({"result": function(*arguments, body)})
    except MemoryError:
        return orjson.dumps({"reason": "too-large"})
    except Exception as error:
        return orjson.dumps({"reason": "extractor-failed", "detail": _printable(error)})


def _printable(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200].encode("unicode_escape").decode()


def _next_call(pipe: BinaryIO) -> tuple[float, list[Any], bytes] | None:
    parts = []
    for _ in range(2):
        size = pipe.read(8)
        if len(size) < 8:
            return None
        parts.append(pipe.read(int.from_bytes(size, "little")))
    seconds, arguments = orjson.loads(parts[0])
    return seconds, arguments, parts[1]


if __name__ == "__main__":
    main()
