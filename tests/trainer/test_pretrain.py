"""A whole run: it learns, resumes to the bit, and refuses what is not its own."""

import itertools
import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trainer import loop as module
from trainer.checkpoint import Position
from trainer.config import ModelConfig, PhaseData, TrainConfig
from trainer.data import Batch, batches
from trainer.distributed import ALONE
from trainer.errors import TrainerError, TrainingStopped
from trainer.model import PLM
from trainer.pretrain import _check_shares, _stream, packed_stages, pretrain
from trainer.pretrained import load_pretrained
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
    assert rates[0] == pytest.approx(1e-2 * steps[0]["tokens"] / 2 / 256)  # the middle of the first step's tokens
    assert set(rates[2:10]) == {1e-2}
    assert all(1e-2 > later > 1e-3 for later in rates[10:15])
    assert set(rates[15:]) == {1e-3}
    tail = steps[10:15]
    sizes = [after["tokens"] - before["tokens"] for before, after in itertools.pairwise(steps[9:15])]
    assert sum(sizes) == 630 and max(sizes) <= 128  # the padding lies in any of them
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

    def poisoned(plm: PLM, loss: Any, optimizer: Any, batch: Batch, *rest: Any) -> tuple[float, float]:
        if batch.sequences == 24:  # step 6 of phase 1
            with torch.no_grad():
                plm.model.norm.weight[0] = float("nan")
        return step(plm, loss, optimizer, batch, *rest)

    monkeypatch.setattr(module, "training_step", poisoned)
    out = tmp_path / "out"
    with pytest.raises(TrainerError, match=r"step 6: found loss nan .* checkpoint is .*step-00000004"):
        run(out)
    assert len(metrics(out)) == 5
    stopped = json.loads((out / "stopped.json").read_text())
    assert (stopped["step"], stopped["loss"], stopped["checkpoint"]) == (6, None, "step-00000004")
    assert "found loss nan" in (out / "report.html").read_text()

    monkeypatch.setattr(module, "training_step", step)  # what went wrong was none of the run's: it goes on
    assert run(out)["steps"] == STEPS
    assert not (out / "stopped.json").exists()


def losses_of(watch: Any, losses: list[float]) -> list[str | None]:
    return [watch.trouble(loss, 1.0) for loss in losses]


def test_a_loss_that_rises_and_stays_is_trouble_and_one_bad_batch_is_none() -> None:
    calm = [3.0] * 50
    spike = losses_of(module._Watch(2.0, []), [*calm, 5.1, 5.1, 5.1])
    assert spike[:-1] == [None] * 52 and "over the median 3.000" in str(spike[-1])
    assert not any(losses_of(module._Watch(2.0, []), [*calm, 9.0, 9.0, 3.0, 9.0, 9.0]))  # never three in a row
    assert not any(losses_of(module._Watch(2.0, []), [*calm, 5.0, 5.0, 5.0]))  # not more than the limit
    assert not any(losses_of(module._Watch(2.0, []), [*calm[:46], 9.0, 9.0, 9.0]))  # too few before to know
    assert not any(losses_of(module._Watch(None, []), [*calm, 9.0, 9.0, 9.0]))


