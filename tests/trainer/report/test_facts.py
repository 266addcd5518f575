"""The facts: what the files say, of a finished run and of one that is not; and what is wrong with a run."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.trainer.report.made import STEP, TRAIN, held_out_of, steps_of, write_run
from trainer.errors import TrainerError
from trainer.metrics import StepMetrics
from trainer.report.facts import Facts, gather, last_loss, read_run
from trainer.report.problems import notes, problems

SOURCES = ("code", "web")


def facts_of(folder: Path) -> Facts:
    return gather(read_run(folder))


def told(folder: Path) -> tuple[list[str], list[str]]:
    """Return what the page says is wrong, and its notes."""
    files = read_run(folder)
    facts = gather(files)
    return problems(files, facts["phases"]), notes(files, facts)


def run_of(tmp_path: Path, steps: list[StepMetrics], **changes: object) -> Path:
    return write_run(tmp_path, steps, held_out_of(steps, 20, SOURCES), **changes)  # type: ignore[arg-type]


def test_a_finished_run(tmp_path: Path) -> None:
    steps = steps_of(100)
    folder = run_of(tmp_path, steps, device="NVIDIA H100")
    facts = facts_of(folder)
    assert (facts["state"], facts["steps"], facts["tokens"]) == ("finished", 100, 100 * STEP)
    assert facts["planned_tokens"] == 100 * STEP and facts["device"] == "NVIDIA H100"
    assert facts["parameters"] == 2_906_688 and facts["hours"] == 64.25 / 3600
    assert [(p["name"], p["start"] // STEP, p["end"] // STEP, p["steps"]) for p in facts["phases"]] == [
        ("phase1", 0, 60, 60),
        ("phase2", 60, 85, 25),
        ("phase3", 85, 100, 15),
    ]
    last = [step.loss for step in steps[-5:]]  # a tenth of 15 steps is fewer than 5
    assert facts["loss"] == pytest.approx(sum(last) / 5)
    assert facts["held_out_loss"] == pytest.approx(steps[-1].loss + 0.1)
    assert facts["phases"][0]["held_out_loss"] == pytest.approx(steps[59].loss + 0.1)
    assert [row["name"] for row in facts["sources"]] == ["web", "code"]
    assert facts["sources"][0]["first"] == pytest.approx(steps[19].loss + 0.1 - 0.09)
    assert facts["zeros"]["measured"] == 20 and facts["zeros"]["last"] == steps[95].zeros
    assert told(folder) == ([], [])


def test_a_run_in_its_midst(tmp_path: Path) -> None:
    steps = steps_of(100)[:30]
    folder = run_of(tmp_path, steps, finished=False, planned=100)
    facts = facts_of(folder)
    assert (facts["state"], facts["steps"], facts["planned_tokens"]) == ("running", 30, 100 * STEP)
    assert facts["hours"] == pytest.approx(sum(STEP / step.tokens_per_second for step in steps) / 3600)
    assert facts["parameters"] > 1e6  # counted from the model's sizes
    assert [phase["seen"] for phase in facts["phases"]] == [30 * STEP, 0, 0]
    assert facts["series"]["plan"][-1][0] == 100 * STEP  # what is to come is planned
    wrong, known = told(folder)
    assert wrong == [] and known == ["The run is not finished: step 30, 61,440 tokens of 204,800 (30.0%) so far."]


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [], [], finished=False, planned=100)
    facts = facts_of(folder)
    assert (facts["steps"], facts["tokens"], facts["loss"], facts["held_out_loss"]) == (0, 0, None, None)
    assert facts["zeros"] is None and facts["series"]["loss"] == []
    assert "No loss on held-out text has been measured yet." in told(folder)[1]


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"run.json: not found, expected the settings of a training run"):
        read_run(tmp_path)


def test_thousands_of_steps_are_light_and_keep_their_extremes(tmp_path: Path) -> None:
    steps = steps_of(9_000)
    steps[4321] = replace(steps[4321], loss=9.876, gradient_norm=55.5)
    found = facts_of(run_of(tmp_path, steps))["series"]
    for name in ("loss", "smooth", "learning_rate", "gradient_norm", "tokens_per_second", "mfu", "speed_smooth"):
        assert 100 < len(found[name]) <= 2000
    assert [steps[4321].tokens, 4322, 9.876] in found["loss"]
    assert [steps[4321].tokens, 4322, 55.5] in found["gradient_norm"]


def test_why_a_run_stopped_is_told_first(tmp_path: Path) -> None:
    steps = [replace(step, loss=math.nan) if step.step == 30 else step for step in steps_of(100)[:30]]
    stopped = {"step": 1031, "reason": "the loss is not finite", "loss": math.nan, "checkpoint": "step-00000020"}
    folder = run_of(tmp_path, steps, finished=False, planned=100, stopped=stopped)
    assert facts_of(folder)["state"] == "stopped"
    wrong, _ = told(folder)
    assert wrong[0] == (
        "The run stopped itself at step 1,031: the loss is not finite (loss nan). "
        "The last good checkpoint is step-00000020."
    )
    assert wrong[1].startswith("1 step with a loss or gradient norm that is not finite, the first of them step 30")


def test_a_run_that_went_on_after_a_stop_says_so(tmp_path: Path) -> None:
    stopped = {"step": 20, "reason": "loss spike", "loss": 9.0, "checkpoint": None}
    wrong, _ = told(run_of(tmp_path, steps_of(100)[:30], finished=False, planned=100, stopped=stopped))
    assert wrong == [
        "The run stopped itself at step 20: loss spike (loss 9). There is no good checkpoint. "
        "It has gone on since, to step 30."
    ]


def test_a_spike_is_told_once_though_it_lasts(tmp_path: Path) -> None:
    steps = [replace(step, loss=9.0) if step.step in (40, 41, 42) else step for step in steps_of(100)]
    wrong, _ = told(run_of(tmp_path, steps))
    assert len(wrong) == 1 and wrong[0].startswith("Loss spike at step 40 in phase1: 9.000, where the median")


def test_a_rate_that_is_not_the_schedules_is_told(tmp_path: Path) -> None:
    steps = steps_of(100)
    near = [replace(step, learning_rate=step.learning_rate + 0.004 * TRAIN.learning_rate) for step in steps]
    assert told(run_of(tmp_path / "near", near))[0] == []
    steps[50] = replace(steps[50], learning_rate=0.5 * TRAIN.learning_rate)
    wrong, _ = told(run_of(tmp_path / "far", steps))
    assert wrong == [
        "The learning rate is not the schedule's at 1 of 100 steps, the first of them step 51: applied 0.001, "
        "planned 0.002 (run.json)."
    ]


def test_a_log_with_holes_doubles_or_torn_lines_is_told(tmp_path: Path) -> None:
    steps = steps_of(100)
    for name, log in {"hole": steps[:50] + steps[51:], "doubled": [*steps[:50], *steps[49:]]}.items():
        wrong, _ = told(run_of(tmp_path / name, log, planned=100))
        assert len(wrong) == 1 and "steps are missing or doubled" in wrong[0]
    folder = run_of(tmp_path / "torn", steps)
    log_file = folder / "metrics.jsonl"
    lines = log_file.read_text().splitlines(keepends=True)
    log_file.write_text("".join([*lines[:-1], lines[-1][:20]]))  # the last one may be being written
    assert told(folder)[0] == ["The summary counts 100 steps, but the log ends with step 99."]
    log_file.write_text("".join([*lines[:40], "{\n", *lines[41:]]))
    assert told(folder)[0][0] == "metrics.jsonl: line 41 is not whole; what follows it is not shown."


def test_a_held_out_loss_that_rises_is_noted(tmp_path: Path) -> None:
    steps = steps_of(100)
    held_out = held_out_of(steps, 20, SOURCES)
    held_out[-1] = replace(held_out[-1], loss=held_out[1].loss * 1.2)
    _, known = told(write_run(tmp_path, steps, held_out))
    assert len(known) == 1 and known[0].startswith("The last held-out loss,") and "is above the lowest" in known[0]


def test_an_older_run_has_what_its_files_hold(tmp_path: Path) -> None:
    """No MFU, no zeros, no log of held-out losses, no lengths of phases but in the summary."""
    steps = [replace(step, mfu=None, zeros=None) for step in steps_of(100)]
    folder = write_run(tmp_path, steps, [])
    run = (folder / "run.json").read_text()
    for phase in facts_of(folder)["phases"]:
        run = run.replace(f', "tokens": {phase["tokens"]}}}', "}")
    (folder / "run.json").write_text(run)
    assert facts_of(folder)["series"]["plan"] is None
    shares = ("phase1", 60), ("phase2", 25), ("phase3", 15)
    phases = ", ".join(
        f'{{"name": "{name}", "tokens": {count * STEP}, "steps": {count}, "held_out_loss": 3.5}}'
        for name, count in shares
    )
    summary = (folder / "summary.json").read_text().replace('"phases": []', f'"phases": [{phases}]')
    (folder / "summary.json").write_text(summary)
    facts = facts_of(folder)
    assert [row["step"] for row in facts["held_out"]] == [60, 85, 100] and facts["held_out_loss"] == 3.5
    assert facts["series"]["plan"] is not None and facts["series"]["mfu"] == [] and facts["zeros"] is None
    wrong, known = told(folder)
    assert wrong == [] and [note.split(":")[0] for note in known] == [
        "Held-out losses are not told by source",
        "No MFU",
    ]


def test_the_last_loss_is_weighed_by_tokens() -> None:
    steps = steps_of(100)[:6]
    steps[-1] = replace(steps[-1], tokens=steps[-2].tokens + 10 * STEP, loss=1.0)
    assert last_loss(steps) == pytest.approx((sum(step.loss for step in steps[1:5]) + 10) / 14)
    assert last_loss([]) is None
