"""Answers are judged, refined and kept; code is run by leave alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from trainer.alignment.chains import Policy
from trainer.alignment.prompts import Prompt, read_prompts
from trainer.chat import REFINE, ChatML, Turn
from trainer.config import PhaseData
from trainer.evaluation.code import execute, extract_code
from trainer.evaluation.exact_match import answer, read_answers, summarise, write_answers
from trainer.inference import Completion, Sampling
from trainer.model import PLM
from trainer.shards import read_phase

TESTS = "assert add(2, 3) == 5"


def prompt(chat: ChatML, name: str, check: str | None, expected: str | None, source: str = "sums") -> Prompt:
    tokens = tuple(chat.prompt([Turn("user", name)]))
    return Prompt(name, source, tokens, name, None, expected, check, None, None)


def scripted(chat: ChatML, model: PLM, answers: dict[str, list[str]], asked: list[list[str]] | None = None) -> Policy:
    """A policy that gives a question's next answer at each turn."""
    turn = iter(range(9))

    def generate(_: Any, __: Any, prompts: list[list[int]], *args: Any, **kwargs: Any) -> list[Completion]:
        at = next(turn)
        texts = [chat.tokenizer.decode(list(tokens), skip_special_tokens=False) for tokens in prompts]
        if asked is not None:
            asked.append(texts)
        said = [next(v for k, v in answers.items() if f"user\n{k}<" in text)[at] for text in texts]
        return [Completion(chat.encode(text), text, "end", 0) for text in said]

    return Policy(model, chat, Sampling(8), generate=generate)


@pytest.fixture
def chat(tokenizer: Tokenizer) -> ChatML:
    return ChatML(tokenizer)


@pytest.fixture
def wide(tiny: Callable[..., Any]) -> PLM:
    return PLM(tiny(max_position_embeddings=512))


def test_direct_answers_and_refinements_are_judged_by_source_and_check(chat: ChatML, wide: PLM) -> None:
    prompts = [
        prompt(chat, "q1", "number", "4"), prompt(chat, "q2", "number", "5"), prompt(chat, "q3", "number", "6", "other"),
        prompt(chat, "q4", None, None),
    ]  # fmt: skip
    answers = {"q1": ["4", "It is 3"], "q2": ["= 4", "Answer: 5"], "q3": ["none", "6.0"], "q4": ["x", "y"]}
    asked: list[list[str]] = []
    policy = scripted(chat, wide, answers, asked)
    direct = answer(policy, prompts)
    refined = answer(policy, prompts, direct)
    assert [each.correct for each in direct] == [True, False, False, None]
    assert [each.correct for each in refined] == [False, True, True, None]
    assert [each.extracted for each in refined] == ["3", "5", "6", None] and direct[2].extracted is None
    assert {each.turn for each in direct} == {0} and {each.turn for each in refined} == {1}
    assert asked[1][0].endswith(
        f"assistant\n4<|im_end|>\n<|im_start|>user\n{REFINE.format(question='q1')}<|im_end|>\n<|im_start|>assistant\n"
    )
    groups = summarise(direct)
    assert [(g["source"], g["check"], g["correct"], g["questions"], g["unjudged"]) for g in groups] == [
        ("other", "number", 0, 1, 0), ("sums", "none", 0, 0, 1), ("sums", "number", 1, 2, 0), ("all", "any", 1, 3, 1),
    ]  # fmt: skip
    assert groups[1]["share"] is None and groups[1]["interval"] is None
    assert groups[3]["share"] == pytest.approx(1 / 3) and groups[3]["interval"][0] < 1 / 3 < groups[3]["interval"][1]


def test_an_answer_that_leaves_no_room_stands_and_none_at_all_is_wrong(chat: ChatML, tiny: Callable[..., Any]) -> None:
    small = PLM(tiny(max_position_embeddings=64))
    prompts = [prompt(chat, "q1", "number", "4"), prompt(chat, "q" * 64, "number", "4")]
    policy = scripted(chat, small, {"q1": ["4"], "q" * 64: ["4"]})
    direct = answer(policy, prompts)
    assert [(each.correct, each.state, each.completion) for each in direct] == [
        (True, "ended", "4"),
        (False, "no room", ""),
    ]
    assert [(g["questions"], g["no_room"], g["cut"]) for g in summarise(direct)] == [(2, 1, 0)] * 2
    refined = answer(policy, prompts, direct)  # the request to refine takes more than 64 tokens
    assert [(each.correct, each.state, each.completion) for each in refined] == [
        (True, "no room", "4"),
        (False, "no room", ""),
    ]


def test_code_is_run_by_leave_alone(chat: ChatML, wide: PLM, tmp_path: Path) -> None:
    right = "Here:\n```python\ndef add(a, b):\n    return a + b\n```\nDone."
    wrong = right.replace("+", "-")
    prompts = [
        prompt(chat, "q1", "python", TESTS),
        prompt(chat, "q2", "python", TESTS),
        prompt(chat, "q3", "number", "1"),
    ]
    answers = {"q1": [right], "q2": [wrong], "q3": ["1"]}
    assert [each.correct for each in answer(scripted(chat, wide, answers), prompts)] == [None, None, True]
    found = answer(scripted(chat, wide, answers), prompts, run_code=True)
    assert [each.correct for each in found] == [True, False, True]
    assert found[0].extracted == "def add(a, b):\n    return a + b\n"
    assert [each.reason for each in found] == ["passed", "AssertionError: ", None]
    write_answers(tmp_path / "answers.parquet", found)
    assert read_answers(tmp_path / "answers.parquet") == found


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1", "x = 1"),
        ("Sure.\n```python\nx = 1\n```\nand\n```\nx = 2\n```", "x = 1\n"),
        ("```\nx = 1\ny = 2", "x = 1\ny = 2"),
        ("  ```py\n  x = 1\n  ```", "  x = 1\n"),
        ("inline ```x``` is no block", "inline ```x``` is no block"),
    ],
)
def test_the_first_fenced_block_is_the_code(text: str, code: str) -> None:
    assert extract_code(text) == code


def test_the_executor_of_checks_runs_an_answers_code() -> None:
    assert execute(TESTS, "```python\ndef add(a, b): return a + b\n```")
    assert not execute(TESTS, "```python\ndef add(a, b): return a * b\n```")


def test_prompts_come_from_shards_and_the_model_answers_them(
    model: PLM, chat: ChatML, rows_writer: Callable[..., PhaseData], tmp_path: Path
) -> None:
    rows = [
        {"text": name, "tokens": chat.prompt([Turn("user", name)]), "question": name, "reference": None, "answer": "4",
         "check": "number", "chosen": None, "rejected": None}
        for name in ("2 + 2", "3 + 1")
    ]  # fmt: skip
    phase = read_phase(rows_writer(tmp_path, rows, name="tasks", kind="prompts"), "prompts")
    found = answer(Policy(model, chat, Sampling(4)), read_prompts(phase))
    assert [each.prompt for each in found] == ["2 + 2", "3 + 1"]
    assert all(each.state in ("ended", "cut") and len(each.tokens) <= 4 for each in found)
    assert answer(Policy(model, chat, Sampling(4)), read_prompts(phase)) == found
