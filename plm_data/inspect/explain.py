"""The story of one document or conversation: where it came from, what was measured, why it was kept or dropped."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from plm_data.build import Build
from plm_data.chat.phases import ConversationPhase
from plm_data.curation import Curation
from plm_data.decisions.ledger import EXACT, NEAR
from plm_data.dedup.against import similarity
from plm_data.errors import PlmError
from plm_data.inspect import tables
from plm_data.inspect.duplicates import differences, standing, why_it_stayed
from plm_data.mix.ranked import is_held_out
from plm_data.recipe import thresholds
from plm_data.rules import RULE_SETS, Rule
from plm_data.shards import shard_file
from plm_data.text.printable import clip, printable, quote

RULES: dict[str, Rule] = {f"{rules.name}.{rule.key}": rule for rules in RULE_SETS for rule in rules.rules}
_LISTED, _CLOSEST = 10, 3


@dataclass(frozen=True)
class Match:
    """A document whose text holds what was searched."""

    id: str
    source: str
    name: str
    verdict: str
    reason: str | None
    excerpt: str


def find(build: Build, pattern: str, most: int = 20) -> list[Match]:
    """The first documents whose text holds ``pattern`` (plain text, case counts), at most ``most`` of them."""
    wanted = unicodedata.normalize("NFC", pattern)
    found: list[Match] = []
    for curation in tables.curations(build):
        hits = list(islice(_holding(curation, wanted), most - len(found)))
        ids = [hit[0] for hit in hits]
        rows = tables.verdicts(curation).filter(pl.col("id").is_in(ids)).select("id", "verdict", "reason").collect()
        said = {identity: (verdict, reason) for identity, verdict, reason in rows.iter_rows()}
        found += [Match(identity, source, name, *said[identity], shown) for identity, source, name, shown in hits]
    return found


def _holding(curation: Curation, wanted: str) -> Iterator[tuple[str, str, str, str]]:
    for source in curation.recipe.sources:
        for batch in tables.text_batches(curation, source):
            for identity, name, text in batch.filter(pl.col("text").str.contains(wanted, literal=True)).iter_rows():
                at = text.index(wanted)
                yield identity, source, name, clip(text[max(0, at - 30) : at + 90].strip(), 110)


def explain(build: Build, wanted: str) -> str:
    """The story of the document with this id, the only one whose id begins so, or the only one of this name.

    Conversations and prompts are documents too. One that several phases read has a story in each.
    """
    return "\n\n".join(tell(build, curation, document) for curation, document in _resolve(build, wanted))


def tell(build: Build, curation: Curation, document: dict[str, Any]) -> str:
    """The story of a row of the verdicts, or of what was rejected, of one of the build's ``tables.curations``."""
    if "content_hash" not in document:
        return "\n".join(_rejected_story(document))
    text = tables.texts(curation, document["source"], [document["id"]])[document["id"]]
    measured = tables.measures(curation, document["source"], [document["id"]])[document["id"]]
    lines = [*_facts(curation, document, measured), ""]
    if document["verdict"] == "kept":
        lines += _kept(build, curation, document, measured)
    else:
        lines += _dropped(curation, document, text)
    namesakes = tables.rejected(curation).filter(pl.col("id") == document["id"]).head(_LISTED).collect().to_dicts()
    lines += [f"Another of this name was {_rejection(row)}" for row in namesakes]
    return "\n".join(lines)


def _resolve(build: Build, wanted: str) -> list[tuple[Curation, dict[str, Any]]]:
    """The row of a document in each curation that has it; raises ``PlmError`` for none, or several documents."""
    by = pl.col("id").str.starts_with(wanted.lower()) | (pl.col("name") == wanted)
    curations = tables.curations(build)
    for table in (tables.verdicts, tables.rejected):
        found = [
            (curation, row)
            for curation in curations
            for row in table(curation).filter(by if wanted else pl.lit(False)).head(1000).collect().to_dicts()
        ]
        meant = [each for each in found if each[1]["id"] == wanted.lower()] or found
        if len({row["id"] for _, row in meant}) == 1:
            return [meant[n] for n in range(len(meant)) if n == 0 or meant[n][0] is not meant[n - 1][0]]
        if found:
            ids = {row["id"]: f"  {row['id']}  {row['source']}  {clip(row['name'], 80)}" for _, row in found}
            raise PlmError(
                f"{len(ids):,}{'+' if len(found) >= 1000 else ''} documents of {build.recipe.name} are called "
                f"{clip(wanted, 60)} or have an id that begins so; give more of the id:\n"
                + "\n".join(islice(ids.values(), _LISTED))
            )
    raise PlmError(
        f"{build.recipe.name} has no document with the id or name {quote(wanted, 80)}. Ids stand in the shards' column "
        f"`id`, in the ledger and in the report's examples; `plm explain --grep TEXT` finds a document by its text."
    )


