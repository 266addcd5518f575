"""plm lock, plm verify, plm diff and plm build --locked: what a person sees."""

from __future__ import annotations

import json

import pytest

from plm_data.errors import LockError, PlmError
from tests.pipelines.commands import run
from tests.plm_data.locking.conftest import Two, built, two  # noqa: F401 (fixtures)


def test_lock_build_verify_and_diff(two: Two) -> None:  # noqa: F811
    said = run("lock", two.recipe, "--home", two.home).output
    assert "locked 2 sources (2 items)" in said and "shards of 2 phases" in said and "lock: two.lock" in said
    assert "shards are as locked" in run("build", two.recipe, "--locked", "--home", two.home, "--workers", 1).output
    said = run("verify", "build/two").output
    assert "phase1: " in said and "every checksum is as recorded" in said
    assert run("verify", two.recipe, "--home", two.home).output == said
    assert "the same to the byte" in run("verify", "build/two", "build/two").output
    assert "The recipes say the same" in run("diff", two.recipe, two.recipe, "--home", two.home).output
    two.edit("min_words: 20", "min_words: 22")
    with pytest.raises(LockError, match="min_words: locked 20.0, found 22.0"):
        run("build", two.recipe, "--locked", "--home", two.home, "--workers", 1)
    assert "it is not built yet" in run("lock", two.recipe, "--home", two.home, "-o", "new.lock").output


def test_a_build_that_is_not_there_is_said_so(two: Two) -> None:  # noqa: F811
    with pytest.raises(PlmError, match=r"elsewhere/two: no such folder; expected the folder of a build"):
        run("verify", "elsewhere/two")
    with pytest.raises(PlmError, match="no recipe 'three'"):
        run("verify", "three")


def test_plan_lists_what_a_change_would_run_again(two: Two) -> None:  # noqa: F811
    def plan() -> str:
        return run("plan", two.recipe, "--rate", 3, "--home", two.home).output

    assert "everything is built: no step would run" in plan()
    two.edit("min_words: 20", "min_words: 22")
    said = plan()
    assert "2 steps would run, and the " in said and "judge          one, two" in said
    assert "one: thresholds.gopher.min_words 20.0 → 22.0" in said
    facts = json.loads(run("plan", two.recipe, "--rate", 3, "--home", two.home, "--json").output)
    assert [step["of"] for step in facts["pending"] if step["when"] == "runs"] == ["one", "two"]
    said = run("plan", two.recipe, "--rate", 3, "--home", two.folder / "elsewhere").output
    assert "would run" not in said


def test_a_locked_build_without_a_lock_says_how_to_make_one(two: Two) -> None:  # noqa: F811
    with pytest.raises(LockError, match="make it with `plm lock`"):
        run("build", two.recipe, "--locked", "--home", two.home)
