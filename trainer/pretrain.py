"""Pre-trains a PLM through its data phases by WSDC; an interrupted run goes on where it was."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from trainer.checkpoint import Position, load_checkpoint, newest_checkpoint, save_checkpoint
from trainer.config import ModelConfig, PhaseData, TrainConfig
from trainer.data import Batch, batches, count_sequences
from trainer.errors import TrainerError
from trainer.evaluate import held_out_loss
from trainer.files import read_json, write_json
from trainer.metrics import METRICS, StepMetrics, append_metrics, cut_metrics, phase_summaries, read_metrics
from trainer.model import PLM
from trainer.optimizer import build_optimizer
from trainer.plot import plot_loss
from trainer.pretrained import copy_tokenizer, load_tokenizer, save_pretrained
from trainer.schedule import rate as scheduled_rate
from trainer.schedule import schedule_ends
from trainer.shards import Phase, read_phase, verify_shards

RUN = "run.json"
SUMMARY = "summary.json"
HELD_OUT_LOSSES = "held_out.json"
_HARMLESS = ("checkpoint_interval_steps", "keep_checkpoints")  # settings that the weights do not depend on


def pretrain(
    model: ModelConfig,
    train: TrainConfig,
    phases: list[PhaseData],
    tokenizer: Path,
    out: Path,
    progress: bool = True,
    held_out: PhaseData | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a model from its initialisation through all phases, and return the run's summary.

    Writes to `out`: run.json (settings and fingerprint), tokenizer/, metrics.jsonl, step-*/ (checkpoints), final/
    (model.safetensors, config.json and tokenizer), loss.png, and last of all summary.json. Called again, a finished
    run returns its summary with `reused` true; an interrupted one goes on from its newest intact checkpoint to the
    same weights, to the bit on the same machine with as many threads, as if nothing had happened.

    Args:
        model: sizes; the vocabulary must hold the shards' tokens.
        train: settings. Weights are fp32; the products are bf16 on CUDA (autocast) and fp32 on a CPU.
        phases: data in the order of training: stable phases, then decay, then constant ones.
        tokenizer: folder in Hugging Face form, copied beside the weights.
        out: the run's folder.
        progress: show a progress line on the terminal.
        held_out: data whose loss is measured at each phase's end.
        say: told of every checkpoint in one line, for where there is no terminal.

    Raises:
        TrainerError: settings, shards or tokenizer are wrong, `out` holds another run, or the loss is not finite.
    """
    data = [read_phase(phase) for phase in phases]
    measured = read_phase(held_out) if held_out else None
    _check(model, train, [*data, *([measured] if measured else [])])
    schedule = schedule_ends([(phase.data.segment, phase.tokens) for phase in data], train.warmup_tokens)
    load_tokenizer(tokenizer)
    config = {
        "model": asdict(model),
        "train": asdict(train),
        "phases": [{"name": phase.data.name, "segment": phase.data.segment} for phase in data],
    }
    watched = [*data, measured] if measured else data
    fingerprint = _fingerprint(config, watched)
    _claim(out, fingerprint, config)
    if (out / SUMMARY).exists():
        return {**read_json(out / SUMMARY, "the summary of a finished run"), "reused": True}
    for phase in watched:
        verify_shards(phase)
    copy_tokenizer(tokenizer, out / "tokenizer")

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(train.seed)
    plm = PLM(model).to(device)
    optimizer = build_optimizer(plm, train)
    position, checkpoint = Position(), None
    if found := newest_checkpoint(out):
        checkpoint, state = found
        if state["fingerprint"] != fingerprint:
            raise TrainerError(f"{checkpoint}: belongs to another run; train in an empty folder")
        position = load_checkpoint(checkpoint, state, plm, optimizer)
    cut_metrics(out / METRICS, position.step)

    losses = read_json(out / HELD_OUT_LOSSES, "held-out losses") if (out / HELD_OUT_LOSSES).exists() else {}
    total_steps = sum(
        math.ceil(stage.sequences / stage.batch_size) for phase in data for stage in packed_stages(phase, train)
    )
    with _progress_line(progress) as line:
        task = line.add_task("", total=total_steps, completed=position.step, status="starting")
        for index, batch in _stream(data, train, position):
            started = time.perf_counter()
            # the rate at the middle of the step's tokens: a step on either side of a segment's end keeps to its own
            rate = scheduled_rate(
                train.schedule,
                position.tokens + batch.tokens / 2,
                schedule,
                train.learning_rate,
                train.final_learning_rate,
                train.decay_shape,
            )
            loss, norm = training_step(plm, optimizer, batch, rate, train.gradient_clip)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                good = f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet"
                raise TrainerError(
                    f"step {position.step + 1}: found loss {loss} and gradient norm {norm}, expected finite numbers; "
                    f"{good}; lower train.learning_rate or lengthen train.warmup_tokens, and train in an empty folder"
                )
            seconds = time.perf_counter() - started
            position = Position(
                step=position.step + 1,
                tokens=position.tokens + batch.tokens,
                phase=index,
                sequences=batch.sequences,
                seconds=position.seconds + seconds,
            )
            name, speed = data[index].data.name, batch.tokens / seconds
            append_metrics(out / METRICS, StepMetrics(position.step, position.tokens, name, loss, rate, norm, speed))
            line.update(task, advance=1, status=f"{name}  loss {loss:.3f}  rate {rate:.2e}  {speed:,.0f} tokens/s")
            if measured and batch.sequences == sum(stage.sequences for stage in packed_stages(data[index], train)):
                # before the checkpoint: a run that goes on from it finds this phase measured
                losses[name] = held_out_loss(plm, measured, train.sequence_length, train.batch_size)
                write_json(out / HELD_OUT_LOSSES, losses)
            if position.step % train.checkpoint_interval_steps == 0 or position.step == total_steps:
                checkpoint = save_checkpoint(
                    out,
                    plm,
                    optimizer,
                    position,
                    fingerprint=fingerprint,
                    config=config,
                    keep=train.keep_checkpoints,
                )
                say(f"step {position.step} of {total_steps}, {name}: loss {loss:.3f}, {speed:,.0f} tokens/s")
    return _finish(out, plm, data, position, tokenizer, fingerprint, losses)


