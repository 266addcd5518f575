"""The training loop: optimiser steps over a stream of batches, with its logs, checkpoints and ends."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from trainer.checkpoint import Position, save_checkpoint
from trainer.compute import flops_per_token, peak_flops
from trainer.config import TrainConfig
from trainer.data import Batch
from trainer.distributed import Ranks, accumulating, whole
from trainer.errors import TrainerError, TrainingStopped
from trainer.evaluation.held_out import held_out_losses
from trainer.events import Events
from trainer.files import write_json
from trainer.metrics import HELD_OUT_METRICS, METRICS, HeldOut, StepMetrics, append_metrics, read_metrics
from trainer.model import PLM
from trainer.precision import autocast, is_bf16
from trainer.prefetch import prefetch
from trainer.shards import Phase
from trainer.signals import Signals
from trainer.sparsity import share_of_zeros

STOPPED = "stopped.json"
_RECENT = 50  # steps whose median loss a rise is told by
_PATIENCE = 3  # steps in a row that a rise lasts before the run stops: one bad batch is none


@dataclass(frozen=True)
class Work:
    """What a run does from its first step to its last.

    `stream` yields (index of the phase, batch) from a position on, `rate` is the learning rate at so many tokens of
    the run, `steps` counts the steps of each phase, `measured` is held-out data.
    """

    phases: tuple[str, ...]
    steps: tuple[int, ...]
    stream: Callable[[Position], Iterator[tuple[int, Batch]]]
    rate: Callable[[float], float]
    measured: Phase | None


def run_steps(
    work: Work,
    plm: PLM,
    loss: nn.Module,
    optimizer: AdamW,
    train: TrainConfig,
    position: Position,
    out: Path,
    ranks: Ranks,
    *,
    fingerprint: str,
    config: dict[str, Any],
    checkpoint: Path | None,
    progress: bool,
    say: Callable[[str], None],
) -> Position:
    """Train from a position to the end of the work, and return the last position.

    Writes to `out` metrics.jsonl, held_out.jsonl, events/ and step-*/. SIGTERM and SIGINT end it after the step that
    they meet, with a checkpoint.

    Args:
        work: batches, rates and what is measured.
        plm: the model, on its device.
        loss: the same model's loss, as `parallelise` gives it.
        optimizer: of the model's parameters.
        train: settings.
        position: where to go on.
        out: the run's folder.
        ranks: of the run; all call this together.
        fingerprint, config: of the run, for its checkpoints.
        checkpoint: the one that was loaded, if any.
        progress: show a line on the terminal.
        say: told of every checkpoint in one line, for where there is no terminal.

    Raises:
        TrainingStopped: a signal.
        TrainerError: the loss is not finite, or has risen and stays so; names the last good checkpoint.
    """
    total, last_of_phase = sum(work.steps), list(accumulate(work.steps))
    peak = peak_flops(ranks.device, is_bf16(train, ranks.device))
    watch = _Watch(train.max_loss_rise, [step.loss for step in read_metrics(out / METRICS)])
    (out / STOPPED).unlink(missing_ok=True)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        events = stack.enter_context(Events(out, position.step + 1)) if ranks.first else None
        line = stack.enter_context(_progress_line(progress and ranks.first))
        task = line.add_task("", total=total, completed=position.step, status="starting")
        batches = prefetch(work.stream(position))
        stack.callback(batches.close)  # type: ignore[attr-defined]
        started = time.perf_counter()  # before the batch is there: a loader that is too slow shows in the speed
        for index, batch in batches:
            # the rate at the middle of the step's tokens: a step on either side of a segment's end keeps to its own
            rate = work.rate(position.tokens + batch.tokens / 2)
            value, norm = training_step(plm, loss, optimizer, batch, rate, train, ranks)
            seconds = time.perf_counter() - started
            stopping = ranks.most(signals.caught)
            step, name = position.step + 1, work.phases[index]
            if trouble := watch.trouble(value, norm):
                raise _stopped(out, ranks, step, trouble, value, checkpoint)
            position = Position(
                step, position.tokens + batch.tokens, index, batch.sequences, position.seconds + seconds
            )
            speed = batch.tokens / seconds
            length = batch.input_ids.shape[1]
            mfu = None if peak is None else flops_per_token(plm.config, length) * speed / (peak * ranks.world)
            zeros = None
            if (step - 1) % train.zeros_interval_steps == 0:
                with autocast(train, ranks.device):
                    zeros = share_of_zeros(plm, loss, batch, ranks.device)
            row = StepMetrics(step, position.tokens, name, value, rate, norm, speed, mfu, zeros)
            ended = step == last_of_phase[index]
            measured = None
            if work.measured and (ended or step % (train.held_out_interval_steps or total) == 0):
                every, by_source = held_out_losses(loss, work.measured, train, ranks)
                measured = HeldOut(step, position.tokens, name, every, by_source)
            if ranks.first:
                _log(out, events, row, measured)
            utilised = "" if mfu is None else f"MFU {mfu:.0%}  "
            line.update(
                task,
                advance=1,
                status=f"{name}  loss {value:.3f}  rate {rate:.2e}  {speed:,.0f} tokens/s  {utilised}",
            )
            if step % train.checkpoint_interval_steps == 0 or step == total or stopping:
                checkpoint = save_checkpoint(
                    out,
                    plm,
                    optimizer,
                    position,
                    fingerprint=fingerprint,
                    config=config,
                    keep=train.keep_checkpoints,
                    ranks=ranks,
                )
                if ranks.first:
                    say(f"step {step} of {total}, {name}: loss {value:.3f}, {speed:,.0f} tokens/s")
            if stopping and step < total:
                raise TrainingStopped(
                    f"stopped by signal {stopping} after step {step} of {total}; {checkpoint} was saved, and the same "
                    "command goes on from there",
                    stopping,
                )
            started = time.perf_counter()
    return position


def training_step(
    plm: PLM, loss: nn.Module, optimizer: AdamW, batch: Batch, rate: float, train: TrainConfig, ranks: Ranks
) -> tuple[float, float]:
    """Take one optimiser step over the ranks' shares of a batch, `micro_batch_size` sequences at a time.

    Returns:
        The loss in nats a target and the gradient's global norm, from before the update. If either is not finite,
        the parameters are not to be used further.
    """
    size = train.micro_batch_size or len(batch.input_ids)
    pieces = list(zip(*(each.split(size) for each in (batch.input_ids, batch.labels, batch.document_ids)), strict=True))
    total = torch.zeros((), device=ranks.device)
    for number, piece in enumerate(pieces, start=1):
        inputs = [each.to(ranks.device, non_blocking=True) for each in piece]
        with accumulating(loss, last=number == len(pieces)):
            with autocast(train, ranks.device):
                # divided by the whole batch's targets; the ranks' gradients are averaged, so each counts world times
                part: Tensor = loss(*inputs, max(batch.targets, 1)) * ranks.world
            part.backward()
        total += part.detach()
    norm = whole(clip_grad_norm_(plm.parameters(), train.gradient_clip))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()
    return ranks.sums([total.item() / ranks.world])[0], norm.item()


class _Watch:
    """Tells a loss that goes wrong from one that is only noisy."""

    def __init__(self, most: float | None, losses: Sequence[float]) -> None:
        self.most = most
        self.losses = list(losses[-_RECENT - _PATIENCE :])  # of a run that goes on: as if it had never stopped

    def trouble(self, loss: float, norm: float) -> str | None:
        """Return what is wrong after one more step, or none."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return f"found loss {loss} and gradient norm {norm}, expected finite numbers"
        self.losses = [*self.losses[-_RECENT - _PATIENCE + 1 :], loss]
        before, last = self.losses[:-_PATIENCE], self.losses[-_PATIENCE:]
        if self.most is None or len(before) < _RECENT:
            return None
        usual = statistics.median(before)
        if min(last) > usual + self.most:
            return (
                f"found losses of {', '.join(f'{each:.3f}' for each in last)}, expected no {_PATIENCE} in a row more "
                f"than train.max_loss_rise {self.most:g} over the median {usual:.3f} of the {_RECENT} before"
            )
        return None


def _stopped(out: Path, ranks: Ranks, step: int, reason: str, loss: float, checkpoint: Path | None) -> TrainerError:
    """Note why the run ends, and return the error to raise."""
    if ranks.first:
        value = loss if math.isfinite(loss) else None
        name = checkpoint.name if checkpoint else None
        write_json(out / STOPPED, {"step": step, "reason": reason, "loss": value, "checkpoint": name})
    good = f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet"
    return TrainerError(
        f"step {step}: {reason}; {good}; lower train.learning_rate or lengthen train.warmup_tokens, and train in an "
        "empty folder"
    )


def _log(out: Path, events: Events | None, row: StepMetrics, measured: HeldOut | None) -> None:
    append_metrics(out / METRICS, row)
    if measured:
        append_metrics(out / HELD_OUT_METRICS, measured)
    if events:
        events.step(row)
        if measured:
            events.held_out(measured)


def _progress_line(enabled: bool) -> Progress:
    columns = (TextColumn("{task.fields[status]}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not enabled)
