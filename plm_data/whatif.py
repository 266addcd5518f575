"""What if: the recipe with some thresholds changed, decided again from the measured columns alone.

Reads no text and writes nothing; the same rules and the same choice of winners as a build.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import yaml
from pydantic import ValidationError

from plm_data.build import Build
from plm_data.decisions.judge import CANDIDATES, quality_of
from plm_data.decisions.ledger import failing, fails_any
from plm_data.decisions.winners import find_duplicates
from plm_data.errors import RecipeError
from plm_data.recipe import Recipe, thresholds
from plm_data.rules import RULE_SETS

# Sections of curate whose keys decide; what else a recipe says is measured or mixed.
_RULES = {rules.name: [rule.key for rule in rules.rules] for rules in RULE_SETS}
_OVERRIDES = ("languages", "domains", "sources")


def changed_recipe(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with ``KEY=VALUE`` settings, as ``curate.gopher.max_symbol_ratio=0.2``; the value is YAML.

    Raises ``RecipeError`` for a key that is unknown, or that no decision depends on.
    """
    data = recipe.model_dump(mode="json", exclude_unset=True)
    for setting in settings:
        key, equals, value = setting.partition("=")
        path = key.strip().split(".")
        if not equals or not value.strip():
            raise RecipeError(f"--set {setting}: expected KEY=VALUE, as curate.gopher.max_symbol_ratio=0.2.")
        _check_decides(recipe, path, setting)
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {setting}: {value!r} is no YAML value.") from error
        place: Any = data
        for part in path[:-1]:
            if not isinstance(place.get(part), dict):
                # In a set that is null all rules are off; naming one of them turns on that one alone.
                place[part] = dict.fromkeys(_RULES[part]) if part in place and part in _RULES else {}
            place = place[part]
        place[path[-1]] = parsed
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        known = next((f" Known in {part}: {', '.join(_RULES[part])}." for part in place if part in _RULES), "")
        problem = "unknown key" if first["type"] == "extra_forbidden" else f"{first['msg']} (found {first['input']!r})"
        raise RecipeError(f"--set {' '.join(settings)}: {'.'.join(place)}: {problem}.{known}") from error


def _check_decides(recipe: Recipe, path: list[str], setting: str) -> None:
    if path[0] == "curate" and len(path) > 1 and path[1] in _RULES:
        return
    if path[0] == "curate" and len(path) > 3 and path[1] in _OVERRIDES:
        specs = recipe.sources.items()
        known = {
            "sources": {name for name, _ in specs},
            "domains": {spec.domain for _, spec in specs},
            "languages": {spec.language for _, spec in specs},
        }[path[1]]
        if path[2] not in known:
            raise RecipeError(f"--set {setting}: no source has {path[2]!r}; known: {', '.join(sorted(known))}.")
        if path[3] in _RULES:
            return
    if path[:3] == ["curate", "dedup", "quality"] or (path[0] == "sources" and path[2:] == ["priority"]):
        if path[0] == "sources" and path[1] not in recipe.sources:
            raise RecipeError(f"--set {setting}: no source {path[1]!r}; known: {', '.join(recipe.sources)}.")
        return
    raise RecipeError(
        f"--set {setting}: what-if decides anew from what is measured, so it can change thresholds "
        f"(curate.SET.RULE, curate.domains.DOMAIN.SET.RULE, curate.sources.SOURCE.SET.RULE), sources.SOURCE.priority "
        f"and curate.dedup.quality. For {'.'.join(path)} change the recipe and build."
    )


def what_if(build: Build, settings: Sequence[str]) -> pl.DataFrame:
    """One row a source: documents and tokens that are kept now, kept then, and gained and lost on the way.

    Columns: ``source``, then int64 ``documents, tokens`` (kept now), ``new_documents, new_tokens`` (kept then),
    ``gained_documents, gained_tokens, lost_documents, lost_tokens``.
    """
    before = _Decision(build, build.recipe)
    after = _Decision(build, changed_recipe(build.recipe, settings))
    rows = []
    for source in build.recipe.sources:
        frame = pl.DataFrame({"now": before.kept[source], "then": after.kept[source], "tokens": before.tokens[source]})
        gained, lost = pl.col("then") & ~pl.col("now"), pl.col("now") & ~pl.col("then")
        counted = frame.select(
            source=pl.lit(source),
            **{f"{name}documents": mask.sum().cast(pl.Int64) for name, mask in _masks(gained, lost)},
            **{
                f"{name}tokens": pl.col("tokens").filter(mask).sum().cast(pl.Int64)
                for name, mask in _masks(gained, lost)
            },
        )
        rows.append(counted)
    return pl.concat(rows)


def _masks(gained: pl.Expr, lost: pl.Expr) -> list[tuple[str, pl.Expr]]:
    return [("", pl.col("now")), ("new_", pl.col("then")), ("gained_", gained), ("lost_", lost)]


class _Decision:
    """Which documents a recipe keeps: ``kept``, source → a Boolean a document, in the documents' own order."""

    def __init__(self, build: Build, recipe: Recipe):
        self.kept: dict[str, pl.Series] = {}
        self.tokens: dict[str, pl.Series] = {}
        candidates = []
        quality = recipe.curate.dedup.quality
        for source, spec in recipe.sources.items():
            limits = thresholds(recipe, source)
            names = ["token_count", "chars", "near_cluster", "near_cluster_size", "content_hash"]
            names += [column for _, column, *_ in failing(limits).values()]
            if quality:
                names.append(quality.removeprefix("-"))
            columns = build.source_columns(source).all(list(dict.fromkeys(["id", *names])))
            self.tokens[source] = columns["token_count"]
            self.kept[source] = columns.with_columns(kept=~fails_any(limits))["kept"]
            survivors = columns.with_row_index("row").filter(self.kept[source])
            candidates.append(
                survivors.select(
                    "row", *(name for name in CANDIDATES.names if name in columns.columns),
                    source=pl.lit(source), priority=pl.lit(spec.priority, pl.Int64), quality=quality_of(quality),
                )
            )  # fmt: skip
        losers = find_duplicates(pl.concat(frame.select(CANDIDATES.names) for frame in candidates))
        for frame, (source, kept) in zip(candidates, self.kept.items(), strict=True):
            lost = frame.join(losers.filter(pl.col("source") == source).select("id"), on="id", how="semi")["row"]
            self.kept[source] = kept.scatter(lost.to_numpy(), False)
