"""The view: sums where a list is long, every hidden character written out, a sentence for every chart."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from page_assets import percent, short
from plm_data.report.groups import MOST_SHOWN, groups
from plm_data.report.view import chart_data, view, visible
from plm_data.text.printable import printable


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(0, 10**12), max_size=60))
def test_the_largest_sources_are_shown_by_themselves(tokens: dict[str, int]) -> None:
    shown = groups(tokens)
    assert list(shown) == list(tokens) and len(set(shown.values())) == min(len(tokens), MOST_SHOWN)
    alone = [source for source, name in shown.items() if name == source]
    together = [source for source in tokens if source not in alone]
    assert all(tokens[one] >= tokens[other] for one in alone for other in together)
    assert {shown[source] for source in together} <= {f"{len(together)} more sources"}
    assert len(together) != 1


def many(facts: dict[str, Any], sources: int, phases: int) -> dict[str, Any]:
    """The facts with as many sources and phases, made of those that there are."""
    big = copy.deepcopy(facts)
    first = big["sources"][0]
    big["sources"] += [
        {**copy.deepcopy(first), "name": f"a-source-with-a-name-as-long-as-they-may-be-{'x' * 30}-{i}", "tokens": i}
        for i in range(sources - len(big["sources"]))
    ]
    big["groups"] = groups({source["name"]: source["tokens"] for source in big["sources"]})
    known = [source["name"] for source in facts["sources"]]
    assert all(big["groups"][name] == name for name in known), "the real ones are the largest"
    weight = 1 / sources
    template = next(iter(big["phases"][0]["sources"].values()))
    phase = big["phases"][0]
    phase["sources"] = {source["name"]: {**template, "weight": weight} for source in big["sources"]}
    phase["tokens"] = sources * template["tokens"]
    big["phases"] = [{**copy.deepcopy(phase), "name": f"phase{i}"} for i in range(phases)]
    return big


def test_of_a_thousand_sources_the_small_ones_are_summed(facts: dict[str, Any]) -> None:
    big = many(facts, 1000, 3)
    shown = view(big)
    assert len(shown["groups"]) == MOST_SHOWN and "981 more sources" in [row["name"] for row in shown["groups"]]
    for key in ("found", "documents", "tokens", "kept_tokens"):
        assert sum(row[key] for row in shown["groups"]) == sum(row[key] for row in big["sources"])
    for phase in shown["phases"]:
        assert sum(row["tokens"] for row in phase["groups"]) == phase["tokens"] == phase["shown_tokens"]
        assert sum(row["shown_tokens"] for row in phase["domains"]) == phase["tokens"]
        rest = next(row for row in phase["groups"] if row["name"] == "981 more sources")
        assert rest["epochs"] is None and rest["weight"] == pytest.approx(0.981)
    told = [(row["colour"], row["pattern"]) for row in shown["groups"]]
    assert len(set(told)) == len(told)


def test_few_sources_are_as_they_are_in_the_facts(facts: dict[str, Any]) -> None:
    shown = view(facts)
    for row, source in zip(shown["groups"], facts["sources"], strict=True):
        assert all(row[key] == source[key] for key in ("name", "domain", "language", "license", "tokens", "found"))
    for phase, told in zip(shown["phases"], facts["phases"], strict=True):
        assert [row["name"] for row in phase["groups"]] == [
            source["name"] for source in facts["sources"] if source["name"] in told["sources"]
        ]
        for row in phase["groups"]:
            assert all(
                row[key] == told["sources"][row["name"]][key]
                for key in ("planned_tokens", "tokens", "documents", "epochs", "epochs_so_far")
            )
    for rule, told in zip(shown["rules"], facts["rules"], strict=True):
        assert {name: hit["documents"] for name, hit in rule["by_group"].items()} == {
            name: hit["documents"] for name, hit in told["by_source"].items()
        }
        assert rule["limits"] == {source: [limit] for source, limit in told["thresholds"].items()}


@given(st.text())
def test_no_text_keeps_a_hidden_character(text: str) -> None:
    shown = visible({"a": [text, {"b": (text,)}], "c": {text: 1}})
    assert shown["a"][0] == printable(text, keep="\n") == shown["a"][1]["b"][0]
    assert shown["c"] == {printable(text, keep="\n"): 1}


def test_numbers_and_nothing_stay_what_they_are() -> None:
    value = {"n": 1, "x": 0.5, "none": None, "yes": True, "list": [1, "plain"]}
    assert visible(value) == value


def test_every_chart_has_its_finding(facts: dict[str, Any]) -> None:
    said = view(facts)["findings"]
    for name in ("phases", "flow", "costs", "sizes", "lost", "overlap", "languages", "lengths", "epochs", "fertility"):
        assert said[name].endswith(".") and said[name][0] != " "
    kept = sum(source["kept_documents"] for source in facts["sources"])
    found = sum(source["found"] for source in facts["sources"])
    assert said["flow"].startswith(f"{kept:,} of {found:,} documents found are kept ({100 * kept / found:.1f}%)")
    assert said["costs"].startswith(f"{facts['rules'][0]['rule']} is the costliest")
    assert len(said["rules"]) == len(facts["rules"]) and len(said["attributes"]) == len(facts["attributes"])


def test_charts_get_no_text_of_a_document(facts: dict[str, Any]) -> None:
    marked = copy.deepcopy(facts)
    for rule in marked["rules"]:
        for sample in [*rule["samples"]["dropped"], *rule["samples"]["kept"]] if rule["samples"] else ():
            sample["excerpt"] = sample["name"] = sample["part"] = "a text of the corpus"
    for row in marked["duplicates"]["largest"]:
        row["shown"]["excerpt"] = row["shown"]["name"] = "a text of the corpus"
    assert "a text of the corpus" not in str(chart_data(view(marked)))


@pytest.mark.parametrize(
    "n, text", [(812, "812"), (1_040_000, "1.04M"), (2.48e12, "2.48T"), (999, "999"), (1500, "1.5K")]
)
def test_short_numbers(n: float, text: str) -> None:
    assert short(n) == text


@pytest.mark.parametrize("share, text", [(0, "0.0%"), (0.0004, "< 0.1%"), (0.0005, "0.1%"), (0.1234, "12.3%")])
def test_what_is_there_is_not_called_nothing(share: float, text: str) -> None:
    assert percent(share) == text
