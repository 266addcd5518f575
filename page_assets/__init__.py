"""What every page of this project is made with: its frame, its style, the charting library, and how data gets in.

A page is one file that asks nothing of anywhere. Text that is not the project's own reaches it in two ways, each
escaped in one place: as text through Jinja's HTML escaping, and as JSON in a block that is no script. The page's policy
lets only the scripts run that it names by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

# The charting library and what charts have in common; a page's own scripts come after them.
SHARED_SCRIPTS = ("vendor/echarts.min.js", "templates/kit.js", "templates/frame.js")
# As JSON allows them: what could end the block, begin a comment, or be a line break to a script.
_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def environment(package: str) -> Environment:
    """Jinja for the templates of a package and the shared ones: everything is escaped, an unknown name is an error."""
    found = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("page_assets")]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., str]] = {
        "count": lambda n: f"{n:,}",
        "percent": percent,
        "short": short,
        "script_hash": script_hash,
    }
    found.filters.update(filters)
    return found


@lru_cache(maxsize=8)
def scripts(package: str, names: tuple[str, ...]) -> tuple[Markup, ...]:
    """The scripts of a page in their order: the shared ones, then `names`, files in the package's `templates/`."""
    shared, own = resources.files("page_assets"), resources.files(package)
    files = [*(shared / name for name in SHARED_SCRIPTS), *(own / "templates" / name for name in names)]
    return tuple(Markup(file.read_text(encoding="utf-8")) for file in files)


def json_block(value: Any) -> Markup:
    """JSON that can stand in a script element of type ``application/json``, whatever text it holds.

    Raises ``ValueError`` for a number that is not finite, which JSON has no form for.
    """
    plain = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Markup(plain.translate(_ESCAPED))


def script_hash(script: str) -> str:
    """sha256 of an inlined script in base64, as a Content-Security-Policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def short(n: float) -> str:
    """A number in at most four figures: 1.04M, 20.0M, 812."""
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(n) >= limit:
            return f"{n / limit:.3g}{suffix}"
    return f"{n:.3g}"


def percent(share: float) -> str:
    """A share of 1 in per cent; what is there but rounds to nothing is not called nothing."""
    return "< 0.1%" if 0 < share < 0.0005 else f"{100 * share:.1f}%"
