"""Shares and quotas: what a phase's mix means in tokens of each source, exact to the token."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from fractions import Fraction

from plm_data.recipe import DomainMix, Mix, Strategy, Temperature

# Digits of a strategy's shares: enough for 10^20 tokens, and the same on every machine, as no float's power is.
_DECIMAL = Context(prec=40)


def sources_of(mix: Mix, known: Mapping[str, object]) -> list[str]:
    """The sources that a mix names; a strategy that names none takes all ``known`` ones."""
    if isinstance(mix, Strategy):
        return list(mix.sources or known)
    found: list[str] = []
    for name, entry in mix.items():
        found += sources_of(entry.sources, known) if isinstance(entry, DomainMix) else [name]
    return found


def needs_supply(mix: Mix) -> bool:
    """Whether the shares depend on how much the sources hold."""
    if isinstance(mix, Strategy):
        return True
    return any(isinstance(entry, DomainMix) and needs_supply(entry.sources) for entry in mix.values())


def shares(mix: Mix, tokens: int, supply: Mapping[str, int]) -> dict[str, Fraction]:
    """Source → its share of a phase of ``tokens`` tokens; they sum to 1. ``supply``: tokens of one epoch by source.

    Weights may miss 1 by a rounding error, which a large budget would make into tokens, so they are scaled to it.
    """
    if isinstance(mix, Strategy):
        asked = {name: supply[name] for name in sources_of(mix, supply)}
        return (
            temperature(asked, mix.temperature) if isinstance(mix, Temperature) else unimax(asked, tokens, mix.epochs)
        )
    found: dict[str, Fraction] = {}
    weights = {name: Fraction(str(e.weight if isinstance(e, DomainMix) else e)) for name, e in mix.items()}
    total = sum(weights.values())
    for name, entry in mix.items():
        weight = weights[name] / total
        inner = shares(entry.sources, int(tokens * weight), supply) if isinstance(entry, DomainMix) else {name: 1}
        for source, share in inner.items():
            found[source] = weight * share
    return found


def temperature(supply: Mapping[str, int], value: float) -> dict[str, Fraction]:
    """Shares in proportion to size^(1/T): 1 is in proportion to size, and large is even (Conneau et al. 2019, XLM)."""
    power = _DECIMAL.divide(Decimal(1), Decimal(str(value)))
    raised = {name: Fraction(_DECIMAL.power(Decimal(size), power)) for name, size in supply.items() if size}
    total = sum(raised.values())
    return {name: raised[name] / total if name in raised else Fraction(0) for name in supply}


def unimax(supply: Mapping[str, int], tokens: int, epochs: float) -> dict[str, Fraction]:
    """As even as it goes with no source repeated more than ``epochs`` times (Chung et al. 2023, arXiv 2304.09151).

    From the smallest source on, each takes an even part of what is left, or all that its epochs give. What none of
    them can give is asked of the largest, so that the plan refuses it by name.
    """
    left, found = Fraction(tokens), dict[str, Fraction]()
    ordered = sorted(supply, key=lambda name: (supply[name], name))
    for i, name in enumerate(ordered):
        found[name] = min(left / (len(ordered) - i), Fraction(str(epochs)) * supply[name])
        left -= found[name]
    if left and ordered:
        found[ordered[-1]] += left
    return {name: found[name] / tokens for name in supply}


def quotas(shares: Mapping[str, Fraction], tokens: int) -> dict[str, int]:
    """Tokens of each source; they sum to ``tokens`` exactly (largest remainders, ties by name)."""
    exact = {name: share * tokens for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_remainder[: tokens - sum(whole.values())]:
        whole[name] += 1
    return whole
