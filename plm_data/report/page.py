"""The report as one HTML file: no script, no request to anywhere, and corpus text only ever as escaped text."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from plm_data.build import Build
from plm_data.report.facts import gather
from plm_data.store import temporary_name, write_json

# Okabe and Ito's palette: eight colours that people with colour-blindness can tell apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8c8c8c")


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
    """The page. Every value passes through Jinja's HTML escaping; nothing is marked safe."""
    environment = Environment(
        loader=PackageLoader("plm_data.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., str]] = {
        "count": lambda n: f"{n:,}",
        "percent": lambda x: f"{100 * x:.1f}%",
        "short": short,
        "ink": ink,
    }
    environment.filters.update(filters)
    colours = {source["name"]: PALETTE[i % len(PALETTE)] for i, source in enumerate(facts["sources"])}
    domains: dict[str, str] = {}
    for source in facts["sources"]:
        domains.setdefault(source["domain"], PALETTE[len(domains) % len(PALETTE)])
    return environment.get_template("report.html").render(**facts, colours=colours, domain_colours=domains)


def ink(colour: str) -> str:
    """Black or white, whichever has more contrast on a ``#rrggbb`` colour (WCAG relative luminance)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def short(n: float) -> str:
    """A number in at most four figures: 1.04M, 20.0M, 812."""
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(n) >= limit:
            return f"{n / limit:.3g}{suffix}"
    return f"{n:.3g}"
