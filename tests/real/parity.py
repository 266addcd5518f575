"""Our verdicts beside those of datatrove's filters, which are given our words and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import polars as pl
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)

from plm_data.attributes.heuristics import heuristics
from plm_data.rules import C4, FINEWEB, GOPHER, REPETITION, RuleSet
from plm_data.text.sentences import sentences
from plm_data.text.words import segment
from tests.real.corpora import texts_of

RULE_SETS = {"gopher": GOPHER, "repetition": REPETITION, "c4": C4, "fineweb": FINEWEB}


@dataclass
class Parity:
    """Of some texts of a corpus: how many, how many datatrove keeps by each rule set, and where we differ.

    ``differ``: the text's place → rule set, our verdict, datatrove's; ``changed``: how many texts C4's line rules
    change; ``edited``: places where they are edited otherwise than datatrove does.
    """

    texts: int = 0
    kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RULE_SETS, 0))
    differ: dict[int, list[tuple[str, bool, str]]] = field(default_factory=dict)
    changed: int = 0
    edited: list[int] = field(default_factory=list)


def ours(frame: pl.DataFrame, rules: RuleSet) -> list[bool]:
    tests = [pl.col(r.column) >= r.default if r.bound == "min" else pl.col(r.column) <= r.default for r in rules.rules]
    return frame.select(keep=pl.all_horizontal(tests))["keep"].to_list()


def theirs(filter_: Any, document: Document) -> tuple[bool, str]:
    try:
        verdict = filter_.filter(document)
    except ZeroDivisionError:  # no words
        return False, "no words"
    return verdict is True, "kept" if verdict is True else str(verdict[1])


def compare(corpus: str, start: int = 0, stop: int | None = None) -> Parity:
    """The texts ``[start:stop]`` of a corpus by all four rule sets."""
    texts = texts_of(corpus)[start:stop]
    found = Parity(len(texts))
    frame, words = heuristics(texts), segment(texts)
    kept = {name: ours(frame, rules) for name, rules in RULE_SETS.items()}
    filters = {
        "gopher": GopherQualityFilter(), "repetition": GopherRepetitionFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False), "fineweb": FineWebQualityFilter(),
    }  # fmt: skip
    # The line rules by themselves, since the filter edits only what it keeps.
    line_rules = C4QualityFilter(
        filter_no_terminal_punct=False, filter_curly_bracket=False, filter_lorem_ipsum=False, min_num_sentences=-1
    )
    current: list[str] = []
    with _patched(lambda text, language: current):
        for i, (text, edited) in enumerate(zip(texts, frame["c4_text"], strict=True)):
            current[:] = words.of(i)
            for name, filter_ in filters.items():
                document = Document(text=text, id="")
                keeps, reason = theirs(filter_, document)
                found.kept[name] += keeps
                if keeps != kept[name][i]:
                    found.differ.setdefault(start + i, []).append((name, kept[name][i], reason))
            document = Document(text=text, id="")
            line_rules.filter(document)
            found.changed += document.text != text
            if (text if edited is None else edited) != document.text:
                found.edited.append(start + i)
    return found


def _patched(split_into_words: Any) -> Any:
    return _Patches(
        mock.patch.object(module, "split_into_words", split_into_words)
        for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter)
    )


class _Patches:
    """datatrove's modules with our words, and our sentences."""

    def __init__(self, patches: Iterator[Any]):
        self.patches = [
            *patches,
            mock.patch.object(c4_filters, "split_into_sentences", lambda line, _: sentences(line)),
        ]

    def __enter__(self) -> None:
        for patch in self.patches:
            patch.start()

    def __exit__(self, *_: object) -> None:
        for patch in self.patches:
            patch.stop()
