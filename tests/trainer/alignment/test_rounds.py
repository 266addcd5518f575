"""A run improves the toy task, ends with the same weights after a kill, and keeps to its folder."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.alignment.conftest import AGAIN, digits
from trainer.alignment import rounds
from trainer.alignment.chains import Policy, collect
from trainer.alignment.config import AlignConfig
from trainer.alignment.ledger import read_manifest
from trainer.alignment.prompts import read_prompts
from trainer.alignment.rounds import align, plan_stages
from trainer.alignment.run import Run
from trainer.chat import ChatML
from trainer.config import PhaseData
from trainer.errors import TrainerError, TrainingStopped
from trainer.generate import load
from trainer.inference import Completion, Sampling, generate
from trainer.pretrained import load_pretrained, trained_length
from trainer.shards import read_phase

CONFIG = AlignConfig(
    rounds=2, prompts_per_round=60, activation_prompts=60, activation_epochs=1.3, learning_rate=1e-3, batch_size=8, steps=10, warmup_steps=2,
    refinements=1, beta=0.3, max_tokens=2, refinement_prompt=AGAIN, collect_size=25, checkpoint_interval_steps=4, seed=1,
    select="check",
)  # fmt: skip
SHORT = replace(CONFIG, rounds=1, prompts_per_round=30, activation_prompts=30, activation_epochs=1.6, steps=6)


def share_right(model: Path, tasks: PhaseData, chat: ChatML, refinements: int = 0) -> list[float]:
    """The share of right answers, drawn at temperature 1, by step of the chain."""
    policy = Policy(load_pretrained(model), chat, Sampling(2, 1.0), AGAIN)
    chains = collect(
        policy, read_prompts(read_phase(tasks, "prompts")), 1 + refinements, refine=True, seed=9, stage="tasks"
    )
    right = [[a.text.strip() == chain.prompt.answer for a in chain.answers] for chain in chains]
    return [sum(column) / len(right) for column in zip(*right, strict=True)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, toy_model: Path, toy_prompts: PhaseData) -> Path:
    out = tmp_path_factory.mktemp("aries") / "run"
    align(toy_model, toy_prompts, CONFIG, out, progress=False)
    return out


def test_a_run_improves_the_model(finished: Path, toy_model: Path, toy_tasks: PhaseData, chat: ChatML) -> None:
    before, after = (share_right(model, toy_tasks, chat, 1) for model in (toy_model, finished / "final"))
    assert 0.3 < before[0] < 0.75  # room both ways
    assert after[0] > before[0] + 0.15
    assert after[1] > before[1] + 0.15

    summary = json.loads((finished / "summary.json").read_text())
    assert [stage["name"] for stage in summary["stages"]] == ["activation", "round-1", "round-2"]
    assert summary["steps"] == 30
    assert [stage["counts"]["answers"] for stage in summary["stages"][1:]] == [120, 120]
    for stage in summary["stages"][1:]:
        assert stage["after"]["margin"] > 0
        assert stage["after"]["accuracy"] > 0.7
        assert stage["drift"]["kl"] > 0
        assert (stage["pairs"]["chosen_tokens"], stage["pairs"]["rejected_tokens"]) == (1.0, 1.0)
        assert len(stage["chains"]["right"]) == 2
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 31))
    assert [line["phase"] for line in lines[::10]] == ["activation", "round-1", "round-2"]
    assert lines[10]["dpo"] == pytest.approx(0.693, abs=0.01)  # each round starts at its own reference
    assert lines[20]["dpo"] == pytest.approx(0.693, abs=0.01)


def test_iterative_dpo_by_the_same_code(
    tmp_path: Path, toy_model: Path, toy_prompts: PhaseData, toy_tasks: PhaseData, chat: ChatML
) -> None:
    config = replace(CONFIG, method="dpo", lambda_=0.0)
    summary = align(toy_model, toy_prompts, config, tmp_path / "run", progress=False)
    assert summary["steps"] == 30
    assert [stage["counts"]["answers"] for stage in summary["stages"][1:]] == [120, 120]  # ARIES's budget
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert not any("refinement" in line for line in lines)
    assert (
        share_right(tmp_path / "run" / "final", toy_tasks, chat)[0] > share_right(toy_model, toy_tasks, chat)[0] + 0.1
    )


def test_a_finished_run_is_looked_up(finished: Path, toy_model: Path, toy_prompts: PhaseData) -> None:
    assert align(toy_model, toy_prompts, CONFIG, finished, progress=False)["reused"] is True


def test_a_folder_of_another_run_is_refused(finished: Path, toy_model: Path, toy_prompts: PhaseData) -> None:
    with pytest.raises(TrainerError, match=r"run.json: fingerprint: found .* other settings, data or model"):
        align(toy_model, toy_prompts, replace(CONFIG, beta=0.4), finished, progress=False)
    assert align(toy_model, toy_prompts, replace(CONFIG, keep_checkpoints=5), finished, progress=False)["reused"]


def test_an_aligned_model_is_measured_at_the_length_that_it_was_trained_at(toy_model: Path, tmp_path: Path) -> None:
    tuned, prompts = tmp_path / "sft" / "final", b"the phase's manifest"
    shutil.copytree(toy_model, tuned)
    Run.claim(tmp_path / "unknown", CONFIG, tuned, prompts, None)
    assert trained_length(tmp_path / "unknown" / "final") is None
    (tuned.parent / "run.json").write_text('{"train": {"sequence_length": 48}}')
    Run.claim(tmp_path / "known", CONFIG, tuned, prompts, None)
    assert trained_length(tmp_path / "known" / "final") == 48


def test_a_run_that_has_not_ended_gives_its_newest_checkpoint(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("step-00000030", "tokenizer"):
        os.symlink(finished / name, tmp_path / "run" / name)
    model, _ = load(tmp_path / "run")
    assert torch.equal(model.model.norm.weight, load_pretrained(finished / "final").model.norm.weight)


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from trainer.alignment import collection, rounds
    from trainer.alignment.config import AlignConfig
    from trainer.config import PhaseData
    import json, torch

    model, folder, out, config, where, count = sys.argv[1:]
    left = int(count)

    def dying(function):
        def wrapped(*arguments, **named):
            global left
            result = function(*arguments, **named)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return wrapped

    module, name = where.split(":")
    module = {"collection": collection, "rounds": rounds}[module]
    setattr(module, name, dying(getattr(module, name)))
    torch.set_num_threads(1)
    phase = PhaseData("preferences", "preferences", Path(folder))
    rounds.align(Path(model), phase, AlignConfig(**json.loads(config)), Path(out), progress=False)
"""


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("collection:write_piece", 3),  # within the first round's collection, after the activation
        ("rounds:reference_log_probs", 2),  # before they are written
        ("rounds:append_line", 11),  # within the round's training, behind its checkpoint
        ("rounds:write_json", 2),  # after training, before the last checkpoint
    ],
)
def test_a_killed_run_ends_with_the_same_weights(
    tmp_path: Path, toy_model: Path, toy_prompts: PhaseData, undisturbed: dict[str, Any], where: str, count: int
) -> None:
    out, code = tmp_path / "run", textwrap.dedent(KILLED)
    arguments = [str(toy_model), str(toy_prompts.folder), str(out), json.dumps(asdict(SHORT)), where, str(count)]
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=os.environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (out / "summary.json").exists()
    align(toy_model, toy_prompts, SHORT, out, progress=False)
    found = load_file(out / "final" / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in undisturbed["weights"].items())
    assert [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()] == undisturbed[
        "losses"
    ]
    assert read_manifest(out / "round-1") == undisturbed["manifest"]


