"""Each usual form as a conversation, each reason to refuse one, and beside each reason the nearest row that is fine."""

from __future__ import annotations

from typing import Any

import pytest

from plm_data.chat.conversation import Conversation, conversation
from plm_data.chat.forms import convert, form_of

ASKED = [("user", "Why?"), ("assistant", "So.")]


def turns(row: dict[str, Any], form: Any = None, **names: str) -> list[tuple[str, str]]:
    found = convert(row, form, names)
    assert isinstance(found, Conversation), found
    return list(found.turns)


def reason(row: dict[str, Any], form: Any = None) -> str:
    found = convert(row, form, {})
    assert not isinstance(found, Conversation), found
    assert found[1]  # every reason says what was found
    return found[0]


def messages(*given: tuple[Any, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in given]}


ROWS: list[tuple[str, dict[str, Any]]] = [
    ("messages", messages(*ASKED)),
    ("sharegpt", {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}),
    ("alpaca", {"instruction": "Why?", "input": "", "output": "So."}),
    ("alpaca", {"instruction": "Why?", "output": "So."}),
    ("alpaca", {"instruction": "Why?", "instances": [{"input": "", "output": "So."}, {"input": "x", "output": "y"}]}),
    ("prompt-response", {"prompt": "Why?", "response": "So.", "score": 1}),
    ("preference-pair", {"prompt": "Why?", "chosen": "So.", "rejected": "No."}),
]


@pytest.mark.parametrize("form, row", ROWS)
def test_every_form_gives_the_same_turns_and_is_told_by_its_columns(form: str, row: dict[str, Any]) -> None:
    assert form_of(row) == form
    assert turns(row) == turns(row, form) == ASKED


def test_columns_may_have_other_names() -> None:
    row = {"query": "Why?", "answer": "So.", "response": "no"}
    assert turns(row, "prompt-response", prompt="query", response="answer") == ASKED
    assert convert(row, "prompt-response", {})[0] == "missing-column"  # type: ignore[index]


def test_a_form_is_not_guessed() -> None:
    both = {"prompt": "Why?", "chosen": "a", "rejected": "b", **messages(*ASKED)}
    assert form_of(both) is None and reason(both) == "unknown-form"
    assert reason({"text": "Why? So."}) == "unknown-form"
    assert turns(both, "messages") == ASKED
    # Questions with answers that do not end as GSM8K's do are not taken for it.
    assert form_of({"question": "Why?", "answer": "So."}) is None


def test_the_parts_of_forms() -> None:
    system = [("system", "Be short."), *ASKED]
    assert turns(messages(("developer", "Be short."), *ASKED)) == system
    assert turns(messages(("system", ""), *ASKED)) == ASKED
    assert turns({"instruction": "Why?", "input": "1 + 1", "output": "So."})[0] == ("user", "Why?\n\n1 + 1")
    assert turns({"prompt": "Why?", "response": "So.", "system": "Be short."}) == system
    parts = [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}]
    assert turns(messages(("user", parts), ("assistant", "So."))) == ASKED
    assert reason(messages(("user", [{"type": "image_url", "image_url": "x"}]), ("assistant", "So."))) == "not-text"


@pytest.mark.parametrize(
    "expected, bad, good",
    [
        ("no-turns", {"messages": []}, messages(*ASKED)),
        ("no-turns", {"messages": "Why?"}, messages(*ASKED)),
        ("no-turns", {"messages": ["Why?", "So."]}, messages(*ASKED)),
        ("unknown-role", messages(("wizard", "Why?"), ASKED[1]), messages(("human", "Why?"), ASKED[1])),
        ("unknown-role", messages((None, "Why?"), ASKED[1]), messages(*ASKED)),
        ("not-text", messages(ASKED[0], ("assistant", 42)), messages(ASKED[0], ("assistant", "42"))),
        ("not-text", messages(ASKED[0], ("assistant", None)), messages(ASKED[0], ("assistant", "None"))),
        ("empty-turn", messages(("user", " \n"), ASKED[1]), messages(("user", " .\n"), ASKED[1])),
        ("roles-out-of-order", messages(ASKED[1], ASKED[0]), messages(*ASKED)),
        ("roles-out-of-order", messages(ASKED[0], *ASKED), messages(*ASKED, *ASKED)),
        ("roles-out-of-order", messages(*ASKED, ASKED[1]), messages(*ASKED, *ASKED)),
        ("roles-out-of-order", messages(*ASKED, ("system", "x")), messages(("system", "x"), *ASKED)),
        ("no-user-turn", messages(("system", "Be short.")), messages(("system", "x"), ASKED[0])),
        ("missing-column", {"messages": None}, messages(*ASKED)),
    ],
)  # fmt: skip
def test_each_reason_and_the_nearest_that_is_none(expected: str, bad: dict[str, Any], good: dict[str, Any]) -> None:
    assert reason(bad, "messages") == expected
    assert isinstance(convert(good, "messages", {}), Conversation)


