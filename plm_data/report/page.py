"""The report as one HTML file that asks nothing of anywhere.

Corpus text reaches it in two ways, each escaped in one place: as text through Jinja's HTML escaping, and as JSON in a
block that is no script. The page's policy lets only the two scripts of this package run, known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from plm_data.build import Build
from plm_data.report.facts import gather
from plm_data.report.findings import percent, short
from plm_data.report.view import chart_data, view
from plm_data.store import temporary_name, write_json

_SCRIPTS = ("vendor/echarts.min.js", *(f"templates/{name}.js" for name in ("charts", "distributions", "report")))
# As JSON allows them: what could end the block, begin a comment, or be a line break to a script.
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


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
    """The page. Only the package's own scripts and the escaped JSON are marked safe."""
    environment = Environment(
        loader=PackageLoader("plm_data.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., str]] = {
        "count": lambda n: f"{n:,}",
        "percent": percent,
        "short": short,
        "signed": lambda n: f"{n:+,}".replace("-", "−") if n else "±0",
        "figure": lambda x: f"{x:,.6g}",
        "script_hash": script_hash,
    }
    environment.filters.update(filters)
    shown = view(facts)
    return environment.get_template("report.html").render(
        **shown, scripts=_scripts(), data=json_block(chart_data(shown))
    )


def json_block(value: Any) -> Markup:
    """JSON that can stand in a script element of type ``application/json``, whatever text it holds."""
    plain = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Markup(plain.translate(_ESCAPED))


def script_hash(script: str) -> str:
    """sha256 of an inlined script in base64, as a Content-Security-Policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


@lru_cache(maxsize=1)
def _scripts() -> tuple[Markup, ...]:
    files = resources.files("plm_data.report")
    return tuple(Markup(files.joinpath(name).read_text(encoding="utf-8")) for name in _SCRIPTS)
