"""Files that are written whole or not at all, and their digests."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.errors import TrainerError


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, purpose: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        TrainerError: the file is missing, is not JSON, or holds something else than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainerError(f"{path}: not found, expected {purpose}; check the folder's path") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TrainerError(f"{path}: not JSON ({error}), expected {purpose}; write the file anew") from None
    if not isinstance(value, dict):
        raise TrainerError(f"{path}: found a {type(value).__name__}, expected {purpose} as a JSON object")
    return value


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in one rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace `path` by indented JSON in one rename."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its place when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if path.exists():
        shutil.rmtree(path)
    os.replace(temporary, path)
