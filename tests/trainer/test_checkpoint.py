"""Checkpoints are whole or absent, verified when read, and the newest are kept."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainer import checkpoint
from trainer.checkpoint import (
    Position,
    list_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from trainer.config import ModelConfig, TrainConfig
from trainer.errors import TrainerError
from trainer.model import PLM
from trainer.optimizer import build_optimizer

Tiny = Callable[..., ModelConfig]
TRAIN = TrainConfig(16, 2, 1e-2, 1e-3, 0)


def trained(config: ModelConfig, steps: int) -> tuple[PLM, torch.optim.AdamW]:
    torch.manual_seed(steps)
    model = PLM(config)
    optimizer = build_optimizer(model, TRAIN)
    for _ in range(steps):
        ids = torch.randint(256, (2, 16))
        model.loss(ids, ids.roll(-1, 1)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def save(folder: Path, config: ModelConfig, step: int, keep: int = 9) -> Path:
    model, optimizer = trained(config, 1)
    position = Position(step, step * 10, 0, step)
    return save_checkpoint(folder, model, optimizer, position, fingerprint="f", config={}, keep=keep)


def test_round_trip_is_exact(tmp_path: Path, tiny: Tiny) -> None:
    model, optimizer = trained(tiny(), 3)
    position = Position(step=3, tokens=96, phase=1, sequences=2, seconds=1.5)
    path = save_checkpoint(tmp_path, model, optimizer, position, fingerprint="f", config={"model": {}}, keep=2)
    drawn = torch.rand(3)
    assert path.name == "step-00000003"
    assert sorted(file.name for file in path.iterdir()) == ["model.safetensors", "optimizer.safetensors", "state.json"]

    other, other_optimizer = trained(tiny(), 1)
    state = verify_checkpoint(path)
    assert load_checkpoint(path, state, other, other_optimizer) == position
    assert torch.equal(torch.rand(3), drawn)
    ids = torch.arange(16).unsqueeze(0)
    for this, its in ((model, optimizer), (other, other_optimizer)):
        this.loss(ids, ids).backward()
        its.step()
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, other.state_dict()[name]), name


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, tiny(), 1)
    monkeypatch.setattr(checkpoint, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, tiny(), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path, tiny: Tiny) -> None:
    torn = tmp_path / ".step-00000003.tmp"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    save(tmp_path, tiny(), 4)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]


def test_the_newest_are_kept(tmp_path: Path, tiny: Tiny) -> None:
    for step in (9, 10, 11, 12):
        save(tmp_path, tiny(), step, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000011", "step-00000012"]


def test_a_later_one_that_was_refused_does_not_push_out_what_is_written(tmp_path: Path, tiny: Tiny) -> None:
    for step in (8, 12, 10):
        save(tmp_path, tiny(), step, keep=1)
        if step == 12:
            corrupt(tmp_path / "step-00000012" / "model.safetensors")
    with pytest.warns(RuntimeWarning, match="step-00000012"):
        found = newest_checkpoint(tmp_path)
    assert found is not None and found[0].name == "step-00000010"


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_corrupt_checkpoint_is_refused_and_the_one_before_used(tmp_path: Path, tiny: Tiny, name: str) -> None:
    older, newer = save(tmp_path, tiny(), 1), save(tmp_path, tiny(), 2)
    corrupt(newer / name)
    with pytest.warns(RuntimeWarning, match=rf"step-00000002/{name}: found sha256"):
        found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == older


def test_a_checkpoint_without_state_is_refused(tmp_path: Path, tiny: Tiny) -> None:
    (save(tmp_path, tiny(), 1) / "state.json").write_text("{")
    with pytest.warns(RuntimeWarning, match=r"step-00000001/state.json: not JSON"):
        assert newest_checkpoint(tmp_path) is None


def test_an_intact_newest_checkpoint_is_used_in_silence(tmp_path: Path, tiny: Tiny) -> None:
    save(tmp_path, tiny(), 1)
    newest = save(tmp_path, tiny(), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == newest


def test_another_models_checkpoint_is_an_error(tmp_path: Path, tiny: Tiny) -> None:
    path = save(tmp_path, tiny(), 1)
    model, optimizer = trained(tiny(hidden_size=16), 1)
    with pytest.raises(TrainerError, match="step-00000001: does not fit this model"):
        load_checkpoint(path, verify_checkpoint(path), model, optimizer)
