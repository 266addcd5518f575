"""The steps that a build would run, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from plm_data.pending import PendingStep
from plm_data.text.printable import clip


def pending_lines(steps: Sequence[PendingStep]) -> Iterator[str]:
    """What a build would run, a line a stage."""
    if not steps:
        yield "everything is built: no step would run"
        return
    runs = sum(step.when == "runs" for step in steps)
    counted = "1 step would run" if runs == 1 else f"{runs} steps would run"
    after = f", and the {len(steps) - runs} after where the bytes of what they read change" if len(steps) > runs else ""
    yield f"{counted}{after}:"
    for (stage, when), group in groupby(steps, key=lambda step: (step.stage, step.when)):
        found = list(group)
        yield f"  {when:<7}  {stage:<14} {clip(', '.join(step.of for step in found), 100)}"
        for step in found:
            for why in step.why:
                yield f"             {step.of}: {clip(why, 120)}"
