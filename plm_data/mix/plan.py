"""The plan: which stretches of each source's seeded order every phase takes, from the first phase to the last.

A source's documents have one order, drawn from their contents and the seed; their tokens, end to end, make an axis.
How often each stretch of it was taken is a list of levels, so a plan costs no more for a larger source. A phase takes
the least seen documents first, in that order: so phases share no document while a source lasts, epochs count over
all phases, and a larger budget takes all that a smaller one does, and more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, Protocol

from plm_data.errors import RecipeError
from plm_data.mix.weights import quotas, shares
from plm_data.recipe import PhaseSpec

# A document's place in its source's order: its seeded rank, and its id for the rare equal ranks.
Key = tuple[int, str]


@dataclass(frozen=True)
class Spot:
    """The document that holds a token of the axis: where it starts there, how long it is, and its key."""

    start: int
    tokens: int
    key: Key


class Axis(Protocol):
    """A source's documents end to end."""

    @property
    def total(self) -> int:
        """Tokens of one epoch."""

    @property
    def largest(self) -> int:
        """Tokens of the largest document."""

    def locate(self, position: int) -> Spot:
        """The document that holds the token at ``position``, which lies in ``[0, total)``."""


@dataclass(frozen=True)
class Declared:
    """An axis of which only the length is known: any token may be an end."""

    total: int
    largest: int = 0

    def locate(self, position: int) -> Spot:
        return Spot(position, 1, (0, ""))


@dataclass(frozen=True)
class Piece:
    """Documents from ``first`` to before ``stop`` (None: to the end) of a source's order, and which epoch of them."""

    first: Key
    stop: Key | None
    epoch: int
    tokens: int

    def values(self) -> list[Any]:
        """As plain values, for JSON and step keys."""
        return [list(self.first), self.stop and list(self.stop), self.epoch, self.tokens]

    @staticmethod
    def of(values: list[Any]) -> Piece:
        """The piece whose ``values`` these are."""
        first, stop, epoch, tokens = values
        return Piece((first[0], first[1]), (stop[0], stop[1]) if stop else None, epoch, tokens)


# All of a source, once.
EVERYTHING = Piece((0, ""), None, 0, 0)


