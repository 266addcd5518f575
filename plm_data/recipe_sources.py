"""What a recipe may say of a source: what every source says, and the keys of each reader."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from plm_data.locations import Location
from plm_data.recipe_keys import Commit, Count, HubPath, Name, Strict, Where


class SourceSpec(Strict):
    """What every source says of itself, whatever reads it."""

    domain: Name
    language: Name = Field(description="as fastText names it (en, zh …); a programming language for code")
    license: Annotated[str, Field(min_length=1)] = Field(
        description="SPDX expression; for documents that carry their own, what stands where they say nothing"
    )
    priority: int = Field(description="of two duplicates the one from the source of higher priority survives")
    dedup: Literal["near", "exact"] = Field("near", description="exact: near duplicates of this source are kept")
    lines: Literal["all", "c4"] = Field("all", description="c4: the phases get its texts as C4's line rules edit them")
    tokens: Count | None = Field(None, description="declared tokens of one epoch, for a plan before any is counted")
    max_epochs: float | None = Field(None, gt=0, description="instead of the recipe's")
    held_out: float | None = Field(
        None, ge=0, le=1, description="share held out, instead of the recipe's; 1: all of it"
    )
    limit_documents: Count | None = Field(
        None, description="for a trial: at most so many documents, drawn by content hash and the recipe's seed"
    )
    limit_bytes: Count | None = Field(None, description="and at most so many bytes of text")
    limit_tokens: Count | None = Field(None, description="and at most what surely gives no more tokens than this")


class PythonSource(SourceSpec):
    """Files of the running Python's standard library and installed packages."""

    reader: Literal["python-code", "python-docs"]
    packages: Literal["all"] | tuple[str, ...] = Field("all", description="distributions; 'stdlib' is one")
    exclude: tuple[str, ...] = Field((), description="distributions left out")
    max_bytes: Count | None = Field(None, description="read at most this much, sampled by a hash of the ids")


class ReadmeSource(SourceSpec):
    """Long descriptions in the metadata of the installed packages."""

    reader: Literal["package-readmes"]
    exclude: tuple[str, ...] = Field((), description="distributions left out")


class MathsSource(SourceSpec):
    """Synthetic arithmetic and word problems with worked solutions; the training split."""

    reader: Literal["worked-maths"]
    documents: Count
    seed: int = 0


class HuggingFaceSource(SourceSpec):
    """Rows of a Hugging Face dataset, or of local files through one of its packaged loaders (json, parquet, text)."""

    reader: Literal["huggingface"]
    path: Annotated[str, Field(min_length=1)] = Field(description="dataset id on the hub, or json, parquet, csv, text")
    config: str | None = None
    split: str = "train"
    revision: str | None = Field(None, description="commit of the hub dataset; required for one")
    data_files: tuple[Location, ...] = Field((), description="local files or globs, from the recipe's working folder")
    text: str = Field("text", description="column of the text")
    id: str | None = Field("id", description="column of the id; null: the text's own hash")
    license_column: str | None = None
    bytes: Count | None = Field(None, description="declared size of the text, for the plan")

    @model_validator(mode="after")
    def _pinned(self) -> HuggingFaceSource:
        if not self.data_files and self.revision is None:
            raise ValueError("a hub dataset needs its revision (a commit), so that the recipe can be reproduced")
        return self


class FilesSource(SourceSpec):
    """Files: Parquet, JSON Lines, texts of one document each, and archives of these."""

    reader: Literal["files"]
    paths: tuple[Location, ...] = Field(
        min_length=1,
        description="files, folders (with all below them) or globs: from the recipe's working folder, or URLs "
        "(s3://, https://, gs:// …) whose credentials are in the environment",
    )
    text: str = Field("text", description="column of the text")
    id: str | None = Field("id", description="column of the id; null: the text's own hash")
    license_column: str | None = None
    max_document_bytes: Count = Field(20_000_000, description="a longer text (UTF-8) is quarantined")
    broken_files: Literal["stop", "quarantine"] = Field(
        "stop", description="a truncated or corrupt file stops the build, or is quarantined but for what can be read"
    )
    max_archive_ratio: float = Field(
        100, ge=1, description="a zip or tar that unpacks to more than this many times its size is broken"
    )
    max_archive_bytes: Count = Field(100_000_000_000, description="and so is one that unpacks to more bytes than this")
    where: Where = Field({})


class HubSource(SourceSpec):
    """Parquet and JSON Lines of a dataset repository of the hub, read as they lie, at one commit."""

    reader: Literal["hub"]
    path: HubPath = Field(description="the repository: OWNER/NAME")
    revision: Commit | None = Field(description="commit, all 40 digits; null: not known yet, so planned but not built")
    files: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("**/*.parquet",), min_length=1, description="globs of the files in the repository"
    )
    read: Literal["whole", "columns"] = Field(
        "whole",
        description="whole: each file is downloaded, checked against its sha256 and kept in the cache; "
        "columns: of each row group only the columns needed, which no sum is known of, and nothing is kept",
    )
    text: str = Field("text", description="column of the text")
    id: str | None = Field("id", description="column of the id; null: the text's own hash")
    license_column: str | None = None
    where: Where = Field({})
    bytes: Count | None = Field(None, description="declared size of the text, for the plan; null: the footers are read")
    max_document_bytes: Count = Field(20_000_000, description="a longer text (UTF-8) is quarantined")
    broken_files: Literal["stop", "quarantine"] = Field(
        "stop", description="a corrupt file stops the build, or is quarantined but for what can be read"
    )


class WarcSource(SourceSpec):
    """Web archives: the main text of the pages in WARC files, and the texts in WET files as they are."""

    reader: Literal["warc"]
    paths: tuple[Location, ...] = Field(
        min_length=1,
        description="files, folders (with all below them) or globs, from the recipe's working folder, or their URLs",
    )
    extract: Literal["precise", "balanced", "fast"] = Field(
        "balanced", description="Trafilatura with a second opinion, or with its own alone; fast: Resiliparse"
    )
    max_page_bytes: Count = Field(20_000_000, description="a longer page is quarantined")
    max_seconds: float = Field(30, gt=0, description="of the processor for a page's text; it is quarantined if over")
    max_memory: Count = Field(2_000_000_000, description="of the process that extracts; a page over it is quarantined")


class SourceTreeSource(SourceSpec):
    """Source code: a document a file, with the licence that the tree states for it."""

    reader: Literal["source-tree"]
    path: Location = Field(description="the tree's folder, or an archive of it (zip, tar); a URL of either")
    languages: tuple[Name, ...] = Field((), description="only these; none named: every language that is known")
    max_document_bytes: Count = Field(1_000_000, description="a longer file (UTF-8) is quarantined")
    max_archive_ratio: float = Field(
        100, ge=1, description="a zip or tar that unpacks to more than this many times its size is refused"
    )
    max_archive_bytes: Count = Field(100_000_000_000, description="and so is one that unpacks to more bytes than this")


Source = Annotated[
    PythonSource
    | ReadmeSource
    | MathsSource
    | HuggingFaceSource
    | FilesSource
    | HubSource
    | SourceTreeSource
    | WarcSource,
    Field(discriminator="reader"),
]

# Every value of ``reader``.
READERS = frozenset(
    name for kind in get_args(get_args(Source)[0]) for name in get_args(kind.model_fields["reader"].annotation)
)
