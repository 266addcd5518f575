"""The suite's table: a row for each figure that the paper publishes, with this model's beside it."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from tokenizers import Tokenizer

from trainer.errors import TrainerError
from trainer.evaluation.asked import Asked, command
from trainer.evaluation.parts import Parts
from trainer.evaluation.suite import LOCAL, LOCAL_FILES, RUNS_CODE, TASKS, HubUnreachable, run_task
from trainer.files import sha256
from trainer.model import PLM

if TYPE_CHECKING:
    from trainer.evaluation.harness import HarnessLM

PAPER = "paper"  # names all of the published tasks at once


def suite_rows(asked: Asked, parts: Parts, model: PLM, tokenizer: Tokenizer, window: int) -> list[dict[str, Any]]:
    """Run what was asked for, and return the rows: published tasks first, in their order, then others.

    A row has task, published (per cent, or None), result (None: not run), command, and reason where there is no
    result. A task that was run before on the same model keeps its result. One that cannot be run stops no other.
    """
    published = dict(asked.published)
    reasons: dict[str, str] = {}
    wanted = _wanted(asked)
    lm = _harness(asked, model, tokenizer, window) if wanted else None
    unreachable = False
    for name in wanted:
        if unreachable and name not in LOCAL_FILES:  # the wait is half a minute each time
            reasons[name] = "not tried: the Hugging Face hub could not be reached"
            continue
        assert lm is not None
        try:
            result, reused = _make(asked, parts, lm, name)
            share = f"{100 * result['share']:.2f}% of {result['questions']}"
            asked.say(f"{name} ({result['metric']}): {share}{', reused' if reused else ''}")
        except TrainerError as error:
            reasons[name] = str(error)
            unreachable |= isinstance(error, HubUnreachable)
            asked.say(f"{name}: not run: {error}")
    rows = [_row(asked, parts, [LOCAL[task], task] if task in LOCAL else [task], reasons) for task in published]
    beside = [name for name in wanted if name not in published and name not in _local_of(published)]
    rows += [_row(asked, parts, [name], reasons) for name in beside]
    names = [*published, *beside]
    return [{"task": name, "published": published.get(name), **row} for name, row in zip(names, rows, strict=True)]


def _harness(asked: Asked, model: PLM, tokenizer: Tokenizer, window: int) -> "HarnessLM":
    try:
        from trainer.evaluation.harness import HarnessLM  # late: lm_eval takes a moment
    except ModuleNotFoundError as error:
        raise TrainerError(
            f"suite: found no module {error.name}, expected lm-evaluation-harness; pip install 'plm[evaluation]'"
        ) from None
    return HarnessLM(model, tokenizer, window, quiet=not asked.progress)


def _local_of(published: dict[str, float | None]) -> set[str]:
    return {LOCAL[task] for task in published if task in LOCAL}


def _wanted(asked: Asked) -> list[str]:
    """Return the tasks to run, each once; of the paper's, those that have a local form by that."""
    found: dict[str, None] = {}
    for name in asked.suite:
        names = [LOCAL.get(task, task) for task, _ in asked.published] if name == PAPER else [name]
        found.update(dict.fromkeys(names))
    return list(found)


def _make(asked: Asked, parts: Parts, lm: "HarnessLM", name: str) -> tuple[dict[str, Any], bool]:
    key: dict[str, Any] = {
        "limit": asked.limit,
        "chat": asked.chat,
        "window": lm.max_length,
        "lm_eval": version("lm_eval"),
    }
    if name in LOCAL_FILES:
        files = [asked.task_data / file for file in LOCAL_FILES[name]] if asked.task_data else []
        present = [each for file in files for each in (file, file.with_name(f"{file.name}.gz")) if each.is_file()]
        key["files"] = [sha256(path) for path in [TASKS / f"{name}.yaml", *present]]
        key["run_code"] = asked.run_code

    def work() -> dict[str, Any]:
        result, answers = run_task(
            lm, name, task_data=asked.task_data, limit=asked.limit, chat=asked.chat, run_code=asked.run_code
        )
        pq.write_table(answers, parts.folder / f"{_part(name)}.parquet", compression="zstd")
        return {**result, "limit": asked.limit, "chat": asked.chat, "command": _command(asked, name)}

    return parts.make(_part(name), key, work)


def _part(name: str) -> str:
    """Return the name of a task's part, which is a file's."""
    return "suite-" + "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)


def _row(asked: Asked, parts: Parts, names: Sequence[str], reasons: dict[str, str]) -> dict[str, Any]:
    """Return the row that the first of some names with a result fills; the first name is the one to ask for."""
    failed = next((reasons[name] for name in names if name in reasons), None)
    found = None
    for name in names:
        if found is None and name not in reasons and (part := parts.find(_part(name))):
            found = part["result"]
    made = found["command"] if found else _command(replace(asked, limit=None), names[0])
    return {"result": found, "command": made, "reason": None if found else failed or "not asked for"}


def _command(asked: Asked, name: str) -> str:
    options = ["--suite", name]
    options += ["--task-data", str(asked.task_data or "DIR")] if name in LOCAL_FILES else []
    options += ["--run-generated-code"] if name in RUNS_CODE else []
    return command(asked, *options, *(["--chat"] if asked.chat else []))


def average(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean over the published tasks, in per cent; ours only where every one of them was run in full."""
    paper = [row for row in rows if row["published"] is not None]
    whole = [row["result"] for row in paper if row["result"] and row["result"]["limit"] is None]
    return {
        "published": statistics.mean(row["published"] for row in paper) if paper else None,
        "ours": 100 * statistics.mean(each["share"] for each in whole) if paper and len(whole) == len(paper) else None,
        "whole": len(whole),
        "of": len(paper),
    }
