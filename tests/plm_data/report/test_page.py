"""The page: all facts in it, nothing it runs but its own scripts, readable with and without them."""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from plm_data.build import Build
from plm_data.recipe_file import load_recipe
from plm_data.report.groups import groups
from plm_data.report.page import render, write_report
from plm_data.report.view import PALETTE
from tests.plm_data.report.browser import CHROMIUM, opened

HOSTILE = "</pre></style></script><script>document.title='owned'</script><img src=x onerror=alert(1)>\u202egnp.exe\u200b<!--{{7*7}}"
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium")


def hostile(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts with a hostile text wherever text of the corpus, or of a recipe, may come."""
    bad = copy.deepcopy(facts)
    bad["description"] = HOSTILE
    bad["problems"] = [HOSTILE]
    bad["notes"] = [HOSTILE]
    bad["licenses"][0]["license"] = HOSTILE
    bad["rejected"].append(
        {"source": "s", "verdict": "quarantined", "rule": HOSTILE, "documents": 1, "example": HOSTILE}
    )
    for row in bad["languages"]:
        row["detected"] = HOSTILE
    for row in bad["duplicates"]["largest"]:
        row["shown"]["name"] = row["shown"]["excerpt"] = HOSTILE
    for row in bad["attributes"]:
        row["name"] = HOSTILE
        for value in row.get("values", ()):
            value["value"] = HOSTILE
    for row in bad["fertility"]["by_language"]:
        row["language"] = HOSTILE
    for rule in bad["rules"]:
        for sample in [*rule["samples"]["dropped"], *rule["samples"]["kept"]] if rule["samples"] else ():
            sample["excerpt"] = sample["name"] = sample["part"] = HOSTILE
    return bad


def many(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts with 1,000 sources of long names and 30 phases."""
    big = copy.deepcopy(facts)
    first, long = big["sources"][0], "a-source-with-a-name-as-long-as-it-may-be-" + "x" * 34
    big["sources"] += [{**first, "name": f"{long}-{i:03d}", "tokens": 10**9 + i} for i in range(996)]
    big["groups"] = groups({source["name"]: source["tokens"] for source in big["sources"]})
    phase = big["phases"][0]
    template = next(iter(phase["sources"].values()))
    phase["sources"] = {source["name"]: {**template, "weight": 0.001} for source in big["sources"]}
    phase["tokens"] = 1000 * template["tokens"]
    phase["planned_tokens"] = 1000 * template["planned_tokens"]
    big["phases"] = [{**copy.deepcopy(phase), "name": f"phase{i}", "built": i % 2 == 0} for i in range(30)]
    big["flow"] += [{**big["flow"][0], "source": name} for name in set(big["groups"].values())]
    return big


def test_the_page_and_its_facts_are_written(small_recipe: Path, tmp_path: Path) -> None:
    build = Build(load_recipe(small_recipe), tmp_path, workers=1)
    build.shards("phase2")
    path, facts = write_report(build)
    assert [phase["built"] for phase in facts["phases"]] == [False, True]
    assert facts["notes"] == ["phase1 is not built yet: plm build small --phase phase1"]
    text = path.read_text(encoding="utf-8")
    assert "phase1 is not built yet" in text and facts["fingerprint"] in text
    assert json.loads((tmp_path / "small" / "report.json").read_text(encoding="utf-8")) == json.loads(json.dumps(facts))


def test_the_tables_hold_the_facts_without_javascript(facts: dict[str, Any]) -> None:
    page = html.unescape(re.sub(r"<[^>]+>", " ", render(facts).partition('<script type="application/json"')[0]))
    for phase in facts["phases"]:
        for source in phase["sources"].values():
            assert f"{source['tokens']:,}" in page and f"{source['planned_tokens']:,}" in page
    for row in facts["flow"]:
        assert row["reason"] in page and f"{row['documents']:,}" in page
    for rule in facts["rules"]:
        assert rule["rule"] in page or not (rule["documents"] or rule["distribution"])
    for row in facts["attributes"]:
        assert row["name"] in page
    for row in facts["licenses"][:20]:
        assert row["license"] in page


def test_the_policy_names_every_script_and_no_other(facts: dict[str, Any]) -> None:
    page = render(facts)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])  # type: ignore[index]
    assert policy.startswith("default-src 'none';") and "unsafe-eval" not in policy
    named = re.search(r"script-src([^;]*)", policy)[1].split()  # type: ignore[index]
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert named == [f"'sha256-{found}'" for found in hashes] and len(named) == 6


def test_hostile_text_stays_text(facts: dict[str, Any]) -> None:
    page = render(hostile(facts))
    plain = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "<img" not in plain and "document.title=&#39;owned&#39;" in plain and "{{7*7}}" in plain
    assert page.count("</style>") == 1 and plain.count("<script") == 1
    # What is hidden is written out.
    assert "\u202e" not in page and "\u200b" not in page and "\\u202egnp.exe\\u200b" in plain


