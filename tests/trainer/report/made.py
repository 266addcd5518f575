"""The folder of a made-up training run, as large and as odd as a test wants it."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import ModelConfig, TrainConfig
from trainer.metrics import HELD_OUT_METRICS, METRICS, HeldOut, StepMetrics
from trainer.schedule import rate, schedule_ends

PHASES = (("phase1", "stable", 0.6), ("phase2", "decay", 0.25), ("phase3", "constant", 0.15))
MODEL = ModelConfig(8192, 192, 768, 3, 6, 48, 32, 16, 32, 512)
TRAIN = TrainConfig(256, 8, 2e-3, 2e-4, warmup_tokens=40_960)
STEP = TRAIN.batch_size * TRAIN.sequence_length


def steps_of(count: int, layers: int = 3, mfu: bool = True, train: TrainConfig = TRAIN) -> list[StepMetrics]:
    """Return the log of a run that learns by a power law, with its schedule's own rates."""
    rng = np.random.default_rng(0)
    lengths = [(name, segment, round(share * count) * STEP) for name, segment, share in PHASES]
    ends = schedule_ends([(segment, tokens) for _, segment, tokens in lengths], train.warmup_tokens)  # type: ignore[misc]
    names = [name for name, _, tokens in lengths for _ in range(tokens // STEP)]
    found = []
    for number, name in enumerate(names, start=1):
        middle = (number - 0.5) * STEP
        applied = rate(train.schedule, middle, ends, train.learning_rate, train.final_learning_rate, train.decay_shape)
        loss = 2.5 + 6.5 * (1 + number / 8) ** -0.4 - 0.3 * (name != "phase1") + 0.08 * rng.normal()
        zeros = [
            round(0.93 - 0.2 * layer / layers - 0.4 * math.exp(-number * (3 + layer) / count), 4)
            for layer in range(layers)
        ]
        found.append(
            StepMetrics(
                step=number,
                tokens=number * STEP,
                phase=name,
                loss=round(float(loss), 4),
                learning_rate=applied,
                gradient_norm=round(float(0.4 + 2 * math.exp(-number / 20) + 0.15 * abs(rng.normal())), 4),
                tokens_per_second=round(float(11_000 + 400 * rng.normal()), 1),
                mfu=round(float(0.42 + 0.01 * rng.normal()), 4) if mfu else None,
                zeros=zeros if number % 5 == 1 else None,
            )
        )
    return found


def held_out_of(steps: list[StepMetrics], every: int, sources: tuple[str, ...]) -> list[HeldOut]:
    """Return measurements every so many steps and at the end."""
    at = [step for step in steps if step.step % every == 0 or step is steps[-1]]
    return [
        HeldOut(
            step.step,
            step.tokens,
            step.phase,
            step.loss + 0.1,
            {name: step.loss + 0.1 + 0.3 * (number - 1.3) for number, name in enumerate(sources)},
        )
        for step in at
    ]


def write_run(
    out: Path,
    steps: list[StepMetrics],
    held_out: list[HeldOut],
    *,
    finished: bool = True,
    stopped: dict[str, Any] | None = None,
    model: ModelConfig = MODEL,
    device: str | None = None,
    planned: int | None = None,
    names: dict[str, str] | None = None,
    train: TrainConfig = TRAIN,
) -> Path:
    """Write a run's folder; `planned`: steps of the whole run, where the log has fewer; `names`: other phases' names."""
    out.mkdir(parents=True, exist_ok=True)
    renamed = names or {}
    count = planned or len(steps)
    phases = [
        {"name": renamed.get(name, name), "segment": segment, "tokens": round(share * count) * STEP}
        for name, segment, share in PHASES
    ]
    run = {"fingerprint": "f" * 64, "model": asdict(model), "train": asdict(train), "phases": phases}
    (out / "run.json").write_text(json.dumps(run | ({"device": device} if device else {})))
    for path, rows in ((METRICS, steps), (HELD_OUT_METRICS, held_out)):
        lines = [asdict(row) for row in rows]
        for line in lines:
            line["phase"] = renamed.get(line["phase"], line["phase"])
        (out / path).write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        summary = {
            "fingerprint": "f" * 64,
            "parameters": 2_906_688,
            "tokens": steps[-1].tokens,
            "steps": steps[-1].step,
            "seconds": 64.25,
            "tokens_per_second": 11_000.0,
            "phases": [],
        }
        (out / "summary.json").write_text(json.dumps(summary))
    if stopped:
        (out / "stopped.json").write_text(json.dumps(stopped))
    return out
