"""The measures: against datatrove's own filters given the same words, and case by case."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters import gopher_quality_filter as quality_module
from datatrove.pipeline.filters import gopher_repetition_filter as repetition_module

from plm_data.attributes.quality import quality
from plm_data.attributes.repetition import DUPLICATE_N_GRAMS, TOP_N_GRAMS, repetition
from plm_data.attributes.web import c4, fineweb
from plm_data.build import Build
from plm_data.text.words import segment

PROSE = (
    "The quick brown fox jumps over the lazy dog that we have seen. It was a day to remember, with much to be said.\n"
    "Nobody knew where the fox had come from, and of course nobody asked.\n"
)


def measure(text: str) -> dict[str, Any]:
    texts = pl.Series([text])
    words = segment(texts)
    frames = [quality(texts, words), repetition(texts, words), c4(texts), fineweb(texts, words)]
    return pl.concat(frames, how="horizontal").to_dicts()[0]


@pytest.fixture(scope="module")
def texts(small_build: Build) -> pl.Series:
    parts = [part for output in small_build.documents.values() for part in output.parts()]
    found = pl.concat([pl.read_parquet(part, columns=["text"]) for part in parts])["text"]
    odd = [
        "word",
        "one two\n\none two\n\none two",
        "a-b-c " * 40,
        "…\n...\nx",
        "- a\n- b\n• c",
        "床前明月光，疑是地上霜。" * 9,
    ]
    return pl.concat([found, pl.Series("text", odd)])


@pytest.fixture(autouse=True)
def same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """datatrove's filters with our words instead of spaCy's."""

    def split(text: str, language: str) -> list[str]:
        return segment(pl.Series([text])).flat.to_list()

    for module in (quality_module, repetition_module):
        monkeypatch.setattr(module, "split_into_words", split)


def verdicts(filter_: Any, texts: pl.Series) -> list[bool]:
    return [filter_.filter(Document(text=text, id="")) is True for text in texts]


def test_gopher_quality_agrees_with_datatrove_measure_by_measure(texts: pl.Series) -> None:
    """Each threshold alone, placed at our own measure and just beyond it: datatrove's verdict must flip there."""
    off: dict[str, Any] = dict.fromkeys(
        ["min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio",
         "max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio", "min_stop_words"]
    )  # fmt: skip
    frame = quality(texts, segment(texts))
    pairs = [
        ("min_doc_words", "words", 1), ("max_doc_words", "words", -1), ("min_avg_word_length", "mean_word_length", 1),
        ("max_avg_word_length", "mean_word_length", -1), ("max_bullet_lines_ratio", "bullet_lines", -1),
        ("max_ellipsis_lines_ratio", "ellipsis_lines", -1), ("max_non_alpha_words_ratio", "alpha_words", 1),
        ("min_stop_words", "stop_words", 1),
    ]  # fmt: skip
    checked = 0
    for option, column, direction in pairs:
        step = 1 if frame[column].dtype.is_integer() else 1e-6
        for text, value in zip(texts[::5], frame[column].to_list()[::5], strict=True):
            if value <= 0:
                continue
            at = GopherQualityFilter(**off | {option: value + (0 if step == 1 else -direction * step)})
            beyond = GopherQualityFilter(**off | {option: value + direction * step})
            document = Document(text=text, id="")
            assert at.filter(document) is True, (option, value, text[:80])
            if value + direction * step > 0:
                assert at.filter(document) != beyond.filter(document), (option, value, text[:80])
            checked += 1
    assert checked > 300


def test_gopher_repetition_agrees_with_datatrove_to_the_character(texts: pl.Series) -> None:
    frame = repetition(texts, segment(texts))
    for i, text in enumerate(texts):
        words = segment(pl.Series([text])).flat.to_list()
        for n in TOP_N_GRAMS:
            grams = repetition_module.get_n_grams(words, n)
            expected = repetition_module.find_top_duplicate(grams) / len(text) if grams else 0.0
            assert frame[f"top_{n}_gram"][i] == pytest.approx(expected, abs=1e-12), (n, text[:80])
        for n in DUPLICATE_N_GRAMS:
            # datatrove joins words without a separator, so "a bc" repeats "ab c" there, and here it does not.
            # With separators it does as we do, but counts them: once with one, once with two, gives the words alone.
            once, twice = (repetition_module.find_all_duplicate([w + s for w in words], n) for s in ("\0", "\0\0"))
            expected = (2 * once - twice) / len(text)
            assert frame[f"duplicate_{n}_grams"][i] == pytest.approx(expected, abs=1e-12), (n, text[:80])


