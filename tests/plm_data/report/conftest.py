"""The facts of the small build, which the report's tests share and must not change."""

from __future__ import annotations

from typing import Any

import pytest

from plm_data.build import Build
from plm_data.report.facts import gather


@pytest.fixture(scope="session")
def facts(small_build: Build) -> dict[str, Any]:
    return gather(small_build)
