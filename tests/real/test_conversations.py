"""Real sets of conversations: what their forms give, and that evaluation sets are known when they are trained on."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from plm_data.chat.conversation import ASSISTANT, USER, Conversation
from plm_data.chat.forms import convert, form_of
from plm_data.chat.sets import make_set_reader
from plm_data.chat.steps import question_hash
from plm_data.recipe_conversations import FileSet
from plm_data.sources.base import Raw


def conversations(path: Path, **keys: Any) -> list[Conversation]:
    """All rows of a file, none of which may be refused."""
    spec = FileSet.model_validate({"reader": "files", "paths": [str(path)], "license": "MIT", **keys})
    reader = make_set_reader("sft.sft1.sources.x", "x", spec, "train")
    items = [item for piece in range(3) for item in reader.read(piece, 3)]
    assert all(isinstance(item, Raw) for item in items), [item for item in items if not isinstance(item, Raw)][:3]
    return [Conversation.from_json(item.text) for item in items if isinstance(item, Raw)]


@pytest.mark.parametrize("name, count", [("gsm8k_train.jsonl", 7473), ("gsm8k_test.jsonl", 1319)])
def test_every_solution_of_gsm8k_ends_with_its_number(corpora: Path, name: str, count: int) -> None:
    found = conversations(corpora / name)
    assert len(found) == count
    for each in found:
        assert [role for role, _ in each.turns] == [USER, ASSISTANT] and each.check == "number"
        assert each.turns[1][1].endswith(f"\n#### {each.answer}") and "<<" not in each.turns[1][1]
        float(each.answer or "")


def test_no_question_of_gsm8ks_test_is_in_its_training_split(corpora: Path) -> None:
    train, test = (
        {question_hash(each.turns[0][1]) for each in conversations(corpora / f"gsm8k_{split}.jsonl")}
        for split in ("train", "test")
    )
    assert len(test) == 1319 and not train & test
    # The nearest that counts as the same: other case, other white space.
    (first, *_) = conversations(corpora / "gsm8k_test.jsonl")
    assert question_hash(f" {first.turns[0][1].upper()}\n".replace(" ", "  ")) in test


def test_self_instructs_seed_tasks(corpora: Path) -> None:
    found = conversations(corpora / "self_instruct_seed_tasks.jsonl")
    assert len(found) == 175 and all(each.check is None for each in found)
    first = json.loads((corpora / "self_instruct_seed_tasks.jsonl").read_text("utf-8").split("\n")[0])
    assert found[0].turns == ((USER, first["instruction"]), (ASSISTANT, first["instances"][0]["output"]))
    user_oriented = conversations(corpora / "self_instruct_user_oriented_instructions.jsonl")
    assert len(user_oriented) == 252
    with_input = [each for each in user_oriented if "\n\n" in each.turns[0][1]]
    assert with_input


def test_the_tasks_of_humaneval_are_whole_functions_and_their_tests_call_them(corpora: Path) -> None:
    rows = [json.loads(line) for line in gzip.decompress((corpora / "humaneval.jsonl.gz").read_bytes()).splitlines()]
    assert len(rows) == 164 == len(conversations(corpora / "humaneval.jsonl.gz", form="code-task", id="task_id"))
    for row in rows:
        found = convert(row, None, {})
        assert form_of(row) == "code-task" and isinstance(found, Conversation) and found.check == "python"
        code = found.turns[1][1].removeprefix("```python\n").removesuffix("\n```")
        assert found.turns[1][1] == f"```python\n{code}\n```"
        defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
        tests = ast.parse(found.answer or "").body
        assert row["entry_point"] in defined and ast.unparse(tests[-1]) == f"check({row['entry_point']})"
        assert any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tests)
