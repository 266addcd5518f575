"""The page: all of a run in it, nothing it runs but its own scripts, readable with and without them."""

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.plm_data.report.browser import CHROMIUM, opened
from tests.trainer.report.made import MODEL, held_out_of, steps_of, write_run
from trainer.errors import TrainerError
from trainer.report.page import drawn_sources, write_training_report

HOSTILE = (
    "</script></style><script>document.title='owned'</script><img src=x onerror=alert(1)>\u202egnp\u200b<!--{{7*7}}"
)
SOURCES = ("python-code", "python-docs", "worked-maths")
TITLE = "Training report: 2.91M parameters"
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    steps = steps_of(300)
    return write_training_report(write_run(tmp_path_factory.mktemp("run"), steps, held_out_of(steps, 30, SOURCES)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped run of many layers whose every text is hostile."""
    steps = [replace(step, loss=float("nan")) if step.step == 180 else step for step in steps_of(300, 20)[:180]]
    out = write_run(
        tmp_path_factory.mktemp("hostile"),
        steps,
        held_out_of(steps[:179], 30, (HOSTILE, *(f"{HOSTILE}-{i:02d}" for i in range(30)))),
        finished=False,
        planned=300,
        stopped={"step": 180, "reason": HOSTILE, "loss": None, "checkpoint": HOSTILE},
        model=replace(MODEL, num_hidden_layers=20),
        device=HOSTILE,
        names={"phase1": HOSTILE},
    )
    return write_training_report(out)


def text_of(page: Path) -> str:
    """Return the text that is there without JavaScript."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page.read_text().partition('<script type="application/json"')[0]))


def test_the_first_screen_and_the_tables_hold_the_run_without_javascript(finished: Path) -> None:
    text = text_of(finished)
    steps = [json.loads(line) for line in (finished.parent / "metrics.jsonl").read_text().splitlines()]
    held_out = [json.loads(line) for line in (finished.parent / "held_out.jsonl").read_text().splitlines()]
    assert "PLM with 2.91M parameters" in text and "3 layers, width 192, 6 heads, latent 48" in text
    assert f"{steps[-1]['tokens']:,}" in text and f"{steps[0]['loss']:.3f}" in text
    for row in held_out:
        assert f"{row['loss']:.3f}" in text
    for name in SOURCES:
        assert f"{held_out[-1]['by_source'][name]:.3f}" in text and name in text
    assert "Every loss is finite" in text and "To look at" not in text
    for name in ("gradient_clip", "shuffle_window", "kv_lora_rank"):
        assert name in text


def test_the_same_logs_give_the_same_page(finished: Path) -> None:
    before = finished.read_bytes()
    assert write_training_report(finished.parent).read_bytes() == before


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="run.json: not found"):
        write_training_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_policy_names_every_script_and_no_other(finished: Path) -> None:
    page = finished.read_text()
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])  # type: ignore[index]
    named = re.search(r"script-src([^;]*)", policy)[1].split()  # type: ignore[index]
    found = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found]
    assert named == [f"'sha256-{each}'" for each in hashes] and len(named) == 5
    assert policy.startswith("default-src 'none';")


def test_hostile_text_stays_text(hostile: Path) -> None:
    page = hostile.read_text()
    plain = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "<img" not in plain and "document.title=&#39;owned&#39;" in plain and "{{7*7}}" in plain
    assert page.count("</style>") == 2 and plain.count("<script") == 1  # style.css and training.css; the facts
    assert "\u202e" not in page and "\u200b" not in page and "\\u202egnp\\u200b" in plain
    block = re.search(r'<script type="application/json" id="facts">(.*?)</script>', page, re.DOTALL)[1]  # type: ignore[index]
    assert json.loads(block)["phases"][0]["name"].startswith("</script>")


def test_sixteen_sources_are_drawn_each_with_its_own_colour_and_mark() -> None:
    drawn = drawn_sources([{"name": f"s{i:02d}"} for i in reversed(range(40))])
    assert [each["name"] for each in drawn] == [f"s{i}" for i in range(24, 40)]
    assert len({(each["colour"], each["symbol"]) for each in drawn}) == 16


@needs_chromium
@pytest.mark.parametrize(
    "which, width, scheme", [("finished", 1440, "light"), ("finished", 390, "dark"), ("hostile", 390, "light")]
)
def test_chromium_draws_every_chart_quietly(
    request: pytest.FixtureRequest, which: str, width: int, scheme: str
) -> None:
    with opened(request.getfixturevalue(which), width, scheme) as found:
        page = found.page
        found.see_everything()
        assert page.locator(".chart svg").count() == page.locator(".chart").count() == 7
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("img").count() == 0 and "owned" not in page.title()
        for along in ("steps", "tokens"):
            for axes in ("logarithmic", "linear"):
                page.get_by_role("radio", name=along).check()
                page.get_by_role("radio", name=axes).check()
        if which == "hostile":
            assert page.locator(".problems").is_visible() and page.get_by_role("progressbar").is_visible()
    assert found.said == [] and found.requests == []


@needs_chromium
def test_controls_change_what_is_drawn(finished: Path) -> None:
    with opened(finished) as found:
        page = found.page
        held_out, loss = page.locator("[data-chart=held_out]"), page.locator("[data-chart=loss]")
        held_out.scroll_into_view_if_needed()
        held_out.locator("svg").wait_for()
        expect(held_out).to_contain_text("worked-maths")
        page.get_by_role("checkbox", name="worked-maths").uncheck()
        expect(held_out).not_to_contain_text("worked-maths")
        expect(held_out).to_contain_text("python-code")
        page.get_by_role("checkbox", name="phase2").uncheck()
        expect(loss).not_to_contain_text("decay")
        expect(loss).to_contain_text("constant")
        page.get_by_role("radio", name="steps").check()
        expect(loss).to_contain_text("steps")
        before = loss.inner_html()
        page.get_by_role("radio", name="logarithmic").check()
        assert loss.inner_html() != before
        for name in ("phase1", "phase3"):
            page.get_by_role("checkbox", name=name).uncheck()
        expect(loss).to_contain_text("No phase is selected.")
        page.get_by_role("button", name="Reset").click()
        expect(held_out).to_contain_text("worked-maths")
        expect(loss).to_contain_text("decay")
    assert found.said == []


@needs_chromium
def test_it_is_reached_by_keyboard_and_told_to_screen_readers(finished: Path) -> None:
    with opened(finished) as found:
        page = found.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.locator("#filters input").first.focus()
        page.keyboard.press("Space")
        assert not page.locator("#filters input").first.is_checked()
        for box in page.locator(".chart").all():
            assert box.get_attribute("role") == "img" and len(box.get_attribute("aria-label") or "") > 30
        assert page.evaluate("[...document.querySelectorAll('input')].every((i) => i.labels.length === 1)")
        assert page.evaluate("[...document.querySelectorAll('section')].every((s) => s.querySelector('h2'))")


@needs_chromium
def test_without_javascript_and_on_paper(finished: Path) -> None:
    with opened(finished, javascript=False) as found:
        page = found.page
        assert page.get_by_text("The charts need JavaScript").is_visible()
        assert not page.locator(".chart").first.is_visible() and not page.locator("#filters").is_visible()
        page.locator("#loss summary").click()
        assert page.locator("#loss table").is_visible()
    with opened(finished, scheme="dark") as found:
        page = found.page
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate("[...document.querySelectorAll('.chart')].every((box) => box.querySelector('svg'))")
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.locator("#filters").is_visible()
    assert found.said == []
