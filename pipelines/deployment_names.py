"""Bare deployment names: `prefect deployment run NAME` for `prefect deployment run FLOW/NAME`."""

from functools import wraps
from typing import NoReturn

from httpx import TransportError
from prefect.cli._utilities import exit_with_error
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort

_LIMIT = 200  # the server's own largest page


async def full_names(client: PrefectClient, name: str | None = None) -> list[str]:
    """Return `flow/deployment` of the deployments called `name`, or of all of them, sorted.

    The server refuses null for `limit` and `sort`, which the client sends unless they are given.
    """
    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[name])) if name else None
    found = await client.read_deployments(deployment_filter=wanted, limit=_LIMIT, sort=DeploymentSort.NAME_ASC)
    flows = {flow_id: (await client.read_flow(flow_id)).name for flow_id in {each.flow_id for each in found}}
    return sorted(f"{flows[each.flow_id]}/{each.name}" for each in found)


async def resolve(client: PrefectClient, name: str) -> str:
    """Return `name` as `flow/deployment`; end the command, exit code 1, where no or several deployments have it."""
    if "/" in name:
        return name
    matches = await full_names(client, name)
    if len(matches) == 1:
        return matches[0]
    if matches:
        _fail(f"Deployment name {name!r} is ambiguous; use one of: {', '.join(matches)}")
    known = await full_names(client)
    _fail(f"Deployment {name!r} not found. " + (f"Known: {', '.join(known)}" if known else "None is served."))


def _fail(message: str) -> NoReturn:
    """Print one line in the CLI's own style and exit with code 1."""
    exit_with_error(message, soft_wrap=True)


def install() -> None:
    """Wrap `PrefectClient.read_deployment_by_name`, the one look-up by name of `prefect deployment run`."""
    original = PrefectClient.read_deployment_by_name

    @wraps(original)
    async def read_deployment_by_name(self: PrefectClient, name: str) -> DeploymentResponse:
        try:
            return await original(self, await resolve(self, name))
        except TransportError as error:
            _fail(f"Cannot reach the Prefect API at {self.api_url}: {error}. Is `plm serve` running?")

    PrefectClient.read_deployment_by_name = read_deployment_by_name  # type: ignore[method-assign, assignment]
