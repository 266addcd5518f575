"""Worked problems as a set of conversations asks for them: of some kinds, with narrower operands, of one split.

A problem's split comes from the permutation of all problems of its kind (``worked_maths``), whatever the ranges that a
set narrows it to. So what one set holds out no other trains on, as long as their seeds are the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice, product

from plm_data.recipe_conversations import MathsKindSpec, MathsSet
from plm_data.sources.maths_kinds import KINDS, Kind, Problem
from plm_data.sources.worked_maths import Permutation, Split, problem, split_size

# Narrowed problems are found by going through them all.
_MOST_NARROWED = 200_000
_BY_NAME = {kind.name: kind for kind in KINDS}
# Their answers are more than one whole number.
_WITHOUT_NUMBER = {"division", "fractions", "rectangle"}
_NUMBER = re.compile(r"-?\d+")


def number_of(kind: str, item: Problem) -> str | None:
    """The number that an answer is checked by; None for the kinds whose answer is not one number."""
    return None if kind in _WITHOUT_NUMBER else _NUMBER.findall(item.answer)[-1]


def selection(spec: MathsSet, split: Split) -> Iterator[tuple[str, str, Problem]]:
    """Kind, name and problem: all kinds in turn, a kind that is used up passed over; after the first ``skip``."""
    return islice(_in_turn(spec, split), spec.skip, spec.skip + spec.examples * spec.problems)


def _in_turn(spec: MathsSet, split: Split) -> Iterator[tuple[str, str, Problem]]:
    streams = [_of_kind(kind, spec.seed, split) for kind in spec.kinds or _BY_NAME]
    while streams:
        left = []
        for stream in streams:
            if (item := next(stream, None)) is not None:
                left.append(stream)
                yield item
        streams = left


def _of_kind(wanted: str | MathsKindSpec, seed: int, split: Split) -> Iterator[tuple[str, str, Problem]]:
    kind = _kind(wanted)
    first = split_size(kind, "train") if split == "held-out" else 0
    for index in _indices(wanted, seed, split):
        yield kind.name, *problem(kind, split, index - first, seed)


def _kind(wanted: str | MathsKindSpec) -> Kind:
    return _BY_NAME[wanted if isinstance(wanted, str) else wanted.kind]


def _indices(wanted: str | MathsKindSpec, seed: int, split: Split) -> Sequence[int]:
    """Places in the permutation of a kind's problems, in their order."""
    kind = _kind(wanted)
    held_out = split_size(kind, "train")
    if isinstance(wanted, str):
        return range(held_out) if split == "train" else range(held_out, kind.size)
    return [index for index in _narrowed(wanted, seed) if (index >= held_out) == (split == "held-out")]


@lru_cache(maxsize=32)
def _narrowed(wanted: MathsKindSpec, seed: int) -> tuple[int, ...]:
    """The places of a kind's problems whose operands are within the narrower ranges, of both splits."""
    kind = _kind(wanted)
    permutation = Permutation(kind.size, seed)
    operands = product(*(range(low, high + 1) for low, high in wanted.ranges))
    return tuple(sorted(permutation.inverse(kind.index(each)) for each in operands))


def check_selection(spec: MathsSet, split: Split) -> list[tuple[str, str]]:
    """What is wrong with a set: the key, and what of it."""
    wrong = []
    for wanted in spec.kinds:
        name = wanted if isinstance(wanted, str) else wanted.kind
        if name not in _BY_NAME:
            wrong.append(("kinds", f"no kind {name!r}; the kinds are {', '.join(_BY_NAME)}"))
        elif split == "held-out" and name in _WITHOUT_NUMBER:
            wrong.append(("kinds", f"the answer to {name} is not one number, so it cannot be checked"))
        elif isinstance(wanted, MathsKindSpec) and (what := _check_ranges(_BY_NAME[name], wanted)):
            wrong.append(("kinds", what))
    if not wrong:
        most = sum(_most(wanted, spec.seed, split) for wanted in spec.kinds or _BY_NAME)
        asked = spec.examples * spec.problems
        if spec.skip + asked > most:
            wrong.append(("examples", f"{asked} problems after {spec.skip}, but these kinds have {most} {split} ones"))
    return wrong


def _check_ranges(kind: Kind, wanted: MathsKindSpec) -> str | None:
    whole = ", ".join(f"[{low}, {high}]" for low, high in kind.ranges)
    if len(wanted.ranges) != len(kind.ranges):
        return f"{kind.name} has {len(kind.ranges)} operands, with the ranges {whole}; found {len(wanted.ranges)}"
    for (low, high), (least, most) in zip(wanted.ranges, kind.ranges, strict=True):
        if not least <= low <= high <= most:
            return f"[{low}, {high}] is not within the ranges of {kind.name}, {whole}"
    if (size := math.prod(high - low + 1 for low, high in wanted.ranges)) > _MOST_NARROWED:
        return f"the ranges of {kind.name} leave {size:,} problems; narrow it to {_MOST_NARROWED:,}, or not at all"
    return None


def _most(wanted: str | MathsKindSpec, seed: int, split: Split) -> int:
    return len(_indices(wanted, seed, split))
