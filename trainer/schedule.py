"""The learning rate as a pure function of the tokens seen: WSDC (warm-up, stable, decay, constant), and two to compare.

Where two schedules have the same segments they are the same function: WSD is WSDC whose decay lasts to the end, and
the cosine is a WSD whose decay begins where the warm-up ends.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from trainer.config import SCHEDULES, SEGMENTS, DecayShape, Schedule, Segment
from trainer.errors import TrainerError


@dataclass(frozen=True)
class ScheduleEnds:
    """Cumulative tokens at which the warm-up, stable, decay and constant segments end."""

    warmup_end: int
    stable_end: int
    decay_end: int
    total: int


def schedule_ends(phases: Sequence[tuple[Segment, int]], warmup_tokens: int) -> ScheduleEnds:
    """Add up the phases' tokens into the ends of WSDC's segments.

    Args:
        phases: (segment, tokens) of each phase in the order of training.
        warmup_tokens: length of the warm-up, which is the start of the stable segment.

    Raises:
        TrainerError: no stable phase, a segment out of order, an empty phase, or a warm-up past the stable segment.
    """
    if not phases or phases[0][0] != "stable":
        found = phases[0][0] if phases else "no phase"
        raise TrainerError(f"phases: found {found} first, expected a stable phase; put one first in the recipe")
    lengths = dict.fromkeys(SEGMENTS, 0)
    latest = 0
    for number, (segment, tokens) in enumerate(phases, start=1):
        order = SEGMENTS.index(segment)
        if order < latest:
            raise TrainerError(
                f"phase {number}: found segment {segment} after {SEGMENTS[latest]}, "
                "expected the order stable, decay, constant; reorder the phases in the recipe"
            )
        if tokens <= 0:
            raise TrainerError(f"phase {number}: found {tokens} tokens, expected one or more; build the phase again")
        latest = order
        lengths[segment] += tokens
    stable_end = lengths["stable"]
    if warmup_tokens > stable_end:
        raise TrainerError(
            f"train.warmup_tokens: found {warmup_tokens}, expected at most the stable phases' {stable_end} tokens; "
            "shorten the warm-up or lengthen a stable phase"
        )
    decay_end = stable_end + lengths["decay"]
    return ScheduleEnds(warmup_tokens, stable_end, decay_end, decay_end + lengths["constant"])


def rate(
    kind: Schedule, tokens: float, ends: ScheduleEnds, peak: float, floor: float, shape: DecayShape = "cosine"
) -> float:
    """Return the learning rate after `tokens` tokens under one of the schedules.

    - `wsdc`: see there.
    - `wsd`: the same without a constant tail: the decay begins at `ends.stable_end` and reaches the floor at
      `ends.total` (Hu et al., arXiv 2404.06395; Hägele et al., arXiv 2405.18392).
    - `cosine`: from `ends.warmup_end` half a cosine down to the floor at `ends.total`, whatever the shape (Loshchilov
      and Hutter, arXiv 1608.03983, one cycle, with a warm-up).

    Raises:
        TrainerError: no such schedule or shape, ends out of order, or `tokens` outside 0 … `ends.total`.
    """
    if kind == "wsd":
        ends = replace(ends, decay_end=ends.total)
    elif kind == "cosine":
        ends, shape = replace(ends, stable_end=ends.warmup_end, decay_end=ends.total), "cosine"
    elif kind != "wsdc":
        raise TrainerError(f"train.schedule: found {kind!r}, expected one of {SCHEDULES}; correct it in the recipe")
    return wsdc(tokens, **asdict(ends), peak=peak, floor=floor, shape=shape)


def wsdc(
    tokens: float,
    *,
    warmup_end: int,
    stable_end: int,
    decay_end: int,
    total: int,
    peak: float,
    floor: float,
    shape: DecayShape,
) -> float:
    """Return the learning rate after `tokens` tokens.

    Linear to `peak` until `warmup_end`, `peak` until `stable_end`, from `peak` to `floor` along `shape` until
    `decay_end`, `floor` until `total`. The paper (arXiv 2503.12167) names WSDC and publishes no formula: this one is
    this project's; its closest precedent is the schedule of DeepSeek-V3 (arXiv 2412.19437, section 4.2).

    Raises:
        TrainerError: the ends are not in order, or `tokens` lies outside 0 … `total`.
    """
    if not 0 <= warmup_end <= stable_end <= decay_end <= total:
        ends = (warmup_end, stable_end, decay_end, total)
        raise TrainerError(
            f"schedule: found ends {ends}, expected them in ascending order; correct the recipe's phases"
        )
    if not 0 <= tokens <= total:
        raise TrainerError(f"schedule: found {tokens} tokens, expected 0 to {total}; the phases hold no more than that")
    if tokens < warmup_end:
        return peak * tokens / warmup_end
    if tokens < stable_end:
        return peak
    if tokens < decay_end:
        return floor + (peak - floor) * _remaining((tokens - stable_end) / (decay_end - stable_end), shape)
    return floor


def _remaining(x: float, shape: DecayShape) -> float:
    """Share of the way from peak to floor that is left at `x` of the decay: 1 at 0 and 0 at 1."""
    if shape == "cosine":
        return (1 + math.cos(math.pi * x)) / 2
    if shape == "linear":
        return 1 - x
    if shape == "sqrt":  # Hägele et al., arXiv 2405.18392
        return 1 - math.sqrt(x)
    raise TrainerError(f"train.decay_shape: found {shape!r}, expected cosine, linear or sqrt; correct it in the recipe")