def test_a_signal_saves_and_ends(
    tmp_path: Path,
    toy_model: Path,
    toy_prompts: PhaseData,
    undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append, left = rounds.append_line, iter(range(10))

    def terminated(path: Path, line: dict[str, Any]) -> None:
        append(path, line)
        if next(left) == 9:  # no interval's step
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(rounds, "append_line", terminated)
    with pytest.raises(TrainingStopped, match=r"stopped by signal 15 in round-1, after step 10"):
        align(toy_model, toy_prompts, SHORT, tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert (tmp_path / "run" / "step-00000010").is_dir()
    align(toy_model, toy_prompts, SHORT, tmp_path / "run", progress=False)
    found = load_file(tmp_path / "run" / "final" / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in undisturbed["weights"].items())


def test_a_signal_ends_the_drawing_of_answers(
    tmp_path: Path, toy_model: Path, toy_prompts: PhaseData, undisturbed: dict[str, Any]
) -> None:
    calls: list[int] = []

    def terminated(*arguments: Any, **named: Any) -> list[Completion]:
        calls.append(len(arguments[2]))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return generate(*arguments, **named)

    with pytest.raises(TrainingStopped, match=r"stopped by signal 15 while the answers of activation were drawn"):
        align(toy_model, toy_prompts, SHORT, tmp_path / "run", decoder=terminated, progress=False)
    assert calls == [25, 5] and len(list((tmp_path / "run" / "activation").glob("chains-*.parquet"))) == 1
    align(toy_model, toy_prompts, SHORT, tmp_path / "run", progress=False)
    found = load_file(tmp_path / "run" / "final" / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in undisturbed["weights"].items())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, toy_model: Path, toy_prompts: PhaseData) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    align(toy_model, toy_prompts, SHORT, out, progress=False)
    return {
        "weights": load_file(out / "final" / "model.safetensors"),
        "losses": [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()],
        "manifest": read_manifest(out / "round-1"),
    }


def test_the_stages_share_the_prompts_out(toy_prompts: PhaseData) -> None:
    phase = read_phase(toy_prompts, "prompts")
    activation, first, second = plan_stages(phase, CONFIG)
    assert sorted([*activation.prompts, *first.prompts]) == list(range(120))
    assert second.prompts.tolist() == activation.prompts.tolist()  # all are used, so they come again
    with pytest.raises(TrainerError, match="preferences.prompts_per_round: found 121, expected at most the 120"):
        plan_stages(phase, replace(CONFIG, prompts_per_round=121))


def test_a_round_without_pairs_changes_nothing(
    tmp_path: Path, toy_model: Path, write_prompts: Callable[..., PhaseData]
) -> None:
    prompts = write_prompts(tmp_path / "preferences", [{"question": row["question"]} for row in digits(20)])
    config = replace(SHORT, prompts_per_round=20, activation_prompts=20)
    said: list[str] = []
    summary = align(toy_model, prompts, config, tmp_path / "run", progress=False, say=said.append)
    assert summary["steps"] == 0
    assert summary["stages"][0]["counts"]["reasons"] == {"no-reference": 20}
    assert summary["stages"][1]["counts"]["reasons"] == {"no-check": 20}
    weights, final = (load_file(folder / "model.safetensors") for folder in (toy_model, tmp_path / "run" / "final"))
    assert all(torch.equal(final[name], tensor) for name, tensor in weights.items())
    assert said[0].startswith("activation: 0 pairs of 20 prompts")


def test_a_reward_model_goes_with_its_selection(tmp_path: Path, toy_model: Path, toy_prompts: PhaseData) -> None:
    with pytest.raises(TrainerError, match="preferences.select: found 'reward' and no reward model"):
        align(toy_model, toy_prompts, replace(SHORT, select="reward"), tmp_path / "run", progress=False)
