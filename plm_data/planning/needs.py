"""Disk, processor and fetching: what the declared sizes of a recipe's sources come to."""

from __future__ import annotations

from typing import Any

from plm_data.build import Build
from plm_data.mix.plan import Plan
from plm_data.planning.rate import Rate
from plm_data.recipe_hub import hub_items
from plm_data.recipe_sources import HubSource
from plm_data.sources import make_reader

# Bytes on disk for a byte of text, and for a token of a shard, as measured on the 210 MB of generated web text that
# `python -m benchmarks end_to_end` builds (`mixing` for the shards), zstd and lz4 as the steps write them.
_DOCUMENTS = 0.41
_COLLECTED, _MEASURES, _TOKENS, _SIGNATURES, _DECISIONS = 0.68, 0.39, 0.42, 0.23, 0.17
_SHARD_BYTES_A_TOKEN = 2.8


def source_facts(build: Build, bytes_per_token: float) -> list[dict[str, Any]]:
    """One row a source: its tokens and bytes of text, and how each is known."""
    rows = []
    for name, spec in build.recipe.sources.items():
        tokens, known = build.known_supply.get(name, (None, "unknown"))
        size, how = getattr(spec, "bytes", None), "declared"
        if size is None and spec.tokens is not None:
            size, how = round(spec.tokens * bytes_per_token), f"tokens x {bytes_per_token:g}"
        elif size is None and not isinstance(spec, HubSource):
            size, how = make_reader(name, spec).size_bound(), "at most"
        rows.append(
            {
                "source": name, "reader": spec.reader, "domain": spec.domain, "language": spec.language,
                "license": spec.license, "tokens": tokens, "tokens_known": known if tokens is not None else "unknown",
                "bytes": size, "bytes_known": how if size is not None else "unknown",
            }
        )  # fmt: skip
    return rows


def storage_facts(sources: list[dict[str, Any]], plan: Plan) -> list[dict[str, Any]]:
    """The text that is read, and what is written of it; the last row is the corpus, the rest the store's."""
    text = sum(row["bytes"] or 0 for row in sources)
    unknown = [row["source"] for row in sources if row["bytes"] is None]
    planned = sum(take.quota for takes in plan.values() for take in takes.values())
    missing = f"; without {', '.join(unknown)}, whose size is unknown" if unknown else ""
    rows = [("text of the sources", float(text), f"UTF-8, as it is read{missing}")]
    for what, factor in (
        ("documents", _DOCUMENTS),
        ("as collected", _COLLECTED),
        ("measures", _MEASURES),
        ("token ids", _TOKENS),
        ("signatures and bands", _SIGNATURES),
        ("decisions and orders", _DECISIONS),
    ):
        rows.append((what, text * factor, f"{factor:g} bytes a byte of text"))
    rows.append(
        ("shards of all phases", planned * _SHARD_BYTES_A_TOKEN, f"{_SHARD_BYTES_A_TOKEN:g} bytes a planned token")
    )
    return [
        {"what": what, "bytes": round(size), "how": how, "written": i > 0} for i, (what, size, how) in enumerate(rows)
    ]


def processor_facts(sources: list[dict[str, Any]], rate: Rate) -> dict[str, Any]:
    """Hours of one core, by step; every text goes through every step once."""
    text = sum(row["bytes"] or 0 for row in sources)
    steps = [
        {"step": name, "bytes_per_second": value, "hours": text / value / 3600} for name, value in rate.steps.items()
    ]
    return {"steps": steps, "hours": text * rate.seconds_per_byte / 3600, "measured": rate.measured}


def fetch_facts(build: Build, sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a repository and set of files of the hub that a run of the whole recipe would fetch."""
    known = {f"sources.{row['source']}": row for row in sources}
    return [
        {
            "key": item.key,
            "repository": item.repository,
            "revision": item.revision,
            "files": list(item.files),
            "license": item.license,
            "bytes": known[item.key]["bytes"] if item.key in known else None,
            "bytes_known": known[item.key]["bytes_known"] if item.key in known else "unknown",
        }
        for item in hub_items(build.recipe)
    ]
