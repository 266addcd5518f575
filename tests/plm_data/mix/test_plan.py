"""The plan over all phases: exact, a superset for a larger budget, epochs that add up, clear refusals."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.errors import RecipeError
from plm_data.mix.plan import Axis, Declared, Piece, Plan, Spot, Take, make_plan
from plm_data.recipe import PhaseSpec


class Documents:
    """An axis of documents of given sizes; a document's rank is its number."""

    def __init__(self, sizes: list[int]):
        self.sizes = sizes
        self.ends = list(accumulate(sizes))
        self.total, self.largest = sum(sizes), max(sizes, default=0)

    def locate(self, position: int) -> Spot:
        index = next(i for i, end in enumerate(self.ends) if position < end)
        return Spot(self.ends[index] - self.sizes[index], self.sizes[index], (index, f"{index:04d}"))

    def held(self, piece: Piece) -> list[int]:
        """The numbers of a piece's documents."""
        return list(range(piece.first[0], piece.stop[0] if piece.stop else len(self.sizes)))

    def tokens(self, take: Take) -> int:
        """What a take holds, by its documents."""
        held = [(i, piece.epoch) for piece in take.pieces for i in self.held(piece)]
        assert len(held) == len(set(held))
        whole = sum(self.sizes[i] for i, _ in held)
        return whole - (self.sizes[int(take.cut[0])] - take.cut[1] if take.cut else 0)


def phase(tokens: int, mix: Any, **more: Any) -> PhaseSpec:
    return PhaseSpec.model_validate({"segment": "stable", "tokens": tokens, "mix": mix, **more})


def planned(phases: dict[str, PhaseSpec], axes: dict[str, Any], epochs: float = 1.0) -> Plan:
    return make_plan(phases, axes, dict.fromkeys(axes, epochs), lambda _: "has")


sizes_ = st.lists(st.integers(1, 60), min_size=2, max_size=40)
parts_ = st.lists(st.tuples(st.integers(1, 10), st.booleans()), min_size=1, max_size=5)


