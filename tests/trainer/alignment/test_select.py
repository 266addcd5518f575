"""Each reason for which a chain gives no pair, and the nearest chain that gives one."""

from collections.abc import Callable
from typing import Any

import pytest

from trainer.alignment.chains import Answer, Chain
from trainer.alignment.prompts import Prompt
from trainer.alignment.select import PAIR, Decision, select_activation, select_pair

NUMBER: dict[str, Any] = {"check": "number", "answer": "1"}


@pytest.fixture
def chain(make_prompt: Callable[..., Prompt], make_answer: Callable[..., Answer]) -> Callable[..., Chain]:
    """A function that returns a chain of texts; a text that ends with … was cut off."""

    def make(*texts: str, **fields: Any) -> Chain:
        return Chain(
            make_prompt(**fields), tuple(make_answer(text.rstrip("…"), not text.endswith("…")) for text in texts)
        )

    return make


@pytest.mark.parametrize(
    ("texts", "fields", "right", "expected"),
    [
        (("a", "b", "c"), {}, (None, None, None), (PAIR, 2, 0)),  # the last against the first
        ((), {}, (), ("no-answer",)),
        (("a",), {}, (None,), ("single-answer",)),
        (("a", " "), {}, (None, None), ("empty-answer",)),
        (("", "b"), {}, (None, None), ("empty-answer",)),
        (("a", "", "b"), {}, (None, None, None), (PAIR, 2, 0)),  # what lies between does not matter
        (("a", "b", "a "), {}, (None, None, None), ("identical-answers",)),
        (("a", "b…"), {}, (None, None), ("chosen-unfinished",)),
        (("a…", "b"), {}, (None, None), (PAIR, 1, 0)),
        (("2", "1"), NUMBER, (False, True), (PAIR, 1, 0)),
        (("2", "3"), NUMBER, (False, False), ("chosen-wrong",)),
        (("1", "2"), NUMBER, (True, False), ("chosen-wrong",)),
        (("1", "01"), NUMBER, (True, True), ("rejected-right",)),
        (("a", "b"), {"check": "python", "answer": "assert"}, (None, None), ("unjudged",)),
        (("a", "b"), {"check": "python", "answer": "assert"}, (False, None), ("unjudged",)),
    ],
)
def test_by_rule(chain: Any, texts: Any, fields: Any, right: Any, expected: Any) -> None:
    assert select_pair("rule", chain(*texts, **fields), right) == Decision(*expected)


@pytest.mark.parametrize(
    ("texts", "fields", "right", "expected"),
    [
        (("2", "1", "3", "01"), NUMBER, (False, True, False, True), (PAIR, 1, 0)),  # the first of each
        (("1", "2"), NUMBER, (True, False), (PAIR, 0, 1)),
        (("1", "01"), NUMBER, (True, True), ("all-right",)),
        (("2", "3"), NUMBER, (False, False), ("none-right",)),
        (("1…", "2"), NUMBER, (True, False), ("none-right",)),  # cut off after the right number
        (("1…", "2", "01"), NUMBER, (True, False, True), (PAIR, 2, 1)),
        (("1", ""), NUMBER, (True, False), ("all-right",)),  # an empty answer is no answer to reject
        (("1", "", "2"), NUMBER, (True, False, False), (PAIR, 0, 2)),
        (("1", "2"), {}, (None, None), ("no-check",)),
        (("1", "2"), {"check": "python", "answer": "assert"}, (None, None), ("unjudged",)),
    ],
)
def test_by_check(chain: Any, texts: Any, fields: Any, right: Any, expected: Any) -> None:
    assert select_pair("check", chain(*texts, **fields), right) == Decision(*expected)


@pytest.mark.parametrize(
    ("texts", "scores", "expected"),
    [
        (("a", "b", "c"), (0.5, 0.9, 0.1), (PAIR, 1, 2)),
        (("a", "b", "c"), (0.9, 0.9, 0.1), (PAIR, 0, 2)),
        (("a", "b"), (0.5, 0.5), ("tie",)),
        (("a", "b"), (0.5, None), ("unscored",)),
        (("a", "b", "c"), (0.5, None, 0.4), (PAIR, 0, 2)),
        (("a", "a"), (0.5, 0.4), ("identical-answers",)),
        (("a…", "b"), (0.5, 0.4), ("chosen-unfinished",)),
        (("a", ""), (0.5, 0.4), ("empty-answer",)),
    ],
)
def test_by_reward(chain: Any, texts: Any, scores: Any, expected: Any) -> None:
    made = chain(*texts)
    assert select_pair("reward", made, [None] * len(texts), scores) == Decision(*expected)


def test_the_activation(chain: Any) -> None:
    assert select_activation(chain("2", "1", reference="1")) == Decision(PAIR, 1, 0)
    assert select_activation(chain("1", "1", reference="1")) == Decision(PAIR, 1, 0)  # to be kept as it is
    assert select_activation(chain("", "1", reference="1")) == Decision(PAIR, 1, 0)
    assert select_activation(chain("2", " ", reference=" ")) == Decision("empty-answer")
    assert select_activation(chain("2")) == Decision("no-reference")
    assert select_activation(chain(reference="1")) == Decision("no-answer")