@dataclass(frozen=True)
class Take:
    """What a phase takes of a source. ``cut``: the id of the last document, and how many of its tokens; ``epochs``:
    passes over the source by this phase, ``epochs_so_far``: and by all before it."""

    share: Fraction
    quota: int
    tokens: int
    pieces: tuple[Piece, ...]
    cut: tuple[str, int] | None
    epochs: float
    epochs_so_far: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        pieces = [piece.values() for piece in self.pieces]
        return {**vars(self), "share": str(self.share), "pieces": pieces, "cut": self.cut and list(self.cut)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Take:
        """The take whose ``to_json`` this is."""
        pieces, cut = tuple(Piece.of(piece) for piece in values["pieces"]), values["cut"]
        return Take(**{**values, "share": Fraction(values["share"]), "pieces": pieces, "cut": cut and (cut[0], cut[1])})


Plan = dict[str, dict[str, Take]]


@dataclass
class _Level:
    """A stretch of the axis whose documents were all taken equally often."""

    start: int
    stop: int
    uses: int
    first: Key
    open: bool = True


@dataclass
class _State:
    """What the phases so far have taken of a source."""

    axis: Axis
    most_epochs: Fraction
    levels: list[_Level] = field(default_factory=list)
    used: int = 0
    # By how much the phases so far have more than was planned: the next one makes up for it.
    ahead: int = 0

    def __post_init__(self) -> None:
        if self.axis.total:
            self.levels = [_Level(0, self.axis.total, 0, self.axis.locate(0).key)]

    def begin(self, documents: Literal["any", "seen", "unseen"]) -> None:
        """Open the levels of which a phase may take."""
        for level in self.levels:
            level.open = documents == "any" or (level.uses > 0) == (documents == "seen")

    def capacity(self, documents: Literal["any", "seen", "unseen"]) -> int:
        """Tokens that a phase may take now."""
        most = 1 if documents == "unseen" else math.ceil(self.most_epochs)
        given = sum((most - level.uses) * (level.stop - level.start) for level in self.levels if level.open)
        return max(0, min(given, int(self.most_epochs * self.axis.total) - self.used))

    def take(self, quota: int, documents: Literal["any", "seen", "unseen"], cut: bool) -> Take:
        """Take a phase's tokens: whole documents to the nearest, or with the last one cut."""
        before, pieces, short = self.used, list[Piece](), quota if cut else quota - self.ahead
        most, cut_document = 1 if documents == "unseen" else math.ceil(self.most_epochs), None
        while short > 0:
            ready = [level for level in self.levels if level.open and level.uses < most]
            if not ready:
                break
            level = min(ready, key=lambda each: (each.uses, each.start))
            end, taken = level.stop, level.stop - level.start
            if short < taken:
                target = level.start + short
                spot = self.axis.locate(target)
                inside = target - spot.start
                whole = inside > 0 and (cut or 2 * inside > spot.tokens)
                end = spot.start + spot.tokens if whole else spot.start
                taken = short if cut else end - level.start
                if cut and inside:
                    cut_document = (spot.key[1], inside)
                short = 0
            else:
                short -= taken
            if end > level.start:
                pieces.append(Piece(level.first, self._key(end), level.uses, end - level.start))
                self._lift(level, end)
                self.used += taken
        tokens = self.used - before
        self.ahead += tokens - quota
        total = max(self.axis.total, 1)
        return Take(Fraction(0), quota, tokens, tuple(pieces), cut_document, tokens / total, self.used / total)

    def _key(self, position: int) -> Key | None:
        return self.axis.locate(position).key if position < self.axis.total else None

    def _lift(self, level: _Level, end: int) -> None:
        """Count one more use of a level up to ``end``."""
        if end < level.stop:
            key = self._key(end)
            assert key is not None
            self.levels.insert(self.levels.index(level) + 1, _Level(end, level.stop, level.uses, key, level.open))
            level.stop = end
        level.uses += 1
        merged: list[_Level] = []
        for each in self.levels:
            if merged and merged[-1].uses == each.uses and merged[-1].open == each.open:
                merged[-1].stop = each.stop
            else:
                merged.append(each)
        self.levels = merged


def make_plan(
    phases: Mapping[str, PhaseSpec],
    axes: Mapping[str, Axis],
    most_epochs: Mapping[str, float],
    said: Callable[[str], str],
) -> Plan:
    """Phase → source → what is taken. Raises ``RecipeError`` naming the source that cannot give what is asked of it.

    ``axes``: of every source that a mix names. ``said``: what is known of a source's tokens, as "has" or "declares".
    """
    supply = {source: axis.total for source, axis in axes.items()}
    # First on the bare lengths, where nothing is rounded to documents: what fits there is refused for no rounding.
    _plan(phases, {source: Declared(total) for source, total in supply.items()}, most_epochs, said)
    return _plan(phases, axes, most_epochs, said)


def _plan(
    phases: Mapping[str, PhaseSpec],
    axes: Mapping[str, Axis],
    most_epochs: Mapping[str, float],
    said: Callable[[str], str],
) -> Plan:
    supply = {source: axis.total for source, axis in axes.items()}
    states = {source: _State(axis, Fraction(str(most_epochs[source]))) for source, axis in axes.items()}
    plan: Plan = {}
    for name, phase in phases.items():
        parts = shares(phase.mix, phase.tokens, supply)
        asked = quotas(parts, phase.tokens)
        for source in asked:
            states[source].begin(phase.documents)
        _check(name, phase, asked, states, said)
        takes = {s: states[s].take(quota, phase.documents, phase.cut_last) for s, quota in asked.items()}
        plan[name] = {source: replace(take, share=parts[source]) for source, take in takes.items()}
    return plan


def _check(
    name: str, phase: PhaseSpec, asked: Mapping[str, int], states: Mapping[str, _State], said: Callable[[str], str]
) -> None:
    """Raise ``RecipeError`` for the source that limits the phase most."""
    capacity = {source: states[source].capacity(phase.documents) for source in asked}
    short = {
        source: quota
        for source, quota in asked.items()
        if quota > capacity[source] + (0 if phase.cut_last else states[source].axis.largest)
    }
    if not short:
        return
    source = max(short, key=lambda each: (Fraction(short[each], max(capacity[each], 1)), each))
    state = states[source]
    supply = {each: one.axis.total for each, one in states.items()}
    feasible = _largest(phase, capacity, supply)
    total = state.axis.total
    epochs = f"{(state.used + asked[source]) / total:.2f}" if total else "infinitely many"
    kind = {"any": "", "seen": " that an earlier phase has had", "unseen": " that no earlier phase has had"}
    raise RecipeError(
        f"{name} asks {asked[source]:,} tokens of the source {source!r}{kind[phase.documents]}, which {said(source)} "
        f"{total:,} tokens; with max_epochs = {float(state.most_epochs):g}, and {state.used:,} taken by the phases "
        f"before, {capacity[source]:,} are left. The largest feasible budget of {name} with this mix is "
        f"{feasible:,} of the {phase.tokens:,} tokens asked for; this budget would take {epochs} epochs of {source!r}. "
        f"Lower the budget or the weight of {source!r}, or raise max_epochs."
    )


def _largest(phase: PhaseSpec, capacity: Mapping[str, int], supply: Mapping[str, int]) -> int:
    """The most tokens that a phase can have with its mix."""

    def fits(tokens: int) -> bool:
        found = quotas(shares(phase.mix, tokens, supply), tokens)
        return all(quota <= capacity[source] for source, quota in found.items())

    low, high = 0, phase.tokens
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
