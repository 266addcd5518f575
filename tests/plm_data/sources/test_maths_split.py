"""Worked problems by kind and range: one split whatever the ranges, no problem twice, answers that are numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.recipe_conversations import MathsSet
from plm_data.sources.maths_kinds import KINDS, Kind
from plm_data.sources.maths_split import check_selection, number_of, selection
from plm_data.sources.worked_maths import Permutation, Split, problem, split_size

SPLITS: tuple[Split, ...] = ("train", "held-out")
NARROW = {"kind": "addition", "ranges": [[10, 30], [10, 30]]}


def spec(examples: int = 10, **keys: Any) -> MathsSet:
    return MathsSet.model_validate({"reader": "worked-maths", "license": "Apache-2.0", "examples": examples, **keys})


def names(split: Split, examples: int, **keys: Any) -> list[str]:
    return [name for _, name, _ in selection(spec(examples, **keys), split)]


@given(st.integers(1, 5000), st.integers(0, 10), st.data())
def test_the_inverse_of_the_permutation(size: int, seed: int, data: st.DataObject) -> None:
    permutation = Permutation(size, seed)
    index = data.draw(st.integers(0, size - 1))
    assert permutation.inverse(permutation(index)) == index == permutation(permutation.inverse(index))
    with pytest.raises(IndexError):
        permutation.inverse(size)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_number_of_a_problem_is_that_of_its_operands(kind: Kind) -> None:
    for number in range(0, kind.size, max(1, kind.size // 200)):
        assert kind.index(kind.operands(number)) == number


def test_narrowed_problems_are_split_as_all_of_the_kind_are() -> None:
    train, held_out = names("train", 441, kinds=[NARROW]), names("held-out", 441, kinds=[NARROW])
    assert not {*train} & {*held_out} and len(train) + len(held_out) == 441 == 21 * 21 and held_out
    # The smallest kind, all of it.
    narrow = {"kind": "rectangle", "ranges": [[2, 40], [2, 40]]}
    (kind,) = (each for each in KINDS if each.name == "rectangle")
    wide = {split: {problem(kind, split, i, 0)[0] for i in range(split_size(kind, split))} for split in SPLITS}
    for split in SPLITS:
        assert {*names(split, 1521, kinds=[narrow])} < wide[split]


def test_all_kinds_in_turn_and_a_stretch_of_them() -> None:
    whole = names("train", 60, kinds=["addition", NARROW, "average"])
    assert [name.split("/")[0] for name in whole[:4]] == ["addition", "addition", "average", "addition"]
    assert names("train", 20, kinds=["addition", NARROW, "average"], skip=40) == whole[40:]
    assert names("train", 13) == [problem(kind, "train", 0, 0)[0] for kind in KINDS]
    few = {"kind": "sharing", "ranges": [[1, 2], [1, 2], [1, 2]]}
    assert sum(name.startswith("sharing") for name in names("train", 30, kinds=[few, "average"])) <= 8


def test_the_number_that_an_answer_is_checked_by_ends_it() -> None:
    counted = {kind.name: 0 for kind in KINDS}
    for kind, _, item in selection(spec(1300), "train"):
        if (number := number_of(kind, item)) is not None:
            counted[kind] += 1
            assert re.findall(r"-?\d+", f"{item.solution}\n\nAnswer: {item.answer}")[-1] == number
            assert re.fullmatch(rf"(x = )?{number}( km)?", item.answer)
    assert {kind for kind, count in counted.items() if not count} == {"division", "fractions", "rectangle"}


@pytest.mark.parametrize(
    "keys, split, key, part",
    [
        ({"kinds": ["sums"]}, "train", "kinds", "no kind 'sums'; the kinds are addition, "),
        ({"kinds": ["division"]}, "held-out", "kinds", "not one number, so it cannot be checked"),
        ({"kinds": [{"kind": "addition", "ranges": [[1, 20], [10, 20]]}]}, "train", "kinds", "[1, 20] is not within"),
        ({"kinds": [{"kind": "addition", "ranges": [[20, 10], [10, 20]]}]}, "train", "kinds", "[20, 10] is not within"),
        ({"kinds": [{"kind": "addition", "ranges": [[10, 20]]}]}, "train", "kinds", "has 2 operands"),
        ({"kinds": [{"kind": "addition", "ranges": [[10, 999], [10, 999]]}]}, "train", "kinds", "980,100 problems"),
        ({"kinds": [NARROW], "examples": 430}, "train", "examples", "430 problems after 0, but these kinds have"),
        ({"kinds": [NARROW], "skip": 425, "examples": 16}, "train", "examples", "16 problems after 425"),
    ],
)
def test_what_cannot_be_made_is_refused(keys: dict[str, Any], split: Split, key: str, part: str) -> None:
    ((found, what),) = check_selection(spec(**keys), split)
    assert found == key and part in what


def test_what_can_be_made_is_not() -> None:
    assert check_selection(spec(kinds=["division"]), "train") == []
    most = split_size(KINDS[0], "held-out")
    assert check_selection(spec(most, kinds=["addition"]), "held-out") == []
    assert check_selection(spec(most + 1, kinds=["addition"]), "held-out") != []
