"""Checkpoints: a folder of safetensors and JSON a step, written whole or not at all and verified when loaded."""

import shutil
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.distributed import ALONE, Ranks, gathered, like
from trainer.errors import TrainerError
from trainer.files import new_folder, read_json, sha256, write_json

MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
_RNG = "torch_rng_state"


@dataclass(frozen=True)
class Position:
    """How far a run has come. Steps and tokens count over the whole run, sequences within the phase."""

    step: int = 0
    tokens: int = 0
    phase: int = 0  # index of the phase being trained in
    sequences: int = 0  # of that phase, consumed
    seconds: float = 0.0  # of training, over all sittings


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints' folders, oldest first, without looking inside."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: Optimizer,
    position: Position,
    *,
    fingerprint: str,
    config: dict[str, Any],
    keep: int,
    ranks: Ranks = ALONE,
) -> Path:
    """Write `folder/step-<step>` and remove all but the newest `keep` checkpoints.

    Of several ranks all call this together; the first one writes, and what it writes does not tell how many they were.

    Args:
        folder: the run's folder.
        model: its parameters go to model.safetensors.
        optimizer: the per-parameter state goes to optimizer.safetensors as `<parameter>.<entry>`, with torch's CPU
            generator beside it.
        position: where the run stands.
        fingerprint: the run that this checkpoint belongs to.
        config: JSON object with the run's settings, `model` among them.
        keep: checkpoints to keep, this one included.
        ranks: of the run.
    """
    path = folder / f"step-{position.step:08d}"
    parameters = gathered(dict(model.named_parameters()), ranks)
    states = gathered(_optimizer_tensors(model, optimizer), ranks)
    if not ranks.first:
        ranks.wait()
        return path
    for torn in folder.glob(".step-*.tmp"):  # of a process that was killed as it wrote
        shutil.rmtree(torn)
    with new_folder(path) as temporary:
        save_file(parameters, temporary / MODEL)
        save_file(states | {_RNG: torch.get_rng_state()}, temporary / OPTIMIZER)
        state = {
            "position": asdict(position),
            "fingerprint": fingerprint,
            "config": config,
            "sha256": {name: sha256(temporary / name) for name in (MODEL, OPTIMIZER)},
        }
        write_json(temporary / STATE, state)
    done = [each for each in list_checkpoints(folder) if each <= path]  # a later one was refused: it is none to keep
    for old in done[:-keep]:
        shutil.rmtree(old)
    ranks.wait()
    return path


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's state.json after comparing its files with the digests in it.

    Raises:
        TrainerError: a file is missing, or holds other bytes than were written.
    """
    state = read_json(path / STATE, "the state of a checkpoint")
    for name in (MODEL, OPTIMIZER):
        expected = state.get("sha256", {}).get(name)
        found = sha256(path / name) if (path / name).is_file() else "no file"
        if found != expected:
            raise TrainerError(
                f"{path / name}: found sha256 {found}, expected {expected}; remove {path.name} to use an older one"
            )
    return state


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest intact checkpoint and its state, or none; warn of each newer one that is not intact."""
    for path in reversed(list_checkpoints(folder)):
        try:
            return path, verify_checkpoint(path)
        except TrainerError as error:
            warnings.warn(f"checkpoint refused, the one before is used: {error}", RuntimeWarning, stacklevel=2)
    return None


def load_checkpoint(path: Path, state: dict[str, Any], model: nn.Module, optimizer: Optimizer) -> Position:
    """Load a verified checkpoint into a model and its optimiser, and set torch's CPU generator.

    Raises:
        TrainerError: its tensors are not those of this model and optimiser.
    """
    tensors = load_file(path / OPTIMIZER)
    torch.set_rng_state(tensors.pop(_RNG))
    try:
        weights = load_file(path / MODEL)
        for name, parameter in model.named_parameters():
            _fill(parameter, weights.pop(name))
        if weights:
            raise KeyError(f"unknown parameters {', '.join(weights)}")
        entries = {name: _entries(tensors, name) for name, _ in model.named_parameters()}
        position = Position(**state["position"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise TrainerError(f"{path}: does not fit this model ({error}); start the run in an empty folder") from None
    for name, parameter in model.named_parameters():
        step = entries[name].pop("step")
        moments = {key: like(parameter, value) for key, value in entries[name].items()}
        optimizer.state[parameter] = {"step": step.to(parameter.device), **moments}
    return position


@torch.no_grad()
def _fill(parameter: Tensor, value: Tensor) -> None:
    if parameter.shape != value.shape:
        raise RuntimeError(f"found a shape of {tuple(value.shape)}, expected {tuple(parameter.shape)}")
    parameter.copy_(like(parameter, value))


def _optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def _entries(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensors[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}
