"""Where step outputs live: a folder named by its key, whole or not there.

A key is the hash of a step's name, parameters, its inputs' contents, code and the versions of the libraries that
shape its bytes. An output is written to ``KEY.partial``, each file under a temporary name and then renamed; when
every partition is there it is checked, described in ``_step.json`` and renamed to ``KEY``.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from plm_data.errors import StoreError

# What an output says of itself lies beside its files.
RECORD: Final = "_step.json"

# A change of one of these may change the bytes of an output, so their versions are part of every key.
_SHAPING_LIBRARIES = (
    "polars", "pyarrow", "numpy", "numba", "tokenizers", "fasttext", "datasketch", "datasets", "xxhash", "orjson",
    "regex", "license-expression",
)  # fmt: skip


def digest(value: Any) -> str:
    """sha256 (hex) of a JSON-able value in its one canonical spelling."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def temporary_name(path: Path) -> Path:
    """Where a file is written before it is renamed: beside it, and this process's own."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock file; a second process waits. The kernel frees the lock of a killed process."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_text(path: Path, text: str) -> None:
    """Write a text (UTF-8) whole or not at all."""
    temporary = temporary_name(path)
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; the same value always gives the same bytes."""
    temporary = temporary_name(path)
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


@dataclass(frozen=True)
class Counts:
    """Rows of a step: what came in is kept, dropped or quarantined, and nothing else."""

    read: int = 0
    kept: int = 0
    dropped: int = 0
    quarantined: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.read + other.read, self.kept + other.kept,
            self.dropped + other.dropped, self.quarantined + other.quarantined,
        )  # fmt: skip

    def check(self, where: str) -> Counts:
        """Raise ``StoreError`` unless rows are conserved."""
        if self.read != self.kept + self.dropped + self.quarantined:
            raise StoreError(
                f"{where}: rows were lost: {self.read} read, but {self.kept} kept + {self.dropped} dropped + "
                f"{self.quarantined} quarantined. This is a defect of the step; please report it."
            )
        return self


@dataclass(frozen=True)
class Output:
    """A finished step output: its folder, key, counts, and whether this run found it there already.

    ``content``: hash of its files, by which the steps that read it are keyed: what is made anew to the same bytes
    makes nothing after it anew.
    """

    step: str
    key: str
    path: Path
    counts: Counts
    reused: bool
    content: str

    def parts(self, stem: str = "part") -> list[Path]:
        """The Parquet files of the output, in partition order."""
        return sorted(self.path.glob(f"{stem}-*.parquet"))


def read_record(folder: Path) -> dict[str, Any]:
    """What a step's output says of itself; raises ``StoreError`` if it says nothing, or not all of it."""
    path = folder / RECORD
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        Counts(**found["rows"]).check(str(path))
        if {"step", "key"} <= found.keys() and all(
            {"bytes", "sha256"} <= file.keys() for file in found["files"].values()
        ):
            return found
        said = "it lacks keys"
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        said = f"{type(error).__name__}: {error}"
    raise StoreError(f"{path}: no record of a step ({said}). Delete the folder {folder} and build it anew.")


class Store:
    """The folder of all step outputs of a build home."""

    def __init__(self, root: Path):
        self.root = root

    def folder(self, step: str, key: str) -> Path:
        return self.root / step / key[:16]

    def partial(self, step: str, key: str) -> Path:
        return self.root / step / f"{key[:16]}.partial"

    def find(self, step: str, key: str) -> Output | None:
        """The finished output of a step, or None; raises ``StoreError`` if its files are not those it recorded."""
        folder = self.folder(step, key)
        if not (folder / RECORD).is_file():
            return None
        record = read_record(folder)
        for name, entry in record["files"].items():
            file, size = folder / name, entry["bytes"]
            if not file.is_file() or file.stat().st_size != size:
                found = f"{file.stat().st_size} bytes" if file.is_file() else "no file"
                raise StoreError(
                    f"{file}: expected {size} bytes as recorded in {RECORD}, found {found}. "
                    f"Delete the folder {folder} and run the same command again to make it anew."
                )
        return Output(step, key, folder, Counts(**record["rows"]), reused=True, content=digest(record["files"]))

    def commit(
        self, step: str, key: str, description: dict[str, Any], counts: Counts, known: dict[str, str] | None = None
    ) -> Output:
        """Turn ``KEY.partial`` into ``KEY``: describe it and rename it.

        ``known``: sha256 of the files, by name, that need not be hashed any more.
        """
        partial, folder = self.partial(step, key), self.folder(step, key)
        # What a killed run has left behind.
        for leftover in list(partial.rglob("*.tmp")):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        found = [
            file
            for file in sorted(partial.rglob("*"))
            if file.is_file() and not file.name.endswith(".done.json") and file.name != RECORD
        ]
        with ThreadPoolExecutor() as pool:  # hashing frees the interpreter's lock
            digests = known or {}
            sums = list(pool.map(lambda file: digests[file.name] if file.name in digests else file_sha256(file), found))
        files = {
            str(file.relative_to(partial)): {"bytes": file.stat().st_size, "sha256": sha256}
            for file, sha256 in zip(found, sums, strict=True)
        }
        write_json(
            partial / RECORD,
            {"step": step, "key": key, **description, "rows": asdict(counts), "files": files},
        )
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(partial, folder)
        # Last: with its markers a build that is killed before the rename has nothing to do again.
        for marker in folder.rglob("*.done.json"):
            marker.unlink()
        return Output(step, key, folder, counts, reused=False, content=digest(files))

    def discard(self, output: Output) -> None:
        """Remove an output that nothing needs any longer."""
        gone = output.path.with_name(f"{output.path.name}.partial")
        # Renamed first: an output is whole or not there.
        shutil.rmtree(gone, ignore_errors=True)
        os.rename(output.path, gone)
        shutil.rmtree(gone)

    def lock(self) -> AbstractContextManager[None]:
        """One build at a time writes to a home; a second waits."""
        return locked(self.root / ".lock")


@lru_cache
def library_versions() -> dict[str, str]:
    """Versions that are part of every key: of the libraries, and of Python, whose ``ast`` reads the docstrings."""
    python = ".".join(map(str, sys.version_info[:2]))
    return {"python": python, **{name: metadata.version(name) for name in _SHAPING_LIBRARIES}}


@lru_cache
def code_version(module: str) -> str:
    """Hash of a module's code and of all that it imports of its own room; comments and layout do not count."""
    seen: dict[str, str] = {}

    def visit(name: str) -> None:
        if name in seen:
            return
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            return
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        seen[name] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == module.split(".")[0]:
                visit(node.module)
                for alias in node.names:
                    child = f"{node.module}.{alias.name}"
                    if _is_module(child):
                        visit(child)

    visit(module)
    return digest(seen)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
