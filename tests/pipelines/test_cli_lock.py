"""plm lock, plm verify, plm diff and plm build --locked: what a person sees."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from pipelines.cli import cli
from plm_data.errors import LockError, PlmError
from tests.plm_data.locking.conftest import Two, built, two  # noqa: F401 (fixtures)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(each) for each in arguments])
    if isinstance(result.exception, PlmError):
        raise result.exception
    assert result.exception is None, result.exception
    return result.output


def test_lock_build_verify_and_diff(two: Two) -> None:  # noqa: F811
    said = run("lock", two.recipe, "--home", two.home)
    assert "locked 2 sources (2 items)" in said and "shards of 2 phases" in said and "lock: two.lock" in said
    assert "shards are as locked" in run("build", two.recipe, "--locked", "--home", two.home, "--workers", 1)
    said = run("verify", "build/two")
    assert "phase1: " in said and "every checksum is as recorded" in said
    assert run("verify", two.recipe, "--home", two.home) == said
    assert "the same to the byte" in run("verify", "build/two", "build/two")
    assert "The recipes say the same" in run("diff", two.recipe, two.recipe, "--home", two.home)
    two.edit("min_words: 20", "min_words: 22")
    with pytest.raises(LockError, match="min_words: locked 20.0, found 22.0"):
        run("build", two.recipe, "--locked", "--home", two.home, "--workers", 1)
    assert "curate.gopher.min_words" not in run("lock", two.recipe, "--home", two.home, "-o", "new.lock")
    assert "it is not built yet" in run("lock", two.recipe, "--home", two.home, "-o", "new.lock")


def test_plan_lists_what_a_change_would_run_again(two: Two) -> None:  # noqa: F811
    def plan() -> str:
        return run("plan", two.recipe, "--rate", 3, "--home", two.home)

    assert "everything is built: no step would run" in plan()
    two.edit("min_words: 20", "min_words: 22")
    said = plan()
    assert "2 steps would run, and the " in said and "judge          one, two" in said
    assert "one: thresholds.gopher.min_words 20.0 → 22.0" in said
    facts = json.loads(run("plan", two.recipe, "--rate", 3, "--home", two.home, "--json"))
    assert [step["of"] for step in facts["pending"] if step["when"] == "runs"] == ["one", "two"]
    said = run("plan", two.recipe, "--rate", 3, "--home", two.folder / "elsewhere")
    assert "would run" not in said


def test_a_locked_build_without_a_lock_says_how_to_make_one(two: Two) -> None:  # noqa: F811
    with pytest.raises(LockError, match="make it with `plm lock`"):
        run("build", two.recipe, "--locked", "--home", two.home)
