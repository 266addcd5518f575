"""The mix: exact plans, disjoint stretches, clear refusals."""

from __future__ import annotations

from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.build import Build
from plm_data.errors import RecipeError
from plm_data.mix import check_supply, kept_documents, quotas, stretches, supply_of, take
from plm_data.recipe import PhaseSpec, Recipe


def documents(sizes: list[int]) -> pl.DataFrame:
    ids = [f"{i:03d}" for i in range(len(sizes))]
    return pl.DataFrame({"id": ids, "source": "s", "token_count": sizes, "content_hash": ids},
                        schema_overrides={"token_count": pl.Int64})  # fmt: skip


@given(st.lists(st.integers(1, 997), min_size=1, max_size=6), st.integers(1, 10**13))
def test_quotas_sum_to_the_budget_and_are_within_one_token_of_their_share(parts: list[int], tokens: int) -> None:
    # Weights of ten digits, as people write them, which need not sum to 1 exactly.
    mix = {f"s{i}": round(part / sum(parts), 10) for i, part in enumerate(parts)}
    found = quotas(PhaseSpec.model_construct(segment="stable", tokens=tokens, mix=mix))
    assert sum(found.values()) == tokens
    total = sum(Fraction(str(weight)) for weight in mix.values())
    assert all(abs(found[name] - Fraction(str(weight)) / total * tokens) < 1 for name, weight in mix.items())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.lists(st.integers(0, 400), min_size=1, max_size=4))
def test_consecutive_stretches_share_no_copy_and_miss_none(sizes: list[int], cuts: list[int]) -> None:
    frame, start, seen = documents(sizes), 0, []
    for cut in sorted(cuts):
        stretch = take(frame, "s", start, cut, seed=3)
        # Within one document of what was asked for.
        assert abs(int(stretch["token_count"].sum()) - (cut - start)) <= max(sizes)
        seen += stretch.select("id", "epoch").rows()
        start = cut
    assert len(seen) == len(set(seen))
    assert sorted(seen) == sorted(take(frame, "s", 0, start, seed=3).select("id", "epoch").rows())
    # A whole number of epochs holds each document just as often.
    total = sum(sizes)
    twice = take(frame, "s", 0, 2 * total, seed=3)
    assert sorted(twice["id"].to_list()) == sorted(frame["id"].to_list() * 2)


def test_a_larger_budget_holds_the_smaller_one_and_a_seed_decides_the_order() -> None:
    frame = documents([7] * 100)
    small, large = (set(take(frame, "s", 0, stop, seed=1)["id"]) for stop in (70, 350))
    assert len(small) == 10 and small < large
    assert set(take(frame, "s", 0, 70, seed=2)["id"]) != small
    # The order of the rows does not matter.
    assert set(take(frame.reverse(), "s", 0, 70, seed=1)["id"]) == small


def test_an_empty_source_gives_nothing() -> None:
    assert take(documents([5]).clear(), "s", 0, 100, seed=1).height == 0
    assert take(documents([5]), "s", 40, 40, seed=1).height == 0


@pytest.fixture(scope="module")
def recipe(small_build: Build) -> Recipe:
    return small_build.recipe


def test_phases_go_on_where_the_one_before_stopped(recipe: Recipe) -> None:
    plan = stretches(recipe)
    assert plan["phase1"]["python-code"] == (0, 24_000)
    assert plan["phase2"]["python-code"] == (24_000, 32_000)
    assert plan["phase2"]["package-readmes"] == (0, 8_000)


def test_a_budget_too_large_names_the_source_the_largest_budget_and_the_epochs(recipe: Recipe) -> None:
    supply = {"python-code": 16_000, "python-docs": 10**6, "package-readmes": 10**6, "worked-maths": 10**6}
    with pytest.raises(RecipeError) as error:
        check_supply(recipe, supply, measured=True)
    message = str(error.value)
    assert "32,000 tokens of the source 'python-code', which has 16,000" in message
    assert "30,000 of the 60,000" in message and "2.00 epochs" in message
    check_supply(recipe.model_copy(update={"max_epochs": 2.0}), supply, measured=True)
    check_supply(recipe, {**supply, "python-code": 32_000}, measured=True)
    with pytest.raises(RecipeError):
        check_supply(recipe, {**supply, "python-code": 31_999}, measured=True)


def test_a_source_of_unknown_size_is_not_refused_before_it_is_read(recipe: Recipe) -> None:
    check_supply(recipe, {}, measured=False)


def test_an_empty_source_cannot_be_mixed(recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="infinitely many epochs"):
        check_supply(recipe, {"worked-maths": 0}, measured=True)


def test_held_out_documents_are_in_no_phase_and_hold_whatever_the_budgets(small_build: Build) -> None:
    whole = kept_documents(small_build.decided, 7, 0.0, for_training=True)
    held, rest = (kept_documents(small_build.decided, 7, 0.1, for_training=training) for training in (False, True))
    assert sorted([*held["id"], *rest["id"]]) == sorted(whole["id"])
    assert 0.04 < held.height / whole.height < 0.18
    # A larger share holds the smaller one; another seed holds out others.
    assert set(held["id"]) < set(kept_documents(small_build.decided, 7, 0.3, for_training=False)["id"])
    assert set(held["id"]) != set(kept_documents(small_build.decided, 8, 0.1, for_training=False)["id"])
    supply = supply_of(small_build.decided, 7, 0.1)
    assert sum(supply.values()) == rest["token_count"].sum()


def test_supply_counts_kept_documents_alone(small_build: Build) -> None:
    verdicts = small_build.table("verdicts").collect()
    supply = supply_of(small_build.decided, seed=7, held_out=0)
    assert set(supply) == set(small_build.recipe.sources)
    for source, tokens in supply.items():
        mine = verdicts.filter((pl.col("source") == source) & (pl.col("verdict") == "kept"))
        assert tokens == mine["token_count"].sum()
    assert sum(supply.values()) < verdicts["token_count"].sum()
