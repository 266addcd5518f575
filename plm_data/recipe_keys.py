"""The values that a recipe's keys take, and the base of its sections."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

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


Count = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
Share = Annotated[float, Field(gt=0, le=1)]


class Strict(BaseModel):
    """A section of the recipe: an unknown key is an error, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
