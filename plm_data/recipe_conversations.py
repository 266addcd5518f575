"""What a recipe may say of a set of conversations: which they are, in what form, and how they are read."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from plm_data.locations import Location
from plm_data.recipe_keys import Commit, Count, CountOrZero, HubPath, Name, Strict


def _licence(value: str) -> str:
    unknown = [key for key in _unknown_licences(value) if not key.startswith("LicenseRef-")]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} is no SPDX licence; for a licence that SPDX does not list write LicenseRef-NAME"
        )
    return value


@lru_cache
def _unknown_licences(expression: str) -> tuple[str, ...]:
    # late: the licence list is large, and most recipes have none of these sections
    from license_expression import ExpressionError, get_spdx_licensing

    try:
        return tuple(get_spdx_licensing().unknown_license_keys(expression))
    except ExpressionError:
        return (repr(expression),)


Licence = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_licence)]

Form = Literal["messages", "sharegpt", "alpaca", "prompt-response", "gsm8k", "preference-pair", "code-task"]

# Form → the columns that a row must have, and those that it may have, by the names that the form gives them.
COLUMNS: dict[Form, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "messages": (("messages",), ()),
    "sharegpt": (("conversations",), ("system",)),
    "alpaca": (("instruction",), ("input", "output", "instances", "system")),
    "prompt-response": (("prompt",), ("response", "system")),
    "gsm8k": (("question", "answer"), ()),
    "preference-pair": (("chosen", "rejected"), ("prompt",)),
    "code-task": (
        (),
        ("text", "prompt", "code", "canonical_solution", "test_list", "test", "test_setup_code", "test_imports",
         "entry_point"),
    ),
}  # fmt: skip


class ConversationSpec(Strict):
    """What every set of conversations says of itself, whatever reads it."""

    license: Licence = Field(description="SPDX expression")
    domain: Name = "chat"
    language: Name = "en"
    priority: int = Field(0, description="of two duplicates the one from the set of higher priority survives")
    dedup: Literal["near", "exact"] = Field("near", description="exact: near duplicates of this set are kept")
    max_examples: Count | None = Field(
        None, description="at most so many of it, drawn by content hash and the recipe's seed"
    )
    tokens: Count | None = Field(None, description="declared tokens of one epoch; null: not known")


class _Rows(ConversationSpec):
    """Sets whose rows are conversations in one of the usual forms."""

    form: Form | None = Field(None, description="form of the rows; null: told by the columns that each has")
    columns: dict[Name, Annotated[str, Field(min_length=1)]] = Field(
        {}, description="column of the form → its name in this set, such as {prompt: query}"
    )
    id: str | None = Field("id", description="column of the id; a row without one is named by its own hash")
    examples: Count | None = Field(None, description="declared rows; null: not known")
    max_row_bytes: Count = Field(2_000_000, description="a longer row (UTF-8) is quarantined")

    @model_validator(mode="after")
    def _known_columns(self) -> _Rows:
        if self.columns and self.form is None:
            raise ValueError("columns renames the columns of a form, so name the form too")
        if self.form is not None:
            known = [name for names in COLUMNS[self.form] for name in names]
            if wrong := [name for name in self.columns if name not in known]:
                raise ValueError(f"the form {self.form} has no column {wrong[0]!r}; its columns are {', '.join(known)}")
        return self


class HubSet(_Rows):
    """A dataset of the hub: Parquet, JSON or JSON Lines, at one commit."""

    reader: Literal["hub"] = "hub"
    path: HubPath = Field(description="the repository: OWNER/NAME")
    revision: Commit | None = Field(description="commit, all 40 digits; null: not known yet, so planned but not built")
    files: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("**/*.parquet",), min_length=1, description="globs of the files in the repository"
    )


class FileSet(_Rows):
    """Parquet, JSON or JSON Lines in files, local or not."""

    reader: Literal["files"]
    paths: tuple[Location, ...] = Field(
        min_length=1, description="files, folders or globs, from the recipe's working folder, or URLs"
    )


Range = tuple[CountOrZero, CountOrZero]


class MathsKindSpec(Strict):
    """A kind of worked problem, with its operands in narrower ranges."""

    kind: Name
    ranges: tuple[Range, ...] = Field(
        min_length=1, description="lowest and highest of each operand; within those of the kind"
    )


def _kind_form(value: Any) -> str:
    return "<kind>" if isinstance(value, (dict, MathsKindSpec)) else "<name>"


MathsKinds = Annotated[
    tuple[
        Annotated[Annotated[Name, Tag("<name>")] | Annotated[MathsKindSpec, Tag("<kind>")], Discriminator(_kind_form)],
        ...,
    ],
    Field(description="kinds of problem, in turn; none named: all. A kind's operands may be narrowed"),
]


class MathsSet(ConversationSpec):
    """Synthetic arithmetic and word problems with worked solutions, whose answers can be checked.

    Of the training split; as a task of the evaluation, of the held-out split.
    """

    reader: Literal["worked-maths"]
    domain: Name = "maths"
    dedup: Literal["near", "exact"] = Field("exact", description="its wording repeats by design")
    examples: Count = Field(description="how many conversations")
    problems: Count = Field(1, description="in each conversation, asked one after the other")
    skip: CountOrZero = Field(0, description="leave out so many problems before them, such as those of another phase")
    kinds: MathsKinds = ()
    seed: int = 0


class PythonTaskSet(ConversationSpec):
    """Functions of the running Python's standard library and installed packages: from docstring to function."""

    reader: Literal["python-tasks"]
    domain: Name = "code"
    license: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        "NOASSERTION", description="what stands where a package names no licence; each function has its package's"
    )
    examples: Count | None = Field(None, description="declared functions; null: not known")
    packages: Literal["all"] | tuple[str, ...] = Field("all", description="distributions; 'stdlib' is one")
    exclude: tuple[str, ...] = Field((), description="distributions left out")
    max_bytes: Count | None = Field(None, description="read at most this much, sampled by a hash of the names")
    min_docstring: Count = Field(40, description="characters of a docstring that says enough")
    max_characters: Count = Field(1000, description="of question and function together, at most")


def _reader_of(value: Any) -> str:
    """The tag of a set; it comes into the places of errors, where ``recipe_file`` takes it out."""
    reader = value.get("reader", "hub") if isinstance(value, dict) else getattr(value, "reader", "hub")
    return f"<{reader}>"


ConversationSet = Annotated[
    Annotated[HubSet, Tag("<hub>")]
    | Annotated[FileSet, Tag("<files>")]
    | Annotated[MathsSet, Tag("<worked-maths>")]
    | Annotated[PythonTaskSet, Tag("<python-tasks>")],
    Discriminator(_reader_of),
]
CONVERSATION_READERS = ("files", "hub", "python-tasks", "worked-maths")
