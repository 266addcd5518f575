"""Gopher quality and repetition beside datatrove's filters, both given the same words."""

from __future__ import annotations

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # a core beside a core

import polars as pl
from datatrove.data import Document
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters import gopher_quality_filter as quality_module
from datatrove.pipeline.filters import gopher_repetition_filter as repetition_module

from benchmarks.common import best, report, texts
from plm_data.attributes.quality import quality
from plm_data.attributes.repetition import repetition
from plm_data.rules import GOPHER, REPETITION, RuleSet
from plm_data.text.words import WORD, segment


def run() -> None:
    """Measure both; verdicts must be equal first."""
    import regex

    found = texts(3_000_000)
    documents = [Document(text=text, id="") for text in found]
    # The same segmentation as ours, in the regex dialect of Python's regex package.
    pattern = regex.compile(WORD.replace("&&[^", "--["), regex.V1)
    for module in (quality_module, repetition_module):
        module.split_into_words = lambda text, _: pattern.findall(text)
    megabytes = int(found.str.len_bytes().sum()) / 1e6
    for name, measure, rules, filter_ in (
        ("gopher quality", quality, GOPHER, GopherQualityFilter()),
        ("gopher repetition", repetition, REPETITION, GopherRepetitionFilter()),
    ):

        def ours(measure=measure, rules=rules) -> list[bool]:  # type: ignore[no-untyped-def]
            return _kept(measure(found, segment(found)), rules)

        def peer(filter_=filter_) -> list[bool]:  # type: ignore[no-untyped-def]
            return [filter_.filter(document) is True for document in documents]

        ours()  # compiles
        our_seconds, our_verdicts = best(ours, 3)
        peer_seconds, peer_verdicts = best(peer, 1)
        if our_verdicts != peer_verdicts:
            raise SystemExit(f"{name}: the verdicts differ, so there is nothing to compare")
        report(name, our_seconds, peer_seconds, "datatrove, same word pattern", megabytes, len(found))


def _kept(frame: pl.DataFrame, rules: RuleSet) -> list[bool]:
    tests = [
        pl.col(r.column) >= r.default if r.bound == "min" else pl.col(r.column) <= r.default for r in rules.rules
    ]  # fmt: skip
    kept: list[bool] = frame.select(keep=pl.all_horizontal(tests))["keep"].to_list()
    return kept
