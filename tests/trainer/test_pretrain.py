"""A whole run: it learns, resumes to the bit, and refuses what is not its own."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trainer import pretrain as module
from trainer.checkpoint import Position
from trainer.config import ModelConfig, PhaseData, TrainConfig
from trainer.data import Batch
from trainer.errors import TrainerError
from trainer.pretrain import _stream, packed_stages, pretrain
from trainer.shards import read_phase

TRAIN = TrainConfig(
    sequence_length=32,
    batch_size=4,
    learning_rate=1e-2,
    final_learning_rate=1e-3,
    warmup_tokens=256,
    checkpoint_interval_steps=4,
)
STEPS = 10 + 5 + 4  # 1260, 630 and 420 tokens in steps of 128

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tiny: Callable[..., ModelConfig], three_phases: list[PhaseData], tokenizer_folder: Path) -> Run:
    def start(out: Path, phases: list[PhaseData] = three_phases, **changes: Any) -> dict[str, Any]:
        return pretrain(tiny(), replace(TRAIN, **changes), phases, tokenizer_folder, out, progress=False)

    return start


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that makes the run's n-th training step from now raise."""
    step = module.training_step

    def arm(number: int) -> None:
        calls = 0

        def failing(*arguments: Any) -> tuple[float, float]:
            nonlocal calls
            calls += 1
            if calls == number:
                raise KeyboardInterrupt
            return step(*arguments)

        monkeypatch.setattr(module, "training_step", failing)

    return arm


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_run_learns_and_leaves_what_it_promises(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    summary = run(out)
    first, _, last = summary["phases"]
    assert first["loss_start"] == pytest.approx(math.log(259), rel=0.02)
    assert last["loss_end"] < 0.75 * first["loss_start"]
    assert last["ratio"] == pytest.approx(last["loss_end"] / math.log(259))
    assert [phase["steps"] for phase in summary["phases"]] == [10, 5, 4]
    assert [phase["segment"] for phase in summary["phases"]] == ["stable", "decay", "constant"]
    assert summary["tokens"] == sum(phase["tokens"] for phase in summary["phases"]) == 110 * 21
    assert summary["reused"] is False

    steps = metrics(out)
    assert [step["step"] for step in steps] == list(range(1, STEPS + 1))
    assert steps[-1]["tokens"] == summary["tokens"]
    rates = [step["learning_rate"] for step in steps]
    assert rates[0] == pytest.approx(1e-2 * 64 / 256)  # the middle of the first step's 128 tokens
    assert set(rates[2:10]) == {1e-2}
    assert all(1e-2 > later > 1e-3 for later in rates[10:15])
    assert set(rates[15:]) == {1e-3}
    tail = steps[10:15]
    sizes = [after["tokens"] - before["tokens"] for before, after in itertools.pairwise(steps[9:15])]
    assert sorted(sizes) == [118, 128, 128, 128, 128]  # the padded sequence's place is drawn
    expected = sum(step["loss"] * size for step, size in zip(tail, sizes, strict=True)) / sum(sizes)
    assert summary["phases"][1]["loss_end"] == pytest.approx(expected)

    config = json.loads((out / "final" / "config.json").read_text())
    assert config["architectures"] == ["PLMForCausalLM"]
    assert (config["tie_word_embeddings"], config["hidden_act"], config["eos_token_id"]) == (True, "relu2", 256)
    assert (out / "final" / "tokenizer.json").is_file()
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in sorted(out.glob("step-*"))] == ["step-00000016", "step-00000019"]
    assert (
        sum(tensor.numel() for tensor in load_file(out / "final" / "model.safetensors").values())
        == (summary["parameters"])
    )


def test_a_finished_run_is_reused(tmp_path: Path, run: Run, fail_at: Callable[[int], None]) -> None:
    first = run(tmp_path / "out")
    fail_at(1)
    again = run(tmp_path / "out", checkpoint_interval_steps=7)  # a setting that weights do not depend on
    assert again == {**first, "reused": True}


