"""Pre-trains a PLM through its data phases; an interrupted run goes on where it was."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trainer.checkpoint import Position
from trainer.config import HARMLESS, ModelConfig, PhaseData, TrainConfig
from trainer.data import Batch, batches, count_sequences
from trainer.distributed import Ranks, joined
from trainer.errors import TrainerError
from trainer.files import read_json
from trainer.loop import Work
from trainer.model import PLM
from trainer.pretrained import check_tokenizer
from trainer.run import SUMMARY, Run
from trainer.schedule import ScheduleEnds, rate, schedule_ends
from trainer.shards import VERIFIED, Phase, read_phase, verify_shards


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

    Writes to `out`: run.json (settings and fingerprint), tokenizer/, metrics.jsonl, held_out.jsonl, events/, step-*/
    (checkpoints), final/ (model.safetensors, config.json and tokenizer), loss.png, report.html, and last of all
    summary.json. Called again, a finished run returns its summary with `reused` true; an interrupted one goes on from
    its newest intact checkpoint to the same weights, to the bit on the same machine with as many threads and
    processes, as if nothing had happened. Under torchrun every process calls this.

    Args:
        model: sizes; the vocabulary must hold the shards' tokens.
        train: settings.
        phases: data in the order of training: stable phases, then decay, then constant ones.
        tokenizer: folder in Hugging Face form, copied beside the weights.
        out: the run's folder.
        progress: show a progress line on the terminal.
        held_out: data whose loss is measured at each phase's end, and between if the settings say so.
        say: told of every checkpoint in one line, for where there is no terminal.

    Raises:
        TrainingStopped: a signal ended the run, which was saved.
        TrainerError: settings, shards or tokenizer are wrong, `out` holds another run, or the loss went wrong.
    """
    data = [read_phase(phase) for phase in phases]
    measured = read_phase(held_out) if held_out else None
    watched = [*data, measured] if measured else data
    _check(model, train, watched)
    ends = schedule_ends([(phase.data.segment, phase.tokens) for phase in data], train.warmup_tokens)
    check_tokenizer(tokenizer, data[0])
    with joined() as ranks:
        _check_shares(data, train, ranks)
        run = Run.claim(out, model, train, data, fingerprint(model, train, watched), ranks)
        if (out / SUMMARY).exists():
            return {**read_json(out / SUMMARY, "the summary of a finished run"), "reused": True}
        if ranks.first:
            for phase in watched:
                verify_shards(phase, out / VERIFIED)
        ranks.wait()
        torch.manual_seed(train.seed)
        return run.train(PLM(model), _work(data, train, ends, measured, ranks), tokenizer, ranks, progress, say)


def _work(data: Sequence[Phase], train: TrainConfig, ends: ScheduleEnds, measured: Phase | None, ranks: Ranks) -> Work:
    steps = [sum(math.ceil(each.sequences / each.batch_size) for each in packed_stages(phase, train)) for phase in data]

    def stream(position: Position) -> Iterator[tuple[int, Batch]]:
        return _stream(data, train, position, ranks)

    def rate_at(tokens: float) -> float:
        return rate(train.schedule, tokens, ends, train.learning_rate, train.final_learning_rate, train.decay_shape)

    return Work(tuple(phase.data.name for phase in data), tuple(steps), stream, rate_at, measured)


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


def _stream(data: Sequence[Phase], train: TrainConfig, position: Position, ranks: Ranks) -> Iterator[tuple[int, Batch]]:
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
                    rank=ranks.rank,
                    world=ranks.world,
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


def _check_shares(data: Sequence[Phase], train: TrainConfig, ranks: Ranks) -> None:
    """See that the ranks can share every stage's batches, before a run comes to the first that they cannot."""
    for phase in data:
        for stage in packed_stages(phase, train):
            if stage.batch_size % ranks.world:
                raise TrainerError(
                    f"{phase.path}: batch size: found {stage.batch_size} sequences of {stage.sequence_length} tokens "
                    f"for {ranks.world} ranks, expected a multiple of the ranks; change train.batch_size or the number "
                    "of processes"
                )


def fingerprint(model: ModelConfig, train: TrainConfig, data: Sequence[Phase]) -> str:
    """Hash what the weights depend on: the settings and the manifests, which hold the shards' digests."""
    settings = {key: value for key, value in asdict(train).items() if key not in HARMLESS}
    names = [{"name": phase.data.name, "segment": phase.data.segment} for phase in data]
    digest = hashlib.sha256(
        json.dumps({"model": asdict(model), "train": settings, "phases": names}, sort_keys=True).encode()
    )
    for phase in data:
        digest.update(hashlib.sha256(phase.manifest).digest())
    return digest.hexdigest()
