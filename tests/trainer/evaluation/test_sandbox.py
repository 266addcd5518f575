"""Generated code passes only by passing its tests, and gets no further than it may."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from trainer.errors import TrainerError
from trainer.evaluation import sandbox
from trainer.evaluation.sandbox import Limits, Outcome, run_all, run_tests

TESTS = "assert add(2, 3) == 5\nassert add(-1, 1) == 0"
RIGHT = "def add(a, b):\n    return a + b\n"
QUICK = Limits(wall_seconds=3, cpu_seconds=1, memory_bytes=256 << 20)

linux = pytest.mark.skipif(sys.platform != "linux", reason="what confines besides the limits is Linux's")


def held(name: str) -> None:
    """Skip, saying so, where this kernel lacks a protection."""
    if name not in run_tests("", "").held:
        pytest.skip(f"this system does not confine by {name}")


def test_a_right_solution_passes_and_the_nearest_wrong_one_fails() -> None:
    assert run_tests(RIGHT, TESTS) == Outcome(True, "passed", run_tests(RIGHT, TESTS).held)
    wrong = run_tests(RIGHT.replace("a + b", "a - b"), TESTS)
    assert (wrong.passed, wrong.reason) == (False, "AssertionError: ")


@pytest.mark.parametrize(
    "early",
    [
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "import os; os._exit(0)",
        "quit()",
        "exit(0)",
        "import os; os.abort()",
    ],
)
def test_leaving_early_is_no_pass(early: str) -> None:
    for solution in (early, f"{RIGHT}\n{early}", f"def add(a, b):\n    {early}"):
        assert not run_tests(solution, TESTS).passed
    assert run_tests(f"{RIGHT}\ndef never():\n    {early}", TESTS).passed


@pytest.mark.parametrize("opening", ['x = """', "x = (", "if False:", "x = [\\", "def f():\n  '''"])
def test_a_solution_cannot_swallow_its_tests(opening: str) -> None:
    assert (
        "SyntaxError" in run_tests(f"{RIGHT}{opening}", TESTS).reason
        or "Indent" in run_tests(f"{RIGHT}{opening}", TESTS).reason
    )


def test_a_solution_cannot_end_the_tests_by_an_output() -> None:
    assert not run_tests(
        "import os\nfor fd in range(256):\n    try: os.write(fd, b'passed\\n')\n    except OSError: pass\nos._exit(0)",
        TESTS,
    ).passed


@pytest.mark.parametrize("name", ["exec", "compile", "AssertionError"])
def test_a_solution_cannot_put_its_own_builtins_in_the_tests_place(name: str) -> None:
    solution = f"import builtins\nbuiltins.{name} = lambda *a, **k: None\ndef add(a, b):\n    return 0\n"
    assert not run_tests(solution, TESTS).passed


def test_an_infinite_loop_is_stopped() -> None:
    started = time.monotonic()
    assert run_tests("while True: pass", TESTS, QUICK).reason in ("killed by SIGXCPU", "killed by SIGKILL")
    assert not run_tests("import time\ntime.sleep(60)", TESTS, Limits(wall_seconds=1)).passed
    assert time.monotonic() - started < 10


def test_a_memory_bomb_fails_alone() -> None:
    assert run_tests("x = bytearray(1 << 33)", TESTS, QUICK).reason == "MemoryError: "
    assert not run_tests("x = []\nwhile True: x.append('y' * 4096)", TESTS, QUICK).passed
    assert run_tests(f"x = bytearray(1 << 20)\n{RIGHT}", TESTS, QUICK).passed


def test_output_is_bounded_and_does_not_stop_a_right_solution() -> None:
    assert run_tests(f"for _ in range(10000): print('x' * 1000)\n{RIGHT}", TESTS).passed
    flood = "import os\nfor fd in range(3, 64):\n    try:\n        while True: os.write(fd, b'x' * 65536)\n    except OSError: pass"
    assert run_tests(flood, TESTS, QUICK).reason in ("wrote too much", "OSError: [Errno 27] File too large")