# a failure before any checkpoint, within phase 1, at the first step of phase 2, in phase 3, and twice in one run
@pytest.mark.parametrize("failures", [[2], [7], [11], [18], [6, 9]])
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, run: Run, fail_at: Callable[[int], None], failures: list[int]
) -> None:
    run(tmp_path / "straight")
    for number in failures:
        fail_at(number)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken")
    fail_at(0)
    run(tmp_path / "broken")
    straight, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("straight", "broken"))
    for name, tensor in straight.items():
        assert torch.equal(tensor, broken[name]), name
    for name in ("step", "tokens", "phase", "loss", "learning_rate", "gradient_norm"):
        values = [[step[name] for step in metrics(tmp_path / folder)] for folder in ("straight", "broken")]
        assert values[0] == values[1]


def test_a_checkpoint_at_a_phases_end_resumes_in_the_next(
    tmp_path: Path, run: Run, fail_at: Callable[[int], None]
) -> None:
    run(tmp_path / "straight", checkpoint_interval_steps=5)
    fail_at(11)  # right after the checkpoint of step 10, which ends phase 1
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", checkpoint_interval_steps=5)
    position = json.loads((tmp_path / "broken" / "step-00000010" / "state.json").read_text())["position"]
    assert (position["tokens"], position["phase"], position["sequences"]) == (1260, 0, 40)
    fail_at(10)  # nine steps are left
    run(tmp_path / "broken", checkpoint_interval_steps=5)
    straight, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())


def test_a_corrupt_checkpoint_costs_steps_and_nothing_else(
    tmp_path: Path, run: Run, fail_at: Callable[[int], None]
) -> None:
    run(tmp_path / "straight")
    fail_at(14)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken")
    (tmp_path / "broken" / "step-00000012" / "model.safetensors").write_bytes(b"torn")
    fail_at(0)
    with pytest.warns(RuntimeWarning, match="step-00000012"):
        run(tmp_path / "broken")
    straight, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())
    assert [step["step"] for step in metrics(tmp_path / "broken")] == list(range(1, STEPS + 1))


def test_another_runs_folder_is_refused(tmp_path: Path, run: Run) -> None:
    run(tmp_path / "out")
    with pytest.raises(TrainerError, match=r"run.json: fingerprint: found .* choose another folder"):
        run(tmp_path / "out", seed=1)


def test_changed_data_is_another_run(
    tmp_path: Path, run: Run, three_phases: list[PhaseData], write_phase: Callable[..., PhaseData]
) -> None:
    run(tmp_path / "out")
    write_phase(three_phases[1].folder, [[1, 2, 256]] * 9, "phase2", "decay")
    with pytest.raises(TrainerError, match="fingerprint"):
        run(tmp_path / "out")


def test_the_seed_decides_the_weights(tmp_path: Path, run: Run) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name / "final" / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_a_changed_shard_stops_the_run(tmp_path: Path, run: Run, three_phases: list[PhaseData]) -> None:
    path = three_phases[2].folder / "shard-00001.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(TrainerError, match=r"phase3/shard-00001.parquet: found sha256"):
        run(tmp_path / "out")


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    step = module.training_step

    def poisoned(model: Any, optimizer: Any, batch: Batch, rate: float, clip: float) -> tuple[float, float]:
        if batch.sequences == 24:  # step 6 of phase 1
            with torch.no_grad():
                model.model.norm.weight[0] = float("nan")
        return step(model, optimizer, batch, rate, clip)

    monkeypatch.setattr(module, "training_step", poisoned)
    with pytest.raises(TrainerError, match=r"step 6: found loss nan .* checkpoint is .*step-00000004"):
        run(tmp_path / "out")
    assert len(metrics(tmp_path / "out")) == 5


