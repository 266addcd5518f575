"""The page of schedules compared: its figures, its words, its charts."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.plm_data.report.browser import opened
from tests.trainer.report.made import TRAIN, held_out_of, steps_of, write_run
from tests.trainer.report.test_page import HOSTILE, needs_chromium, text_of
from trainer.compare import Run, finished_run
from trainer.config import SCHEDULES, Schedule
from trainer.errors import TrainerError
from trainer.report.compare_page import write_comparison


def run_of(folder: Path, schedule: Schedule, seed: int, worse: float) -> Run:
    train = replace(TRAIN, schedule=schedule, seed=seed)
    steps = [replace(step, loss=step.loss + worse + 0.2 * seed) for step in steps_of(100, train=train)]
    write_run(folder, steps, held_out_of(steps, 20, ("code", HOSTILE)), train=train)
    return finished_run(train, folder, {"tokens": steps[-1].tokens, "phases": [{}]})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    home = tmp_path_factory.mktemp("runs")
    # differs from seed to seed in the first decimal, between the schedules in the second
    worse = {"wsdc": 0.0, "wsd": 0.001, "cosine": 0.04}
    noise = (0.0, 0.003, -0.001)
    return [
        run_of(home / f"{name}-{seed}", name, seed, worse[name] + noise[(seed + at) % 3])
        for seed in range(3)
        for at, name in enumerate(SCHEDULES)
    ]


def test_figures_and_verdicts_are_on_the_page_and_in_the_json(runs: list[Run], tmp_path: Path) -> None:
    path, found = write_comparison(runs, tmp_path / "new", "nano")
    assert json.loads((tmp_path / "new" / "compare-schedules.json").read_text()) == json.loads(json.dumps(found))
    text = text_of(path)
    for row in found["schedules"]:
        assert f"{row['mean']:.4f}" in text and f"{row['spread']:.4f}" in text
        assert all(f"{loss:.4f}" in text for loss in row["losses"])
    assert [pair["verdict"] for pair in found["pairs"]] == ["no difference seen", "wsdc is lower", "wsd is lower"]
    for pair in found["pairs"]:
        assert f"{pair['mean']:+.4f}" in text and pair["verdict"] in text
    assert found["lowest"] is None and found["verdict"] in text and found["judged_by"] in text


def test_source_names_are_escaped(runs: list[Run], tmp_path: Path) -> None:
    whole = write_comparison(runs, tmp_path, HOSTILE)[0].read_text()
    page = re.sub(r"<script>.*?</script>", "", whole, flags=re.DOTALL)
    assert "<img" not in page and "&lt;img" in page and "\u202e" not in page


def test_a_run_that_is_missing_is_named_and_nothing_is_written(runs: list[Run], tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="schedule cosine: found no run of seed 2"):
        write_comparison(runs[:-1], tmp_path / "new", "nano")
    assert not (tmp_path / "new").exists()


@needs_chromium
@pytest.mark.parametrize("width, scheme", [(1440, "dark"), (390, "light")])
def test_chromium_draws_the_comparison_quietly(runs: list[Run], tmp_path: Path, width: int, scheme: str) -> None:
    path, _ = write_comparison(runs, tmp_path, "nano")
    with opened(path, width, scheme) as found:
        page = found.page
        found.see_everything()
        assert page.locator(".chart svg").count() == page.locator(".chart").count() == 5
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        final = page.locator("[data-chart=final]")
        expect(final).to_contain_text("cosine")
        page.get_by_role("checkbox", name="cosine").uncheck()
        expect(final).not_to_contain_text("cosine")
    assert found.said == [] and found.requests == []
