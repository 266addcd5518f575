"""Alignment: an activation, then rounds that each collect with the newest policy and train on what was collected.

The reference of a round is the policy as it is when the round begins, frozen: its log-probabilities of the round's
pairs are computed once, before the first step, and kept, so that no second model is held. This choice is ours: the
paper does not say whether its reference moves with the rounds. It bounds what one round can change and lets rounds add
up, as online iterative DPO does. Each stage has an optimiser of its own; a round's rate is constant after its warm-up,
the activation's cools down at its end as that of fine-tuning does.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import AdamW

from trainer.alignment.chains import Policy
from trainer.alignment.collection import ACTIVATION, Judges, collect_stage
from trainer.alignment.config import AlignConfig
from trainer.alignment.diagnostics import chain_facts, drift, first_rows, log_probs_of, pair_drift, pair_facts
from trainer.alignment.ledger import Pairs, read_chains, read_manifest
from trainer.alignment.log import append_line
from trainer.alignment.pairs import Row
from trainer.alignment.prompts import prompt_order
from trainer.alignment.run import Run
from trainer.alignment.training import Reference, reference_log_probs, stage_items, train_steps, trains_refinement
from trainer.chat import REFINE, ChatML
from trainer.checkpoint import Position
from trainer.config import PhaseData
from trainer.errors import TrainerError, TrainingStopped
from trainer.files import read_json, write_json
from trainer.inference import Completion, Sampling, generate
from trainer.metrics import METRICS
from trainer.model import PLM
from trainer.pretrained import copy_tokenizer, load_pretrained, load_tokenizer, save_pretrained
from trainer.shards import MANIFEST, Phase, read_phase, verify_shards
from trainer.signals import Signals

SUMMARY = "summary.json"
DIAGNOSTICS = "diagnostics.json"
REFERENCE = "reference.safetensors"


@dataclass(frozen=True)
class Stage:
    """The activation or a round: its place in the run, its name, and the numbers of its prompts in the phase."""

    index: int
    name: str
    prompts: np.ndarray


def plan_stages(phase: Phase, config: AlignConfig) -> list[Stage]:
    """Deal the prompts, in an order drawn from the seed, to the stages; once all are used they come again.

    Raises:
        TrainerError: a stage wants more prompts than there are.
    """
    order = prompt_order(phase, config.seed)
    sizes = [
        ("prompts_per_round", f"round-{number}", config.prompts_per_round) for number in range(1, config.rounds + 1)
    ]
    if config.activation_prompts:
        sizes.insert(0, ("activation_prompts", ACTIVATION, config.activation_prompts))
    stages, used = [], 0
    for index, (key, name, size) in enumerate(sizes):
        if size > len(order):
            raise TrainerError(
                f"preferences.{key}: found {size}, expected at most the {len(order)} prompts of {phase.path}; "
                "ask for fewer, or build more prompts"
            )
        stages.append(Stage(index, name, order[np.arange(used, used + size) % len(order)]))
        used += size
    return stages


def align(
    start: Path,
    prompts: PhaseData,
    config: AlignConfig,
    out: Path,
    *,
    judges: Judges | None = None,
    decoder: Callable[..., list[Completion]] = generate,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Align a model and return the run's summary.

    Writes to `out`: run.json, metrics.jsonl (a line a step), a folder a stage (chains-*.parquet, the ledger of every
    chain; manifest.json; reference.safetensors; diagnostics.json), step-*/ (checkpoints), final/ (the model), and last
    of all summary.json. Called again, a finished run returns its summary with `reused` true. An interrupted one goes
    on: what is collected stays, training continues from the newest intact checkpoint, and on a CPU with as many threads
    it ends with the same weights to the bit.

    Args:
        start: folder of the model after SFT, as `save_pretrained` writes it.
        prompts: phase of prompts.
        config: settings.
        out: the run's folder.
        judges: a reward model, if `select` is `reward`; an executor, if code is to be judged.
        decoder: `trainer.inference.generate`, or what stands in for it.
        progress: show a progress line on the terminal.
        say: told of every stage in one line.

    Raises:
        TrainingStopped: a signal ended the run, which was saved.
        TrainerError: settings, shards, model or tokenizer are wrong, `out` holds another run, or a loss is not finite.
    """
    judges = judges or Judges()
    if (config.select == "reward") != (judges.reward is not None):
        raise TrainerError(
            f"preferences.select: found {config.select!r} and {'a' if judges.reward else 'no'} reward model, expected "
            "a reward model with select reward, and none without"
        )
    phase = read_phase(prompts, "prompts")
    tokenizer = load_tokenizer(start)
    run = Run.claim(out, config, start, phase.manifest, judges.reward.name if judges.reward else None)
    if (out / SUMMARY).exists():
        return {**read_json(out / SUMMARY, "the summary of a finished run"), "reused": True}
    verify_shards(phase)
    copy_tokenizer(start, out / "tokenizer")

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_pretrained(start).to(device)
    position, optimizer = run.resume(model)
    sampling = Sampling(config.max_tokens, config.temperature, config.top_p)
    policy = Policy(model, ChatML(tokenizer), sampling, config.refinement_prompt or REFINE, decoder)

    stages = plan_stages(phase, config)
    with Signals() as signals, _progress_line(progress) as line:
        for stage in stages[position.phase :]:
            folder = out / stage.name
            if not (folder / MANIFEST).exists():
                task = line.add_task("", total=len(stage.prompts), status=f"{stage.name}: collecting")
                told = partial(line.advance, task)
                stop = partial(_stop_collecting, signals, stage)
                collect_stage(folder, stage.name, policy, phase, stage.prompts, config, judges, told, stop)
                line.remove_task(task)
            if position.sequences == 0:
                optimizer = run.optimizer(model)
            position, facts = _train(run, stage, policy, optimizer, position, line, signals)
            say(_stage_line(stage, facts))
    return _finish(run, stages, model, position)


