"""What the report's tests share and must not change: the small build's facts, and a phase of it with its cards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from plm_data.build import Build
from plm_data.report.card import write_card
from plm_data.report.facts import gather
from plm_data.report.phase_card import PhaseCard, phase_card


@pytest.fixture(scope="session")
def facts(small_build: Build) -> dict[str, Any]:
    return gather(small_build)


@pytest.fixture(scope="module")
def folder(small_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phase as it is passed on: shards, manifest and cards in a folder of their own."""
    folder = tmp_path_factory.mktemp("passed-on") / "phase1"
    shutil.copytree(small_build.folder / "phase1", folder)
    write_card(small_build, "phase1", folder)
    return folder


@pytest.fixture(scope="module")
def passed_on(small_build: Build, folder: Path) -> PhaseCard:
    return phase_card(small_build, "phase1", folder)
