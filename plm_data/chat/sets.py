"""The readers of sets of conversations: a document's text is the conversation's JSON."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from plm_data.chat.conversation import ASSISTANT, USER, Conversation
from plm_data.chat.forms import fenced
from plm_data.chat.rows import Rows
from plm_data.errors import RecipeError
from plm_data.recipe_conversations import ConversationSet, FileSet, HubSet, MathsSet, PythonTaskSet
from plm_data.recipe_sources import FilesSource, HubSource, PythonSource
from plm_data.sources.base import Raw, Reader, Rejected
from plm_data.sources.files import FilesReader
from plm_data.sources.hub import HubReader
from plm_data.sources.maths_split import number_of, selection
from plm_data.sources.python_files import NOT_PYTHON, PythonFilesReader
from plm_data.sources.python_tasks import tasks
from plm_data.sources.where import Filter
from plm_data.sources.worked_maths import Split
from plm_data.store import code_version, digest
from plm_data.text.hashing import document_id, partition_of


def make_set_reader(place: str, name: str, spec: ConversationSet, split: Split) -> Reader:
    """The reader of a set. ``place``: where it stands in the recipe; ``split``: which problems of ``worked-maths``."""
    if isinstance(spec, MathsSet):
        return MathsConversations(spec, split)
    if isinstance(spec, PythonTaskSet):
        return PythonTasks(place, name, spec)
    return RowConversations(place, name, spec)


class RowConversations:
    """Rows of files, here or on the hub."""

    def __init__(self, place: str, name: str, spec: HubSet | FileSet):
        self.spec, self._place = spec, place
        columns = Rows(
            "", spec.id, None, spec.license, spec.max_row_bytes, Filter({}), spec.form, tuple(spec.columns.items())
        )
        shared: dict[str, Any] = {
            "domain": spec.domain, "language": spec.language, "license": spec.license, "priority": spec.priority,
            "id": spec.id, "max_document_bytes": spec.max_row_bytes,
        }  # fmt: skip
        self._inner: HubReader | FilesReader
        if isinstance(spec, HubSet):
            hub = HubSource(reader="hub", path=spec.path, revision=spec.revision, files=spec.files, **shared)
            self._inner = HubReader(name, hub, place, columns)
        else:
            self._inner = FilesReader(name, FilesSource(reader="files", paths=spec.paths, **shared), place, columns)

    def _checked(self) -> HubReader | FilesReader:
        """The reader of the files, once all of them hold rows."""
        if isinstance(self._inner, FilesReader):
            for file in self._inner.files:
                if file.kind not in ("parquet", "lines"):
                    raise RecipeError(
                        f"{self._place}.paths: {file.label} holds no rows; expected Parquet, JSON or JSON Lines "
                        f"(.parquet, .json, .jsonl, .ndjson, plain or with .gz or .zst)."
                    )
        return self._inner

    def fingerprint(self) -> str:
        return self._checked().fingerprint()

    def check_unchanged(self, fingerprint: str) -> None:
        """Raise ``SourceError`` if remote files are other ones than at that fingerprint."""
        if isinstance(self._inner, FilesReader):
            self._inner.check_unchanged(fingerprint)

    def contents(self) -> dict[str, str]:
        return self._checked().contents()

    def size_bound(self) -> int | None:
        return sum(file.size or 0 for file in self._inner.files) if isinstance(self._inner, FilesReader) else None

    def read(self, piece: int, pieces: int) -> Iterator[Raw | Rejected]:
        return self._checked().read(piece, pieces)


class MathsConversations:
    """Worked problems: the question, and the solution with the answer last; as many in turn as the set says."""

    def __init__(self, spec: MathsSet, split: Split):
        self.spec, self._split = spec, split

    def fingerprint(self) -> str:
        asked = self.spec.model_dump(mode="json", include={"examples", "skip", "kinds", "seed", "problems"})
        return digest([asked, self._split, code_version(selection.__module__), code_version(__name__)])

    def contents(self) -> dict[str, str]:
        return {"generator": code_version(selection.__module__)}

    def size_bound(self) -> int | None:
        return None

    def read(self, piece: int, pieces: int) -> Iterator[Raw | Rejected]:
        problems = selection(self.spec, self._split)
        while together := list(islice(problems, self.spec.problems)):
            names = tuple(name for _, name, _ in together)
            if partition_of(document_id("worked-maths", names[0]), pieces) == piece:
                turns: list[tuple[str, str]] = []
                for _, _, item in together:
                    turns += [(USER, item.question), (ASSISTANT, f"{item.solution}\n\nAnswer: {item.answer}")]
                kind, _, last = together[-1]
                number = number_of(kind, last)
                check = "number" if number else None
                found = Conversation(tuple(turns), answer=number, check=check, origins=names)
                yield Raw("+".join(names), found.to_json(), self.spec.license)


class PythonTasks(PythonFilesReader):
    """Functions of the local environment: the docstring asks, the function answers."""

    def __init__(self, place: str, name: str, tasks_of: PythonTaskSet):
        shared: dict[str, Any] = tasks_of.model_dump(include={"packages", "exclude", "max_bytes", "license"})
        source = PythonSource(reader="python-code", domain="code", language="python", priority=0, **shared)
        super().__init__(name, source, place)
        self._asked = tasks_of

    def fingerprint(self) -> str:
        asked = self._asked.model_dump(mode="json", include={"min_docstring", "max_characters"})
        return digest([super().fingerprint(), asked])

    def read(self, partition: int, partitions: int) -> Iterator[Raw | Rejected]:
        for file in self.files:
            if partition_of(document_id(self.name, file.name), partitions) != partition:
                continue
            try:
                found = list(tasks(file, self._asked.min_docstring))
            except NOT_PYTHON as error:
                yield Rejected(file.name, "quarantined", "does-not-parse", f"{type(error).__name__}: {error}"[:200])
                continue
            for each in found:
                if (size := len(each.question) + len(each.code)) > self._asked.max_characters:
                    yield Rejected(each.name, "dropped", "long-function", f"{size:,} characters")
                    continue
                turns = (USER, each.question), (ASSISTANT, fenced(each.code))
                yield Raw(each.name, Conversation(turns, origins=(file.name,)).to_json(), file.license)
