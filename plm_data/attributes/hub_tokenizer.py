"""The tokenizer of a model on the hub, in place of a trained one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tokenizers import Tokenizer

from plm_data.attributes.tokens import END_OF_TEXT
from plm_data.engine import Step
from plm_data.errors import SourceError
from plm_data.sources.hub_repository import Repository
from plm_data.store import Counts, temporary_name

TOKENIZER = "tokenizer.json"
_FILES = (TOKENIZER, "tokenizer_config.json")


@dataclass(frozen=True)
class FetchTokenizer(Step):
    """The two files as the hub has them at a commit, checked by their hashes.

    With the step's output, as with every other, the sha256 of its files are kept.
    """

    name: ClassVar[str] = "tokenizer"
    hub: str
    revision: str

    @property
    def partitions(self) -> int:
        return 1

    def run(self, partition: int, out: Path) -> Counts:
        repository = Repository("tokenizer.hub", "models", self.hub, self.revision)
        listed = {file.name: file for file in repository.files}
        for name in _FILES:
            if name not in listed:
                raise SourceError(
                    f"tokenizer.hub: {self.hub} has no {name} at {self.revision}; expected a model with {TOKENIZER}, "
                    f"the form of the library tokenizers. Name a model or a commit that has it."
                )
            fetched = repository.download(listed[name], ".json")
            if name == TOKENIZER:
                self._check(fetched)
            temporary = temporary_name(out / name)
            shutil.copyfile(fetched, temporary)
            temporary.rename(out / name)
        return Counts()

    def _check(self, file: Path) -> None:
        """Raise ``SourceError`` unless it serves: texts become their tokens, no more and no fewer, and end-of-text."""
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing more special
            raise self._unfit(f"cannot be read: {error}") from error
        if tokenizer.token_to_id(END_OF_TEXT) is None:
            raise self._unfit(f"has no token {END_OF_TEXT}, which ends every document here")
        if tokenizer.truncation or tokenizer.padding:
            raise self._unfit("cuts or pads texts by itself, so that tokens would be lost or made up")
        if tokenizer.num_special_tokens_to_add(False):
            raise self._unfit("puts special tokens of its own around a text")

    def _unfit(self, why: str) -> SourceError:
        return SourceError(
            f"tokenizer.hub: {TOKENIZER} of {self.hub} at {self.revision} {why}. Take another, or train one: "
            f"tokenizer: {{vocab_size: N}}."
        )