def _stop_collecting(signals: Signals, stage: Stage, _: int) -> None:
    if signals.caught:
        raise TrainingStopped(
            f"stopped by signal {signals.caught} while the answers of {stage.name} were drawn; the same command goes "
            "on from the last piece that was whole",
            signals.caught,
        )


def _train(
    run: Run, stage: Stage, policy: Policy, optimizer: AdamW, position: Position, line: Progress, signals: Signals
) -> tuple[Position, dict[str, Any]]:
    """Train on a stage's pairs from the position on; return the next stage's position and this one's diagnostics."""
    config, folder = run.config, run.out / stage.name
    pairs, rows = Pairs(folder), first_rows(policy, folder)
    reference, first = _at_the_start(folder, policy, pairs, rows, stage, config, position)
    total = stage_items(config, len(pairs), stage.name == ACTIVATION)
    task = line.add_task("", total=total, completed=position.sequences, status=f"{stage.name}: training")
    started = time.perf_counter()
    against = None if stage.name == ACTIVATION else reference
    for step in train_steps(policy, optimizer, pairs, against, config, stage.index, position.sequences):
        seconds = time.perf_counter() - started
        started += seconds
        position = Position(
            step=position.step + 1,
            tokens=position.tokens + step.tokens,
            phase=stage.index,
            sequences=step.consumed,
            seconds=position.seconds + seconds,
        )
        measured = {**step.measures, "tokens_per_second": step.tokens / seconds}
        at = {"step": position.step, "tokens": position.tokens, "phase": stage.name}
        append_line(run.out / METRICS, {**at, **measured})
        line.update(task, completed=step.consumed, status=f"{stage.name}: loss {measured['loss']:.3f}")
        due = signals.caught or position.step % config.checkpoint_interval_steps == 0
        if due and step.consumed < total:
            run.save(policy.model, optimizer, position)
            if signals.caught:
                raise TrainingStopped(
                    f"stopped by signal {signals.caught} in {stage.name}, after step {position.step}; it was saved, "
                    "and the same command goes on from there",
                    signals.caught,
                )
    line.remove_task(task)
    facts = {
        "chains": chain_facts(read_chains(folder)),
        "pairs": pair_facts(pairs),
        "after": pair_drift(policy, pairs, reference, config),
        "drift": drift(first, log_probs_of(policy, rows, config), rows),
    }
    write_json(folder / DIAGNOSTICS, facts)
    position = replace(position, phase=stage.index + 1, sequences=0)
    if total:  # else nothing has changed, and the optimiser has no state to keep
        run.save(policy.model, optimizer, position)
    return position, facts


def _at_the_start(
    folder: Path,
    policy: Policy,
    pairs: Pairs,
    rows: list[Row],
    stage: Stage,
    config: AlignConfig,
    position: Position,
) -> tuple[Reference, Tensor]:
    """Return the log-probabilities that the stage starts from, of its pairs and of its first answers; computed once."""
    path = folder / REFERENCE
    if not path.exists():
        if position.sequences:  # the policy has moved on from the reference
            raise TrainerError(f"{path}: not found, expected what {stage.name} began with; align in an empty folder")
        refine = stage.name != ACTIVATION and trains_refinement(config)
        reference = reference_log_probs(policy, pairs, config, refine)
        first = log_probs_of(policy, rows, config)
        temporary = path.with_name(f".{path.name}.tmp")
        save_file({"direct": reference.direct, "refined": reference.refined, "first": first}, temporary)
        os.replace(temporary, path)
    tensors = load_file(path)
    if len(tensors["direct"]) != len(pairs):
        raise TrainerError(
            f"{path}: found {len(tensors['direct'])} pairs, expected {len(pairs)} from the ledger beside it; "
            "align in an empty folder"
        )
    return Reference(tensors["direct"], tensors["refined"]), tensors["first"]


def _stage_line(stage: Stage, facts: dict[str, Any]) -> str:
    right = facts["chains"]["right"]
    shown = " -> ".join("?" if share is None else f"{share:.0%}" for share in right)
    kl = facts["drift"]["kl_per_token"]
    drifted = "" if kl is None else f", KL {round(kl, 4) + 0.0:.4f} nats a token"  # never -0.0000
    pairs = facts["pairs"]["pairs"]
    return f"{stage.name}: {pairs} pairs of {len(stage.prompts)} prompts, right by step {shown}{drifted}"


def _progress_line(enabled: bool) -> Progress:
    columns = (TextColumn("{task.fields[status]}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, disable=not enabled)


def _finish(run: Run, stages: list[Stage], model: PLM, position: Position) -> dict[str, Any]:
    """Write the final model and, last, the summary that marks the run as finished."""
    save_pretrained(run.out / "final", model, run.out / "tokenizer")
    told = []
    for stage in stages:
        manifest = read_manifest(run.out / stage.name)
        facts = read_json(run.out / stage.name / DIAGNOSTICS, "a stage's diagnostics")
        counts = {key: manifest[key] for key in ("chains", "answers", "pairs", "reasons")}
        told.append({"name": stage.name, "counts": counts, **facts})
    summary = {
        "fingerprint": run.fingerprint,
        "method": run.config.method,
        "steps": position.step,
        "tokens": position.tokens,
        "seconds": round(position.seconds, 3),
        "stages": told,
    }
    write_json(run.out / SUMMARY, summary)
    return {**summary, "reused": False}
