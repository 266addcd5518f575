"""The errors that a user sees: each says what was found, what was expected and what to do."""

from __future__ import annotations

from plm_data.locations import redacted


class PlmError(Exception):
    """Something the user can mend; the command line prints its message and exits with ``exit_code``.

    Whatever the message is about, no URL in it has a user, password or query.
    """

    exit_code = 1

    def __init__(self, message: str):
        super().__init__(redacted(message))


class RecipeError(PlmError):
    """The recipe asks for something that cannot be: raised before any work is done."""

    exit_code = 2


class StoreError(PlmError):
    """A stored output is damaged, or rows were lost in a step."""


class SourceError(PlmError):
    """A source cannot be read."""


class GuardrailError(PlmError):
    """A guardrail of the recipe stopped the build."""


class LockError(PlmError):
    """What is built, or would be, is not what was locked or recorded."""

    exit_code = 2
