"""What a stage's chains look like, by hand-counted cases."""

from typing import Any

import pytest
import torch

from trainer.alignment.diagnostics import chain_facts, drift


def row(*answers: tuple[str, bool | None], given: bool = False) -> dict[str, Any]:
    """A row of the ledger with answers (text, right)."""
    return {
        "answers": [
            {
                "text": text,
                "tokens": list(range(len(text))),
                "finished": text != "cut",
                "given": given,
                "right": right,
                "score": None,
            }
            for text, right in answers
        ]
    }


def test_chains() -> None:
    rows = [
        row(("a", False), ("bb", True), ("bb ", True)),  # mended, then kept
        row(("a", True), ("c", False), ("dddd", False)),  # broken, then kept wrong
        row(("x", None), ("x", None)),
        row(("cut", None)),
        row(),
        row(("g", True), given=True),  # the data's: nothing that the policy drew
    ]
    facts = chain_facts(rows)
    assert facts["right"] == [0.5, 0.5, 0.5]
    assert facts["answer_tokens"] == [1.5, 4 / 3, 3.5]
    assert facts["finished"] == [0.75, 1.0, 1.0]
    assert facts["score"] == [None, None, None]
    assert facts["distinct_answers"] == pytest.approx((2 / 3 + 1 + 1 / 2 + 1) / 4)
    assert facts["distinct_chains"] == 0.5
    assert facts["changed"] == pytest.approx(3 / 5)
    assert (facts["mended"], facts["broken"]) == (0.5, 0.5)


def test_nothing_was_drawn() -> None:
    facts = chain_facts([row()])
    assert (facts["right"], facts["distinct_chains"], facts["mended"]) == ([], None, None)
    assert drift(torch.empty(0), torch.empty(0), []) == {"kl": None, "kl_per_token": None}


def test_drift_is_what_the_samples_lost() -> None:
    rows = [([1], [2, 3]), ([1], [2, 3, 4, 5])]
    found = drift(torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -3.0]), rows)
    assert found == {"kl": 1.5, "kl_per_token": 0.5}
