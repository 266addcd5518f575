"""The training report: one HTML file that asks nothing of anywhere, made at any time of a run."""

from pathlib import Path
from typing import Any

from page_assets import environment, json_block, scripts
from trainer.files import write_text
from trainer.report.facts import Facts, RunFiles, gather, read_run
from trainer.report.findings import findings
from trainer.report.problems import marks, notes, problems

REPORT = "report.html"
_SCRIPTS = ("timeline.js", "training.js")
_DRAWN = ("phases", "series", "marks", "zeros", "train")
# Okabe and Ito's palette: colours that people with colour-blindness can tell apart; then the same with another mark.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8c8c8c")
_SYMBOLS = ("circle", "triangle")
_MOST_SOURCES = len(PALETTE) * len(_SYMBOLS)  # that are drawn; the table has all


def write_training_report(out: Path) -> Path:
    """Write `report.html` into a run's folder, from its logs as they are now, and return its path.

    Raises:
        TrainerError: the folder holds no run.json, or one of its files is not JSON.
    """
    path = out / REPORT
    write_text(path, render(read_run(out)))
    return path


def render(files: RunFiles) -> str:
    """Return the page of a run."""
    facts = gather(files)
    facts |= {"marks": marks(files.steps), "problems": problems(files, facts["phases"]), "notes": notes(files, facts)}
    shown = visible(facts)
    drawn = drawn_sources(shown["sources"])
    names = {source["name"] for source in drawn}
    held_out = [
        {**row, "by_source": {name: loss for name, loss in row["by_source"].items() if name in names}}
        for row in shown["held_out"]
    ]
    return (
        page_environment()
        .get_template("training.html")
        .render(
            **shown,
            drawn_sources=drawn,
            findings=findings(shown),
            scripts=scripts("trainer.report", _SCRIPTS),
            data=json_block({name: shown[name] for name in _DRAWN} | {"held_out": held_out, "sources": drawn}),
        )
    )


def drawn_sources(sources: list[Facts]) -> list[Facts]:
    """Return the sources that the chart draws, the hardest 16, by name, each with its colour and mark."""
    chosen = sorted(source["name"] for source in sources[:_MOST_SOURCES])
    return [
        {"name": name, "colour": PALETTE[at % len(PALETTE)], "symbol": _SYMBOLS[at // len(PALETTE)]}
        for at, name in enumerate(chosen)
    ]


def page_environment() -> Any:
    """Return Jinja for this package's templates, with the filters for losses and rates."""
    found = environment("trainer.report")
    found.filters |= {
        "loss": lambda x: "–" if x is None else f"{x:.3f}",
        "signed_loss": lambda x: f"{x:+.3f}".replace("-", "−"),
        "rate": lambda x: "–" if x is None else f"{x:.3g}",
        "whole": lambda x: "–" if x is None else f"{x:,.0f}",
        "share": lambda x: "–" if x is None else f"{100 * x:.1f}%",
    }
    return found


def visible(value: Any) -> Any:
    """Return a JSON-like value with the hidden characters of its texts (controls, overrides, …) written out."""
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    if isinstance(value, dict):
        return {visible(key): visible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [visible(item) for item in value]
    return value
