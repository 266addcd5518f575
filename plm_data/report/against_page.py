"""The comparison of two builds as one HTML file: no script, no request, and names only ever as escaped text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from plm_data.report.against import BOTH, names, points, relative, signed, verdict
from plm_data.store import write_text
from plm_data.text.printable import printable

Json = dict[str, Any]
# Of each table: its key, title, what a row is, and its figures, the first of which is drawn.
_TABLES = (
    ("sources", "Kept, by source", "source", ("kept_tokens", "kept_documents", "documents", "found")),
    ("rules", "Removed, by rule", "rule", ("tokens", "documents")),
    ("licences", "Licences of the kept documents", "class", ("tokens", "documents")),
    ("duplicates", "Duplicates", "what", ("count",)),
    ("refused", "Refused at the door", "source and reason", ("documents",)),
)
_NOTES = {
    "sources": "Tokens and documents that passed every rule, of what was found.",
    "rules": "Tokens and documents on which a rule fired; several may fire on one document.",
}


def write_comparison(comparison: Json, folder: Path) -> Path:
    """Write ``against.html`` into a build's folder, whole or not at all; returns its path."""
    path = folder / "against.html"
    write_text(path, render_comparison(comparison))
    return path


def render_comparison(comparison: Json) -> str:
    """The page. Every value passes through Jinja's HTML escaping, with hidden characters written out."""
    environment = Environment(
        loader=PackageLoader("plm_data.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=lambda value: printable(value) if type(value) is str else value,
    )  # fmt: skip
    phases = [
        _table(row["name"], "source", ("tokens" if _built(row) else "planned", "documents"), row["sources"])
        | {"phase": row, "built": _built(row), "total": _figure(row["tokens"] if _built(row) else row["planned"])}
        for row in comparison["phases"]
    ]
    return environment.get_template("against.html").render(
        a=comparison["a"],
        b=comparison["b"],
        names=names(comparison),
        verdict=verdict(comparison),
        moved=comparison["moved"],
        settings=comparison["settings"],
        totals=[(name, _figure(pair)) for name, pair in comparison["totals"].items()],
        phases=phases,
        tables=[
            _table(title, row, figures, comparison[key]) | {"note": _NOTES.get(key, "")}
            for key, title, row, figures in _TABLES
        ],
    )


def _built(phase: Json) -> bool:
    """Whether a phase is built on both sides; where it is not, only its plan can be compared."""
    return phase["tokens"]["change"] is not None


def _table(title: str, row_name: str, figures: tuple[str, ...], rows: list[Json]) -> Json:
    """What the template draws: a table's columns, the rows that moved and those that did not."""
    largest = max((abs(row[figures[0]]["change"] or 0) for row in rows), default=0)
    drawn = [
        {
            "name": row["name"],
            "status": "" if row["status"] == BOTH else row["status"],
            "moved": row["moved"],
            "width": 50 * abs(row[figures[0]]["change"] or 0) / largest if largest else 0,
            "figures": [_figure(row[key]) for key in figures],
            "share": points(row["share"]) if "share" in row else None,
            "parts": [
                f"{part['name']} {signed(part[figures[0]]['change'])}"
                for part in row.get("sources", ())
                if part["moved"]
            ],
        }
        for row in rows
    ]
    return {
        "title": title,
        "row_name": row_name,
        "columns": [key.replace("_", " ") for key in figures],
        "shares": bool(rows) and "share" in rows[0],
        "parts": any(row["parts"] for row in drawn),
        "rows": [row for row in drawn if row["moved"]],
        "still": [row for row in drawn if not row["moved"]],
    }


def _figure(pair: Json) -> Json:
    """A pair of counts as it is said: from what to what, the change and its direction."""
    before, now = ("not built" if pair[side] is None else f"{pair[side]:,}" for side in ("b", "a"))
    change = pair["change"] or 0
    return {
        "before": before,
        "now": now,
        "change": signed(pair["change"]),
        "relative": relative(pair),
        "direction": "up" if change > 0 else "down" if change < 0 else "",
    }
