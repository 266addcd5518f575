"""The values that a recipe's keys take, and the base of its sections."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

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


def _as_written(value: Any) -> Any:
    """A value that a column may be compared with: text, a number, true or false."""
    if not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("expected a text (in quotes if it looks like a date), a number, true or false")
    return value


_SCALAR = {"type": ["string", "number", "boolean"]}
Scalar = Annotated[Any, BeforeValidator(_as_written), WithJsonSchema(_SCALAR)]


def _or_plain(schema: dict[str, Any]) -> None:
    """In the JSON Schema too a condition may be a plain value."""
    keys = dict(schema)
    schema.clear()
    schema["anyOf"] = [_SCALAR, keys]


class Condition(Strict):
    """What a column's value must be; a null is nothing of all this, so its row is dropped."""

    model_config = ConfigDict(json_schema_extra=_or_plain)

    equals: Scalar = None
    min: Scalar = Field(None, description="at least")
    max: Scalar = Field(None, description="at most")
    in_: tuple[Scalar, ...] = Field((), alias="in", min_length=1, description="one of these")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return value if isinstance(value, (dict, Condition)) else {"equals": value}

    @model_validator(mode="after")
    def _makes_sense(self) -> Condition:
        if not self.values:
            raise ValueError("says nothing; give a value, or one of min, max and in")
        if len({kind_of(value) for value in self.values}) > 1:
            raise ValueError("its values are of more than one kind; give only texts, only numbers, or true and false")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min!r} is more than max {self.max!r}, so that no row could pass")
        return self

    @property
    def values(self) -> tuple[Any, ...]:
        """Every value that the condition names."""
        return (*(each for each in (self.equals, self.min, self.max) if each is not None), *self.in_)


def kind_of(value: Any) -> str:
    """What a value can be compared with. True is no number here."""
    return "boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


Where = Annotated[
    dict[Annotated[str, Field(min_length=1)], Condition],
    Field(description="column → the value that it must have, or {min, max, in}; rows that fail any are dropped"),
]
