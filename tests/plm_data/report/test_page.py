"""The page: true to the facts, safe with hostile text, quiet in a real browser."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from rich.console import Console

from plm_data.build import Build
from plm_data.report.facts import gather
from plm_data.report.page import PALETTE, ink, render, short, write_report
from plm_data.report.terminal import print_report
from plm_data.store import Counts

HOSTILE = (
    "</pre></style><script>document.title='owned'</script><img src=x onerror=alert(1)>\u202egnp.exe\u200b<!--{{7*7}}"
)


@pytest.fixture(scope="module")
def facts(small_build: Build) -> dict[str, Any]:
    return gather(small_build)


def test_facts_are_those_of_the_shards_and_the_ledger(facts: dict[str, Any], small_build: Build) -> None:
    for phase in facts["phases"]:
        manifest = json.loads((small_build.folder / phase["name"] / "manifest.json").read_text(encoding="utf-8"))
        assert phase["built"] and phase["tokens"] == manifest["tokens"]
        assert sum(source["tokens"] for source in phase["sources"].values()) == phase["tokens"]
        assert sum(source["planned_tokens"] for source in phase["sources"].values()) == phase["planned_tokens"]
    kept = sum(source["kept_documents"] for source in facts["sources"])
    assert kept == sum(output.counts.kept for output in small_build.decided.values())
    found = sum(source["found"] for source in facts["sources"])
    assert found == sum(output.counts.read for output in small_build.decided.values())
    assert sum(row["documents"] for row in facts["licenses"]) == kept
    for rule in facts["rules"]:
        assert rule["documents"] == sum(hit["documents"] for hit in rule["by_source"].values()) > 0
        assert rule["alone_documents"] <= rule["documents"]


def test_every_steps_rows_are_conserved_and_chained(facts: dict[str, Any]) -> None:
    rows = {
        (row["step"], row["source"]): Counts(*(row[k] for k in ("read", "kept", "dropped", "quarantined")))
        for row in facts["conservation"]
    }
    assert all(counts.read == counts.kept + counts.dropped + counts.quarantined for counts in rows.values())
    for source in ("python-code", "python-docs", "package-readmes", "worked-maths"):
        assert rows["normalise", source].read == rows["collect", source].kept
        for step in ("heuristics", "language", "tokens"):
            assert rows[step, source].read == rows["normalise", source].kept
        assert rows["decide", source].read == rows["collect", source].read
        assert rows["decide", source].kept <= rows["normalise", source].kept
    assert sum(counts.kept for (step, _), counts in rows.items() if step == "decide") == rows["select", "phase1"].read


def test_a_phase_that_is_not_built_is_said_so(small_recipe: Path, tmp_path: Path) -> None:
    from plm_data.recipe_file import load_recipe

    build = Build(load_recipe(small_recipe), tmp_path, workers=1)
    build.shards("phase2")
    path, facts = write_report(build)
    assert [phase["built"] for phase in facts["phases"]] == [False, True]
    assert facts["notes"] == ["phase1 is not built yet: plm build small --phase phase1"]
    assert "phase1 is not built yet" in path.read_text(encoding="utf-8")
    assert json.loads((tmp_path / "small" / "report.json").read_text(encoding="utf-8")) == json.loads(json.dumps(facts))


def test_hostile_text_stays_text(facts: dict[str, Any]) -> None:
    bad = hostile(facts)
    page = render(bad)
    assert "<script" not in page and "<img" not in page and "onerror=alert" in page
    assert page.count("</style>") == 1
    assert "{{7*7}}" in page and "49" not in re.findall(r"<!--(.*)", page)


def hostile(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts with a hostile text wherever text of the corpus may come."""
    bad = copy.deepcopy(facts)
    bad["description"] = HOSTILE
    bad["problems"] = [HOSTILE]
    bad["licenses"][0]["license"] = HOSTILE
    bad["rejected"].append(
        {"source": "s", "verdict": "quarantined", "rule": HOSTILE, "documents": 1, "example": HOSTILE}
    )
    for rule in bad["rules"]:
        rule["example"]["excerpt"] = rule["example"]["name"] = HOSTILE
    return bad


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium: apt-get install chromium")
@pytest.mark.parametrize("attacked", [False, True], ids=["as built", "hostile"])
def test_chromium_opens_it_without_error_script_or_request(
    facts: dict[str, Any], tmp_path: Path, attacked: bool
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(hostile(facts) if attacked else facts), encoding="utf-8")
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
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        assert page.title() == "small: mixture report"
        assert page.locator("h1").inner_text() == "small"
        for name in ("Phases", "What each rule removed", "Rows are conserved", "Licences"):
            assert page.get_by_role("heading", name=name).is_visible()
        page.locator("summary").first.click()
        assert page.locator("pre").first.is_visible()
        # Readable at 1280: nothing is wider than the window.
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert page.locator("script").count() == 0 and page.locator("img").count() == 0
        browser.close()
    assert said == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_the_terminal_shows_the_same_figures_and_takes_no_markup(facts: dict[str, Any]) -> None:
    shown = copy.deepcopy(facts)
    shown["problems"] = ["[bold]not markup[/bold]"]
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_report(shown, console)
    text = console.export_text()
    assert "[bold]not markup[/bold]" in text
    for phase in facts["phases"]:
        for source in phase["sources"].values():
            assert f"{source['tokens']:,}" in text and f"{source['planned_tokens']:,}" in text
    for rule in facts["rules"]:
        assert rule["rule"] in text


def test_the_terminal_can_show_the_costliest_rules_alone(facts: dict[str, Any]) -> None:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_report(facts, console, most_rules=2)
    text = console.export_text()
    assert all(rule["rule"] in text for rule in facts["rules"][:2]) and facts["rules"][2]["rule"] not in text
    assert f"and {len(facts['rules']) - 2} more rules" in text


@pytest.mark.parametrize(
    "n, text", [(812, "812"), (1_040_000, "1.04M"), (2.48e12, "2.48T"), (999, "999"), (1500, "1.5K")]
)
def test_short_numbers(n: float, text: str) -> None:
    assert short(n) == text


@pytest.mark.parametrize("colour", PALETTE)
def test_labels_on_every_colour_have_the_contrast_of_wcag_aa(colour: str) -> None:
    def luminance(code: str) -> float:
        channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(colour), luminance(ink(colour))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
