"""The comparison gives DPO and ARIES one budget, looks up what is measured, and calls nothing better within the noise."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.alignment.conftest import AGAIN
from trainer.alignment import compare
from trainer.alignment.compare import (
    ARIES,
    DPO,
    REFINED,
    Score,
    compare_alignment,
    comparison,
    differences,
    same_budget,
)
from trainer.alignment.config import AlignConfig
from trainer.alignment.page import render
from trainer.config import PhaseData
from trainer.errors import TrainerError

CONFIG = AlignConfig(
    rounds=1, prompts_per_round=40, activation_prompts=40, learning_rate=1e-3, batch_size=8, warmup_steps=2,
    refinements=1, beta=0.3, max_tokens=2, refinement_prompt=AGAIN, collect_size=40,
)  # fmt: skip


def scores(**shares: tuple[int, ...]) -> list[Score]:
    """Scores of a hundred tasks by contender: `sft1`, `dpo` and so on, a number a seed."""
    names = {"sft1": "sft1", "sft2": "sft2", "dpo": DPO, "aries": ARIES, "refined": REFINED}
    return [
        Score(names[name], seed, right, 100, 5.0) for name, found in shares.items() for seed, right in enumerate(found)
    ]


def test_a_difference_is_told_from_noise() -> None:
    clear = scores(sft1=(30, 33, 29), sft2=(50, 53, 49), dpo=(55, 57, 54), aries=(56, 56, 57), refined=(75, 78, 74))
    found = {(pair.a, pair.b): pair for pair in differences(clear)}
    assert list(found) == [
        ("sft2", "sft1"),
        (DPO, "sft2"),
        (ARIES, "sft2"),
        (ARIES, DPO),
        (REFINED, ARIES),
        (REFINED, DPO),
    ]
    assert found[REFINED, DPO].verdict == f"{REFINED} is better"
    assert found[ARIES, DPO].verdict == "no difference seen"  # +1, -1, +3
    assert found[ARIES, DPO].mean == pytest.approx(0.01)
    told = comparison(clear, CONFIG, [])
    assert told["verdict"].startswith(f"{REFINED} is better by 20.3 points")
    noisy = scores(sft1=(30, 33, 29), sft2=(50, 53, 49), dpo=(55, 57, 54), aries=(56, 56, 57), refined=(60, 56, 70))
    assert comparison(noisy, CONFIG, [])["verdict"].startswith("No winner: over 3 seeds")
    worse = scores(sft1=(30, 33, 29), sft2=(50, 53, 49), dpo=(75, 77, 74), aries=(56, 56, 57), refined=(55, 57, 54))
    assert comparison(worse, CONFIG, [])["verdict"].startswith(f"{DPO} is better by 20.0 points")


def test_both_methods_have_one_budget() -> None:
    dpo, aries = same_budget(replace(CONFIG, epochs=2.0), 7)
    assert (dpo.steps, aries.steps) == (10, 10)
    assert (dpo.seed, aries.seed) == (7, 7)
    changed = {name for name, value in vars(dpo).items() if vars(aries)[name] != value}
    assert changed == {"method", "lambda_", "select"}
    assert (dpo.method, dpo.lambda_, dpo.select) == ("dpo", 0.0, "check")
    assert same_budget(replace(CONFIG, select="reward"), 7)[0].select == "reward"


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, toy_model: Path, toy_prompts: PhaseData, toy_tasks: PhaseData
) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("compare")
    return out, compare_alignment(
        lambda _: {"sft": toy_model}, toy_prompts, toy_tasks, CONFIG, (1, 2), out, progress=False
    )


def test_every_contender_is_measured_for_every_seed(told: tuple[Path, dict[str, Any]]) -> None:
    found = told[1]
    assert [row["name"] for row in found["contenders"]] == ["sft", DPO, ARIES, REFINED]
    assert all(len(row["shares"]) == 2 for row in found["contenders"])
    assert found["budget"]["dpo"]["steps"] == found["budget"]["aries"]["steps"] == 10
    assert found["budget"]["dpo"]["answers"] == found["budget"]["aries"]["answers"]
    assert [(run["seed"], run["method"]) for run in found["runs"]] == list(itertools.product((1, 2), ("dpo", "aries")))


def test_what_is_measured_is_looked_up(
    told: tuple[Path, dict[str, Any]],
    toy_model: Path,
    toy_prompts: PhaseData,
    toy_tasks: PhaseData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(compare, "exact_match", refuse)
    out, before = told
    again = compare_alignment(lambda _: {"sft": toy_model}, toy_prompts, toy_tasks, CONFIG, (1, 2), out, progress=False)
    assert again["contenders"] == before["contenders"]
    with pytest.raises(AssertionError, match="measured again"):  # longer answers are other answers
        compare_alignment(
            lambda _: {"sft": toy_model}, toy_prompts, toy_tasks, CONFIG, (1, 2), out, progress=False, max_tokens=3
        )


def test_the_page(told: tuple[Path, dict[str, Any]]) -> None:
    found = told[1]
    page = render({**found, "verdict": "<b>hostile</b>"})
    assert "<b>hostile" not in page
    assert page.count("<circle") == 8  # four contenders, two seeds
    assert "round-1" in page
    assert f"{found['contenders'][0]['mean']:.1%}" in page


def test_tasks_that_cannot_be_judged(
    tmp_path: Path, toy_model: Path, toy_prompts: PhaseData, write_prompts: Callable[..., PhaseData]
) -> None:
    tasks = write_prompts(
        tmp_path / "tasks", [{"question": "f", "check": "python", "answer": "assert f()"}], "tasks", "held-out", 1
    )
    with pytest.raises(
        TrainerError, match="task tasks-0: found the check 'python', expected one that can be made here"
    ):
        compare_alignment(
            lambda _: {"sft": toy_model}, toy_prompts, tasks, CONFIG, (1, 2), tmp_path / "out", progress=False
        )


def test_one_seed_is_no_comparison(
    tmp_path: Path, toy_model: Path, toy_prompts: PhaseData, toy_tasks: PhaseData
) -> None:
    with pytest.raises(TrainerError, match=r"seeds: found \[1\], expected two or more"):
        compare_alignment(lambda _: {"sft": toy_model}, toy_prompts, toy_tasks, CONFIG, (1,), tmp_path, progress=False)
