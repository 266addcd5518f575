"""The facts of the phases: planned beside realised, epochs, and where the shards lie."""

from __future__ import annotations

import json
from typing import Any

from plm_data import mix
from plm_data.build import Build
from plm_data.store import Output


def phase_facts(
    build: Build, name: str, built: tuple[Output, Output] | None, largest: dict[str, int]
) -> dict[str, Any]:
    """One phase as the report has it; ``built``: its selection and shards, ``largest``: by source, in tokens."""
    spec = build.recipe.phases[name]
    planned = mix.quotas(spec)
    manifest = json.loads((built[1].path / "manifest.json").read_text(encoding="utf-8")) if built else None
    stretches = mix.stretches(build.recipe)[name]
    supply = build.supply
    sources = {}
    for source, quota in planned.items():
        found = manifest["sources"][source] if manifest else {}
        sources[source] = {
            "domain": build.recipe.sources[source].domain,
            "weight": spec.mix[source],
            "planned_tokens": quota,
            "tokens": found.get("tokens"),
            "documents": found.get("documents"),
            "largest_document": largest.get(source, 0),
            "epochs": quota / supply[source] if supply[source] else None,
            "epochs_so_far": stretches[source][1] / supply[source] if supply[source] else None,
        }
    return {
        "name": name,
        "segment": spec.segment,
        "planned_tokens": spec.tokens,
        "built": built is not None,
        "tokens": manifest["tokens"] if manifest else None,
        "documents": manifest["rows"] if manifest else None,
        "shards": len(manifest["shards"]) if manifest else None,
        "key": built[1].key if built else None,
        "sources": sources,
    }
