"""`plm evaluate` finds what lies beside a model and the paper's figures, and says what it cannot do."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipelines.cli_evaluate import evaluate
from trainer.errors import TrainerError
from trainer.evaluation import run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command asks of the library, which does nothing."""
    found: list[Any] = []

    def pretend(asked: Any) -> dict[str, Any]:
        found.append(asked)
        rows = [
            {"task": name, "reason": "no" if name in asked.suite else "not asked for"} for name, _ in asked.published
        ]
        return {"bits": {"reason": None}, "tasks": {"reason": "none was found"}, "suite": rows}

    monkeypatch.setattr(run, "evaluate", pretend)
    return found


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build's folder whose model is a link to elsewhere."""
    (tmp_path / "store" / "run" / "final").mkdir(parents=True)
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "model").symlink_to(tmp_path / "store" / "run")
    for name in ("held-out", "tasks"):
        (tmp_path / "nano" / name).mkdir()
        (tmp_path / "nano" / name / "manifest.json").write_text("{}")
    return tmp_path / "nano"


def call(*arguments: str | Path) -> Any:
    return CliRunner().invoke(evaluate, [str(each) for each in arguments], catch_exceptions=False)


def test_what_lies_beside_the_model_is_measured_on(build: Path, asked: list[Any]) -> None:
    for checkpoint in (build / "model" / "final", build / "model"):
        result = call(checkpoint)
        assert result.exit_code == 0 and "tasks: not run: none was found" in result.output
        assert (asked[-1].held_out, asked[-1].tasks) == (build / "held-out", build / "tasks")
        assert asked[-1].out == checkpoint
    (build / "tasks" / "manifest.json").unlink()
    call(build / "model" / "final", "--held-out", build / "tasks")
    assert (asked[-1].held_out, asked[-1].tasks) == (build / "tasks", None)


def test_the_papers_figures_stand_beside_ours_whatever_the_recipe(build: Path, asked: list[Any]) -> None:
    call(build / "model")
    figures = dict(asked[-1].published)
    assert len(figures) == 13 and figures["gsm8k"] == 60.73
    assert sum(figures.values()) / 13 == pytest.approx(57.29, abs=0.005)
    call(build / "model", "--recipe", "nano")  # lists no suite of its own
    assert dict(asked[-1].published) == figures and asked[-1].max_tokens == 120


def test_what_could_not_be_run_ends_in_an_error(build: Path, asked: list[Any]) -> None:
    result = call(build / "model", "--suite", "piqa")
    assert result.exit_code == 1 and "could not run piqa" in result.output
    assert call(build / "model").exit_code == 0


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="there is no such folder"):
        call(tmp_path / "missing")


def test_code_runs_by_leave_alone(build: Path, asked: list[Any]) -> None:
    call(build / "model")
    call(build / "model", "--run-generated-code")
    assert [each.run_code for each in asked] == [False, True]