def test_default_verdicts_agree_with_datatrove(texts: pl.Series) -> None:
    """Repetition's line and paragraph shares as well: all thirteen thresholds at once."""
    frame = repetition(texts, segment(texts))
    limits = {"duplicate_lines": 0.3, "duplicate_paragraphs": 0.3, "duplicate_line_chars": 0.2, "duplicate_paragraph_chars": 0.2,
              "top_2_gram": 0.2, "top_3_gram": 0.18, "top_4_gram": 0.16, "duplicate_5_grams": 0.15, "duplicate_6_grams": 0.14,
              "duplicate_7_grams": 0.13, "duplicate_8_grams": 0.12, "duplicate_9_grams": 0.11, "duplicate_10_grams": 0.1}  # fmt: skip
    ours = frame.select(keep=pl.all_horizontal(pl.col(name) <= limit for name, limit in limits.items()))["keep"]
    theirs = verdicts(GopherRepetitionFilter(), texts)
    assert ours.to_list() == theirs
    assert 0 < sum(theirs) < len(theirs)


def test_fineweb_line_measures_agree_with_datatrove(texts: pl.Series, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short and repeated lines and line breaks; terminal punctuation is compared on our own set of marks."""
    from datatrove.pipeline.filters import fineweb_quality_filter as module

    monkeypatch.setattr(module, "split_into_words", lambda text, _: segment(pl.Series([text])).flat.to_list())
    frame = fineweb(texts, segment(texts))
    marks = tuple(".!?\"'”’。！？؟।…:;")
    for column, bound, options in (
        ("short_lines", 0.67, {"line_punct_thr": -1, "char_duplicates_ratio": 9, "new_line_ratio": 9e9}),
        ("line_duplicate_chars", 0.01, {"line_punct_thr": -1, "short_line_thr": 9, "new_line_ratio": 9e9}),
        ("newlines_per_word", 0.3, {"line_punct_thr": -1, "short_line_thr": 9, "char_duplicates_ratio": 9}),
    ):
        theirs = verdicts(FineWebQualityFilter(**options), texts)
        assert (frame[column] <= bound).to_list() == theirs, column
    options = {"short_line_thr": 9, "char_duplicates_ratio": 9, "new_line_ratio": 9e9, "stop_chars": marks}
    theirs = verdicts(FineWebQualityFilter(**options), texts)
    assert (frame["punctuated_lines"] >= 0.12).to_list() == theirs


def test_symbols_and_bullets() -> None:
    found = measure("# one two three four\n- five six...\n• seven eight …\n  - nine ten")
    assert found["words"] == 10
    assert found["hash_ratio"] == pytest.approx(0.1)
    assert found["ellipsis_ratio"] == pytest.approx(0.2)
    assert found["bullet_lines"] == pytest.approx(0.75)
    assert found["ellipsis_lines"] == pytest.approx(0.5)


def test_stop_words_are_counted_once_each_and_in_lower_case() -> None:
    assert measure(PROSE)["stop_words"] == 8
    assert measure("the the the The")["stop_words"] == 1
    assert measure("The TO Of")["stop_words"] == 0


def test_c4_sentences_are_counted_in_the_lines_it_keeps() -> None:
    assert measure("One two three. Four five six!")["c4_sentences"] == 2
    assert measure("One two.\nThree four five.")["c4_sentences"] == 1  # a line of two words does not count
    assert measure("Please enable JavaScript now.\nOne two three.")["c4_sentences"] == 1
    assert measure("See our cookie policy here.\nOne two three.")["c4_sentences"] == 1
    assert measure("One two " + "x" * 1001 + ".")["c4_sentences"] == 0
    assert measure("One two " + "x" * 999 + ".")["c4_sentences"] == 1


def test_c4_flags() -> None:
    assert measure("a {b}")["c4_curly_brackets"] == 1 and measure("a (b)")["c4_curly_brackets"] == 0
    assert measure("Lorem  Ipsum LOREM ipsum")["c4_lorem_ipsum"] == 1


def test_an_empty_text_measures_zero_and_never_fails() -> None:
    found = measure("")
    assert found["words"] == 0 and found["mean_word_length"] == 0 and found["punctuated_lines"] == 0
    assert all(value == value for value in found.values())  # no NaN
