"""The flows, run in process against a temporary Prefect server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

from pipelines.deployments import deployments
from pipelines.flows import _may_pass, build_phase
from plm_data.build import Build
from plm_data.errors import RecipeError, SourceError, StoreError


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=90):
        yield


def artifacts() -> dict[str, object]:
    async def read() -> dict[str, object]:
        async with get_client() as client:
            return {artifact.key: artifact.data for artifact in await client.read_artifacts() if artifact.key}

    return asyncio.run(read())


def test_build_phase_makes_shards_a_report_and_its_artifacts(small_recipe: Path, small_build: Build) -> None:
    # The home of a finished build, so that the flow only looks up what is there.
    path = build_phase(recipe=str(small_recipe), phase="phase2", home=str(small_build.home), workers=1)
    assert Path(path).is_file() and (small_build.folder / "phase2" / "manifest.json").is_file()
    made = artifacts()
    assert {"small-mix", "small-report", "small-report-path", "small-phase2-progress"} <= set(made)
    assert made["small-phase2-progress"] == 100.0
    assert "package-readmes" in str(made["small-mix"]) and Path(path).resolve().as_uri() in str(made["small-report"])


def test_a_bad_phase_fails_the_run_with_its_message(small_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no phase 'phase7'"):
        build_phase(recipe=str(small_recipe), phase="phase7", home=str(tmp_path))


def test_what_is_retried_and_what_is_not() -> None:
    def failing(error: Exception, cause: Exception | None = None) -> SimpleNamespace:
        def result() -> None:
            raise error from cause

        return SimpleNamespace(result=result)

    for error, cause, retried in (
        (ConnectionResetError("dropped"), None, True),
        (SourceError("unreachable"), None, True),
        (StoreError("step failed"), OSError("disk full"), True),
        (StoreError("rows were lost"), None, False),
        (RecipeError("weights"), None, False),
        (ValueError("a defect"), None, False),
    ):
        assert _may_pass(None, None, failing(error, cause)) is retried, error


def test_every_deployment_that_the_readme_names_is_served() -> None:
    served = {f"{each.flow_name}/{each.name}": each for each in deployments()}
    assert set(served) == {
        "build-phase/build-phase1", "build-phase/build-phase2", "build-phase/build-phase3",
        "build-phase/build-sft1", "build-phase/build-sft2", "build-phase/build-preferences", "train/train",
        "reproduce/reproduce",
    }  # fmt: skip
    for name, each in served.items():
        assert each.parameters["recipe"] == "nano"
        if name.startswith("build-phase/"):
            assert each.parameters["phase"] == each.name.removeprefix("build-")
    assert isinstance(build_phase, Flow) and build_phase.name == "build-phase"
