"""The report as one HTML file that asks nothing of anywhere; ``page_assets`` says how corpus text reaches it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from page_assets import environment, json_block, scripts
from plm_data.build import Build
from plm_data.report.facts import gather
from plm_data.report.view import chart_data, view
from plm_data.store import temporary_name, write_json

_SCRIPTS = ("charts.js", "distributions.js", "report.js")


def write_report(build: Build) -> tuple[Path, dict[str, Any]]:
    """Write ``report.html`` and ``report.json`` into the build's folder; returns the page's path and the facts."""
    facts = gather(build)
    build.folder.mkdir(parents=True, exist_ok=True)
    write_json(build.folder / "report.json", facts)
    path = build.folder / "report.html"
    temporary = temporary_name(path)
    temporary.write_text(render(facts), encoding="utf-8")
    os.replace(temporary, path)
    return path, facts


def render(facts: dict[str, Any]) -> str:
    """The page. Only the project's own scripts and the escaped JSON are marked safe."""
    found = environment("plm_data.report")
    found.filters["signed"] = lambda n: f"{n:+,}".replace("-", "−") if n else "±0"
    found.filters["figure"] = lambda x: f"{x:,.6g}"
    shown = view(facts)
    return found.get_template("report.html").render(
        **shown, scripts=scripts("plm_data.report", _SCRIPTS), data=json_block(chart_data(shown))
    )