def _rejected_story(row: dict[str, Any]) -> list[str]:
    return [
        printable(row["name"]),
        f"  id        {row['id']}",
        f"  source    {row['source']}",
        "",
        f"It was {_rejection(row)}",
    ]


def _rejection(row: dict[str, Any]) -> str:
    step, _, reason = row["rule"].partition(".")
    detail = f" ({printable(row['detail'])})" if row["detail"] else ""
    return f"{row['verdict']} at {step}, before any rule: {reason}{detail}"


def _facts(build: Curation, document: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    spec = build.recipe.sources[document["source"]]
    known = tables.metadata(build, document["source"], document["id"])
    return [
        printable(document["name"]),
        f"  id        {document['id']}",
        *([f"  phase     {build.phase}"] if isinstance(build, ConversationPhase) else []),
        f"  source    {document['source']} (reader {spec.reader}, domain {spec.domain}, priority {spec.priority})",
        f"  licence   {printable(document['license'])}",
        f"  size      {document['bytes']:,} bytes, {measured['words']:,} words, {document['token_count']:,} tokens",
        f"  language  {measured['language']} {measured['language_score']:.2f}, then {measured['runner_up']} "
        f"{measured['runner_up_score']:.2f}; the source declares {spec.language}",
        *(f"  metadata  {name}: {printable(value)}" for name, value in sorted(known.items())),
    ]


def _dropped(build: Curation, document: dict[str, Any], text: str) -> Iterator[str]:
    fired = tables.ledger(build).filter(pl.col("id") == document["id"]).collect().to_dicts()
    order = {name: i for i, name in enumerate([*RULES, EXACT, NEAR])}
    fired.sort(key=lambda row: order.get(row["rule"], len(order)))
    if fired[0]["rule"] in (EXACT, NEAR):
        yield from _duplicate(build, document, text, fired[0])
        return
    yield f"Dropped by {len(fired)} rules, each of which is enough:" if len(fired) > 1 else "Dropped by one rule:"
    for row in fired:
        rule = RULES.get(row["rule"])
        yield f"  {row['rule']}: {rule.meaning if rule else 'no rule of this version'}"
        if row["value"] is not None and row["threshold"] is not None:
            value, threshold = figures(row["value"], row["threshold"])
            side = "below the minimum" if row["bound"] == "min" else "above the maximum"
            yield f"    {value} is {side} of {threshold}"
        if part := tables.offending(build, document["source"], row["rule"], text):
            yield f"    {part}"


def _duplicate(build: Curation, document: dict[str, Any], text: str, row: dict[str, Any]) -> Iterator[str]:
    winner = tables.verdicts(build).filter(pl.col("id") == row["winner"]).collect().to_dicts()[0]
    other = tables.texts(build, winner["source"], [winner["id"]])[winner["id"]]
    width = build.recipe.curate.dedup.shingle_words
    alike = similarity(text, other, width)
    exact = row["rule"] == EXACT
    yield f"Dropped as {'an exact' if exact else 'a near'} duplicate ({row['rule']}). This one stayed:"
    yield f"  {printable(winner['name'])}"
    yield f"  id        {winner['id']}"
    yield f"  source    {winner['source']}"
    one, two = standing(build, winner["source"], winner["id"]), standing(build, document["source"], document["id"])
    yield f"  because   {why_it_stayed(one, two)}"
    shared = f"{row['value']:,.0f} documents that pass the rules {'have this text' if exact else 'are in the cluster'}"
    yield f"  Jaccard   {figures(alike, 1.0)[0]} of their {width}-word shingles; {shared}"
    bands, rows = build.banding
    if not exact and alike < (1 / bands) ** (1 / rows):
        yield "            They are in one cluster through documents that are like both."
    if text == other:
        yield "  The texts are the same."
        return
    yield "  Where they differ:" if (found := differences(text, other)) else "  They differ in white space alone."
    for mine, theirs in found:
        yield f"    this      {mine}"
        yield f"    the other {theirs}"


def _kept(build: Build, curation: Curation, document: dict[str, Any], measured: dict[str, Any]) -> Iterator[str]:
    yield "Kept."
    if closest := _closest(thresholds(curation.recipe, document["source"]), measured):
        yield "  The rules that came closest:"
    for margin, name, said_value, said_threshold in closest:
        yield (
            f"    {name}: {RULES[name].meaning}: {said_value}, the {RULES[name].bound}imum is {said_threshold} "
            f"({'on it' if margin == 0 else f'{margin:.1%} away'})"
        )
    losers = tables.ledger(curation).filter(pl.col("winner") == document["id"]).select("id", "source", "rule").collect()
    names = _names(curation, losers["id"].head(_LISTED).to_list())
    if losers.height:
        yield f"  It stayed for {losers.height:,} duplicate{'' if losers.height == 1 else 's'}:"
    for identity, source, rule in losers.head(_LISTED).iter_rows():
        yield f"    {identity}  {source}  {clip(names[identity], 80)}  ({rule})"
    if losers.height > _LISTED:
        yield f"    and {losers.height - _LISTED:,} more"
    yield from _places(build, curation, document)


def _closest(limits: dict[str, float | None], measured: dict[str, Any]) -> list[tuple[float, str, str, str]]:
    """The rules that a document passed by the least, as shares of their thresholds."""
    margins = []
    for name, rule in RULES.items():
        # Of a threshold of 0 every document that is kept is as near as can be.
        if (limit := limits.get(name)) and rule.column in measured:
            value = float(measured[rule.column])
            margins.append((abs(value - limit) / abs(limit), name, *figures(value, limit)))
    return sorted(margins)[:_CLOSEST]


def _names(build: Curation, ids: list[str]) -> dict[str, str]:
    rows = tables.verdicts(build).filter(pl.col("id").is_in(ids)).select("id", "name").collect()
    return dict(rows.iter_rows())


def _places(build: Build, curation: Curation, document: dict[str, Any]) -> Iterator[str]:
    """Forward: the rows of the phases that hold a kept document."""
    phases = [curation.phase] if isinstance(curation, ConversationPhase) else list(build.recipe.phases)
    if curation is build:
        share = build.recipe.held_out_of(document["source"])
        if is_held_out(build.recipe.seed, share, pl.Series([document["content_hash"]]))[0]:
            yield "  It is held out: in no phase, to measure the loss on."
            return
    built = {phase: found for phase in phases if (found := build.built(phase))}
    places = []
    for phase, (_, placed, _) in built.items():
        for row in tables.placed_rows(curation, placed, document["id"]).iter_rows(named=True):
            number, at = divmod(row["position"], build.recipe.shards.rows_per_shard)
            cut = f", its first {row['taken']:,} tokens" if row["taken"] < row["token_count"] else ""
            epoch = f", epoch {row['epoch'] + 1}" if row["epoch"] else ""
            places.append(f"    {phase}: row {at:,} of {shard_file(Path(phase), number).name}{epoch}{cut}")
    if places:
        yield "  It is in:"
        yield from places
    else:
        yield "  It is in no phase that is built: their budgets were met before its turn came."
    if missing := [phase for phase in phases if phase not in built]:
        yield f"  Not built yet: {', '.join(missing)}"


def figures(value: float, threshold: float) -> tuple[str, str]:
    """Two numbers with as many decimals as it takes to tell them apart, three at least."""
    for decimals in range(3, 16):
        shown = _figure(value, decimals), _figure(threshold, decimals)
        if shown[0] != shown[1] or value == threshold:
            break
    return shown


def _figure(value: float, decimals: int) -> str:
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.{decimals}f}".rstrip("0").removesuffix(".")