@needs_chromium
@pytest.mark.parametrize(
    "which, width, scheme",
    [("as built", 1440, "light"), ("hostile", 390, "dark"), ("many", 1440, "dark"), ("many", 390, "light")],
)
def test_chromium_draws_every_chart_quietly(
    facts: dict[str, Any], tmp_path: Path, which: str, width: int, scheme: str
) -> None:
    shown = {"as built": lambda f: f, "hostile": hostile, "many": many}[which](facts)
    path = tmp_path / "report.html"
    path.write_text(render(shown), encoding="utf-8")
    with opened(path, width, scheme) as found:
        page = found.page
        assert page.title() == "small: mixture report" and page.locator("h1").inner_text() == "small"
        assert page.locator("#filters summary").is_visible()
        found.see_everything()
        assert page.locator(".chart svg").count() == page.locator(".chart").count() > 20
        # Nothing is wider than the window.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("img").count() == 0 and page.title() == "small: mixture report"
    assert found.said == [] and found.requests == []


@needs_chromium
def test_filters_change_what_is_drawn(facts: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(facts), encoding="utf-8")
    with opened(path) as found:
        page = found.page
        flow = page.locator("[data-chart=flow]")
        flow.scroll_into_view_if_needed()
        flow.locator("svg").wait_for()
        assert "worked-maths" in flow.inner_html()
        page.get_by_role("checkbox", name="worked-maths").uncheck()
        assert "worked-maths" not in flow.inner_html() and "python-code" in flow.inner_html()
        phases = page.locator("[data-chart=phases]")
        page.get_by_role("checkbox", name="phase2").uncheck()
        assert "phase2" not in phases.inner_html() and "phase1" in phases.inner_html()
        before = flow.inner_html()
        page.get_by_role("radio", name="documents").check()
        assert flow.inner_html() != before
        page.get_by_role("button", name="All").click()
        expect(flow).to_contain_text("worked-maths")
        assert "phase2" in phases.inner_html()
    assert found.said == []


@needs_chromium
def test_it_is_reached_by_keyboard_and_told_to_screen_readers(facts: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(facts), encoding="utf-8")
    with opened(path) as found:
        page = found.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.locator("#filters input").first.focus()
        page.keyboard.press("Space")
        assert not page.locator("#filters input").first.is_checked()
        for box in page.locator(".chart").all():
            assert box.get_attribute("role") == "img" and len(box.get_attribute("aria-label") or "") > 30
        # Every control has a name, every section a heading.
        assert page.evaluate("[...document.querySelectorAll('input')].every((i) => i.labels.length === 1)")
        assert page.evaluate("[...document.querySelectorAll('section')].every((s) => s.querySelector('h2'))")


@needs_chromium
def test_without_javascript_the_tables_are_there(facts: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(facts), encoding="utf-8")
    with opened(path, javascript=False) as found:
        page = found.page
        assert page.get_by_text("The charts need JavaScript").is_visible()
        assert not page.locator(".chart").first.is_visible() and not page.locator("#filters").is_visible()
        page.locator("#phases summary").click()
        assert page.locator("#phases table").is_visible()


@needs_chromium
def test_a_printed_report_shows_every_chart_on_white(facts: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(facts), encoding="utf-8")
    with opened(path, scheme="dark") as found:
        page = found.page
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        boxes = "[...document.querySelectorAll('.chart')].filter((box) => box.clientWidth)"
        assert page.evaluate(f"{boxes}.every((box) => box.querySelector('svg'))")
        # As wide as paper, whatever the window was.
        assert page.evaluate(f"Math.max(...{boxes}.map((box) => box.querySelector('svg').clientWidth))") <= 690
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator("#filters").is_visible() and not page.locator("nav").is_visible()
    assert found.said == []


def _luminance(code: str) -> float:
    channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_the_contrast_of_wcag_aa_in_every_scheme(scheme: int) -> None:
    style = (resources.files("page_assets") / "templates" / "style.css").read_text(encoding="utf-8")
    found = re.findall(r"--ink: (#\w{6}).*?--soft: (#\w{6}).*?--back: (#\w{6}).*?--panel: (#\w{6})", style)[scheme]
    lines = re.findall(r"--bad: (#\w{6}).*?--badback: (#\w{6}).*?--good: (#\w{6}).*?--link: (#\w{6})", style)[scheme]
    ink, soft, back, panel = found
    bad, badback, good, link = lines
    for text, ground in [
        (ink, back),
        (ink, panel),
        (soft, back),
        (soft, panel),
        (bad, badback),
        (bad, back),
        (good, back),
        (link, back),
    ]:
        assert contrast(text, ground) >= 4.5, (text, ground)


@needs_chromium
def test_labels_on_every_colour_have_the_contrast_of_wcag_aa(facts: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(facts), encoding="utf-8")
    with opened(path) as found:
        inks = found.page.evaluate("(colours) => colours.map(CHARTS.ink)", list(PALETTE))
    for colour, ink in zip(PALETTE, inks, strict=True):
        assert contrast(colour, ink) >= 4.5
