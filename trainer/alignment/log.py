"""A log of one JSON object a line, a line a step, each step once."""

import json
from pathlib import Path
from typing import Any

from trainer.files import write_text


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add a line; it names its `step`."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines up to the first that is not whole: a killed run may have left half of one."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def cut_lines(path: Path, last_step: int) -> None:
    """Drop the steps after `last_step`, which a resumed run does again."""
    kept = [line for line in read_lines(path) if line["step"] <= last_step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
