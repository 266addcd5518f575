"""The dataset card of a phase: a ``README.md`` as the Hugging Face hub reads it, and Croissant metadata beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from plm_data.build import Build
from plm_data.report.croissant import croissant
from plm_data.report.licences import UNKNOWN, spdx_identifier
from plm_data.report.phase_card import COLUMNS, LIMITS, PERSONAL_DATA, PhaseCard, RuleCard, phase_card
from plm_data.shards import SCHEMA
from plm_data.store import write_json, write_text
from plm_data.text.printable import clip, printable

# What shapes text in GitHub's and the hub's Markdown, formulas included.
_MARKDOWN = re.compile(r"[\\`*_{}\[\]#|~!$^]")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LICENCE_CHARS = 120
_MOST_LICENCES = 12
_MOST_SOURCES = 6

# The hub's identifiers of licences: SPDX's in lower case but for these, and only those that it lists.
_HUB_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gfdl gpl-2.0 gpl-3.0 isc
    lgpl-2.1 lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 osl-3.0 pddl postgresql unlicense wtfpl zlib
"""
_HUB_NAMES = {"odc-by-1.0": "odc-by", "odbl-1.0": "odbl", "pddl-1.0": "pddl"}
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")


def write_card(build: Build, phase: str, folder: Path) -> None:
    """Write ``README.md`` and ``croissant.json`` beside a phase's shards, each whole or not at all."""
    facts = phase_card(build, phase, folder)
    readme, metadata = card(facts), croissant(facts)
    write_text(folder / "README.md", readme)
    write_json(folder / "croissant.json", metadata)


def card(facts: PhaseCard) -> str:
    """The dataset card: YAML front matter and Markdown. Whatever stands in a value, it stays text."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True, width=10**9)
    environment = Environment(
        loader=PackageLoader("plm_data.report"), autoescape=False, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, finalize=_finalize,
    )  # fmt: skip
    environment.filters.update(count=lambda n: f"{n:,}", percent=lambda x: f"{100 * x:.1f}%", name=_name)
    body = environment.get_template("card.md").render(
        facts=facts,
        columns=[(field.name, _type(field.type), COLUMNS[field.name]) for field in SCHEMA],
        rules=[(rule, _limits(rule)) for rule in facts.rules],
        licences=[(rolled, _shown_licences(rolled)) for rolled in facts.licences],
        near_stay=_some([source.name for source in facts.sources if source.near_duplicates_stay]),
        edited=_some([source.name for source in facts.sources if source.edited_lines]),
        unknown=sum(rolled["documents"] for rolled in facts.licences if rolled["class"] == UNKNOWN),
        personal_data=PERSONAL_DATA,
        limits=LIMITS,
    )
    return f"---\n{front}---\n\n{body}"


def escape_markdown(text: str) -> str:
    """A text on one line that Markdown and HTML show as it is; hidden characters are written out."""
    shown = printable(" ".join(text.split()))
    return _MARKDOWN.sub(r"\\\g<0>", shown).translate(_HTML)


def _finalize(value: Any) -> str:
    return value if isinstance(value, Markup) else escape_markdown(str(value))


def _name(value: str) -> Markup:
    """A recipe's name for a thing, or a hash, as code: neither can hold what would end it."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", value):
        raise ValueError(f"{value!r} is no name")
    return Markup(value)


def _front_matter(facts: PhaseCard) -> dict[str, Any]:
    code = any(source.language not in facts.languages for source in facts.sources)
    return {
        "pretty_name": f"{facts.recipe}: {facts.phase}",
        "language": [*facts.languages, *(["code"] if code else [])],
        **_hub_licence(facts),
        "task_categories": ["text-generation"],
        "size_categories": [size_category(facts.rows)],
        "tags": ["pre-training", "plm", facts.segment],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "shard-*.parquet"}]}],
        "dataset_info": {
            "config_name": "default",
            "features": [
                {"name": field.name, "list": str(field.type.value_type)}
                if pa.types.is_list(field.type)
                else {"name": field.name, "dtype": str(field.type)}
                for field in SCHEMA
            ],
            "splits": [{"name": "train", "num_bytes": facts.uncompressed_bytes, "num_examples": facts.rows}],
            "download_size": facts.bytes,
            "dataset_size": facts.uncompressed_bytes,
        },
    }


def _hub_licence(facts: PhaseCard) -> dict[str, str]:
    """The hub's identifier if all documents state one licence that it has; else ``other``, with its name."""
    if all(rolled["class"] == UNKNOWN for rolled in facts.licences):
        return {"license": "unknown"}
    found = {spdx_identifier(text) for text in facts.stated_licences()}
    if len(found) > 1 or None in found:
        return _other("mixed")
    identifier = str(found.pop()).lower()
    plain = identifier.removesuffix("-only").removesuffix("-or-later")
    name = "gfdl" if plain.startswith("gfdl-") else _HUB_NAMES.get(plain, plain)
    return {"license": name} if name in _HUB_LICENCES.split() else _other(identifier)


def _other(name: str) -> dict[str, str]:
    return {
        "license": "other",
        "license_name": name,
        "license_details": "the column license has each document's; the section Licences sums them up",
    }


def size_category(rows: int) -> str:
    """The hub's class of a number of rows."""
    limits = [10 ** (3 + n) for n in range(len(_SIZES))]
    place = sum(rows >= limit for limit in limits)
    if place == len(_SIZES):
        return f"n>{_SIZES[-1]}"
    return f"{_SIZES[place - 1]}<n<{_SIZES[place]}" if place else f"n<{_SIZES[0]}"


def _type(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


def _limits(rule: RuleCard) -> str:
    """A rule's threshold, or its thresholds with the sources that have them."""
    sources: dict[float | None, list[str]] = {}
    for source, limit in rule.thresholds.items():
        sources.setdefault(limit, []).append(source)
    said = {limit: "off" if limit is None else f"{limit:,.10g}" for limit in sources}
    if len(sources) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{said[limit]} for {_some(names)}" for limit, names in sources.items())


def _some(names: Sequence[str], most: int = _MOST_SOURCES) -> str:
    """The first names of a list, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def _shown_licences(rolled: dict[str, Any]) -> str:
    return _some([clip(row["licence"], _LICENCE_CHARS) for row in rolled["licences"]], _MOST_LICENCES)