def training_step(
    model: PLM, optimizer: AdamW, batch: Batch, learning_rate: float, gradient_clip: float
) -> tuple[float, float]:
    """Take one optimiser step.

    Returns:
        The loss in nats a token and the gradient's global norm, from before the update. If either is not finite, the
        parameters are not to be used further.
    """
    device = model.model.embed_tokens.weight.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        loss = model.loss(batch.input_ids.to(device), batch.labels.to(device), batch.document_ids.to(device))
    loss.backward()
    norm = clip_grad_norm_(model.parameters(), gradient_clip)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad()
    return loss.item(), norm.item()


@dataclass(frozen=True)
class PackedStage:
    """A stage of a phase as a run packs it: tokens `start` to `stop` of the phase, in so many sequences."""

    start: int
    stop: int
    sequence_length: int
    batch_size: int
    sequences: int


def packed_stages(phase: Phase, train: TrainConfig) -> list[PackedStage]:
    """Lay a phase's stages out: a step has as many tokens at every sequence length, to the nearest sequence."""
    found, start = [], 0
    for stage in phase.stages:
        length = stage.sequence_length or train.sequence_length
        batch_size = max(1, round(train.batch_size * train.sequence_length / length))
        stop = start + stage.tokens
        found.append(PackedStage(start, stop, length, batch_size, count_sequences(stage.tokens, length)))
        start = stop
    return found


