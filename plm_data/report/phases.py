"""The facts of the phases: planned beside realised, epochs, and where the shards lie."""

from __future__ import annotations

import json
from typing import Any

from plm_data.build import Build
from plm_data.store import Output


def phase_facts(build: Build, name: str, shards: Output | None) -> dict[str, Any]:
    """One phase as the report has it; ``shards``: None where it is not built."""
    spec, takes = build.recipe.phases[name], build.plan[name]
    manifest = json.loads((shards.path / "manifest.json").read_text(encoding="utf-8")) if shards else None
    sources = {}
    for source, take in takes.items():
        found = manifest["sources"][source] if manifest else {}
        sources[source] = {
            "domain": build.recipe.sources[source].domain,
            "weight": float(take.share),
            "planned_tokens": take.quota,
            "tokens": found.get("tokens"),
            "documents": found.get("documents"),
            "unique_documents": found.get("unique_documents"),
            "largest_document": build.ranked[source].largest,
            "cut": take.cut is not None,
            "epochs": take.epochs if build.supply[source] else None,
            "epochs_so_far": take.epochs_so_far if build.supply[source] else None,
        }
    return {
        "name": name,
        "segment": spec.segment,
        "documents_from": spec.documents,
        "order": spec.order.model_dump() if spec.order else None,
        "stages": manifest["stages"] if manifest else [],
        "planned_tokens": spec.tokens,
        "built": manifest is not None,
        "tokens": manifest["tokens"] if manifest else None,
        "documents": manifest["rows"] if manifest else None,
        "shards": len(manifest["shards"]) if manifest else None,
        "key": shards.key if shards else None,
        "sources": sources,
    }
