"""Local tasks run offline by lm_eval's own machinery; what cannot be run is a clear error."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer

from tests.real.corpora import FOLDER
from trainer.errors import TrainerError
from trainer.evaluation import suite
from trainer.evaluation.harness import HarnessLM
from trainer.evaluation.suite import LOCAL, LOCAL_FILES, RUNS_CODE, TASKS, HubUnreachable, run_task
from trainer.model import PLM

ADD = {
    "task_id": "HumanEval/0",
    "prompt": 'def add(a, b):\n    """Add two numbers.\n    >>> add(1, 2)\n    3\n    """\n',
    "entry_point": "add",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(-1, 1) == 0\n",
}
MBPP = [
    {"task_id": number, "text": f"Write a function f{number}.", "code": f"def f{number}(): return {number}",
     "test_list": [f"assert f{number}() == n"], "test_setup_code": f"n = {number}"}
    for number in (2, 3, 4, 11, 12)
]  # fmt: skip


class Scripted(HarnessLM):
    """Says what it is told to; keeps the contexts."""

    def __init__(self, model: PLM, tokenizer: Tokenizer, says: list[str]) -> None:
        super().__init__(model, tokenizer, 64, quiet=True)
        self.says, self.contexts = says, []  # type: ignore[var-annotated]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        self.contexts += [request.args for request in requests]
        return self.says[: len(requests)]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    train = [
        {"question": f"What is {n} + {n}?", "answer": f"It is <<{n}+{n}={2 * n}>>.\n#### {2 * n}"} for n in range(9)
    ]
    write_lines(tmp_path / "gsm8k_train.jsonl", train)
    write_lines(
        tmp_path / "gsm8k_test.jsonl", [{"question": f"Count {n}.", "answer": f"#### 1,00{n}"} for n in range(4)]
    )
    write_lines(tmp_path / "humaneval.jsonl.gz", [ADD] * 6)
    write_lines(tmp_path / "mbpp.jsonl", MBPP)
    return tmp_path


def test_gsm8k_compares_numbers_and_shows_five_worked_examples(data: Path, model: PLM, tokenizer: Tokenizer) -> None:
    lm = Scripted(model, tokenizer, [" 1 + 999.\n#### 1000", " so 1001 of them", " #### 1003", " none"])
    result, answers = run_task(lm, "gsm8k-local", task_data=data)
    assert (result["share"], result["questions"], result["shots"], result["metric"]) == (0.5, 4, [5], "exact_match")
    assert result["interval"][0] < 0.5 < result["interval"][1]
    context, settings = lm.contexts[0]
    assert context.count("Question: What is") == 5 and context.endswith("Question: Count 0.\nAnswer:")
    assert "\nQuestion:" in settings["until"]
    rows = answers.to_pylist()
    assert [row["value"] for row in rows] == [1.0, 1.0, 0.0, 0.0]
    assert rows[3]["completion"] == " none" and rows[3]["expected"] == "#### 1,003"


def test_a_limit_and_a_chat_template(data: Path, model: PLM, tokenizer: Tokenizer) -> None:
    lm = Scripted(model, tokenizer, ["1000"] * 4)
    result, _ = run_task(lm, "gsm8k-local", task_data=data, limit=2, chat=True)
    assert result["questions"] == 2
    context = lm.contexts[0][0]
    assert context.count("<|im_start|>user") == 6 and context.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_humaneval_runs_bodies_and_whole_functions_in_the_sandbox(data: Path, model: PLM, tokenizer: Tokenizer) -> None:
    says = [
        "    return a + b\n\ndef add(a, b):\n    return (",  # runs on: the body alone counts
        "Sure!\n```python\ndef add(a, b):\n    return a + b\n```",
        "    return a - b\n",
        "    import sys\n    sys.exit(0)\n",
        "    return a + b\n\n\nprint(add(1, 2))\n```\nThat was it.",
        "```python\ndef add(a, b):\n    return a * b\n```",
    ]
    result, answers = run_task(Scripted(model, tokenizer, says), "humaneval-local", task_data=data, run_code=True)
    assert [row["value"] for row in answers.to_pylist()] == [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    assert (result["share"], result["metric"], result["shots"]) == (0.5, "pass@1,run", [0])
    assert "AssertionError" in json.loads(answers.to_pylist()[2]["extracted"])["reason"]


def test_mbpp_has_three_examples_and_its_own_split(data: Path, model: PLM, tokenizer: Tokenizer) -> None:
    lm = Scripted(model, tokenizer, ["```python\ndef f11(): return 11\n```", "```python\ndef f12(): return 11"])
    result, _ = run_task(lm, "mbpp-local", task_data=data, run_code=True)
    assert (result["share"], result["questions"], result["shots"]) == (0.5, 2, [3])
    assert [name in lm.contexts[0][0] for name in ("f2", "f3", "f4", "f11", "f12")] == [True, True, True, True, False]


@pytest.mark.parametrize("name", RUNS_CODE)
def test_code_is_not_even_generated_without_leave(name: str, data: Path, model: PLM, tokenizer: Tokenizer) -> None:
    lm = Scripted(model, tokenizer, [])
    with pytest.raises(TrainerError, match="--run-generated-code"):
        run_task(lm, name, task_data=data)
    assert lm.contexts == []


def test_what_cannot_be_run_is_a_clear_error(
    data: Path, model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = Scripted(model, tokenizer, [])
    with pytest.raises(TrainerError, match="--task-data"):
        run_task(lm, "gsm8k-local")
    (data / "gsm8k_train.jsonl").unlink()
    with pytest.raises(TrainerError, match=r"found no gsm8k_train.jsonl or gsm8k_train.jsonl.gz"):
        run_task(lm, "gsm8k-local", task_data=data)
    (data / "mbpp.jsonl").write_text('{"task_id": 11}\n')
    with pytest.raises(TrainerError, match=r"mbpp.jsonl: line 1: found KeyError"):
        run_task(lm, "mbpp-local", task_data=data, run_code=True)

    class Index:
        """lm_eval's index, which takes seconds to read, with the tasks of this test alone."""

        def __init__(self, **_: Any) -> None:
            self.task_index = {"humaneval": Entry({"unsafe_code": True}), "piqa": Entry({}), "group": Entry({})}

        def load(self, names: list[str]) -> Any:
            if names == ["group"]:
                return {"tasks": {"mbpp": type("Task", (), {"UNSAFE_CODE": True})}}
            raise ConnectionError("Couldn't reach 'baber/piqa' on the Hub")

    class Entry:
        def __init__(self, cfg: dict[str, Any]) -> None:
            self.cfg = cfg

    monkeypatch.setattr("lm_eval.tasks.TaskManager", Index)
    with pytest.raises(TrainerError, match="outside of this project's sandbox; use humaneval-local"):
        run_task(lm, "humaneval", run_code=True)
    with pytest.raises(TrainerError, match="generated code of mbpp outside of this project's sandbox; use mbpp-local"):
        run_task(lm, "group", run_code=True)
    with pytest.raises(HubUnreachable, match="could not be fetched"):
        run_task(lm, "piqa")
    with pytest.raises(TrainerError, match="found no such task"):
        run_task(lm, "piqua")


