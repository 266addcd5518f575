"""Prompts are read by number, and a row that cannot be checked is an error that names it."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trainer.alignment.prompts import prompt_order, read_prompts
from trainer.chat import ChatML, Turn
from trainer.config import PhaseData
from trainer.errors import TrainerError
from trainer.shards import read_phase

Write = Callable[..., PhaseData]
ROWS = [{"question": f"q{n}", "answer": str(n), "check": "number"} for n in range(10)]


def test_prompts_come_in_the_order_asked_for(tmp_path: Path, write_prompts: Write, chat: ChatML) -> None:
    phase = read_phase(write_prompts(tmp_path / "preferences", ROWS, shards=3), "prompts")
    assert [prompt.question for prompt in read_prompts(phase)] == [f"q{n}" for n in range(10)]
    found = read_prompts(phase, [9, 0, 9, 4])
    assert [prompt.question for prompt in found] == ["q9", "q0", "q9", "q4"]
    assert found[1].tokens == tuple(chat.prompt([Turn("user", "q0")]))
    assert (found[0].answer, found[0].check, found[0].reference, found[0].source) == ("9", "number", None, "toy")
    assert read_prompts(phase, []) == []


def test_the_seed_decides_the_order(tmp_path: Path, write_prompts: Write) -> None:
    phase = read_phase(write_prompts(tmp_path / "preferences", ROWS), "prompts")
    orders = [prompt_order(phase, seed).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(10))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"check": "regex", "answer": "1"}, "row 1: check: found 'regex'"),
        ({"check": "number"}, "row 1: answer: found none"),
        ({"check": "number", "answer": "seven"}, "row 1: answer: found 'seven', expected a number"),
    ],
)
def test_a_check_that_cannot_be_made(tmp_path: Path, write_prompts: Write, row: dict[str, str], message: str) -> None:
    phase = read_phase(
        write_prompts(tmp_path / "preferences", [ROWS[0], {"question": "q", **row}], shards=1), "prompts"
    )
    with pytest.raises(TrainerError, match=message):
        read_prompts(phase)


def test_a_prompt_that_is_not_there(tmp_path: Path, write_prompts: Write) -> None:
    with pytest.raises(TrainerError, match="found prompt 10 asked for, expected 0 to 9"):
        read_prompts(read_phase(write_prompts(tmp_path / "preferences", ROWS), "prompts"), [10])


def test_a_phase_of_documents_is_told(tmp_path: Path, write_prompts: Write) -> None:
    phase = read_phase(write_prompts(tmp_path / "preferences", ROWS, shards=1), "prompts")
    path = phase.shards[0].path
    pq.write_table(pq.read_table(path).drop_columns(["check"]), path)
    with pytest.raises(TrainerError, match="found no column check"):
        read_prompts(phase)
