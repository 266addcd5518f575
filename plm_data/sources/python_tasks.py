"""Functions of the local Python environment as tasks: from the head and the docstring to the function."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plm_data.sources.python_env import PythonFile
from plm_data.sources.python_files import decoded, parse


@dataclass(frozen=True)
class PythonTask:
    """A function of a file: what is asked, and its source without the docstring."""

    name: str
    file: PythonFile
    question: str
    code: str


def tasks(file: PythonFile, min_docstring: int) -> Iterator[PythonTask]:
    """The public functions at the top of a file that have a docstring of so many characters, and a body beside it.

    Raises what ``parse`` raises for a file that is no Python.
    """
    text = decoded(Path(file.path).read_bytes())
    lines = text.splitlines()
    seen = set()
    for node in parse(text).body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or node.name in seen:
            continue
        seen.add(node.name)
        docstring = ast.get_docstring(node, clean=False)
        # An escape may spell half of a surrogate pair, which no text has.
        said = inspect.cleandoc(docstring).encode("utf-8", "replace").decode() if docstring else ""
        if len(said) < min_docstring or node.decorator_list or _is_empty(node.body[1:]):
            continue
        if (code := _without_docstring(node, lines)) is not None:
            question = f"Write the Python function `{node.name}({ast.unparse(node.args)})`.\n\n{said}"
            yield PythonTask(f"{file.name}:{node.name}", file, question, code)


def _is_empty(body: list[ast.stmt]) -> bool:
    """Whether a body does nothing, or only says that it is not written."""
    return all(isinstance(each, (ast.Pass, ast.Raise)) or _is_constant(each) for each in body)


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _without_docstring(node: ast.FunctionDef, lines: list[str]) -> str | None:
    """The function's lines but for its docstring; None where that shares a line with code, or they do not parse."""
    docstring, first = node.body[0], node.body[1]
    assert node.end_lineno is not None and docstring.end_lineno is not None
    head, rest = lines[node.lineno - 1 : docstring.lineno - 1], lines[docstring.end_lineno : node.end_lineno]
    if not head or first.lineno <= docstring.end_lineno:
        return None
    code = textwrap.dedent("\n".join([*head, *rest])).strip("\n")
    try:
        found = parse(code).body
    except (SyntaxError, ValueError):
        return None
    return code if len(found) == 1 and isinstance(found[0], ast.FunctionDef) else None
