"""Runs generated code, where the user allows it, and says whether it passes its tests.

What is prevented, on Linux: more time, memory, open files and file sizes than `Limits`; with seccomp (x86-64 and
AArch64) new processes and threads, other programs, signals, sockets; with Landlock (Linux 5.13) reading any file but
Python's and the system's libraries, and writing any outside the run's own empty folder; with user namespaces the
capabilities of root and the user's network. The environment is empty, standard input too, output is thrown away, and
the standard library alone can be imported. `Outcome.held` says which of these held; elsewhere than on Linux it is the
limits alone, and code runs with the user's rights to files and network.

What is not prevented: an attack on the kernel itself; and the code shares its interpreter with its tests, so a program
written to forge a pass (one that searches the interpreter for the token that proves it) can. That is no matter of
safety, but a figure from a model that was trained to cheat proves nothing.
"""

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.errors import TrainerError

_CHILD = Path(__file__).with_name("sandbox_child.py")
_MOST_REPORTED = 4096  # bytes that are read from a run
PROTECTIONS = ("limits", "syscalls", "files", "namespaces")  # all that a run can be confined by


@dataclass(frozen=True)
class Limits:
    """What one run may use."""

    wall_seconds: int = 15
    cpu_seconds: int = 10
    memory_bytes: int = 1 << 30  # of address space
    file_bytes: int = 1 << 20  # of each file
    open_files: int = 32


@dataclass(frozen=True)
class Outcome:
    """Whether a solution passed; `reason` holds text of the generated code's making, so it is to be escaped."""

    passed: bool
    reason: str
    held: tuple[str, ...]  # the protections that were in force, out of `PROTECTIONS`


def run_tests(solution: str, tests: str, limits: Limits = Limits()) -> Outcome:
    """Run `solution`, then `tests` in its namespace, in a confined process of their own.

    It passes if both run to their end: one that leaves early, with whatever exit status, does not.

    Raises:
        TrainerError: the process could not be confined or started.
    """
    token = secrets.token_hex(16)
    request = {"solution": solution, "tests": tests, "token": token, "limits": asdict(limits)}
    with tempfile.TemporaryDirectory(prefix="plm-run-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            # isolated, without site-packages, and leaving no bytecode behind
            [sys.executable, "-I", "-S", "-B", str(_CHILD)],
            cwd=folder,
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            report, ended = _read(process, json.dumps(request).encode(), limits.wall_seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
    return _outcome(report, ended, token, process.returncode, limits)


def run_all(
    pairs: Sequence[tuple[str, str]],
    limits: Limits = Limits(),
    workers: int | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> list[Outcome]:
    """Run several (solution, tests), `workers` at a time (None: one a core); the outcomes are in their order."""

    def run(pair: tuple[str, str]) -> Outcome:
        outcome = run_tests(*pair, limits)
        progress(1)
        return outcome

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return list(pool.map(run, pairs))


def _read(process: subprocess.Popen[bytes], request: bytes, seconds: float) -> tuple[bytes, bool]:
    """Hand the request over and read the report; false if the time or the room for it ran out."""
    deadline = time.monotonic() + seconds
    assert process.stdin and process.stdout
    with contextlib.suppress(BrokenPipeError):  # it died at once: its report tells, or is missing
        process.stdin.write(request)  # the child reads it all before it runs any of it
        process.stdin.close()
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(received) < _MOST_REPORTED:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return received, False
            piece = os.read(process.stdout.fileno(), _MOST_REPORTED)
            if not piece:
                with contextlib.suppress(subprocess.TimeoutExpired):  # its status is known a moment later
                    process.wait(1)
                return received, True
            received += piece
    return received, False


def _outcome(report: bytes, ended: bool, token: str, status: int, limits: Limits) -> Outcome:
    first, _, rest = report.partition(b"\n")
    try:
        held = tuple(json.loads(first)["held"])
    except (ValueError, KeyError, TypeError):
        raise TrainerError(
            f"{_CHILD.name}: found exit status {status} and no report, expected the confined process to start; "
            f"run `{sys.executable} -I -S -c 'import resource, ctypes'` to see whether this Python can"
        ) from None
    if not ended:
        cause = "wrote too much" if len(report) >= _MOST_REPORTED else f"no end within {limits.wall_seconds} s"
        return Outcome(False, cause, held)
    if rest == token.encode():
        return Outcome(True, "passed", held)
    try:
        reason = str(json.loads(rest)["error"])
    except (ValueError, KeyError, TypeError):
        killed = -status if status < 0 else 0
        reason = f"killed by {signal.Signals(killed).name}" if killed else f"left before its tests, status {status}"
    return Outcome(False, reason, held)
