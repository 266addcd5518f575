"""Supervised fine-tuning: a trained model goes on, on conversations, whose assistants' tokens alone are learned."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainer.checkpoint import Position
from trainer.config import HARMLESS, ModelConfig, PhaseData, TrainConfig
from trainer.data import Batch, batches, count_conversation_sequences
from trainer.distributed import Ranks, joined
from trainer.errors import TrainerError
from trainer.files import read_json, sha256
from trainer.loop import Work
from trainer.pretrained import CONFIG, WEIGHTS, check_tokenizer, load_config, load_pretrained
from trainer.run import SUMMARY, Run
from trainer.shards import VERIFIED, Phase, read_phase, verify_shards

# Ours: the paper publishes no schedule of its fine-tuning.
HAND_OVER = 0.05  # share of the run in which the rate goes from where the run before ended to this run's own
COOL_DOWN = 0.2  # share, at the end, in which it falls to FLOOR of it
FLOOR = 0.1


@dataclass(frozen=True)
class SftConfig:
    """Settings of a fine-tuning run.

    Raises:
        TrainerError: a setting is out of its range.
    """

    train: TrainConfig  # its learning_rate is this run's; warm-up, schedule and final rate have no part in it
    epochs: float = 1.0  # passes over the conversations, each in an order of its own
    from_rate: float = 0.0  # where the rate begins: the rate that the run before ended with

    def __post_init__(self) -> None:
        for name, value, good, expected in (
            ("epochs", self.epochs, self.epochs > 0, "a number above zero"),
            ("from_rate", self.from_rate, self.from_rate >= 0, "zero or more"),
        ):
            if not (math.isfinite(value) and good):
                raise TrainerError(f"sft.{name}: found {value!r}, expected {expected}; correct the recipe")


def sft(
    model: Path,
    conversations: PhaseData,
    config: SftConfig,
    out: Path,
    progress: bool = True,
    held_out: PhaseData | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train the model of a folder on a phase of conversations, and return the run's summary.

    Writes to `out` what `pretrain` writes, and goes on, ends and resumes as it does. The optimiser begins anew. A loss
    is taken of the assistants' tokens alone (the shards' `targets`), and it is their mean over a whole batch. No
    conversation is cut, and none sees another that is packed into its sequence.

    Args:
        model: folder of `save_pretrained`: pre-training's, or an earlier phase's of fine-tuning. Its tokenizer is
            copied on.
        conversations: shards of kind conversations.
        config: settings.
        out: the run's folder.
        progress: show a progress line on the terminal.
        held_out: data whose loss is measured at the end, and between if the settings say so.
        say: told of every checkpoint in one line.

    Raises:
        TrainingStopped: a signal ended the run, which was saved.
        TrainerError: settings, shards or model are wrong, `out` holds another run, or the loss went wrong.
    """
    phase = read_phase(conversations, "conversations")
    measured = read_phase(held_out) if held_out else None
    check_tokenizer(model, phase)
    sizes = load_config(model)
    _check(phase, config.train, sizes)
    with joined() as ranks:
        watched = [phase, measured] if measured else [phase]
        work, tokens = _work(phase, config, measured, ranks)
        told = [replace(phase, tokens=tokens)]  # as many as the run learns from, over its epochs
        run = Run.claim(out, sizes, config.train, told, _fingerprint(model, config, watched), ranks)
        if (out / SUMMARY).exists():
            return {**read_json(out / SUMMARY, "the summary of a finished run"), "reused": True}
        if ranks.first:
            for each in watched:
                verify_shards(each, out / VERIFIED)
        ranks.wait()
        plm = load_pretrained(model).float().train()
        return run.train(plm, work, model, ranks, progress, say)


def rate_at(share: float, peak: float, start: float) -> float:
    """Return the learning rate when `share` (0 … 1) of a run is done: up or down to `peak`, held, then cooled down."""
    if share < HAND_OVER:
        return start + (peak - start) * share / HAND_OVER
    if share <= 1 - COOL_DOWN:
        return peak
    return peak * (FLOOR + (1 - FLOOR) * (1 - share) / COOL_DOWN)


def _work(phase: Phase, config: SftConfig, measured: Phase | None, ranks: Ranks) -> tuple[Work, int]:
    """Return the work, and the tokens of all its epochs."""
    train, epochs = config.train, config.epochs
    epoch_sequences = count_conversation_sequences(phase, train.sequence_length, train.shuffle_window)
    epoch_steps = math.ceil(epoch_sequences / train.batch_size)
    steps = max(1, round(epochs * epoch_steps))
    total = round(phase.tokens * steps / epoch_steps)

    def stream(position: Position) -> Iterator[tuple[int, Batch]]:
        done, step = divmod(position.step, epoch_steps)
        left = steps - position.step
        for epoch in range(done, math.ceil(steps / epoch_steps)):
            for batch in batches(
                phase,
                train.sequence_length,
                train.batch_size,
                consumed=step * train.batch_size if epoch == done else 0,
                window=train.shuffle_window,
                seed=train.seed,
                rank=ranks.rank,
                world=ranks.world,
                epoch=epoch,
            ):
                if not left:
                    return
                left -= 1
                yield 0, replace(batch, sequences=epoch * epoch_sequences + batch.sequences)

    def rate(tokens: float) -> float:
        return rate_at(min(1.0, tokens / total), train.learning_rate, config.from_rate)

    return Work((phase.data.name,), (steps,), stream, rate, measured), total


def _check(phase: Phase, train: TrainConfig, sizes: ModelConfig) -> None:
    positions, vocab_size = sizes.max_position_embeddings, sizes.vocab_size
    if train.sequence_length > positions:
        raise TrainerError(
            f"sft sequence_length: found {train.sequence_length}, expected at most the model's {positions} positions; "
            "shorten it"
        )
    if phase.vocab_size > vocab_size:
        raise TrainerError(
            f"{phase.path}: tokenizer.vocab_size: found {phase.vocab_size}, expected at most the model's {vocab_size}; "
            "build the phase with the tokenizer that the model was trained with"
        )


def _fingerprint(model: Path, config: SftConfig, watched: list[Phase]) -> str:
    """Hash what the weights depend on: those that the run begins with, the settings, and the data."""
    train = {key: value for key, value in asdict(config.train).items() if key not in HARMLESS}
    start = {name: sha256(model / name) for name in (CONFIG, WEIGHTS)}
    settings = {"train": train, "epochs": config.epochs, "from_rate": config.from_rate, "start": start}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for phase in watched:
        digest.update(hashlib.sha256(phase.manifest).digest())
    return digest.hexdigest()
