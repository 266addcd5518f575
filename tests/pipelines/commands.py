"""A command run as a person types it, in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from pipelines.cli import cli
from plm_data.errors import PlmError


def run(*arguments: object) -> Result:
    """What a command ends with; raises the error that a person would be told."""
    result = CliRunner().invoke(cli, [str(each) for each in arguments])
    if isinstance(result.exception, PlmError):
        raise result.exception
    assert result.exception is None, result.exception
    return result