def test_turns_after_the_last_answer_are_cut_and_nobody_answering_is_seen() -> None:
    talk = conversation([*ASKED, ("user", "And?")])
    assert isinstance(talk, Conversation) and list(talk.as_answered().turns) == ASKED  # type: ignore[union-attr]
    alone = conversation(ASKED[:1])
    assert isinstance(alone, Conversation) and alone.as_answered() is None
    # As a prompt it is what comes after that is answered.
    assert list(talk.as_prompt().turns) == [*ASKED, ("user", "And?")] and talk.as_prompt().reference is None
    again = conversation([*ASKED, *ASKED])
    assert isinstance(again, Conversation)
    assert list(again.as_prompt().turns) == [*ASKED, ASKED[0]] and again.as_prompt().reference == "So."


def test_gsm8k_has_an_answer_that_is_checked() -> None:
    row = {"question": "How many?", "answer": "It is 1200/2 = <<1200/2=600>>600.\nTwice is 1,200.\n#### 1,200"}
    found = convert(row, None, {})
    assert isinstance(found, Conversation)
    assert (found.answer, found.check) == ("1200", "number")
    assert found.turns[-1][1] == "It is 1200/2 = 600.\nTwice is 1,200.\n#### 1200"
    for wrong in ("It is 600.", "#### six", "####"):
        assert reason({"question": "How many?", "answer": wrong}, "gsm8k") == "no-final-answer"
    negative = convert({"question": "How many?", "answer": "#### -3.5"}, "gsm8k", {})
    assert isinstance(negative, Conversation) and negative.answer == "-3.5"


def test_preference_pairs() -> None:
    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": text}]

    pair = convert({"prompt": "Why?", "chosen": said("So."), "rejected": said("No.")}, None, {})
    assert isinstance(pair, Conversation)
    assert (list(pair.turns), pair.chosen, pair.rejected) == (ASKED, "So.", "No.")
    assert pair.as_prompt().reference == "So."
    assert turns({"chosen": said("So."), "rejected": said("No.")}) == ASKED
    other = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "No."}]
    assert reason({"chosen": said("So."), "rejected": other}) == "different-prompts"
    assert reason({"chosen": said("So."), "rejected": said("So.")}) == "no-preference"
    assert reason({"chosen": said("So.")[:1], "rejected": said("No.")}) == "no-assistant-turn"
    assert reason({"prompt": "Why?", "chosen": "So.", "rejected": " "}) == "empty-turn"
    assert reason({"prompt": 7, "chosen": "So.", "rejected": "No."}) == "not-text"


def test_code_tasks() -> None:
    mbpp = {"text": "Add two.", "code": "def add(a, b):\n    return a + b", "test_list": ["assert add(1, 2) == 3"],
            "test_setup_code": "import math", "task_id": 1}  # fmt: skip
    found = convert(mbpp, None, {})
    assert isinstance(found, Conversation)
    assert (found.answer, found.check) == ("import math\nassert add(1, 2) == 3\n", "python")
    assert found.turns[0][1].startswith("Add two.\n") and "assert add(1, 2) == 3" in found.turns[0][1]
    assert found.turns[1][1] == "```python\ndef add(a, b):\n    return a + b\n```"
    human = {"prompt": "def f(x):\n", "canonical_solution": "    return x\n", "entry_point": "f",
             "test": "def check(candidate):\n    assert candidate(1) == 1"}  # fmt: skip
    found = convert(human, None, {})
    assert isinstance(found, Conversation) and found.turns[1][1] == "```python\ndef f(x):\n    return x\n```"
    space: dict[str, Any] = {}
    exec(f"{human['prompt']}{human['canonical_solution']}\n{found.answer}", space)  # the tests run, and pass
    with pytest.raises(AssertionError):
        exec(f"def f(x):\n    return 2\n{found.answer}", space)
    assert reason({**human, "entry_point": "f); import os; (g"}) == "not-text"
    untested = convert({"prompt": "Add two.", "code": "x = 2"}, None, {})
    assert isinstance(untested, Conversation) and untested.check is None and untested.answer is None


def test_a_conversation_comes_back_from_its_json() -> None:
    whole = Conversation(
        (("user", "Wh\u0000y? \U0001f600"), ("assistant", "So.")), answer="1", check="number", origins=("a/b", "c")
    )
    assert Conversation.from_json(whole.to_json()) == whole
