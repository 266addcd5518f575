"""What a change would run again: the exact list, and that a build then runs just these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plm_data import engine
from plm_data.errors import RecipeError
from plm_data.pending import PendingStep, pending_steps
from plm_data.recipe_file import load_recipe
from tests.plm_data.locking.conftest import Two

Listed = list[tuple[str, str]]
BOTH = ["one", "two"]


def listed(place: Two) -> tuple[Listed, Listed]:
    """What would run, and what follows, as stage and of."""
    found = pending_steps(load_recipe(place.recipe), place.home)
    runs, follows = ([(step.stage, step.of) for step in found if step.when == when] for when in ("runs", "follows"))
    return runs, follows


def made(place: Two) -> Listed:
    """What a build then makes anew."""
    outputs = place.build().outputs
    return [(stage, of) for stage, found in outputs.items() for of, output in found.items() if not output.reused]


def phases(*names: str) -> Listed:
    return [(f"{stage} {name}", name) for name in names for stage in ("mix", "order", "fetch", "shards")]


def stages(**of: list[str]) -> Listed:
    return [(stage, each) for stage, found in of.items() for each in found]


AFTER_JUDGING = stages(exact=["all"], winners=["all"], decide=BOTH, rank=BOTH, plan=["all"]) + phases(
    "phase1", "phase2"
)


def test_of_a_finished_build_nothing_is_pending(two: Two) -> None:
    assert pending_steps(load_recipe(two.recipe), two.home) == []
    assert made(two) == []


def test_where_nothing_is_built_all_of_it_is_pending(two: Two, tmp_path: Path) -> None:
    found = pending_steps(load_recipe(two.recipe), tmp_path / "elsewhere")
    assert [(step.stage, step.of) for step in found if step.when == "runs"] == stages(collect=BOTH)
    assert {step.stage.split()[0] for step in found} >= {"normalise", "tokenizer", "attributes", "decide", "shards"}
    assert not (tmp_path / "elsewhere").exists()


def edit(old: str, new: str) -> Callable[[Two, pytest.MonkeyPatch], None]:
    return lambda place, _: place.edit(old, new)


def a_byte(place: Two, _: pytest.MonkeyPatch) -> None:
    path = place.folder / "two.jsonl"
    data = path.read_bytes()
    at = data.rindex(b'."}') if b'."}' in data else data.rindex(b'"}') - 1
    path.write_bytes(data[:at] + b"x" + data[at + 1 :])


def a_line_of(module: str) -> Callable[[Two, pytest.MonkeyPatch], None]:
    def change(_: Two, monkeypatch: pytest.MonkeyPatch) -> None:
        before = engine.code_version
        monkeypatch.setattr(engine, "code_version", lambda name: "changed" if name == module else before(name))

    return change


MEASURED_TWO = [f"two/{kind}" for kind in ("tokens", "heuristics", "language", "signatures")]
AFTER_TOKENS = stages(judge=BOTH) + AFTER_JUDGING


@pytest.mark.parametrize(
    ("change", "runs", "follows"),
    [
        pytest.param(
            edit("gopher: {min_words: 20}", "gopher: {min_words: 120}"), stages(judge=BOTH), AFTER_JUDGING,
            id="a threshold",
        ),
        pytest.param(
            edit("license: MIT, priority: 1", "license: MIT, priority: 3"), stages(judge=["two"]), AFTER_JUDGING,
            id="a priority",
        ),
        pytest.param(
            edit("tokens: 3K, mix: {one: 0.5, two: 0.5}", "tokens: 3K, mix: {one: 0.6, two: 0.4}"),
            stages(tokenizer=["all"]), stages(attributes=["one/tokens", "two/tokens"]) + AFTER_TOKENS,
            id="a weight",
        ),
        pytest.param(
            edit("tokens: 3K", "tokens: 3K, documents: seen"),
            [*stages(plan=["all"]), ("mix phase2", "phase2")], phases("phase2")[1:],
            id="which documents a later phase may have",
        ),
        pytest.param(
            a_byte, stages(collect=["two"]),
            stages(normalise=["two"], tokenizer=["all"], attributes=["one/tokens", *MEASURED_TWO], bands=["two"],
                   match=["all"], clusters=["all"], near=BOTH) + AFTER_TOKENS,
            id="a byte of a source",
        ),
        pytest.param(
            a_line_of("plm_data.attributes.heuristics"),
            stages(attributes=["one/heuristics", "two/heuristics"]), AFTER_TOKENS,
            id="a line of a measure's code",
        ),
        pytest.param(
            a_line_of("plm_data.mix.planned"), stages(plan=["all"]), [], id="a line of the plan's code",
        ),
        pytest.param(
            a_line_of("plm_data.shards"),
            [(f"{stage} {name}", name) for name in ("phase1", "phase2") for stage in ("fetch", "shards")], [],
            id="a line of the shards' code",
        ),
    ],
)  # fmt: skip
def test_a_change_lists_exactly_what_it_runs_again(
    two: Two, monkeypatch: pytest.MonkeyPatch, change: Any, runs: Listed, follows: Listed
) -> None:  # fmt: skip
    change(two, monkeypatch)
    found = listed(two)
    assert sorted(found[0]) == sorted(runs) and sorted(found[1]) == sorted(follows)
    # All that is sure to run was made, and nothing was made that is not listed.
    anew = made(two)
    assert set(runs) <= set(anew) <= {*runs, *follows}
    assert pending_steps(load_recipe(two.recipe), two.home) == []


def test_a_threshold_says_what_it_was(two: Two) -> None:
    two.edit("gopher: {min_words: 20}", "gopher: {min_words: 120}")
    step = pending_steps(load_recipe(two.recipe), two.home)[0]
    assert step == PendingStep("judge", "one", "runs", ("thresholds.gopher.min_words 20.0 → 120.0",))


def test_changed_code_is_called_its_code(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    a_line_of("plm_data.decisions.judge")(two, monkeypatch)
    assert pending_steps(load_recipe(two.recipe), two.home)[0].why == ("its code",)


@pytest.mark.parametrize("text", ["3", "[]", '{"judge": 3}', '{"judge": {"one": 3}}', '{"judge": {"one": ["judge"]}}'])
def test_without_a_note_of_the_last_build_a_step_is_listed_without_a_reason(two: Two, text: str) -> None:
    two.edit("gopher: {min_words: 20}", "gopher: {min_words: 120}")
    (two.home / "two" / "steps.json").write_text(text, encoding="utf-8")
    assert pending_steps(load_recipe(two.recipe), two.home)[0] == PendingStep("judge", "one", "runs")


def test_a_changed_library_is_named_with_its_versions(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = engine.library_versions()
    monkeypatch.setattr(engine, "library_versions", lambda: {**versions, "regex": "0.0.1"})
    step = pending_steps(load_recipe(two.recipe), two.home)[0]
    assert (step.stage, step.why) == ("collect", (f'libraries.regex "{versions["regex"]}" → "0.0.1"',))


def test_a_budget_that_cannot_be_is_refused_and_not_listed(two: Two) -> None:
    two.edit("tokens: 6K", "tokens: 600K")
    with pytest.raises(RecipeError, match="phase1 asks"):
        pending_steps(load_recipe(two.recipe), two.home)
