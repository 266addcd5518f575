"""What a recipe's phases must agree with: its sources, their domains, each other, and the sums of their shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from plm_data.recipe import DomainMix, PhaseSpec, Recipe, Strategy

_SHARE_TOLERANCE = 1e-9
_SEGMENTS = ["stable", "decay", "constant"]

Where = Callable[..., str]


def check_phases(recipe: Recipe, where: Where) -> list[str]:
    """What is wrong. ``where``: the file and line of a place in the recipe, given as its keys."""
    problems: list[str] = []
    for name, phase in recipe.phases.items():
        problems += _check_mix(recipe, name, phase, where)
        if phase.context:
            problems += _check_context(recipe, name, phase, where)
    segments = [phase.segment for phase in recipe.phases.values()]
    if segments != sorted(segments, key=_SEGMENTS.index) or segments[0] != "stable":
        problems.append(
            f"{where('phases')}: the phases' segments are {', '.join(segments)}; expected stable first, then decay, "
            f"then constant (the Warmup-Stable-Decay-Constant schedule)."
        )
    return problems


def _check_mix(recipe: Recipe, name: str, phase: PhaseSpec, where: Where) -> list[str]:
    place = ("phases", name, "mix")
    problems: list[str] = []
    named: Counter[str] = Counter()
    if isinstance(phase.mix, Strategy):
        named.update(phase.mix.sources or ())
        problems += _check_sources(recipe, place, phase.mix.sources or (), where)
    else:
        weights = {key: e.weight if isinstance(e, DomainMix) else e for key, e in phase.mix.items()}
        for key, entry in phase.mix.items():
            if isinstance(entry, DomainMix):
                named.update(_listed(entry))
                problems += _check_domain(recipe, (*place, key), key, entry, where)
            else:
                named[key] += 1
                problems += _check_sources(recipe, place, (key,), where)
        problems += _check_sum(place, weights, where)
    for source, times in named.items():
        if times > 1:
            problems.append(
                f"{where(*place)}: phases.{name}.mix names the source {source!r} {times} times; once will do."
            )
    return problems


def _listed(entry: DomainMix) -> tuple[str, ...]:
    """The sources that a domain's entry names."""
    return (entry.sources.sources or ()) if isinstance(entry.sources, Strategy) else tuple(entry.sources)


def _check_domain(recipe: Recipe, place: tuple[str, ...], domain: str, entry: DomainMix, where: Where) -> list[str]:
    own = [source for source, spec in recipe.sources.items() if spec.domain == domain]
    if not own:
        known = ", ".join(sorted({spec.domain for spec in recipe.sources.values()}))
        return [f"{where(*place)}: no source has the domain {domain!r}; the domains are: {known}."]
    if isinstance(entry.sources, Strategy) and entry.sources.sources is None:
        return [
            f"{where(*place)}: {'.'.join(place)}.sources is a strategy, so it lists its sources; "
            f"those of {domain} are: {', '.join(own)}."
        ]
    problems = _check_sources(recipe, (*place, "sources"), _listed(entry), where)
    for source in _listed(entry):
        if source in recipe.sources and source not in own:
            problems.append(
                f"{where(*place, 'sources', source)}: the source {source!r} has the domain "
                f"{recipe.sources[source].domain!r}, but stands under {domain!r}, whose sources are: {', '.join(own)}."
            )
    if not isinstance(entry.sources, Strategy):
        problems += _check_sum((*place, "sources"), entry.sources, where)
    return problems


def _check_sources(recipe: Recipe, place: tuple[str, ...], sources: tuple[str, ...], where: Where) -> list[str]:
    problems = []
    for source in sources:
        if source not in recipe.sources:
            problems.append(
                f"{where(*place, source)}: {'.'.join(place)} names the source {source!r}, which the recipe does not "
                f"have; its sources are: {', '.join(recipe.sources)}."
            )
        elif recipe.held_out_of(source) == 1:
            problems.append(
                f"{where(*place, source)}: {'.'.join(place)} names the source {source!r}, all of which is held out; "
                f"lower its held_out, or take it from the mix."
            )
    return problems


def _check_sum(place: tuple[str, ...], weights: dict[str, float], where: Where) -> list[str]:
    total = sum(weights.values())
    if abs(total - 1) <= _SHARE_TOLERANCE:
        return []
    return [
        f"{where(*place)}: the weights of {'.'.join(place)} sum to {total:.6g}, expected 1. "
        f"Change them so that they sum to 1."
    ]


def _check_context(recipe: Recipe, name: str, phase: PhaseSpec, where: Where) -> list[str]:
    place = ("phases", name, "context")
    problems = []
    total = sum(stage.share for stage in phase.context)
    if abs(total - 1) > _SHARE_TOLERANCE:
        problems.append(f"{where(*place)}: the shares of {'.'.join(place)} sum to {total:.6g}, expected 1.")
    most = recipe.model.max_position_embeddings if recipe.model else None
    for i, stage in enumerate(phase.context):
        if most is not None and stage.length > most:
            problems.append(
                f"{where(*place, i)}: a sequence of {stage.length} tokens is longer than "
                f"model.max_position_embeddings = {most}; shorten it, or raise that."
            )
    return problems