def test_standard_input_is_empty_and_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLM_TEST_SECRET", "hunter2")
    assert run_tests(RIGHT, f"{TESTS}\nimport os\nassert 'PLM_TEST_SECRET' not in os.environ").passed
    assert run_tests("input()", TESTS).reason.startswith("EOFError")


@linux
def test_the_environment_of_the_parent_cannot_be_read() -> None:
    if not {"files", "namespaces"} & set(run_tests("", "").held):
        pytest.skip("this system confines neither files nor namespaces")
    path = f"/proc/{os.getpid()}/environ"
    assert Path(path).read_bytes()
    outcome = run_tests(f"open({path!r}).read()", TESTS)
    assert outcome.reason.startswith(("PermissionError", "FileNotFoundError"))


@linux
def test_no_process_nor_program_is_started() -> None:
    held("syscalls")
    bomb = "import os\nwhile True: os.fork()"
    assert run_tests(bomb, TESTS, QUICK).reason == "PermissionError: [Errno 1] Operation not permitted"
    assert run_tests("import os\nos.execv('/bin/true', ['true'])", TESTS).reason.startswith("PermissionError")
    assert "start new thread" in run_tests("import threading\nthreading.Thread(target=print).start()", TESTS).reason
    assert not run_tests(f"import os\nos.kill({os.getpid()}, 0)", TESTS).passed
    assert not run_tests("import subprocess\nsubprocess.run(['true'])", TESTS).passed


@linux
def test_files_outside_the_run_are_neither_read_nor_written(tmp_path: Path) -> None:
    held("files")
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    assert run_tests(f"open({str(secret)!r}).read()", TESTS).reason.startswith("PermissionError")
    for attempt in (
        "open({!r}, 'w')",
        "import os; os.remove({!r})",
        "import os; os.truncate({!r}, 0)",
        "import os; os.chmod({!r}, 0)",
    ):
        assert run_tests(attempt.format(str(secret)), TESTS).reason.startswith("PermissionError"), attempt
    assert secret.read_text() == "hunter2"
    assert list(tmp_path.iterdir()) == [secret]


def test_the_run_has_an_empty_folder_that_is_gone_afterwards() -> None:
    outcome = run_tests(
        "import os\nassert os.listdir() == []\nopen('a', 'w').write('x')\nraise ValueError(os.getcwd())", ""
    )
    folder = Path(outcome.reason.removeprefix("ValueError: "))
    assert folder.name.startswith("plm-run-") and not folder.exists()
    big = run_tests("open('a', 'w').write('x' * (1 << 22))", "")
    assert not big.passed
    assert run_tests("open('a', 'w').write('x' * (1 << 10))", "").passed


@linux
def test_no_network() -> None:
    if not {"syscalls", "namespaces"} & set(run_tests("", "").held):
        pytest.skip("this system confines neither syscalls nor namespaces")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not run_tests(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)", "").passed


def test_the_standard_library_works_and_nothing_else_does() -> None:
    library = "import collections, dataclasses, decimal, functools, hashlib, heapq, itertools, math, random, re, string, typing\n"
    use = "hashlib.sha256(b'x'); random.random()\n@dataclasses.dataclass\nclass A:\n    x: int\nA(1)\n"
    assert run_tests(library + use, "").reason == "passed"
    assert run_tests("import torch", "").reason.startswith("ModuleNotFoundError")


def test_reasons_are_bounded() -> None:
    assert len(run_tests("raise ValueError('x' * 100000)", "").reason) == 300


def test_many_runs_keep_their_order() -> None:
    counted: list[int] = []
    pairs = [(f"x = {n}", f"assert x % 2 == 0, {n}") for n in range(12)]
    found = run_all(pairs, workers=3, progress=counted.append)
    assert [outcome.passed for outcome in found] == [n % 2 == 0 for n in range(12)]
    assert found[3].reason == "AssertionError: 3" and sum(counted) == 12


def test_a_sandbox_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "_CHILD", tmp_path / "missing.py")
    with pytest.raises(TrainerError, match="no report"):
        run_tests(RIGHT, TESTS)
