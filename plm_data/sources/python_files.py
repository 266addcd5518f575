"""Python source files as code, and their documentation as prose."""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
import warnings
from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path

from plm_data.errors import RecipeError
from plm_data.recipe_sources import PythonSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.python_env import STDLIB, PythonFile, distributions, normal_name, python_files
from plm_data.store import digest, file_sha256
from plm_data.text.hashing import document_id, partition_of

# A docstring below this says little ("Return the name."); a document below that is hardly prose.
_MIN_DOCSTRING = 60
_MIN_DOCUMENT = 300

# What ``decoded`` and ``parse`` raise of a file that is no Python.
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError, LookupError)


class PythonFilesReader:
    """``python-code``: each file that parses. ``python-docs``: the documentation in each file, as prose."""

    def __init__(self, name: str, spec: PythonSource, place: str | None = None):
        # Where the source stands in the recipe, for errors.
        self.name, self.spec, self.place = name, spec, place or f"sources.{name}"

    @cached_property
    def files(self) -> list[PythonFile]:
        """The files to read: all, or a sample of at most ``max_bytes`` that the hash of the ids decides."""
        asked = [] if self.spec.packages == "all" else list(self.spec.packages)
        known = {STDLIB, *distributions()}
        for package in asked:
            if normal_name(package) not in known:
                raise RecipeError(
                    f"{self.place}.packages names {package!r}, which is not installed in this environment; "
                    f"install it, or take it out of the list."
                )
        files = python_files(self.spec.packages, self.spec.exclude)
        if self.spec.max_bytes is None:
            return list(files)
        chosen, total = [], 0
        for file in sorted(files, key=lambda file: document_id(self.name, file.name)):
            if total + file.size <= self.spec.max_bytes:
                chosen.append(file)
                total += file.size
        return sorted(chosen, key=lambda file: file.name)

    @cached_property
    def _sums(self) -> list[list[str]]:
        return [[file.name, file.license, file_sha256(Path(file.path))] for file in self.files]

    def fingerprint(self) -> str:
        return digest(self._sums)

    def contents(self) -> dict[str, str]:
        """By package: a hash of its files."""
        packages = groupby(zip(self.files, self._sums, strict=True), lambda pair: pair[0].package)
        return {package: digest([sums for _, sums in pairs]) for package, pairs in packages}

    def size_bound(self) -> int:
        return sum(file.size for file in self.files)

    def read(self, partition: int, partitions: int) -> Iterator[Raw | Rejected]:
        for file in self.files:
            if partition_of(document_id(self.name, file.name), partitions) == partition:
                yield self._read_file(file)

    def _read_file(self, file: PythonFile) -> Raw | Rejected:
        data = Path(file.path).read_bytes()
        try:
            text = decoded(data)
            tree = parse(text)
        except NOT_PYTHON as error:
            return Rejected(file.name, "quarantined", "does-not-parse", f"{type(error).__name__}: {error}"[:200])
        if self.spec.reader == "python-code":
            if not text.strip():
                return Rejected(file.name, "dropped", "empty-file", "")
            return Raw(file.name, text, file.license)
        module = file.name.removesuffix(".py").removesuffix("/__init__").split("/", 1)[-1].replace("/", ".")
        prose = documentation(tree, module)
        if len(prose) < _MIN_DOCUMENT:
            return Rejected(file.name, "dropped", "little-documentation", f"{len(prose)} characters of docstrings")
        return Raw(file.name, prose, file.license)


def decoded(data: bytes) -> str:
    """A source file's text, in the encoding that it declares."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding)


def parse(text: str) -> ast.Module:
    """The syntax tree of a file; warnings about its escapes are not ours to show."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def documentation(tree: ast.Module, module: str) -> str:
    """The docstrings of a module and of its public classes and functions, each under its name and parameters."""
    sections = []
    if text := _docstring(tree):
        sections.append(f"{module}\n\n{text}")
    for qualified, node in _public_definitions(tree, ""):
        if text := _docstring(node):
            sections.append(f"{module}.{qualified}{_parameters(node)}\n\n{text}")
    return "\n\n".join(sections)


_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _public_definitions(node: ast.Module | _Definition, prefix: str) -> Iterator[tuple[str, _Definition]]:
    for child in node.body:
        if isinstance(child, _Definition) and not child.name.startswith("_"):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from _public_definitions(child, f"{prefix}{child.name}.")


def _docstring(node: ast.Module | _Definition) -> str:
    text = ast.get_docstring(node, clean=False)
    cleaned = inspect.cleandoc(text) if text else ""
    return cleaned if len(cleaned) >= _MIN_DOCSTRING else ""


def _parameters(node: _Definition) -> str:
    if isinstance(node, ast.ClassDef):
        return ""
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")]
    names += [f"*{node.args.vararg.arg}"] if node.args.vararg else []
    names += [a.arg for a in node.args.kwonlyargs]
    names += [f"**{node.args.kwarg.arg}"] if node.args.kwarg else []
    return f"({', '.join(names)})"
