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
    yield f"{runs} steps would run, and the {len(steps) - runs} after them where these give other bytes:"
    for (stage, when), group in groupby(steps, key=lambda step: (step.stage, step.when)):
        found = list(group)
        yield f"  {when:<7}  {stage:<14} {clip(', '.join(step.of for step in found), 100)}"
        for step in found:
            for why in step.why:
                yield f"             {step.of}: {clip(why, 120)}"
