"""What the phases get, drawn by the steps: exact, the same for any layout, shuffled over all, nothing held out in it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.recipe import Curriculum
from tests.plm_data.mix.drawn import Documents, Drawn, phase

documents_ = st.fixed_dictionaries(
    {
        "a": st.lists(st.integers(1, 50), min_size=5, max_size=40),
        "b": st.lists(st.integers(1, 50), min_size=5, max_size=40),
    }
)
SIZES: Documents = {"a": [5 + i * 7 % 40 for i in range(400)], "b": [3 + i * 11 % 60 for i in range(300)]}


@settings(max_examples=15)
@given(documents_, st.integers(1, 4), st.integers(1, 9), st.integers(1, 3), st.booleans(), st.floats(0.0, 0.4))
def test_any_plan_is_met_whatever_the_layout(
    documents: Documents, partitions: int, rows_a_bucket: int, order_buckets: int, cut: bool, held_out: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        laid = Drawn(Path(folder) / "laid", documents, partitions, rows_a_bucket, held_out=held_out)
        plain = Drawn(Path(folder) / "plain", documents, held_out=held_out)
        supply = {name: axis.total for name, axis in plain.ranked.items()}
        least = min(supply.values()) - 50
        if least < 20:
            return
        phases = {
            "one": phase(least, {"a": 0.3, "b": 0.7}, cut_last=cut),
            "two": phase(least, {"a": 0.6, "b": 0.4}, cut_last=cut),
        }
        seen: set[tuple[str, int]] = set()
        for name, spec in phases.items():
            rows = laid.rows(phases, name, 2.0, order_buckets)
            assert rows.equals(plain.rows(phases, name, 2.0))
            assert rows["position"].to_list() == list(range(rows.height))
            for source in ("a", "b"):
                quota = laid.plan(phases, 2.0)[0][name][source].quota
                tokens = int(rows.filter(pl.col("source") == source)["taken"].sum())
                assert tokens == quota if cut else abs(tokens - quota) <= max(documents[source])
            assert not cut or rows["taken"].sum() == spec.tokens
            copies = set(rows.select("id", "epoch").rows())
            assert len(copies) == rows.height and not copies & seen
            seen |= copies
        out = set(laid.rows(phases, "held-out", 2.0)["id"])
        assert not out & {identity for identity, _ in seen}
        kept = sum(len(sizes) for sizes in documents.values())
        assert len(out) + sum(axis.documents for axis in laid.ranked.values()) == kept


def test_another_source_moves_no_document_of_the_first(tmp_path: Path) -> None:
    one = Drawn(tmp_path / "one", {"a": SIZES["a"]}).rows({"p": phase(2000, {"a": 1.0})}, "p")
    both = Drawn(tmp_path / "both", SIZES).rows({"p": phase(4000, {"a": 0.5, "b": 0.5})}, "p")
    mine = both.filter(pl.col("source") == "a")
    assert mine.select("id", "epoch", "taken").equals(one.select("id", "epoch", "taken"))


def test_a_larger_budget_is_a_superset(tmp_path: Path) -> None:
    drawn = Drawn(tmp_path, SIZES, rows_a_bucket=17)
    small, large = (set(drawn.rows({"p": phase(n, {"a": 1.0})}, "p")["id"]) for n in (900, 5000))
    assert small < large


def test_another_seed_draws_other_documents_in_another_order(tmp_path: Path) -> None:
    phases = {"p": phase(2000, {"a": 1.0})}
    one, two = (Drawn(tmp_path / str(seed), SIZES, seed=seed).rows(phases, "p")["id"].to_list() for seed in (1, 2))
    assert set(one) != set(two)
    # Of what both have, the order differs too.
    both = set(one) & set(two)
    assert [i for i in one if i in both] != [i for i in two if i in both]


def test_the_shuffle_is_global_and_has_nothing_to_do_with_what_was_drawn_first(tmp_path: Path) -> None:
    drawn = Drawn(tmp_path, SIZES, rows_a_bucket=50)
    rows = drawn.rows({"p": phase(6000, {"a": 0.5, "b": 0.5})}, "p")
    first = rows.head(rows.height // 2)["source"].value_counts(sort=True)["count"]
    assert first.min() > 0.35 * first.sum()  # type: ignore[operator]
    small = set(drawn.rows({"p": phase(1500, {"a": 0.5, "b": 0.5})}, "p")["id"])
    places = np.flatnonzero(rows["id"].is_in(list(small)).to_numpy()) / rows.height
    assert 0.4 < places.mean() < 0.6


def test_the_same_phase_of_another_name_has_the_same_documents_in_another_order(tmp_path: Path) -> None:
    drawn = Drawn(tmp_path, SIZES)
    one, two = (drawn.rows({name: phase(2000, {"a": 1.0})}, name)["id"].to_list() for name in "pq")
    assert sorted(one) == sorted(two) and one != two


@pytest.mark.parametrize("share, low, high", [(0.0, 0, 0), (0.1, 40, 100), (1.0, 700, 700)])
def test_the_held_out_share_is_drawn_by_content(tmp_path: Path, share: float, low: int, high: int) -> None:
    drawn = Drawn(tmp_path, SIZES, held_out=share)
    rows = drawn.rows({"p": phase(10, {"a": 1.0})} if share < 1 else {}, "held-out")
    assert low <= rows.height <= high


def test_a_larger_held_out_share_holds_the_smaller_one(tmp_path: Path) -> None:
    few, many = (set(Drawn(tmp_path / str(s), SIZES, held_out=s).rows({}, "held-out")["id"]) for s in (0.05, 0.2))
    assert few < many


VALUES: dict[str, list[float | None]] = {
    "a": [None, *(float(i * 37 % 399) for i in range(399))], "b": [float(i * 53 % 300) + 0.5 for i in range(300)],
}  # fmt: skip


@pytest.fixture
def by_value() -> object:
    """Curricula name one of the rules' measures; here there is but one, called value."""
    with mock.patch("plm_data.recipe.MEASURES", ("value",)):
        yield


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("bands", [4, 50])
def test_a_curriculum_goes_through_its_measure_band_by_band(
    tmp_path: Path, by_value: object, descending: bool, bands: int
) -> None:
    drawn = Drawn(tmp_path, SIZES, 2, 60, measures=VALUES)
    order = Curriculum(by="value", descending=descending, bands=bands)
    phases = {"p": phase(12_000, {"a": 0.5, "b": 0.5}, order=order.model_dump())}
    rows = drawn.rows(phases, "p", order_buckets=3)
    values = {
        row["id"]: -np.inf if row["value"] is None else row["value"]
        for source in SIZES
        for part in sorted((tmp_path / f"decided-{source}").glob("part-*.parquet"))
        for row in pl.read_parquet(part).iter_rows(named=True)
    }
    found = np.array([values[identity] for identity in rows["id"]])
    bounds = np.array(drawn.plan(phases)[1]["p"])
    band = np.searchsorted(bounds, found, side="right")
    assert (np.diff(band if not descending else -band) >= 0).all()
    # Equal tokens a band, to a document or two; and within a band the order is shuffled.
    tokens = np.bincount(band, weights=rows["taken"].to_numpy())
    assert len(tokens) == bands and tokens.min() > 12_000 / bands - 300
    longest = np.flatnonzero(band == np.bincount(band).argmax())
    assert len(longest) < 5 or not (np.diff(found[longest]) >= 0).all()


def test_without_a_curriculum_a_measure_orders_nothing(tmp_path: Path) -> None:
    rows = Drawn(tmp_path, SIZES, measures=VALUES).rows({"p": phase(9_000, {"b": 1.0})}, "p")
    assert rows["position"].is_sorted() and not rows["id"].is_sorted()


def test_a_phase_takes_of_a_second_epoch_what_it_took_of_the_first(tmp_path: Path) -> None:
    drawn = Drawn(tmp_path, {"a": [10] * 20}, rows_a_bucket=3)
    rows = drawn.rows({"p": phase(500, {"a": 1.0}, cut_last=True)}, "p", epochs=3.0, order_buckets=2)
    counts = rows.group_by("epoch").len().sort("epoch")
    assert counts.rows() == [(0, 20), (1, 20), (2, 10)]
    third = drawn.rows({"p": phase(405, {"a": 1.0}, cut_last=True)}, "p", epochs=3.0).filter(pl.col("epoch") == 2)
    assert third.select("taken", "token_count").rows() == [(5, 10)]
