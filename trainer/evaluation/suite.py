"""Tasks of lm-evaluation-harness on a model, and which of their figures stands beside the published one."""

import json
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from trainer.errors import TrainerError
from trainer.evaluation.intervals import wilson

if TYPE_CHECKING:  # late otherwise: lm_eval takes a moment
    from trainer.evaluation.harness import HarnessLM

TASKS = Path(__file__).with_name("tasks")
# The local forms of hub tasks: the same questions, read from files.
LOCAL = {"gsm8k": "gsm8k-local", "humaneval": "humaneval-local", "mbpp": "mbpp-local"}
# What each local task reads, beside the name of its file in tasks/; a file may be gzipped (.gz).
LOCAL_FILES = {
    "gsm8k-local": ("gsm8k_test.jsonl", "gsm8k_train.jsonl"),
    "humaneval-local": ("humaneval.jsonl",),
    "mbpp-local": ("mbpp.jsonl",),
}
RUNS_CODE = ("humaneval-local", "mbpp-local")
# The first of these that a task has is its figure. Ours: the paper names no metric.
HEADLINES = (
    "acc_norm,none",
    "exact_match,flexible-extract",
    "exact_match,none",
    "pass@1,run",
    "acc,none",
)
ANSWERS = pa.schema(
    [(name, pa.string()) for name in ("task", "id", "prompt", "completion", "extracted", "expected")]
    + [("value", pa.float64())]
)


class HubUnreachable(TrainerError):
    """A task's data set is on the Hugging Face hub, which cannot be reached."""


def run_task(
    lm: "HarnessLM",
    name: str,
    *,
    task_data: Path | None = None,
    limit: int | None = None,
    chat: bool = False,
    run_code: bool = False,
) -> tuple[dict[str, Any], pa.Table]:
    """Run one task, a group of tasks or a local task.

    Args:
        lm: the model.
        name: as lm_eval knows it, or a file of tasks/.
        task_data: folder of the local tasks' files.
        limit: questions of each task at most, the first; None: all.
        chat: put questions, and worked examples, as turns of a conversation.
        run_code: the user allows generated code to run, in the sandbox.

    Returns:
        The result (task, metric, share, its 95% Wilson `interval`, questions, shots) and every answer as a row.

    Raises:
        HubUnreachable: the data set could not be fetched.
        TrainerError: no such task, its files are missing, or it runs code that the user has not allowed to run.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
    from lm_eval.evaluator import evaluate

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # as lm_eval's own command does: some tasks draw the order of a question's choices
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    manager = _manager(name, task_data, run_code)
    try:
        loaded = manager.load([name])
    except TrainerError:
        raise
    except Exception as error:  # whatever the hub's client and a task's own code raise
        if isinstance(error, ConnectionError) or "Hub" in type(error).__name__ or "offline" in str(error).lower():
            raise HubUnreachable(
                f"task {name}: its data set could not be fetched from the Hugging Face hub "
                f"({str(error).splitlines()[0]}); run the command where the hub can be reached"
            ) from None
        raise TrainerError(f"task {name}: lm_eval could not load it: {type(error).__name__}: {error}") from None
    for leaf, task in loaded["tasks"].items():
        if name not in RUNS_CODE and getattr(task, "UNSAFE_CODE", False):
            raise _outside(name, leaf)
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    # and not simple_evaluate, which lists every package that is installed, for seconds
    found = evaluate(
        lm=lm,
        task_dict=loaded,
        limit=limit,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        bootstrap_iters=0,  # the intervals are ours
        confirm_run_unsafe_code=name in RUNS_CODE,  # which are run confined, and by leave alone
    )
    assert found is not None  # on the first rank, which is the only one
    return _result(name, found), _answers(found["samples"])


def _manager(name: str, task_data: Path | None, run_code: bool) -> Any:
    """Return lm_eval's index of tasks, after seeing that the task is there and may be run."""
    from lm_eval.tasks import TaskManager

    local = name in LOCAL_FILES
    if local and task_data is None:
        raise TrainerError(f"task {name}: reads local files; give their folder with --task-data")
    if name in RUNS_CODE and not run_code:
        raise TrainerError(
            f"task {name}: runs code that the model generates; allow it with --run-generated-code (it runs confined, "
            "see docs/evaluation.md)"
        )
    # lm_eval's own index takes seconds to read, which local tasks do not need
    manager = TaskManager(
        include_path=TASKS if local else None,
        include_defaults=not local,
        metadata={"task_data": str(task_data)} if local else None,
    )
    entry = manager.task_index.get(name)
    if entry is None:
        raise TrainerError(
            f"task {name}: found no such task, expected one of lm_eval's (`lm_eval ls tasks`) or "
            f"{', '.join(LOCAL_FILES)}"
        )
    if not local and (entry.cfg or {}).get("unsafe_code"):  # before its own code is so much as imported
        raise _outside(name, name)
    return manager


def _outside(name: str, leaf: str) -> TrainerError:
    instead = f"use {LOCAL[leaf]}" if leaf in LOCAL else "leave it out"
    return TrainerError(
        f"task {name}: lm_eval would run the generated code of {leaf} outside of this project's sandbox; {instead}"
    )


def _result(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    figures = found["results"][name]
    metric = next((key for key in HEADLINES if key in figures), None)
    if metric is None:
        raise TrainerError(f"task {name}: found metrics {sorted(figures)}, expected one of {HEADLINES}; leave it out")
    leaves = _leaves(name, found.get("group_subtasks") or {})
    questions = sum(found["n-samples"][leaf]["effective"] for leaf in leaves)
    share = float(figures[metric])
    return {
        "task": name,
        "metric": metric.removesuffix(",none"),
        "share": share,
        "interval": wilson(round(share * questions), questions),
        "questions": questions,
        "shots": sorted({int(found["n-shot"].get(leaf, 0)) for leaf in leaves}),
    }


def _leaves(name: str, groups: Mapping[str, Any]) -> list[str]:
    """Return the tasks that a group comes down to; a task is its own."""
    children = groups.get(name) or []
    return [leaf for child in children for leaf in _leaves(child, groups)] or [name]


def _answers(samples: Mapping[str, list[dict[str, Any]]]) -> pa.Table:
    """Return the answers that each task's headline is made of, with its value of each."""
    rows = []
    for task, answered in samples.items():
        known = {f"{metric},{sample['filter']}" for sample in answered for metric in sample["metrics"]}
        metric, chosen = next((key for key in HEADLINES if key in known), ",").split(",")
        for sample in answered:
            if sample["filter"] != chosen:
                continue
            rows.append(
                {
                    "task": task,
                    "id": str(sample["doc_id"]),
                    "prompt": _plain(sample["arguments"][0][0]),
                    "completion": _plain([response[0] for response in sample["resps"]]),
                    "extracted": _plain(sample["filtered_resps"]),
                    "expected": _plain(sample["target"]),
                    "value": float(sample[metric]),
                }
            )
    return pa.Table.from_pylist(rows, ANSWERS)


def _plain(value: Any) -> str:
    """Return a text, or the only one of a list; anything else as JSON."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
