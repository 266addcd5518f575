"""The errors that a user sees: each says what was found, what was expected and what to do."""

from __future__ import annotations


class PlmError(Exception):
    """Something the user can mend; the command line prints its message and exits with ``exit_code``."""

    exit_code = 1


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
