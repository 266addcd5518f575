"""The rules on real text: datatrove's verdicts, given the same words."""

from __future__ import annotations

import polars as pl
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters import gopher_quality_filter as quality_module
from datatrove.pipeline.filters import gopher_repetition_filter as repetition_module

from plm_data.attributes.quality import quality
from plm_data.attributes.repetition import repetition
from plm_data.rules import GOPHER, REPETITION, RuleSet
from plm_data.text.words import segment


def kept(frame: pl.DataFrame, rules: RuleSet) -> list[bool]:
    tests = [
        pl.col(r.column) >= r.default if r.bound == "min" else pl.col(r.column) <= r.default for r in rules.rules
    ]  # fmt: skip
    return frame.select(keep=pl.all_horizontal(tests))["keep"].to_list()


@pytest.mark.parametrize("name", ["quality", "repetition"])
def test_verdicts_on_the_peps_are_datatroves(peps: pl.Series, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    words = segment(peps)
    of = {text: words.flat[words.offsets[i] : words.offsets[i + 1]].to_list() for i, text in enumerate(peps)}
    for module in (quality_module, repetition_module):
        monkeypatch.setattr(module, "split_into_words", lambda text, _: of[text])
    if name == "quality":
        ours, filter_ = kept(quality(peps, words), GOPHER), GopherQualityFilter()
    else:
        ours, filter_ = kept(repetition(peps, words), REPETITION), GopherRepetitionFilter()
    theirs = [filter_.filter(Document(text=text, id="")) is True for text in peps]
    assert len(theirs) == 751 and 0 < sum(theirs) < len(theirs)
    assert ours == theirs
