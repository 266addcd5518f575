"""Shares and quotas: exact sums, the named strategies, nested mixes."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.mix.weights import needs_supply, quotas, shares, sources_of, temperature, unimax
from plm_data.recipe import PhaseSpec

supplies = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(0, 10**13), min_size=1, max_size=8)


def mix_of(mix: object) -> PhaseSpec:
    return PhaseSpec.model_validate({"segment": "stable", "tokens": 1000, "mix": mix})


@given(st.lists(st.integers(1, 997), min_size=1, max_size=6), st.integers(1, 10**13))
def test_quotas_sum_to_the_budget_and_are_within_one_token_of_their_share(parts: list[int], tokens: int) -> None:
    # Weights of ten digits, as people write them, which need not sum to 1 exactly.
    weights = {f"s{i}": round(part / sum(parts), 10) for i, part in enumerate(parts)}
    found = quotas(shares(mix_of(weights).mix, tokens, {}), tokens)
    assert sum(found.values()) == tokens
    total = sum(Fraction(str(weight)) for weight in weights.values())
    assert all(abs(found[name] - Fraction(str(weight)) / total * tokens) < 1 for name, weight in weights.items())


def test_a_domains_weight_is_shared_by_its_sources() -> None:
    mix = mix_of({"code": {"weight": 0.6, "sources": {"py": 0.75, "rs": 0.25}}, "web": 0.4}).mix
    assert shares(mix, 1000, {}) == {"py": Fraction(45, 100), "rs": Fraction(15, 100), "web": Fraction(4, 10)}
    assert sources_of(mix, {}) == ["py", "rs", "web"] and not needs_supply(mix)


def test_a_strategy_within_a_domain_has_the_domains_tokens_alone() -> None:
    mix = mix_of({"code": {"weight": 0.5, "sources": {"strategy": "unimax", "sources": ["a", "b"]}}, "web": 0.5}).mix
    # 500 tokens over a source of 100 and a large one.
    assert shares(mix, 1000, {"a": 100, "b": 10_000, "web": 9}) == {
        "a": Fraction(1, 10), "b": Fraction(4, 10), "web": Fraction(1, 2),
    }  # fmt: skip
    assert needs_supply(mix)


@given(supplies, st.floats(0.1, 100))
def test_temperature_keeps_the_order_of_sizes_and_sums_to_one(supply: dict[str, int], value: float) -> None:
    found = temperature(supply, value)
    if any(supply.values()):
        assert sum(found.values()) == 1
    ordered = sorted(supply, key=lambda name: supply[name])
    assert all(found[a] <= found[b] for a, b in pairwise(ordered))
    assert all(found[name] == 0 for name, size in supply.items() if size == 0)


def test_temperature_one_is_in_proportion_and_a_high_one_is_even() -> None:
    assert temperature({"a": 1, "b": 3}, 1.0) == {"a": Fraction(1, 4), "b": Fraction(3, 4)}
    assert float(temperature({"a": 1, "b": 9}, 2.0)["b"]) == pytest.approx(0.75)  # the square roots are 1 and 3
    assert float(temperature({"a": 1, "b": 10**12}, 1e6)["a"]) == pytest.approx(0.5, abs=1e-4)


@given(supplies, st.integers(1, 10**13), st.integers(1, 8))
def test_unimax_is_even_but_for_what_sources_cannot_give(supply: dict[str, int], tokens: int, epochs: int) -> None:
    found = {name: share * tokens for name, share in unimax(supply, tokens, epochs).items()}
    assert sum(found.values()) == tokens
    if sum(supply.values()) * epochs < tokens:
        return
    most = max(found.values())
    for name, given_ in found.items():
        assert given_ <= supply[name] * epochs
        # Whoever has less than the largest part gives all that it may.
        assert given_ == most or given_ == supply[name] * epochs


def test_unimax_asks_what_nobody_can_give_of_the_largest() -> None:
    assert unimax({"a": 10, "b": 20}, 100, 1.0) == {"a": Fraction(1, 10), "b": Fraction(9, 10)}
