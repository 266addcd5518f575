"""A build of a corpus from its files to its verdicts, with what each stage took."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.corpus import HOME, Corpus
from plm_data.build import Build
from plm_data.recipe import Recipe

WORKERS = 2


def recipe(made: Corpus, curate: dict[str, Any] | None = None) -> Recipe:
    """The default curation of a corpus, or another, with guardrails wide enough for its junk and its copies."""
    return Recipe.model_validate(
        {
            "name": "benchmark",
            "seed": 1,
            "sources": {
                "corpus": {
                    "reader": "files", "paths": [str(made.folder / "files")], "domain": "web", "language": "en",
                    "license": "NOASSERTION", "priority": 1,
                }
            },
            "curate": {**(curate or {}), "guardrails": {"max_source_loss": 1.0, "max_quarantined": 1.0}},
            "phases": {"phase1": {"segment": "stable", "tokens": "1M", "mix": {"corpus": 1.0}}},
        }
    )  # fmt: skip


def home(made: Corpus) -> Path:
    """Where a corpus is built."""
    return HOME / f"build-{made.folder.name}"


def build_anew(made: Corpus, curate: dict[str, Any] | None = None) -> dict[str, float]:
    """Build from nothing to the verdicts; stage → seconds."""
    shutil.rmtree(home(made), ignore_errors=True)
    stages, say = timed_stages()
    build = Build(recipe(made, curate), home(made), workers=WORKERS, say=say)
    _ = build.decided
    return stages


def timed_stages() -> tuple[dict[str, float], Callable[[str], None]]:
    """Stage → seconds, and the ``say`` of a build that fills it in."""
    stages: dict[str, float] = {}
    last = time.perf_counter()

    def said(message: str) -> None:
        nonlocal last
        now = time.perf_counter()
        stage = message.split()[0]
        stages[stage] = stages.get(stage, 0.0) + now - last
        last = now

    return stages, said


def built(made: Corpus, curate: dict[str, Any] | None = None) -> Build:
    """The build of a corpus, made where it is not there yet."""
    build = Build(recipe(made, curate), home(made), workers=WORKERS)
    _ = build.decided
    return build
