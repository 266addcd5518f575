"""Where documents come from. Each reader knows its size and fingerprint before it reads."""

from __future__ import annotations

from plm_data.recipe_sources import (
    FilesSource,
    HubSource,
    HuggingFaceSource,
    MathsSource,
    PythonSource,
    ReadmeSource,
    SourceSpec,
    SourceTreeSource,
    WarcSource,
)
from plm_data.sources.base import Reader


def make_reader(name: str, spec: SourceSpec) -> Reader:
    """The reader that a source's ``reader`` key names; imported only when it is used."""
    if isinstance(spec, PythonSource):
        from plm_data.sources.python_files import PythonFilesReader

        return PythonFilesReader(name, spec)
    if isinstance(spec, ReadmeSource):
        from plm_data.sources.package_readmes import ReadmeReader

        return ReadmeReader(name, spec)
    if isinstance(spec, MathsSource):
        from plm_data.sources.worked_maths import MathsReader

        return MathsReader(spec)
    if isinstance(spec, HuggingFaceSource):
        from plm_data.sources.huggingface import HuggingFaceReader

        return HuggingFaceReader(name, spec)
    if isinstance(spec, FilesSource):
        from plm_data.sources.files import FilesReader

        return FilesReader(name, spec)
    if isinstance(spec, HubSource):
        from plm_data.sources.hub import HubReader

        return HubReader(name, spec)
    if isinstance(spec, WarcSource):
        from plm_data.sources.warc import WarcReader

        return WarcReader(name, spec)
    if isinstance(spec, SourceTreeSource):
        from plm_data.sources.source_tree import SourceTreeReader

        return SourceTreeReader(name, spec)
    raise TypeError(f"no reader for {type(spec).__name__}")
