"""Synthetic arithmetic and word problems, each with a worked solution and an answer that can be checked.

Every problem is one tuple of operands of one kind of problem. A seeded permutation of all tuples of a kind is
cut once: its last twentieth is the held-out split, the rest the training split. So no problem is in both, none
comes twice, and problem number i is found without making the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import xxhash

from plm_data.errors import RecipeError
from plm_data.recipe_sources import MathsSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.maths_kinds import KINDS, Kind, Problem
from plm_data.store import code_version, digest
from plm_data.text.hashing import document_id, partition_of

Split = Literal["train", "held-out"]
_HELD_OUT_SHARE = Fraction(1, 20)


@dataclass(frozen=True)
class Permutation:
    """A seeded bijection of ``0 … size-1``: a four-round Feistel network over the next even power of two.

    A result outside the range is permuted again until it falls inside (cycle walking), which keeps it a bijection.
    """

    size: int
    seed: int

    def __call__(self, index: int) -> int:
        if not 0 <= index < self.size:
            raise IndexError(f"index {index} is not in 0 … {self.size - 1}")
        half, mask = self._halves
        while True:
            left, right = index >> half, index & mask
            for turn in range(4):
                left, right = right, left ^ (self._round(turn, right) & mask)
            index = left << half | right
            if index < self.size:
                return index

    def inverse(self, value: int) -> int:
        """The index that gives ``value``."""
        if not 0 <= value < self.size:
            raise IndexError(f"value {value} is not in 0 … {self.size - 1}")
        half, mask = self._halves
        while True:
            left, right = value >> half, value & mask
            for turn in reversed(range(4)):
                left, right = right ^ (self._round(turn, left) & mask), left
            value = left << half | right
            if value < self.size:
                return value

    @property
    def _halves(self) -> tuple[int, int]:
        """Bits of half of a number, and their mask."""
        half = max(1, ((self.size - 1).bit_length() + 1) // 2)
        return half, (1 << half) - 1

    def _round(self, turn: int, value: int) -> int:
        return xxhash.xxh3_64_intdigest(f"{turn}:{value}".encode(), seed=self.seed & 0xFFFFFFFFFFFFFFFF)


def split_size(kind: Kind, split: Split) -> int:
    """How many problems of a kind a split holds."""
    held_out = math.ceil(kind.size * _HELD_OUT_SHARE)
    return held_out if split == "held-out" else kind.size - held_out


def problem(kind: Kind, split: Split, index: int, seed: int) -> tuple[str, Problem]:
    """Problem ``index`` of a split: its name (kind and operands) and itself."""
    if not 0 <= index < split_size(kind, split):
        raise IndexError(f"{kind.name} has {split_size(kind, split)} {split} problems, no number {index}")
    start = split_size(kind, "train") if split == "held-out" else 0
    operands = kind.operands(Permutation(kind.size, seed)(start + index))
    return f"{kind.name}/{'-'.join(map(str, operands))}", kind.make(*operands)


def problems(split: Split, count: int, seed: int) -> Iterator[tuple[str, Problem]]:
    """The first ``count`` problems of a split, all kinds in turn; a kind that is used up is passed over."""
    check_count(split, count)
    for number in _numbers(split, count):
        yield problem(*number, seed)


def check_count(split: Split, count: int) -> None:
    """Raise ``RecipeError`` if a split does not hold ``count`` different problems."""
    most = sum(split_size(kind, split) for kind in KINDS)
    if count > most:
        raise RecipeError(
            f"worked-maths: {count} documents asked for, but there are {most} different {split} problems; "
            f"ask for at most {most}."
        )


def _numbers(split: Split, count: int) -> Iterator[tuple[Kind, Split, int]]:
    made, index = 0, 0
    while made < count:
        for kind in KINDS:
            if made < count and index < split_size(kind, split):
                yield kind, split, index
                made += 1
        index += 1


def as_text(item: Problem) -> str:
    """A problem as a training document."""
    return f"Question: {item.question}\n\nSolution: {item.solution}\n\nAnswer: {item.answer}\n"


class MathsReader:
    """The training split as documents."""

    # A document is a few hundred characters; this bounds what the plan may expect of one.
    _BYTES_BOUND = 600

    def __init__(self, spec: MathsSource):
        self.spec = spec
        check_count("train", spec.documents)

    def fingerprint(self) -> str:
        return digest([self.spec.documents, self.spec.seed, code_version(__name__)])

    def contents(self) -> dict[str, str]:
        return {"generator": code_version(__name__)}

    def size_bound(self) -> int:
        return self.spec.documents * self._BYTES_BOUND

    def read(self, partition: int, partitions: int) -> Iterator[Raw | Rejected]:
        for name, item in problems("train", self.spec.documents, self.spec.seed):
            if partition_of(document_id("worked-maths", name), partitions) == partition:
                yield Raw(name, as_text(item), self.spec.license)
