"""The values that a recipe's keys take, and the base of its sections."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}


def parse_count(value: Any) -> Any:
    """``1500``, ``1_500_000``, ``1.5M``, ``20MB`` (decimal) as an integer; anything else is left for the schema."""
    if isinstance(value, str) and (
        match := re.fullmatch(r"\s*(\d[\d_]*)(?:\.(\d+))?\s*([KMGBT]?)B?\s*", value, re.IGNORECASE)
    ):
        whole, fraction, suffix = match[1].replace("_", ""), match[2] or "", match[3].upper()
        scaled = int(whole + fraction) * _SUFFIXES[suffix]
        if scaled % 10 ** len(fraction) == 0:
            return scaled // 10 ** len(fraction)
    return value


_COMMIT = r"^[0-9a-f]{40}$"


def _whole_commit(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_COMMIT, value):
        raise ValueError("expected a commit, all 40 digits of it (in quotes if it has no letter); a branch may move")
    return value


def _count_schema(least: int) -> WithJsonSchema:
    """For editors: a number, or one written as ``parse_count`` takes it."""
    written = {"type": "string", "pattern": r"^\s*\d[\d_]*(\.\d+)?\s*[KMGBTkmgbt]?[Bb]?\s*$"}
    return WithJsonSchema({"anyOf": [{"type": "integer", "minimum": least}, written]})


Count = Annotated[int, BeforeValidator(parse_count), Field(gt=0), _count_schema(1)]
CountOrZero = Annotated[int, BeforeValidator(parse_count), Field(ge=0), _count_schema(0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
Share = Annotated[float, Field(gt=0, le=1)]
# A repository of the hub, and the one state of it that a recipe means: a branch or a tag may move.
HubPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$", max_length=120)]
Commit = Annotated[str, BeforeValidator(_whole_commit), Field(pattern=_COMMIT)]


class Strict(BaseModel):
    """A section of the recipe: an unknown key is an error, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
