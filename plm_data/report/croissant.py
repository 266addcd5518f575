"""Croissant 1.1 metadata of a phase (docs.mlcommons.org/croissant), as JSON-LD; checked by ``mlcroissant``.

``datePublished``, which the format recommends, is left out: nothing that a build writes depends on the clock.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from plm_data.report.licences import spdx_identifier
from plm_data.report.phase_card import COLUMNS, LIMITS, PERSONAL_DATA, PhaseCard
from plm_data.shards import FORMAT, SCHEMA

_PARQUET = "application/x-parquet"
_SHARDS = "shards"
_RECORDS = "documents"
# The context that the format prescribes (specification 1.1, Appendix 1), and the prefix of its responsible-AI terms.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        term: f"cr:{term}"
        for term in (
            "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
            "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
            "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
            "separator", "source", "subField", "transform",
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}  # fmt: skip


def croissant(facts: PhaseCard) -> dict[str, Any]:
    """The metadata: a file object a shard with its sha256, their set, and one record a row of them."""
    title = f"{facts.recipe}: {facts.phase}"
    about = f"{facts.rows:,} documents, {facts.tokens:,} tokens, of the recipe {facts.recipe} (PLM)."
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": facts.name,
        "description": f"{about} {facts.description}".strip(),
        "version": f"{FORMAT}.0.0+{facts.key[:16]}",
        "license": _licences(facts),
        "citeAs": f"{title}. Made by PLM from the recipe {facts.recipe}, {facts.recipe_digest[:16]}.",
        "keywords": ["pre-training", "text", facts.segment],
        "inLanguage": list(facts.languages),
        "rai:personalSensitiveInformation": PERSONAL_DATA,
        "rai:dataLimitations": list(LIMITS),
        "distribution": [
            *(
                {
                    "@type": "cr:FileObject",
                    "@id": shard.file,
                    "name": shard.file,
                    "contentUrl": shard.file,
                    "contentSize": f"{shard.bytes} B",
                    "encodingFormat": _PARQUET,
                    "sha256": shard.sha256,
                }
                for shard in facts.shards
            ),
            {
                "@type": "cr:FileSet",
                "@id": _SHARDS,
                "name": _SHARDS,
                "description": "The shards, in the order of their names",
                "encodingFormat": _PARQUET,
                "includes": "shard-*.parquet",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": _RECORDS,
                "name": _RECORDS,
                "description": "One record a document; a document comes again in a later epoch of its source",
                "field": [_field(column) for column in SCHEMA],
            }
        ],
    }


def _field(column: pa.Field) -> dict[str, Any]:
    array = pa.types.is_list(column.type)
    return {
        "@type": "cr:Field",
        "@id": f"{_RECORDS}/{column.name}",
        "name": column.name,
        "description": COLUMNS[column.name],
        "dataType": "cr:Int32" if array else "sc:Text",
        **({"isArray": True, "arrayShape": "-1"} if array else {}),
        "source": {"fileSet": {"@id": _SHARDS}, "extract": {"column": column.name}},
    }


def _licences(facts: PhaseCard) -> list[str]:
    """The SPDX licences that documents state, as addresses, and a sentence where there are others."""
    stated = facts.stated_licences()
    known = {spdx for text in stated if (spdx := spdx_identifier(text))}
    others = [] if all(map(spdx_identifier, stated)) else ["Others: each record states its own, in the field license."]
    return [f"https://spdx.org/licenses/{spdx}.html" for spdx in sorted(known)] + others