@given(sizes_, parts_, st.integers(1, 3))
def test_every_phase_is_within_one_document_of_its_plan_and_exact_if_cut(
    sizes: list[int], parts: list[tuple[int, bool]], epochs: int
) -> None:
    axis = Documents(sizes)
    # Nine tenths of what all epochs give: what is cut off documents is lost to the phases after.
    budget = axis.total * epochs * 9 // 10 - len(parts) * axis.largest
    weights = [part for part, _ in parts]
    tokens = [max(1, budget * weight // sum(weights)) for weight in weights]
    if sum(tokens) > budget:
        return
    phases = {
        f"p{i}": phase(t, {"s": 1.0}, cut_last=cut) for i, (t, (_, cut)) in enumerate(zip(tokens, parts, strict=True))
    }
    plan = planned(phases, {"s": axis}, epochs)
    uses = [0] * len(sizes)
    for name, spec in phases.items():
        take = plan[name]["s"]
        assert take.quota == spec.tokens and take.tokens == axis.tokens(take)
        assert take.tokens == take.quota if spec.cut_last else abs(take.tokens - take.quota) <= axis.largest
        for piece in take.pieces:
            for i in axis.held(piece):
                # Each document is taken in its turn: its second epoch after its first.
                assert uses[i] == piece.epoch
                uses[i] += 1
    assert max(uses) - min(uses) <= 1 and max(uses) <= epochs
    used = sum(plan[name]["s"].tokens for name in phases)
    last = plan[list(phases)[-1]]["s"]
    assert last.epochs_so_far == pytest.approx(used / axis.total)


@given(sizes_, st.integers(1, 400), st.integers(1, 400), st.booleans())
def test_a_larger_budget_takes_all_that_a_smaller_one_does(sizes: list[int], one: int, two: int, cut: bool) -> None:
    axis = Documents(sizes)
    small, large = sorted((min(one, axis.total), min(two, axis.total)))

    def held(tokens: int) -> set[tuple[int, int]]:
        take = planned({"p": phase(tokens, {"s": 1.0}, cut_last=cut)}, {"s": axis})["p"]["s"]
        return {(i, piece.epoch) for piece in take.pieces for i in axis.held(piece)}

    assert held(small) <= held(large)


@given(sizes_, st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_unseen_documents_are_new_and_seen_ones_are_not(sizes: list[int], first: float, share: float) -> None:
    axis = Documents(sizes)
    before = max(1, int(axis.total * first))
    one = planned({"a": phase(before, {"s": 1.0})}, {"s": axis})["a"]["s"]
    seen = {i for piece in one.pieces for i in axis.held(piece)}
    room = {"seen": min(one.tokens, before), "unseen": axis.total - max(one.tokens, before)}
    for documents in ("seen", "unseen"):
        tokens = int(room[documents] * share)
        if not tokens:
            continue
        phases = {"a": phase(before, {"s": 1.0}), "b": phase(tokens, {"s": 1.0}, documents=documents)}
        take = planned(phases, {"s": axis}, 2.0)["b"]["s"]
        held = {i for piece in take.pieces for i in axis.held(piece)}
        assert held <= seen if documents == "seen" else not held & seen
        assert {piece.epoch for piece in take.pieces} <= ({1} if documents == "seen" else {0})
        assert abs(take.tokens - tokens) <= axis.largest


def test_any_documents_are_the_unseen_ones_first_and_then_the_least_seen() -> None:
    axis = Documents([10] * 10)
    phases = {"a": phase(30, {"s": 1.0}), "b": phase(60, {"s": 1.0}, documents="seen"), "c": phase(100, {"s": 1.0})}
    plan = planned(phases, {"s": axis}, 4.0)
    found = {name: [(axis.held(piece), piece.epoch) for piece in plan[name]["s"].pieces] for name in phases}
    assert found["a"] == [([0, 1, 2], 0)]
    assert found["b"] == [([0, 1, 2], 1), ([0, 1, 2], 2)]
    assert found["c"] == [([3, 4, 5, 6, 7, 8, 9], 0), ([3, 4, 5], 1)]


def test_a_source_more_changes_nothing_for_the_others() -> None:
    a, b = Documents([7, 9, 4, 8, 6] * 20), Documents([5] * 30)
    alone = planned({"p": phase(100, {"a": 1.0})}, {"a": a})["p"]["a"]
    beside = planned({"p": phase(200, {"a": 0.5, "b": 0.5})}, {"a": a, "b": b})["p"]["a"]
    assert (beside.pieces, beside.tokens) == (alone.pieces, alone.tokens)


def refusal(phases: dict[str, PhaseSpec], axes: dict[str, Any], epochs: float = 1.0) -> str:
    with pytest.raises(RecipeError) as error:
        planned(phases, axes, epochs)
    return str(error.value)


def test_what_a_source_cannot_give_is_refused_with_the_figures_that_mend_it() -> None:
    axes: dict[str, Axis] = {"a": Declared(1000), "b": Declared(300)}
    fits = phase(600, {"a": 0.5, "b": 0.5})
    assert planned({"p": fits}, axes)["p"]["b"].tokens == 300
    message = refusal({"p": phase(602, {"a": 0.5, "b": 0.5})}, axes)
    for part in (
        "p asks 301 tokens of the source 'b'",
        "has 300 tokens",
        "budget of p with this mix is 601",
        "1.00 epochs",
    ):
        assert part in message
    # The phases before count.
    message = refusal({"p": fits, "q": phase(10, {"b": 1.0})}, axes)
    assert "q asks 10 tokens" in message and "300 taken by the phases before, 0 are left" in message
    assert planned({"p": fits, "q": phase(10, {"b": 1.0})}, axes, 1.05)["q"]["b"].epochs_so_far == pytest.approx(
        310 / 300
    )
    assert "1.07 epochs" in refusal({"p": fits, "q": phase(20, {"b": 1.0})}, axes, 1.05)


def test_the_source_that_limits_most_is_named() -> None:
    message = refusal({"p": phase(1000, {"a": 0.5, "b": 0.5})}, {"a": Declared(400), "b": Declared(10)})
    assert "'b'" in message and "with this mix is 21 of the 1,000" in message


def test_seen_documents_alone_are_refused_where_there_are_none() -> None:
    axes = {"a": Declared(1000)}
    assert "that an earlier phase has had" in refusal({"p": phase(10, {"a": 1.0}, documents="seen")}, axes, 2.0)
    # No document may come a second time with one epoch; with two it may.
    phases = {"p": phase(100, {"a": 1.0}), "q": phase(100, {"a": 1.0}, documents="seen")}
    assert "0 are left" in refusal(phases, axes, 1.0)
    assert planned(phases, axes, 2.0)["q"]["a"].tokens == 100


def test_an_empty_source_is_refused_and_not_divided_by() -> None:
    assert "infinitely many epochs" in refusal({"p": phase(10, {"a": 1.0})}, {"a": Documents([])})


def test_a_whole_number_of_epochs_is_taken_to_the_last_document() -> None:
    axis = Documents([3, 5, 8])
    plan = planned({"p": phase(10, {"s": 1.0}), "q": phase(22, {"s": 1.0})}, {"s": axis}, 2.0)
    assert sum(plan[name]["s"].tokens for name in "pq") == 32


def test_takes_come_back_from_their_json() -> None:
    axis = Documents([30] * 10)
    take = planned({"p": phase(100, {"s": 1.0}, cut_last=True)}, {"s": axis})["p"]["s"]
    assert take.cut == ("0003", 10) and Take.from_json(take.to_json()) == take


def test_a_thousand_sources_and_trillions_of_tokens_are_planned_exactly() -> None:
    """2.48T tokens in three phases over 1,000 declared sources, by shares, temperature and UniMax."""
    supply = {f"s{i:04d}": 10**9 + 7919**3 * (i + 1) % (8 * 10**9) for i in range(1000)}
    axes = {name: Declared(size) for name, size in supply.items()}
    even = {name: 0.001 for name in supply}
    phases = {
        "one": phase(1_500_000_000_000, {"strategy": "temperature", "temperature": 1.5}),
        "two": phase(700_000_000_001, even),
        "three": phase(280_000_000_000, {"strategy": "unimax", "epochs": 1}),
    }
    plan = planned(phases, axes, 4.0)
    for name, spec in phases.items():
        assert sum(take.tokens for take in plan[name].values()) == spec.tokens
    for source, size in supply.items():
        assert sum(plan[name][source].tokens for name in phases) <= 4 * size
    assert sum(take.share for take in plan["one"].values()) == Fraction(1)
