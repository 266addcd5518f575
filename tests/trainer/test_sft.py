"""Fine-tuning: what is learned, from where it begins, and how it resumes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.test_pretrain import TRAIN, metrics
from trainer import loop
from trainer.config import ModelConfig, PhaseData
from trainer.data import batches
from trainer.errors import TrainerError
from trainer.model import IGNORE_INDEX, PLM
from trainer.pretrained import load_pretrained, save_pretrained
from trainer.sft import FLOOR, SftConfig, rate_at, sft
from trainer.shards import read_phase

CONFIG = SftConfig(replace(TRAIN, checkpoint_interval_steps=3), epochs=2.5, from_rate=1e-3)

Sft = Callable[..., dict[str, Any]]


@pytest.fixture
def start(tmp_path: Path, tiny: Callable[..., ModelConfig], tokenizer_folder: Path) -> Path:
    torch.manual_seed(0)
    save_pretrained(tmp_path / "start", PLM(tiny()), tokenizer_folder)
    return tmp_path / "start"


@pytest.fixture
def conversations(tmp_path: Path, write_phase: Callable[..., PhaseData]) -> PhaseData:
    """Thirty questions of five tokens, each answered by counting on from its last one; every answer is learned."""
    rows = [[*[200 + i % 7] * 4, i, *range(i + 1, i + 9), 258] for i in range(30)]
    phase: PhaseData = write_phase(tmp_path / "sft1", rows, "sft1", "sft", targets=[[5, 14]] * 30)
    return phase


@pytest.fixture
def run(start: Path, conversations: PhaseData) -> Sft:
    def begin(out: Path, config: SftConfig = CONFIG, model: Path = start) -> dict[str, Any]:
        return sft(model, conversations, config, out, progress=False)

    return begin


def test_the_assistants_tokens_alone_are_learned(
    tmp_path: Path, run: Sft, start: Path, conversations: PhaseData
) -> None:
    summary = run(tmp_path / "out", replace(CONFIG, epochs=12))
    first, last = summary["phases"][0]["loss_start"], summary["phases"][0]["loss_end"]
    assert last < 0.5 * first
    before, after = load_pretrained(start), load_pretrained(tmp_path / "out" / "final")
    batch = next(batches(read_phase(conversations, "conversations"), 32, 64))
    learned = batch.labels != IGNORE_INDEX
    everything = torch.roll(batch.input_ids, -1, 1)
    same = batch.document_ids == torch.roll(batch.document_ids, -1, 1)
    others = torch.where(~learned & same, everything, IGNORE_INDEX)
    others[:, -1] = IGNORE_INDEX
    with torch.no_grad():
        asked = [model.loss(batch.input_ids, others, batch.document_ids).item() for model in (before, after)]
        said = [model.loss(batch.input_ids, batch.labels, batch.document_ids).item() for model in (before, after)]
    assert said[1] < 0.5 * said[0]
    assert asked[1] > asked[0] - 0.2  # the questions, which no loss was taken of, are no more likely than they were


def test_the_first_loss_is_that_of_the_given_model(tmp_path: Path, run: Sft, start: Path) -> None:
    run(tmp_path / "one")
    run(tmp_path / "two", model=tmp_path / "one" / "final")
    assert metrics(tmp_path / "two")[0]["loss"] < 0.95 * metrics(tmp_path / "one")[0]["loss"]


def test_epochs_may_be_broken_and_each_has_an_order_of_its_own(
    tmp_path: Path, run: Sft, conversations: PhaseData
) -> None:
    run(tmp_path / "out")
    steps = metrics(tmp_path / "out")
    phase = read_phase(conversations, "conversations")
    per_epoch = len(list(batches(phase, 32, 4)))
    assert len(steps) == round(2.5 * per_epoch)
    orders = [[batch.input_ids.tolist() for batch in batches(phase, 32, 4, epoch=epoch)] for epoch in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(row for batch in orders[0] for row in batch) == sorted(row for batch in orders[1] for row in batch)
    positions = json.loads(max((tmp_path / "out").glob("step-*/state.json")).read_text())["position"]
    assert positions["step"] == len(steps)


# in each epoch, at their border, and twice
@pytest.mark.parametrize("failures", [[2], [5], [9], [4, 5]])
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, run: Sft, monkeypatch: pytest.MonkeyPatch, failures: list[int]
) -> None:
    run(tmp_path / "straight")
    step = loop.training_step
    for number in failures:
        calls = 0

        def failing(*arguments: Any, number: int = number) -> tuple[float, float]:
            nonlocal calls
            calls += 1
            if calls == number:
                raise KeyboardInterrupt
            return step(*arguments)

        monkeypatch.setattr(loop, "training_step", failing)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken")
    monkeypatch.setattr(loop, "training_step", step)
    run(tmp_path / "broken")
    straight, broken = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("straight", "broken"))
    assert all(torch.equal(tensor, broken[name]) for name, tensor in straight.items())
    rates = [[each["learning_rate"] for each in metrics(tmp_path / name)] for name in ("straight", "broken")]
    assert rates[0] == rates[1]
    assert run(tmp_path / "broken")["reused"] is True


def test_the_rate_is_handed_over_held_and_cooled_down() -> None:
    assert rate_at(0.0, 1e-3, 1e-4) == pytest.approx(1e-4)
    assert rate_at(0.05, 1e-3, 1e-4) == rate_at(0.5, 1e-3, 1e-4) == rate_at(0.8, 1e-3, 1e-4) == pytest.approx(1e-3)
    assert rate_at(0.9, 1e-3, 1e-4) == pytest.approx(1e-3 * (FLOOR + (1 - FLOOR) / 2))
    assert rate_at(1.0, 1e-3, 1e-4) == pytest.approx(1e-3 * FLOOR)


def test_another_model_is_another_run(tmp_path: Path, run: Sft, start: Path) -> None:
    run(tmp_path / "out")
    with pytest.raises(TrainerError, match=r"run.json: fingerprint: found .* choose another folder"):
        run(tmp_path / "out", model=tmp_path / "out" / "final")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0.0}, r"sft.epochs: found 0.0, expected a number above zero"),
        ({"from_rate": -1.0}, r"sft.from_rate: found -1.0, expected zero or more"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        replace(CONFIG, **changes)


def test_another_tokenizers_conversations_are_refused(tmp_path: Path, run: Sft, start: Path) -> None:
    path = start / "tokenizer.json"
    path.write_text(path.read_text() + " ")  # the same one, in other bytes, is taken for another
    with pytest.raises(
        TrainerError, match=r"manifest.json: tokenizer.sha256: found .*, expected .*tokenizer.json; build"
    ):
        run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_finished_runs_model_is_not_loaded(
    tmp_path: Path, run: Sft, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path / "out")
    monkeypatch.delattr("trainer.sft.load_pretrained")
    assert run(tmp_path / "out") == {**first, "reused": True}


def test_a_sequence_longer_than_the_model_is_refused(tmp_path: Path, run: Sft) -> None:
    with pytest.raises(TrainerError, match=r"sequence_length: found 65, expected at most the model's 64 positions"):
        run(tmp_path / "out", replace(CONFIG, train=replace(TRAIN, sequence_length=65)))
    assert not (tmp_path / "out").exists()
