"""Bare deployment names, without a server."""

import asyncio
import sys
from types import SimpleNamespace
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient

from pipelines import deployment_names, prefect_plugin

FLOWS = {UUID(int=1): "build-phase", UUID(int=2): "train"}
SERVED = [(UUID(int=1), "build-phase1"), (UUID(int=1), "both"), (UUID(int=2), "both")]


class FakeClient:
    """The two calls of the client that are used, with the arguments that this server insists on."""

    async def read_deployments(self, *, deployment_filter, limit, sort):
        assert limit and sort
        wanted = deployment_filter.name.any_ if deployment_filter else None
        return [SimpleNamespace(flow_id=flow, name=name) for flow, name in SERVED if wanted is None or name in wanted]

    async def read_flow(self, flow_id):
        return SimpleNamespace(name=FLOWS[flow_id])


@pytest.mark.parametrize("name, full", [("build-phase1", "build-phase/build-phase1"), ("any/thing", "any/thing")])
def test_resolves(name: str, full: str) -> None:
    assert asyncio.run(deployment_names.resolve(FakeClient(), name)) == full


@pytest.mark.parametrize(
    "name, message",
    [
        ("both", "is ambiguous; use one of: build-phase/both, train/both"),
        ("none", "not found. Known: build-phase/both, "),
    ],
)
def test_refuses(name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        asyncio.run(deployment_names.resolve(FakeClient(), name))
    assert caught.value.code == 1
    assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, installs",
    [
        (["prefect", "deployment", "run", "x"], True),
        (["prefect", "--no-prompt", "deployment", "run", "x"], True),
        (["prefect", "deployment", "ls"], False),
        (["prefect", "flow-run", "ls"], False),
        (["pytest"], False),
    ],
)
def test_only_for_deployment_run(argv: list[str], installs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    original = PrefectClient.read_deployment_by_name
    monkeypatch.setattr(PrefectClient, "read_deployment_by_name", original)  # restored afterwards
    monkeypatch.setattr(sys, "argv", argv)
    prefect_plugin.setup_environment(ctx=None)
    assert (PrefectClient.read_deployment_by_name is not original) == installs
