"""What the YAML files of tasks/ call: local JSON Lines in, verdicts out."""

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from trainer.alignment.checks import correct
from trainer.errors import TrainerError
from trainer.evaluation.code import extract_code
from trainer.evaluation.sandbox import run_all

# Where the continuation of a function ends: code at the margin, or the end of a fence.
_AFTER_FUNCTION = re.compile(r"^(?:(?:def|class|if|for|while|print|assert|import|from)\b|[@#]|```)", re.MULTILINE)
_MBPP_TEST, _MBPP_PROMPT = range(11, 511), range(2, 5)  # task ids of its splits, by its README


def load(task_data: str, columns: Sequence[str], test: str, train: str | None = None, **_: Any) -> dict[str, Dataset]:
    """Read the splits of a task from a folder.

    Raises:
        TrainerError: a file is missing, a line of it is no JSON object, or lacks a column.
    """
    files = {"test": test} | ({"train": train} if train else {})
    return {split: Dataset.from_list(_records(Path(task_data), name, columns)) for split, name in files.items()}


def load_mbpp(task_data: str, **_: Any) -> dict[str, Dataset]:
    """Read MBPP's splits out of its one file; see `load`."""
    records = _records(Path(task_data), "mbpp.jsonl", ["task_id", "text", "code", "test_list", "test_setup_code"])
    splits = {"test": _MBPP_TEST, "prompt": _MBPP_PROMPT}
    return {name: Dataset.from_list([row for row in records if row["task_id"] in ids]) for name, ids in splits.items()}


def _records(folder: Path, name: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    path = next((each for each in (folder / name, folder / f"{name}.gz") if each.is_file()), None)
    if path is None:
        raise TrainerError(
            f"{folder}: found no {name} or {name}.gz, expected a task's file; give --task-data its folder"
        )
    rows = []
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append({column: row[column] for column in columns})
        except (ValueError, KeyError, TypeError) as error:
            raise TrainerError(
                f"{path}: line {number}: found {error!r}, expected a JSON object with {', '.join(columns)}"
            ) from None
    if not rows:
        raise TrainerError(f"{path}: found no line, expected a task's questions")
    return rows


def number_is_right(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Compare the completion's number with that after GSM8K's `####`, exactly."""
    return {"exact_match": float(bool(correct("number", doc["answer"], results[0])))}


def run_humaneval(completions: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[str]:
    """Run each completion's function with its tests; the verdicts as JSON, which the log of answers keeps."""
    return _verdicts([_humaneval_program(answers[0], doc) for answers, doc in zip(completions, docs, strict=True)])


def _humaneval_program(answer: str, doc: dict[str, Any]) -> tuple[str, str]:
    """Put the answer after the prompt: as the function's body, or the whole function anew, which then counts."""
    code = extract_code(answer)
    begins = answer.lstrip("\n")
    # what goes on with the function's body may well define it a second time, and not to the end
    if (begins[:1].isspace() and "```" not in begins) or not _defines(code, doc["entry_point"]):
        body = code if begins.startswith("```") else answer
        end = _AFTER_FUNCTION.search(body)
        code = body[: end.start()] if end else body
    # the prompt ends with a docstring, so it is a function even without a body
    return f"{doc['prompt'].rstrip()}\n{code}", f"{doc['test']}\ncheck({doc['entry_point']})"


def _defines(code: str, name: str) -> bool:
    return re.search(rf"^def {re.escape(name)}\b", code, re.MULTILINE) is not None


def run_mbpp(completions: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[str]:
    """Run each completion's program with its assertions; see `run_humaneval`."""
    return _verdicts(
        [
            (extract_code(answers[0]), "\n".join([doc["test_setup_code"], *doc["test_list"]]))
            for answers, doc in zip(completions, docs, strict=True)
        ]
    )


def _verdicts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [
        json.dumps({"passed": outcome.passed, "reason": outcome.reason, "held": outcome.held})
        for outcome in run_all(pairs)
    ]


def passed(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Return pass@1 of one problem: of one completion, whether it passed."""
    return {"pass@1": float(json.loads(results[0])["passed"])}