@pytest.mark.parametrize(
    ("sizes", "changes", "message"),
    [
        ({"vocab_size": 200}, {}, r"manifest.json: tokenizer.vocab_size: found 259, expected at most .* 200"),
        ({"max_position_embeddings": 16}, {}, r"train.sequence_length: found 32, expected at most .* 16"),
        ({}, {"warmup_tokens": 5000}, r"train.warmup_tokens: found 5000, expected at most .* 1260"),
    ],
)
def test_settings_that_do_not_fit_together(
    tmp_path: Path,
    tiny: Callable[..., ModelConfig],
    three_phases: list[PhaseData],
    tokenizer_folder: Path,
    sizes: dict[str, int],
    changes: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(TrainerError, match=message):
        pretrain(tiny(**sizes), replace(TRAIN, **changes), three_phases, tokenizer_folder, tmp_path / "out", False)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def staged(
    tmp_path: Path, write_phase: Callable[..., PhaseData], random_documents: Callable[..., list]
) -> list[PhaseData]:
    """A phase in two stages, of sequences of 16 and of 64 tokens, and a plain one."""
    documents = random_documents(120, 4)
    return [
        write_phase(tmp_path / "phase1", documents[:90], "phase1", "stable", stages=[(16, 60), (64, 30)]),
        write_phase(tmp_path / "phase2", documents[90:], "phase2", "decay"),
    ]


def test_a_stage_is_packed_at_its_own_length_with_as_many_tokens_a_step(staged: list[PhaseData]) -> None:
    one, two = (read_phase(phase) for phase in staged)
    short, long = packed_stages(one, TRAIN)
    assert (short.sequence_length, short.batch_size) == (16, 8) and (long.sequence_length, long.batch_size) == (64, 2)
    assert (short.start, short.stop, long.stop) == (0, long.start, one.tokens)
    (plain,) = packed_stages(two, TRAIN)
    assert (plain.sequence_length, plain.batch_size, plain.stop) == (32, 4, two.tokens)
    # A step has the tokens of another, whatever its sequences' length.
    found = list(_stream([one, two], TRAIN, Position()))
    shapes = [tuple(batch.input_ids.shape) for _, batch in found]
    assert {shape for shape in shapes if shape[0] * shape[1] == 128} == {(8, 16), (2, 64), (4, 32)}
    assert sum(batch.tokens for _, batch in found) == one.tokens + two.tokens
    last = [batch.sequences for index, batch in found if index == 0][-1]
    assert last == short.sequences + long.sequences


@pytest.mark.parametrize("failures", [[3], [6], [11], [14]])  # in either stage, around their border, and after them
def test_an_interrupted_run_of_stages_ends_with_the_same_weights(
    tmp_path: Path, run: Run, fail_at: Callable[[int], None], staged: list[PhaseData], failures: list[int]
) -> None:
    run(tmp_path / "straight", phases=staged, checkpoint_interval_steps=2)
    for number in failures:
        fail_at(number)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", phases=staged, checkpoint_interval_steps=2)
    fail_at(0)
    run(tmp_path / "broken", phases=staged, checkpoint_interval_steps=2)
    straight, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())


def test_a_stage_longer_than_the_model_is_refused(
    tmp_path: Path, run: Run, write_phase: Callable[..., PhaseData], random_documents: Callable[..., list]
) -> None:
    phase = write_phase(tmp_path / "phase1", random_documents(30), stages=[(65, 30)])
    with pytest.raises(TrainerError, match="sequences of 65 tokens, expected at most model.max_position_embeddings 64"):
        run(tmp_path / "out", phases=[phase])


def test_stages_that_do_not_add_up_are_refused(
    tmp_path: Path, write_phase: Callable[..., PhaseData], random_documents: Callable[..., list]
) -> None:
    phase = write_phase(tmp_path / "phase1", random_documents(30), stages=[(16, 29)])
    with pytest.raises(TrainerError, match="expected its stages' sum"):
        read_phase(phase)