def test_the_tasks_files_are_those_of_the_table() -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    written = {path.stem: yaml.load(path.read_text(), Loader) for path in TASKS.glob("*.yaml")}
    assert set(written) == set(LOCAL_FILES) == set(LOCAL.values())
    assert {name for name, task in written.items() if task.get("unsafe_code")} == set(RUNS_CODE)
    for name, task in written.items():
        assert task["task"] == name
        named = task.get("dataset_kwargs", {"test": "mbpp.jsonl"})
        assert [named[split] for split in ("test", "train") if split in named] == list(LOCAL_FILES[name])


MULTIPLE_CHOICE = """
task: {name}
custom_dataset: !function trainer.evaluation.local_tasks.load
dataset_kwargs: {{test: {name}.jsonl, columns: [question, choices, right]}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: right
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
"""
GROUP = "group: both\ntask: [one, two]\naggregate_metric_list:\n  - {metric: acc_norm, weight_by_size: true}\n"


def test_choices_are_scored_by_the_model_and_groups_weighed_by_their_questions(
    tmp_path: Path, model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = HarnessLM(model, tokenizer, 64, quiet=True)
    rng = np.random.default_rng(0)
    right: dict[str, list[bool]] = {}
    for name, count in (("one", 9), ("two", 4)):
        words = ["a", "bb", "a longer choice", "no"]
        rows = [
            {"question": f"{name} {n}", "choices": rng.permutation(words).tolist(), "right": int(rng.integers(4))}
            for n in range(count)
        ]
        write_lines(tmp_path / f"{name}.jsonl", rows)
        (tmp_path / f"{name}.yaml").write_text(MULTIPLE_CHOICE.format(name=name))
        right[name] = []
        for row in rows:
            asked = [Instance("loglikelihood", {}, (row["question"], f" {each}"), 0) for each in row["choices"]]  # type: ignore[arg-type]
            scores = [
                value / len(each) for (value, _), each in zip(lm.loglikelihood(asked), row["choices"], strict=True)
            ]
            right[name].append(int(np.argmax(scores)) == row["right"])
    (tmp_path / "both.yaml").write_text(GROUP)
    monkeypatch.setattr(suite, "TASKS", tmp_path)
    monkeypatch.setattr(suite, "LOCAL_FILES", {name: () for name in ("one", "two", "both")})
    result, answers = run_task(lm, "one", task_data=tmp_path)
    assert (result["share"], result["metric"]) == (pytest.approx(np.mean(right["one"])), "acc_norm")
    assert [row["value"] for row in answers.to_pylist()] == right["one"]
    result, answers = run_task(lm, "both", task_data=tmp_path)
    assert result["questions"] == answers.num_rows == 13
    assert result["share"] == pytest.approx(np.mean(right["one"] + right["two"]))


def test_a_groups_questions_are_those_of_its_leaves() -> None:
    found = {
        "results": {"g": {"alias": "g", "acc,none": 0.25, "acc_norm,none": 0.5}},
        "group_subtasks": {"g": ["a", "h"], "h": ["b", "c"]},
        "n-samples": {name: {"original": 9, "effective": 2} for name in "abc"},
        "n-shot": {name: 0 for name in "abc"},
    }
    result = suite._result("g", found)
    assert (result["questions"], result["share"], result["metric"]) == (6, 0.5, "acc_norm")
    with pytest.raises(TrainerError, match="found metrics"):
        suite._result("g", {**found, "results": {"g": {"f1,none": 0.1}}})


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no corpora at {FOLDER}; set PLM_CORPORA to their folder")
def test_every_canonical_solution_of_humaneval_passes_and_no_empty_one(model: PLM, tokenizer: Tokenizer) -> None:
    lines = gzip.decompress((FOLDER / "humaneval.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    solutions = [row["canonical_solution"] for row in rows]
    right, _ = run_task(Scripted(model, tokenizer, solutions), "humaneval-local", task_data=FOLDER, run_code=True)
    assert (right["share"], right["questions"]) == (1.0, 164)
    empty, _ = run_task(
        Scripted(model, tokenizer, ["    pass\n"] * 164), "humaneval-local", task_data=FOLDER, run_code=True
    )
    assert empty["share"] == 0.0


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no corpora at {FOLDER}; set PLM_CORPORA to their folder")
def test_gsm8ks_own_answers_are_right(model: PLM, tokenizer: Tokenizer) -> None:
    lines = (FOLDER / "gsm8k_test.jsonl").read_text().splitlines()[:200]
    lm = Scripted(model, tokenizer, [json.loads(line)["answer"] for line in lines])
    result, _ = run_task(lm, "gsm8k-local", task_data=FOLDER, limit=200)
    assert (result["share"], result["questions"]) == (1.0, 200)
