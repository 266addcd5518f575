"""Two Gloo processes under torchrun against one: the same losses, and checkpoints that either resumes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.test_pretrain import TRAIN, metrics
from trainer.config import ModelConfig, PhaseData
from trainer.errors import TrainerError
from trainer.pretrain import pretrain

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def held_out(tmp_path: Path, write_phase: Callable[..., PhaseData], random_documents: Callable[..., list]) -> PhaseData:
    phase: PhaseData = write_phase(tmp_path / "held", random_documents(30, 9), "held-out", "held-out")
    return phase


@pytest.fixture
def start(
    tmp_path: Path, tiny: Callable[..., ModelConfig], three_phases: list[PhaseData], tokenizer_folder: Path,
    held_out: PhaseData,
) -> Start:  # fmt: skip
    """Start a run of `processes` in folder `name`."""

    def begin(name: str, processes: int, **changes: Any) -> subprocess.Popen[str]:
        settings = {
            "model": asdict(tiny()),
            "train": asdict(replace(TRAIN, **changes)),
            "phases": [(phase.name, phase.segment, str(phase.folder)) for phase in three_phases],
            "held_out": str(held_out.folder),
            "tokenizer": str(tokenizer_folder),
            "out": str(tmp_path / name),
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(settings))
        command = [sys.executable, "-m"]
        if processes > 1:
            command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
        return subprocess.Popen(
            [*command, "tests.trainer.ranked", str(path)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


def finished(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output


def wait_for_step(out: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (out / "metrics.jsonl").exists() and len(metrics(out)) >= step:
            return
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached: {process.communicate()[0]}")


def held_out_losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "held_out.jsonl").read_text().splitlines()]


# DDP's checkpoints are one process's own, so there one direction says all
@pytest.mark.parametrize(("parallel", "ways"), [("ddp", [("one", 2)]), ("fsdp", [("one", 2), ("two", 1)])])
def test_two_ranks_train_as_one_does_and_either_resumes_the_other(
    tmp_path: Path, start: Start, parallel: str, ways: list[tuple[str, int]]
) -> None:
    settings = {"parallel": parallel, "micro_batch_size": 1}  # two forward passes a rank and step
    finished(start("one", 1, **settings))
    finished(start("two", 2, **settings))
    one, two = (metrics(tmp_path / name) for name in ("one", "two"))
    for key in ("loss", "gradient_norm"):
        assert [step[key] for step in two] == pytest.approx([step[key] for step in one], abs=1e-5, rel=1e-5)
    assert [step["tokens"] for step in two] == [step["tokens"] for step in one]
    assert held_out_losses(tmp_path / "two") == pytest.approx(held_out_losses(tmp_path / "one"), abs=1e-5)

    # from the checkpoint of the other after step 16 (of 19) on
    for name, processes in ways:
        out = tmp_path / name
        for done in (out / "step-00000019", out / "final"):
            done.rename(tmp_path / f"{name}-{done.name}")
        (out / "summary.json").unlink()
        finished(start(name, processes, **settings))
        again = metrics(out)
        assert [step["step"] for step in again] == list(range(1, 20))
        assert [step["loss"] for step in again] == pytest.approx([step["loss"] for step in one], abs=1e-5)
        before = load_file(tmp_path / f"{name}-final" / "model.safetensors")
        after = load_file(out / "final" / "model.safetensors")
        for key, tensor in before.items():
            torch.testing.assert_close(after[key], tensor, atol=1e-4, rtol=1e-4)
        moments = [
            load_file(folder / "optimizer.safetensors")
            for folder in (tmp_path / f"{name}-step-00000019", out / "step-00000019")
        ]
        assert moments[0].keys() == moments[1].keys()


def test_sharded_bf16_trains_as_one_rank_does(tmp_path: Path, start: Start) -> None:
    settings = {"parallel": "fsdp", "precision": "bf16", "activation_checkpointing": True}
    for process in [start("one", 1, **settings), start("two", 2, **settings)]:
        finished(process)
    one, two = ([step["loss"] for step in metrics(tmp_path / name)] for name in ("one", "two"))
    assert two == pytest.approx(one, abs=0.03) and one[-1] < 0.8 * one[0]


def test_a_terminated_run_of_two_ranks_saves_and_goes_on_to_the_bit(tmp_path: Path, start: Start) -> None:
    finished(start("straight", 2, batch_size=2))
    process = start("broken", 2, batch_size=2)
    wait_for_step(tmp_path / "broken", 5, process)
    process.send_signal(signal.SIGTERM)  # torchrun passes it on to its processes
    process.communicate(timeout=120)
    assert process.returncode != 0 and not (tmp_path / "broken" / "summary.json").exists()
    newest = max((tmp_path / "broken").glob("step-*"))
    assert int(newest.name.removeprefix("step-")) == len(metrics(tmp_path / "broken")) >= 5
    finished(start("broken", 2, batch_size=2))
    straight, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())


def test_a_killed_run_loses_at_most_an_interval_and_ends_with_the_same_weights(tmp_path: Path, start: Start) -> None:
    finished(start("straight", 1, batch_size=1))
    for step in (6, 40):  # twice in a row; the second time in another phase
        process = start("broken", 1, batch_size=1)
        wait_for_step(tmp_path / "broken", step, process)
        process.kill()
        process.communicate(timeout=60)
        done = len(metrics(tmp_path / "broken"))
        saved = [int(path.name.removeprefix("step-")) for path in (tmp_path / "broken").glob("step-*")]
        assert done - max(saved) <= TRAIN.checkpoint_interval_steps
    assert not (tmp_path / "broken" / "summary.json").exists()
    finished(start("broken", 1, batch_size=1))
    straight, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())
    for name in ("step", "tokens", "phase", "loss", "learning_rate", "gradient_norm"):
        values = [[step[name] for step in metrics(tmp_path / folder)] for folder in ("straight", "broken")]
        assert values[0] == values[1]


PATIENT = """
import time
from datetime import timedelta
import torch.distributed.distributed_c10d as c10d
from trainer.distributed import joined

c10d.default_pg_timeout = timedelta(seconds=1)
with joined() as ranks:
    if ranks.first:
        time.sleep(3)  # hashes or writes
    ranks.wait()
    assert ranks.agreed(ranks.rank) == 0
"""


def test_ranks_wait_for_the_first_ones_work_longer_than_for_gradients(tmp_path: Path) -> None:
    script = tmp_path / "patient.py"
    script.write_text(PATIENT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr


def test_a_batch_that_the_ranks_cannot_share_is_refused(
    tmp_path: Path,
    tiny: Callable[..., ModelConfig],
    three_phases: list[PhaseData],
    tokenizer_folder: Path,
    start: Start,
) -> None:
    output, _ = (process := start("odd", 2, batch_size=3)).communicate(timeout=120)
    assert process.returncode != 0 and "found 3 sequences of 32 tokens for 2 ranks, expected a multiple" in output
    assert issubclass(TrainerError, ValueError) and pretrain(  # alone it is a batch like another
        tiny(), replace(TRAIN, batch_size=3), three_phases, tokenizer_folder, tmp_path / "alone", progress=False
    )
