"""Prefect start-up hook: `prefect deployment run NAME` accepts an unambiguous deployment name without its flow."""

import sys

from prefect.plugins import HookContext, register_hook


@register_hook
def setup_environment(*, ctx: HookContext) -> None:
    """Teach the client to resolve bare deployment names; only while `prefect deployment run` is what runs."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if words[:2] in (["deployment", "run"], ["deployments", "run"]):
        from pipelines.deployment_names import install

        install()
