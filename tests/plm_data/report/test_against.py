"""Two builds compared: exact, symmetric, quiet where nothing moved; hostile names stay text, in a browser too."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright
from rich.console import Console

from plm_data.build import Build
from plm_data.errors import PlmError
from plm_data.report.against import compare
from plm_data.report.against_page import render_comparison, write_comparison
from plm_data.report.against_terminal import print_comparison
from plm_data.report.facts import gather
from plm_data.whatif import changed_recipe

HOSTILE = (
    "</td></style><script>document.title='owned'</script><img src=x onerror=alert(1)>\u202egnp.exe\u200b{{7*7}}[bold]"
)
Facts = dict[str, Any]
TABLES = ("phases", "sources", "rules", "duplicates", "licences", "refused")


@pytest.fixture(scope="module")
def builds(small_build: Build, tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Build]:
    """A build of the small recipe with one threshold raised, and the build it is held against."""
    home = tmp_path_factory.mktemp("changed") / "home"
    shutil.copytree(small_build.home, home, symlinks=True)
    changed = Build(changed_recipe(small_build.recipe, ["curate.gopher.min_words=90"]), home, workers=1)
    for phase in changed.recipe.phases:
        changed.shards(phase)
    return changed, small_build


@pytest.fixture(scope="module")
def facts(builds: tuple[Build, Build]) -> tuple[Facts, Facts]:
    a, b = (json.loads(json.dumps(gather(build))) for build in builds)
    return a, b


def by_name(rows: list[Facts]) -> dict[str, Facts]:
    return {row["name"]: row for row in rows}


def kept(build: Build) -> dict[str, tuple[int, int]]:
    """Source → kept documents and tokens, from the verdicts themselves."""
    rows = build.table("verdicts").filter(pl.col("verdict") == "kept").collect()
    return {s: (n, t) for s, n, t in rows.group_by("source").agg(pl.len(), pl.col("token_count").sum()).iter_rows()}


def test_the_differences_are_those_of_the_verdicts_and_the_ledgers(
    builds: tuple[Build, Build], facts: tuple[Facts, Facts]
) -> None:
    found = compare(*facts)
    before, now = kept(builds[1]), kept(builds[0])
    for name, row in by_name(found["sources"]).items():
        assert row["kept_documents"] == {
            "a": now[name][0],
            "b": before[name][0],
            "change": now[name][0] - before[name][0],
        }
        assert row["kept_tokens"]["change"] == now[name][1] - before[name][1]
        assert row["moved"] == (now[name] != before[name]) and row["status"] == "both"
    assert [row["name"] for row in found["sources"] if row["moved"]] == sorted(
        (name for name in now if now[name] != before[name]),
        key=lambda name: (-abs(now[name][1] - before[name][1]), name),
    )
    counts = [
        dict(build.table("ledger").filter(verdict="dropped").collect().group_by("rule").len().iter_rows())
        for build in builds
    ]
    rules = by_name(found["rules"])
    hits = {name: (row["documents"]["a"], row["documents"]["b"]) for name, row in rules.items()}
    fired = {*counts[0], *counts[1]}
    # What was refused before any rule has a table of its own.
    assert {name: pair for name, pair in hits.items() if any(pair)} == {
        name: (counts[0].get(name, 0), counts[1].get(name, 0)) for name in fired if not name.startswith("collect.")
    }
    assert {row["name"].split(": ")[1] for row in found["refused"]} == {
        name for name in fired if name.startswith("collect.")
    }
    assert found["rules"][0]["name"] == "gopher.min_words" and found["rules"][0]["tokens"]["change"] > 0
    assert not rules["gopher.min_alpha_words"]["moved"]


def test_the_changed_threshold_is_named_and_no_other(facts: tuple[Facts, Facts]) -> None:
    found = compare(*facts)
    changed = {row["name"]: (row["b"], row["a"]) for row in found["settings"]}
    # The sources whose domain has a threshold of its own keep it.
    assert changed == {
        f"{source}: gopher.min_words": ("50", "90") for source in ("package-readmes", "python-code", "python-docs")
    }
    assert found["moved"] and not found["same_decisions"]


def test_thresholds_of_sources_where_a_rule_never_fired_are_compared_too(facts: tuple[Facts, Facts]) -> None:
    a, b = copy.deepcopy(facts)
    for side, limits in ((a, {"python-docs": 5.0}), (b, {"python-docs": 5.0, "worked-maths": 2.0})):
        for rule in side["rules"]:
            rule["thresholds"] = limits if rule["rule"] == "c4.min_sentences" else {}
    changed = [row for row in compare(a, b)["settings"] if "c4" in row["name"]]
    assert changed == [{"name": "worked-maths: c4.min_sentences", "a": "off", "b": "2"}]


def test_phases_are_compared_source_by_source(facts: tuple[Facts, Facts]) -> None:
    a, b = copy.deepcopy(facts)
    phase = a["phases"][0]
    phase["sources"]["fresh"] = {
        **phase["sources"].pop("python-docs"),
        "tokens": 1,
        "planned_tokens": 2,
        "documents": 3,
    }
    # One that is as it was, whatever the threshold did to it.
    phase["sources"]["python-code"] = copy.deepcopy(b["phases"][0]["sources"]["python-code"])
    phase["tokens"] = b["phases"][0]["tokens"]
    found = compare(a, b)["phases"][0]
    rows = by_name(found["sources"])
    old = b["phases"][0]["sources"]["python-docs"]
    assert (rows["fresh"]["status"], rows["fresh"]["tokens"]) == ("new", {"a": 1, "b": 0, "change": 1})
    assert (rows["python-docs"]["status"], rows["python-docs"]["planned"]["change"]) == ("gone", -old["planned_tokens"])
    assert rows["python-docs"]["share"]["b"] == old["tokens"] / b["phases"][0]["tokens"]
    assert rows["python-code"]["status"] == "both" and not rows["python-code"]["moved"]
    # A share that moves because another source's tokens did is no movement of its own.
    phase["tokens"] += 1000
    share = by_name(compare(a, b)["phases"][0]["sources"])["python-code"]
    assert share["share"]["change"] < 0 and not share["moved"]
    assert found["moved"] and found["sources"][0]["name"] == "python-docs"


def test_a_phase_that_is_not_built_is_compared_by_its_plan(facts: tuple[Facts, Facts]) -> None:
    a, b = copy.deepcopy(facts)
    phase = a["phases"][0]
    phase.update(built=False, tokens=None, documents=None)
    for source in phase["sources"].values():
        source.update(tokens=None, documents=None)
    found = compare(a, b)
    assert found["phases"][0]["tokens"] == {"a": None, "b": b["phases"][0]["tokens"], "change": None}
    assert found["phases"][0]["planned"]["change"] == 0 and found["phases"][0]["moved"]
    page = render_comparison(found)
    assert "Not built on both sides" in page
    print_comparison(found, Console(file=open("/dev/null", "w")))  # noqa: SIM115


def mirrored(comparison: Facts) -> Facts:
    """A comparison with its sides swapped."""

    def swap(value: Any) -> Any:
        if isinstance(value, list):
            return [swap(item) for item in value]
        if not isinstance(value, dict):
            return {"new": "gone", "gone": "new"}.get(value, value) if isinstance(value, str) else value
        swapped = {key: swap(item) for key, item in value.items()}
        if {"a", "b"} <= swapped.keys():
            swapped["a"], swapped["b"] = swapped["b"], swapped["a"]
        if swapped.get("change") is not None:
            swapped["change"] = -swapped["change"]
        return swapped

    result: Facts = swap(comparison)
    return result


def in_order_of_name(comparison: Facts) -> Facts:
    """The phases have the order of the first build."""
    return {**comparison, "phases": sorted(comparison["phases"], key=lambda row: row["name"])}


def test_the_other_way_round_only_signs_differ(facts: tuple[Facts, Facts]) -> None:
    a, b = facts
    assert compare(b, a) == mirrored(compare(a, b)) != compare(a, b)


def test_identical_builds_say_that_nothing_moved(facts: tuple[Facts, Facts]) -> None:
    found = compare(facts[0], copy.deepcopy(facts[0]))
    assert not found["moved"] and found["same_decisions"] and found["settings"] == []
    assert all(not row["moved"] and row["size"] == 0 for table in TABLES for row in found[table])
    page, text = render_comparison(found), printed(found)
    assert "Nothing moved: both builds decided the same" in page and "Nothing moved: both" in text
    assert "swing" not in page.split("</style>")[-1] and 'class="up"' not in page and 'class="down"' not in page
    # The same counts of other documents are no identical builds.
    other = compare(facts[0], {**facts[0], "fingerprint": "f" * 64})
    assert (
        not other["moved"]
        and "the fingerprints differ" in render_comparison(other)
        and "fingerprints differ" in printed(other)
    )


def printed(comparison: Facts, width: int = 160) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_comparison(comparison, console)
    return console.export_text()


def test_both_views_show_each_row_that_moved(facts: tuple[Facts, Facts]) -> None:
    found = compare(*facts)
    text, page = printed(found), render_comparison(found)
    for view in (text, page):
        for row in found["sources"]:
            if row["moved"]:
                assert row["name"] in view and f"{row['kept_tokens']['change']:+,}".replace("-", "−") in view
        assert "gopher.min_words" in view and "90" in view
    assert "gopher.min_alpha_words" not in text


@given(st.data())
def test_any_two_reports_compare_alike_both_ways(facts: tuple[Facts, Facts], data: st.DataObject) -> None:
    a, b = ({**copy.deepcopy(each), "recipe": name} for each, name in zip(facts, ("one", "two"), strict=True))
    counts = st.integers(0, 10**15)
    for side in (a, b):
        for key in ("sources", "phases", "rules", "rejected", "licences"):
            side[key] = [row for row in side[key] if data.draw(st.booleans())]
        for source in side["sources"]:
            source["kept_tokens"] = data.draw(counts)
        for phase in side["phases"]:
            if data.draw(st.booleans()):
                phase["built"] = False
            for name in list(phase["sources"]):
                if data.draw(st.booleans()):
                    del phase["sources"][name]
                else:
                    phase["sources"][name]["tokens"] = data.draw(counts)
    found = compare(a, b)
    assert in_order_of_name(compare(b, a)) == in_order_of_name(mirrored(found))
    assert not compare(a, a)["moved"]
    for row in found["sources"]:
        assert row["kept_tokens"]["change"] == row["kept_tokens"]["a"] - row["kept_tokens"]["b"]
        assert (row["status"] == "both") == all(row["name"] in {s["name"] for s in side["sources"]} for side in (a, b))
    render_comparison(found)


@pytest.mark.parametrize(
    "key",
    ["phases", "sources", "rules", "duplicates", "rejected", "licences", "held_out", "fingerprint", "seed", "recipe"],
)
def test_a_report_of_another_version_is_named(facts: tuple[Facts, Facts], key: str) -> None:
    old = {name: value for name, value in facts[1].items() if name != key}
    with pytest.raises(PlmError, match=r"run `plm report .*` again"):
        compare(facts[0], old)
    with pytest.raises(PlmError, match="not of this version"):
        compare(old, facts[0])


@pytest.mark.parametrize("wrong", [[], None, "facts", {"recipe": "small", "phases": 3}])
def test_what_is_no_report_is_said_so(facts: tuple[Facts, Facts], wrong: Any) -> None:
    with pytest.raises(PlmError, match="not of this version"):
        compare(facts[0], wrong)


def test_long_tables_are_cut_and_the_rest_is_summed(facts: tuple[Facts, Facts]) -> None:
    a, b = copy.deepcopy(facts)
    a["sources"] += [{**a["sources"][0], "name": f"s{n:04d}", "kept_tokens": 10**9 - n} for n in range(1000)]
    found = compare(a, b)
    page, text = render_comparison(found), printed(found)
    moved = [row for row in found["sources"] if row["moved"]]
    rest = sum(row["kept_tokens"]["change"] for row in moved[100:])
    assert "s0099" in page and "s0100" not in page
    assert f"And {len(moved) - 100} more that moved less, by {rest:+,} in all." in page
    assert "s0039" in text and "s0040" not in text and f"and {len(moved) - 40:,} more that moved less" in text


# Hostile names, and a real browser.


def hostile(facts: Facts) -> Facts:
    """Facts with a hostile text wherever a text may stand."""
    bad = copy.deepcopy(facts)
    bad["recipe"] = bad["description"] = bad["fingerprint"] = HOSTILE
    bad["licences"][0]["class"] = HOSTILE
    bad["sources"][0]["name"] = bad["sources"][0]["license"] = HOSTILE
    bad["rejected"].append(
        {"source": HOSTILE, "verdict": "quarantined", "rule": HOSTILE, "documents": 1, "example": HOSTILE}
    )
    bad["rules"][0]["rule"] = HOSTILE
    bad["rules"][0]["by_source"][HOSTILE] = bad["rules"][0]["by_source"].popitem()[1]
    bad["phases"][0]["name"] = HOSTILE
    bad["phases"][1]["sources"][HOSTILE] = bad["phases"][1]["sources"].popitem()[1]
    return bad


def test_hostile_names_stay_text(facts: tuple[Facts, Facts]) -> None:
    found = compare(hostile(facts[0]), facts[1])
    page = render_comparison(found)
    for tag in ("<script", "<img", "\u202e", "\u200b", "{{7*7}}".replace("7*7", "49")):
        assert tag not in page
    assert page.count("</style>") == 2 and "&lt;script&gt;" in page and "{{7*7}}" in page
    text = printed(found, width=400)
    assert "\u202e" not in text and "\u200b" not in text and "\\u202egnp.exe" in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium: apt-get install chromium")
@pytest.mark.parametrize("attacked", [False, True], ids=["as built", "hostile"])
def test_chromium_opens_it_without_error_or_request(facts: tuple[Facts, Facts], tmp_path: Path, attacked: bool) -> None:
    path = write_comparison(compare(hostile(facts[0]) if attacked else facts[0], facts[1]), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["against.html"]
    said: list[str] = []
    requests: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-sync",
            ],
        )
        for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("dialog", lambda dialog: said.append(dialog.message))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(path.as_uri())
            assert page.title().endswith("against small")
            assert page.get_by_role("heading", name="What was set otherwise").is_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("script").count() == page.locator("img").count() == 0
            hidden = page.locator("details td").first
            assert not hidden.is_visible()
            page.locator("summary").first.click()
            assert hidden.is_visible()
            page.close()
        browser.close()
    assert said == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
