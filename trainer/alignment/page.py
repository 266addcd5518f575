"""The comparison as a page: one HTML file that asks nothing of anywhere, without scripts."""

from pathlib import Path
from typing import Any

from page_assets import environment, percent
from trainer.alignment.select import REASONS
from trainer.files import write_text

_FORMS = {"percent": percent, "number": "{:.1f}".format, "fine": "{:.4f}".format}


def write_comparison(path: Path, comparison: dict[str, Any]) -> None:
    """Write what `trainer.alignment.compare.comparison` returns as a page."""
    write_text(path, render(comparison))


def render(comparison: dict[str, Any]) -> str:
    """Return the page of a comparison."""
    pages = environment("trainer.alignment")
    pages.filters |= {"points": points, "known": _known, "steps": _steps}
    return pages.get_template("compare.html").render(**comparison, reasons=REASONS)


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def _known(value: float | None, form: str) -> str:
    return "–" if value is None else _FORMS[form](value)


def _steps(values: list[float | None], form: str) -> str:
    return " → ".join(_known(value, form) for value in values) or "–"
