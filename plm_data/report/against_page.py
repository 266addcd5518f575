"""The comparison of two builds as one HTML file: no script, no request, and names only ever as escaped text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_assets import environment
from plm_data.report.against import BOTH, names, points, relative, signed, verdict
from plm_data.store import write_text
from plm_data.text.printable import printable

Json = dict[str, Any]
# More rows than this nobody reads; the rest of a table is counted and summed.
_MOST_ROWS = 100
_MOST_PARTS = 6
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
    found = environment("plm_data.report")
    found.finalize = lambda value: printable(value) if type(value) is str else value
    phases = [
        _table(
            row["name"], "source", ("tokens", "planned", "documents") if _built(row) else ("planned",), row["sources"]
        )
        | {"phase": row, "built": _built(row), "total": _figure(row["tokens"] if _built(row) else row["planned"])}
        for row in comparison["phases"]
    ]
    return found.get_template("against.html").render(
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
    """What the template draws: a table's columns, the rows that moved and those that did not, each to a limit."""
    moved, still = ([row for row in rows if row["moved"] is kind] for kind in (True, False))
    shown, rest = moved[:_MOST_ROWS], moved[_MOST_ROWS:]
    largest = max((abs(row[figures[0]]["change"] or 0) for row in shown), default=0)
    drawn = [_row(row, figures, largest) for row in shown]
    return {
        "title": title,
        "row_name": row_name,
        "columns": [key.replace("_", " ") for key in figures],
        "shares": bool(rows) and "share" in rows[0],
        "parts": any(row["parts"] for row in drawn),
        "rows": drawn,
        "rest": len(rest),
        "rest_change": signed(sum(row[figures[0]]["change"] or 0 for row in rest)) or "nothing",
        "still": [_row(row, figures, 0) for row in still[:_MOST_ROWS]],
        "still_count": len(still),
    }


def _row(row: Json, figures: tuple[str, ...], largest: float) -> Json:
    """A row as it is drawn; the bar's ``width`` is in per cent of the whole, half of which is for either sign."""
    parts = [part for part in row.get("sources", ()) if part["moved"]]
    said = [f"{part['name']} {signed(part[figures[0]]['change'])}" for part in parts[:_MOST_PARTS]]
    return {
        "name": row["name"],
        "status": "" if row["status"] == BOTH else row["status"],
        "width": 50 * abs(row[figures[0]]["change"] or 0) / largest if largest else 0,
        "figures": [_figure(row[key]) for key in figures],
        "share": _share(row["share"]) if "share" in row else None,
        "parts": [*said, f"and {len(parts) - len(said)} more"] if len(parts) > len(said) else said,
    }


def _figure(pair: Json) -> Json:
    """A pair of counts as it is said: from what to what, the change and its direction."""
    before, now = ("not built" if pair[side] is None else f"{pair[side]:,}" for side in ("b", "a"))
    return _said(before, now, signed(pair["change"]), pair) | {"relative": relative(pair)}


def _share(pair: Json) -> Json:
    return _said(f"{pair['b']:.1%}", f"{pair['a']:.1%}", points(pair), pair) | {"relative": ""}


def _said(before: str, now: str, change: str, pair: Json) -> Json:
    size = pair["change"] or 0
    direction = "up" if size > 0 else "down" if size < 0 else ""
    return {"before": before, "now": now, "change": change, "direction": direction}
