"""The evaluation as one HTML file that asks nothing of anywhere and runs no script.

Answers are a model's text and so are what a checkpoint's files name: all of it is escaped, by Jinja.
"""

from pathlib import Path
from typing import Any

from page_assets import environment
from trainer.files import write_text
from trainer.report.page import visible


def write_page(path: Path, facts: dict[str, Any]) -> None:
    """Write the page of an evaluation's facts."""
    write_text(path, render(facts))


def render(facts: dict[str, Any]) -> str:
    """Return the page of an evaluation's facts, as `trainer.evaluation.run.evaluate` gathers them."""
    found = environment("trainer.evaluation")
    found.filters |= {
        "hundredth": lambda share: "–" if share is None else f"{100 * share:.2f}",
        "bits": lambda value: "–" if value is None else f"{value:.4f}",
        "lines": lambda text: "\n".join(visible(line) for line in text.split("\n")),
    }
    scale = max((entry["bits_per_byte"] or 0 for entry in facts["bits"]["sources"]), default=0)
    return found.get_template("evaluation.html").render(**facts, scale=scale)
