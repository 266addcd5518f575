"""Facts of what was measured: lengths, languages, the tokenizer's fertility, and every measure no rule reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import polars as pl

from plm_data.build import Build
from plm_data.report.columns import Column, median
from plm_data.report.survey import Survey

Json = dict[str, Any]

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Values of a category, and languages detected, that are shown by name.
_MOST_VALUES = 15
# No label of a language.
OTHER = "other"
_Key = tuple[str, str, str, str]


def length_facts(build: Build) -> Json:
    """Tokens of a document: quantiles, and the longest, of each source's documents, all and kept.

    Of each source one column of whole numbers is held at a time.
    """
    rows = []
    for source in build.recipe.sources:
        scan = pl.scan_parquet(build.decided[source].parts("verdicts"), glob=False)
        for which, mask in (("all", pl.lit(True)), ("kept", pl.col("verdict") == "kept")):
            tokens = scan.filter(mask).select("token_count").collect()["token_count"]
            if len(tokens):
                quantiles = [int(tokens.quantile(q, "lower") or 0) for q in _QUANTILES]
                rows.append(
                    {
                        "source": source, "which": which, "documents": len(tokens), "tokens": int(tokens.sum()),
                        "quantiles": quantiles, "longest": int(tokens.max()),  # type: ignore[arg-type]
                    }
                )  # fmt: skip
    return {"quantiles_of": list(_QUANTILES), "by_source": rows}


def language_facts(found: Survey) -> list[Json]:
    """Documents, tokens, words and bytes, of all and of the kept, by source group and its domain, the language that it
    declares and the one that was detected; rare ones together as ``OTHER``."""
    return [
        {"source": source, "domain": domain, "declared": declared, "detected": detected, **sums}
        for (source, domain, declared, detected), sums in sorted(_fewer(found.languages).items())
    ]


def _fewer(languages: dict[_Key, Counter[str]]) -> dict[_Key, Counter[str]]:
    by_language: Counter[str] = Counter()
    for key, sums in languages.items():
        by_language[key[3]] += sums["documents"]
    ranked = sorted(by_language, key=lambda name: (-by_language[name], name))
    # What a source declares is always shown by its name.
    named = {*ranked[:_MOST_VALUES], *(key[2] for key in languages)}
    merged: dict[_Key, Counter[str]] = {}
    for (source, domain, declared, detected), sums in languages.items():
        shown = detected if detected in named else OTHER
        merged.setdefault((source, domain, declared, shown), Counter()).update(sums)
    return merged


def fertility_facts(languages: list[Json]) -> Json:
    """Tokens a word and bytes a token, of all documents and of the kept, by detected language, domain and source.

    ``languages``: as from ``language_facts``. Words are those of the texts as they were read.
    """
    keys: dict[str, Callable[[Json], str]] = {
        "language": lambda row: row["detected"],
        "domain": lambda row: row["domain"],
        "source": lambda row: row["source"],
    }
    out: Json = {}
    for name, key in keys.items():
        sums: dict[str, Counter[str]] = {}
        for row in languages:
            sums.setdefault(key(row), Counter()).update({k: v for k, v in row.items() if isinstance(v, int)})
        rows = [{name: value, **_ratios(counts)} for value, counts in sums.items()]
        out[f"by_{name}"] = sorted(rows, key=lambda row: (-row["tokens"], row[name]))
    return out


def _ratios(sums: Counter[str]) -> Json:
    row: Json = {"documents": sums["documents"], "tokens": sums["tokens"], "kept_tokens": sums["kept_tokens"]}
    for kind in ("", "kept_"):
        tokens, words, size = (sums[f"{kind}{what}"] for what in ("tokens", "words", "bytes"))
        row[f"{kind}tokens_per_word"] = tokens / words if words else None
        row[f"{kind}bytes_per_token"] = size / tokens if tokens else None
    return row


def attribute_facts(build: Build, found: Survey) -> list[Json]:
    """Every numeric or categorical column of every attribute step that no rule with a threshold reads."""
    rows = [_number(build, found, column) for column in found.numbers]
    rows += [_category(found, column) for column in found.categories]
    return sorted(rows, key=lambda row: (row["step"], row["name"]))


def _number(build: Build, found: Survey, column: Column) -> Json:
    histogram, ends = found.numbers[column], found.ends.get(column)
    return {
        "step": column.step,
        "name": column.name,
        "kind": "number",
        "documents": sum(int(counts.sum()) for counts in histogram.documents.values()),
        "missing": histogram.missing,
        "min": ends.low if ends else None,
        "median": median(build, column),
        "max": ends.high if ends else None,
        "distribution": histogram.facts(),
    }


def _category(found: Survey, column: Column) -> Json:
    counted = found.categories[column]
    totals: Counter[str] = Counter()
    for (_, value), sums in counted.items():
        if value is not None:
            totals[value] += sums["documents"]
    ranked = sorted(totals, key=lambda value: (-totals[value], value))
    named, rest = ranked[:_MOST_VALUES], ranked[_MOST_VALUES:]
    by_value: dict[str | None, dict[str, Counter[str]]] = {value: {} for value in named}
    missing = 0
    for (source, value), sums in counted.items():
        if value is None:
            missing += sums["documents"]
        else:
            key = value if value in by_value else None
            by_value.setdefault(key, {}).setdefault(source, Counter()).update(sums)
    return {
        "step": column.step,
        "name": column.name,
        "kind": "category",
        "documents": totals.total(),
        "missing": missing,
        "different": len(ranked),
        "values": [
            {
                "value": f"{len(rest)} more" if value is None else value,
                "by_source": {source: dict(sums) for source, sums in by_source.items()},
            }
            for value, by_source in by_value.items()
        ],
    }