def test_a_watch_goes_on_as_if_it_had_never_stopped() -> None:
    losses = [3.0 + 0.01 * (i % 7) for i in range(60)] + [9.0] * 3
    whole = losses_of(module._Watch(2.0, []), losses)
    for cut in (1, 40, 59, 61, 62):
        assert losses_of(module._Watch(2.0, losses[:cut]), losses[cut:]) == whole[cut:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_and_the_run_goes_on_to_the_same_weights(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run(tmp_path / "straight")
    step = module.training_step
    calls = 0

    def signalled(*arguments: Any) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if calls == 6:
            os.kill(os.getpid(), number)
        return step(*arguments)

    monkeypatch.setattr(module, "training_step", signalled)
    with pytest.raises(TrainingStopped, match="after step 6 of 19; .*step-00000006 was saved") as stopped:
        run(tmp_path / "broken")
    assert stopped.value.exit_code == 128 + number
    assert [each["step"] for each in metrics(tmp_path / "broken")] == [1, 2, 3, 4, 5, 6]
    run(tmp_path / "broken")
    straight, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())


def test_small_forward_passes_and_recomputed_blocks_give_the_same_run(tmp_path: Path, run: Run) -> None:
    run(tmp_path / "whole")
    run(tmp_path / "parts", micro_batch_size=3)
    run(tmp_path / "again", activation_checkpointing=True)
    whole, parts, again = (metrics(tmp_path / name) for name in ("whole", "parts", "again"))
    assert [step["loss"] for step in again] == [step["loss"] for step in whole]
    assert [step["loss"] for step in parts] == pytest.approx([step["loss"] for step in whole], abs=1e-4)
    assert [step["tokens"] for step in parts] == [step["tokens"] for step in whole]


def test_bf16_products_train_nearly_as_well(tmp_path: Path, run: Run) -> None:
    wide, narrow = (run(tmp_path / precision, precision=precision) for precision in ("fp32", "bf16"))
    assert narrow["phases"][-1]["loss_end"] == pytest.approx(wide["phases"][-1]["loss_end"], rel=0.03)
    assert narrow["phases"][-1]["loss_end"] != wide["phases"][-1]["loss_end"]
    tensors = load_file(tmp_path / "bf16" / "final" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_held_out_data_is_measured_by_source_at_each_phases_end_and_between(
    tmp_path: Path, tiny: Callable[..., ModelConfig], three_phases: list[PhaseData], tokenizer_folder: Path,
    write_phase: Callable[..., PhaseData], random_documents: Callable[..., list],
) -> None:  # fmt: skip
    held_out = write_phase(tmp_path / "held", random_documents(30, 9), "held-out", "held-out")
    train = replace(TRAIN, held_out_interval_steps=4)
    summary = pretrain(
        tiny(), train, three_phases, tokenizer_folder, tmp_path / "out", progress=False, held_out=held_out
    )
    rows = [json.loads(line) for line in (tmp_path / "out" / "held_out.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 10, 12, 15, 16, 19]
    assert [phase["held_out_loss"] for phase in summary["phases"]] == [
        row["loss"] for row in rows if row["step"] in (10, 15, 19)
    ]
    model = load_pretrained(tmp_path / "out" / "final")
    batch = next(batches(read_phase(held_out), 32, 64))
    with torch.no_grad():
        plain = model.loss(batch.input_ids, batch.labels, batch.document_ids).item()
    assert rows[-1]["loss"] == pytest.approx(plain, abs=1e-5)
    assert rows[-1]["by_source"] == {"x": pytest.approx(plain, abs=1e-5)}


def test_a_loader_that_is_too_slow_shows_in_the_speed(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(batches: Any) -> Any:
        for each in batches:
            time.sleep(0.05)
            yield each

    monkeypatch.setattr(module, "prefetch", slow)
    run(tmp_path / "out")
    assert max(step["tokens_per_second"] for step in metrics(tmp_path / "out")) < 128 / 0.05


def test_zeros_are_logged_where_they_are_measured(tmp_path: Path, run: Run) -> None:
    run(tmp_path / "out", zeros_interval_steps=6)
    rows = metrics(tmp_path / "out")
    assert [row["step"] for row in rows if row["zeros"]] == [1, 7, 13, 19]
    assert all(len(row["zeros"]) == 2 and all(0 < share < 1 for share in row["zeros"]) for row in rows if row["zeros"])


@pytest.mark.parametrize(
    ("sizes", "changes", "message"),
    [
        ({}, {"attention": "flex"}, r"train.attention: found flex, which has no gradient on a CPU, expected sdpa"),
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
    found = list(_stream([one, two], TRAIN, Position(), ALONE))
    shapes = [tuple(batch.input_ids.shape) for _, batch in found]
    assert {shape for shape in shapes if shape[0] * shape[1] == 128} == {(8, 16), (2, 64), (4, 32)}
    assert sum(batch.tokens for _, batch in found) == one.tokens + two.tokens
    last = [batch.sequences for index, batch in found if index == 0][-1]
    assert last == short.sequences + long.sequences


def test_a_later_stage_that_the_ranks_cannot_share_is_refused_at_the_start(staged: list[PhaseData]) -> None:
    data = [read_phase(phase) for phase in staged]  # batches of 8, of 2 and of 4
    _check_shares(data, TRAIN, replace(ALONE, world=2))
    with pytest.raises(TrainerError, match="found 2 sequences of 64 tokens for 4 ranks, expected a multiple"):
        _check_shares(data, TRAIN, replace(ALONE, world=4))


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
