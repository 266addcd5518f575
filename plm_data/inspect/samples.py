"""Documents on both sides of a rule's threshold, to judge the threshold by what it takes and what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import polars as pl

from plm_data.build import Build
from plm_data.decisions.ledger import EXACT, NEAR
from plm_data.dedup.against import similarity
from plm_data.errors import PlmError
from plm_data.inspect import tables
from plm_data.inspect.duplicates import differences
from plm_data.inspect.explain import RULES, figures
from plm_data.recipe import thresholds
from plm_data.rules import Rule, rule_names
from plm_data.text.printable import clip, excerpt, quote

# Pairs of duplicates compared, of any number; and whose texts are held at a time.
_PAIRS, _AT_A_TIME = 2000, 200
_EXCERPT = 200


@dataclass(frozen=True)
class Sample:
    """A document near a threshold. ``verdict``: by all rules, with the first that fired."""

    id: str
    source: str
    name: str
    value: float
    threshold: float
    verdict: str
    text: str
    part: str | None


@dataclass(frozen=True)
class Samples:
    """``beyond``: just past the threshold, so dropped; ``within``: just inside it. Nearest first.

    ``fired``: how many documents are beyond, and ``off``: the sources in which the rule is turned off.
    """

    rule: Rule
    fired: int
    beyond: list[Sample]
    within: list[Sample]
    off: list[str]


@dataclass(frozen=True)
class Pair:
    """The verdicts of a duplicate and of the document that stayed, with their exact Jaccard similarity."""

    loser: dict[str, Any]
    winner: dict[str, Any]
    jaccard: float
    loser_text: str
    winner_text: str


@dataclass(frozen=True)
class Pairs:
    """The least and the most similar pairs of the ``compared`` ones, of ``total``."""

    total: int
    compared: int
    lowest: list[Pair]
    highest: list[Pair]


def check_rule(name: str) -> str:
    """The rule's name; raises ``PlmError`` with the names that are near if there is none."""
    known = [*rule_names(), EXACT, NEAR]
    if name in known:
        return name
    bare = {full.partition(".")[2]: full for full in known}
    near = [bare[name]] if name in bare else get_close_matches(name, known, n=4, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise PlmError(f"no rule {quote(name, 80)}; {hint}The list of rules stands in plm_data/rules.py.")


def _sources(build: Build, source: str | None) -> list[str]:
    if source is not None and source not in build.recipe.sources:
        raise PlmError(
            f"{build.recipe.name} has no source {quote(source, 80)}; its sources are {', '.join(build.recipe.sources)}."
        )
    return [source] if source else list(build.recipe.sources)


def samples(build: Build, name: str, source: str | None = None, count: int = 5) -> Samples:
    """The documents nearest to a rule's threshold on each side, ``count`` of each, over one source or all.

    Sources may have different thresholds, so nearness is a share of the threshold. Raises ``PlmError`` if the rule is
    off in every source asked for.
    """
    rule = RULES[check_rule(name)]
    limits = {each: thresholds(build.recipe, each).get(name) for each in _sources(build, source)}
    off = [each for each, limit in limits.items() if limit is None]
    if len(off) == len(limits):
        raise PlmError(
            f"{name} is turned off in {source or 'every source'} of {build.recipe.name}, so it has no threshold there; "
            f"see curate in the recipe."
        )
    beyond, within, fired = [], [], 0
    for each, limit in limits.items():
        values = tables.measure(build, each, rule.column) if limit is not None else None
        if values is None or limit is None:
            continue
        past = pl.col("value") < limit if rule.bound == "min" else pl.col("value") > limit
        near = values.with_columns(
            source=pl.lit(each),
            threshold=pl.lit(limit, pl.Float64),
            distance=(pl.col("value") - limit).abs() / float(abs(limit) or 1),
        )
        fired += values.filter(past).select(pl.len()).collect().item()
        beyond.append(near.filter(past).sort("distance", "id").head(count).collect())
        within.append(near.filter(~past).sort("distance", "id").head(count).collect())
    return Samples(rule, fired, _shown(build, name, beyond, count), _shown(build, name, within, count), off)


def _shown(build: Build, rule: str, found: list[pl.DataFrame], count: int) -> list[Sample]:
    rows = pl.concat(found).sort("distance", "id").head(count).to_dicts()
    told = _verdicts(build, [row["id"] for row in rows])
    texts = tables.texts_of(build, [(row["source"], row["id"]) for row in rows])
    shown = []
    for row in rows:
        verdict, text = told[row["id"]], texts[row["id"]]
        said = "kept" if verdict["verdict"] == "kept" else f"dropped by {verdict['reason']}"
        shown.append(
            Sample(
                row["id"], row["source"], verdict["name"], row["value"], row["threshold"], said, text,
                tables.offending(build, row["source"], rule, text),
            )
        )  # fmt: skip
    return shown


def _verdicts(build: Build, ids: list[str]) -> dict[str, dict[str, Any]]:
    rows = tables.verdicts(build).filter(pl.col("id").is_in(ids)).collect()
    return {row["id"]: row for row in rows.iter_rows(named=True)}


def duplicate_pairs(build: Build, name: str, source: str | None = None, count: int = 5) -> Pairs:
    """The pairs of duplicates and what stayed for them, the least and the most similar; ``source``: the duplicate's."""
    sources = _sources(build, source)
    fired = tables.ledger(build).filter(pl.col("rule") == name, pl.col("source").is_in(sources))
    total = fired.select(pl.len()).collect().item()
    # Ids are hashes, so the smallest of them are as good as drawn by lot.
    drawn = fired.sort("id").head(_PAIRS).select("id", "winner").collect().rows()
    pairs: list[Pair] = []
    for start in range(0, len(drawn), _AT_A_TIME):
        some = drawn[start : start + _AT_A_TIME]
        told = _verdicts(build, [identity for row in some for identity in row])
        texts = tables.texts_of(build, [(row["source"], row["id"]) for row in told.values()])
        for loser, winner in some:
            alike = similarity(texts[loser], texts[winner], build.recipe.curate.dedup.shingle_words)
            pairs.append(Pair(told[loser], told[winner], alike, texts[loser], texts[winner]))
        pairs.sort(key=lambda pair: (pair.jaccard, pair.loser["id"]))
        # Only the ends are shown, so only their texts are held.
        pairs = pairs if len(pairs) <= 2 * count else [*pairs[:count], *pairs[-count:]]
    return Pairs(total, len(drawn), pairs[:count], pairs[count:][::-1])


def _fired(documents: int) -> str:
    return f"It fired on {documents:,} document{'' if documents == 1 else 's'}." if documents else "It fired nowhere."


def tell_samples(name: str, found: Samples) -> Iterator[str]:
    """The samples as lines for a terminal."""
    yield f"{name}: {found.rule.meaning}, {found.rule.bound}imum"
    yield _fired(found.fired)
    if found.off:
        yield f"It is turned off in {', '.join(found.off)}."
    for title, rows in (("Just beyond the threshold", found.beyond), ("Just within it", found.within)):
        yield ""
        yield f"{title}:" if rows else f"{title}: no document."
        for row in rows:
            value, threshold = figures(row.value, row.threshold)
            yield f"  {value} ({found.rule.bound}imum {threshold})  {row.source}  {clip(row.name, 90)}"
            yield f"    id {row.id}, {row.verdict}"
            if row.part:
                yield f"    {row.part}"
            yield excerpt(row.text, _EXCERPT, "      | ")


def tell_pairs(name: str, found: Pairs) -> Iterator[str]:
    """The pairs as lines for a terminal."""
    some = f" Of {found.compared:,} of them, the first by id:" if found.compared < found.total else ""
    yield f"{name}\n{_fired(found.total)}{some}"
    for title, pairs in (("The least similar to what stayed:", found.lowest), ("The most similar:", found.highest)):
        if pairs:
            yield ""
            yield title
        for pair in pairs:
            yield f"  Jaccard {figures(pair.jaccard, 1.0)[0]}"
            for said, row in (("dropped", pair.loser), ("stayed ", pair.winner)):
                yield f"    {said} {row['id']}  {row['source']}  {clip(row['name'], 90)}"
            for mine, theirs in differences(pair.loser_text, pair.winner_text, 1):
                yield f"      | dropped: {mine}"
                yield f"      | stayed:  {theirs}"
