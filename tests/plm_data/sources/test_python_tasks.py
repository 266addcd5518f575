"""Which functions become tasks, and that what is asked for is what the answer does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from plm_data.sources.python_env import PythonFile
from plm_data.sources.python_tasks import PythonTask, tasks

GOOD = '''\
def clamp(x: int, low: int = 0, *, high: int = 9) -> int:
    """Return x, but no less than low.

        And no more than high.
    """
    # the order counts
    return max(low, min(x, high))
'''


def found(tmp_path: Path, text: str, least: int = 10) -> list[PythonTask]:
    path = tmp_path / "a.py"
    path.write_bytes(text.encode())
    return list(tasks(PythonFile("pkg/a.py", str(path), "pkg", "MIT", len(text)), least))


def test_a_function_is_asked_for_by_its_head_and_docstring(tmp_path: Path) -> None:
    (task,) = found(tmp_path, GOOD)
    assert task.name == "pkg/a.py:clamp"
    assert task.question == (
        "Write the Python function `clamp(x: int, low: int=0, *, high: int=9)`.\n\n"
        "Return x, but no less than low.\n\nAnd no more than high."
    )
    assert task.code == GOOD[: GOOD.index('    """')] + GOOD[GOOD.index("    # the") :].rstrip("\n")
    space: dict[str, object] = {}
    exec(task.code, space)
    assert space["clamp"](12) == 9  # type: ignore[operator]


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("clamp", "_clamp"),
        GOOD.replace("def clamp", "@cache\ndef clamp"),
        GOOD.replace("    return max(low, min(x, high))\n", "    pass\n"),
        GOOD.replace("    return max(low, min(x, high))\n", "    raise NotImplementedError\n"),
        'def f(x):\n    "Returns what it is given."; return x\n',
        'def f(x): "Returns what it is given."; return x\n',
        'def f(x):\n    """Returns."""\n    return x\n',
        "def f(x):\n    return x\n",
        "class A:\n" + "".join(f"    {line}\n" for line in GOOD.splitlines()),
    ],
)
def test_what_is_no_task(tmp_path: Path, text: str) -> None:
    assert ast.parse(text) and found(tmp_path, text) == []


def test_line_ends_and_half_characters(tmp_path: Path) -> None:
    (task,) = found(tmp_path, GOOD.replace("\n", "\r\n"))
    assert task.code == found(tmp_path, GOOD)[0].code
    (task,) = found(tmp_path, GOOD.replace("And no", "\\ud800 no"))
    assert "? no more" in task.question
    with pytest.raises(SyntaxError):
        found(tmp_path, "def f(:")