def _stream(data: Sequence[Phase], train: TrainConfig, position: Position) -> Iterator[tuple[int, Batch]]:
    """Yield (phase's index, batch) from the position to the end of the last phase; a batch counts the phase's."""
    for index in range(position.phase, len(data)):
        consumed = position.sequences if index == position.phase else 0
        before = 0
        for stage in packed_stages(data[index], train):
            if consumed - before < stage.sequences:
                for batch in batches(
                    data[index],
                    stage.sequence_length,
                    stage.batch_size,
                    consumed=max(0, consumed - before),
                    window=train.shuffle_window,
                    seed=train.seed,
                    start=stage.start,
                    stop=stage.stop,
                ):
                    yield index, replace(batch, sequences=before + batch.sequences)
            before += stage.sequences


def _check(model: ModelConfig, train: TrainConfig, data: Sequence[Phase]) -> None:
    if train.sequence_length > model.max_position_embeddings:
        raise TrainerError(
            f"train.sequence_length: found {train.sequence_length}, expected at most "
            f"model.max_position_embeddings {model.max_position_embeddings}; shorten it or raise that"
        )
    names = [phase.data.name for phase in data]
    if len(set(names)) < len(names):
        raise TrainerError(f"phases: found names {names}, expected each once; rename one in the recipe")
    for phase in data:
        longest = max(stage.sequence_length or 0 for stage in phase.stages)
        if longest > model.max_position_embeddings:
            raise TrainerError(
                f"{phase.path}: stages: found sequences of {longest} tokens, expected at most "
                f"model.max_position_embeddings {model.max_position_embeddings}; shorten them or raise that"
            )
        if phase.vocab_size > model.vocab_size:
            raise TrainerError(
                f"{phase.path}: tokenizer.vocab_size: found {phase.vocab_size}, expected at most model.vocab_size "
                f"{model.vocab_size}; correct the recipe's model"
            )
        if phase.tokenizer_sha256 != data[0].tokenizer_sha256:
            raise TrainerError(
                f"{phase.path}: tokenizer.sha256: found {phase.tokenizer_sha256}, expected {data[0].tokenizer_sha256} "
                f"as in {data[0].path}; build both phases with one tokenizer"
            )


def _fingerprint(config: dict[str, Any], data: Sequence[Phase]) -> str:
    """Hash what the weights depend on: the settings and the manifests, which hold the shards' digests."""
    train = {key: value for key, value in config["train"].items() if key not in _HARMLESS}
    digest = hashlib.sha256(json.dumps({**config, "train": train}, sort_keys=True).encode())
    for phase in data:
        digest.update(hashlib.sha256(phase.manifest).digest())
    return digest.hexdigest()


def _claim(out: Path, fingerprint: str, config: dict[str, Any]) -> None:
    """Make `out` this run's folder, or see that it is."""
    path = out / RUN
    if path.exists():
        found = read_json(path, "a run's settings").get("fingerprint")
        if found != fingerprint:
            raise TrainerError(
                f"{path}: fingerprint: found {found}, expected {fingerprint}: the folder holds a run with other "
                "settings or data; choose another folder, or remove this one to train anew"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, {"fingerprint": fingerprint, **config})


def _progress_line(enabled: bool) -> Progress:
    columns = (TextColumn("{task.fields[status]}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not enabled)


def _finish(
    out: Path,
    model: PLM,
    data: Sequence[Phase],
    position: Position,
    tokenizer: Path,
    fingerprint: str,
    losses: dict[str, float],
) -> dict[str, Any]:
    """Write the final model, the figure and, last, the summary that marks the run as finished."""
    save_pretrained(out / "final", model, tokenizer)
    steps = read_metrics(out / METRICS)
    plot_loss(out / "loss.png", steps, data)
    summary = {
        "fingerprint": fingerprint,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens": position.tokens,
        "steps": position.step,
        "seconds": round(position.seconds, 3),
        "tokens_per_second": round(position.tokens / position.seconds, 1),
        "phases": [
            {**phase, "held_out_loss": losses.get(phase["name"])}
            for phase in phase_summaries(steps, data, model.config.vocab_size)
        ],
    }
    write_json(out / SUMMARY, summary)
    return {**summary, "reused": False}
