"""C4 and FineWeb: measures of lines and sentences.

Sources: Raffel et al. 2020 (JMLR 21/140) section 2.2 and Penedo et al. 2024 (arXiv 2406.17557) section 3.6.
C4's sentences are counted in the lines that its line rules keep: at least 3 words, no word over 1,000
characters, no mention of javascript or of a policy phrase. As in FineWeb, a line needs no terminal
punctuation. A sentence ends at ``. ! ?`` (or ``。！？``), or at the line's end.
"""

from __future__ import annotations

import polars as pl

from plm_data.attributes.repetition import repeated_pieces
from plm_data.text.words import Words

_BARRED_LINE = (
    r"(?i)javascript|terms of use|privacy policy|cookie policy|uses cookies|use of cookies|use cookies"
)  # fmt: skip
_LONG_WORD = r"\S{1001}"
_CITATION = r"\[\d*\]|\[edit\]|\[citation needed\]"
_SENTENCE = r"[^.!?。！？\s][^.!?。！？]*"
# Sentence-final punctuation of the large scripts, and closing quotes behind it.
_TERMINAL = r"[.!?\"'”’。！？؟।…:;]$"
_SHORT_LINE = 30


def c4(texts: pl.Series) -> pl.DataFrame:
    """Sentences that remain after C4's line rules, curly brackets and 'lorem ipsum' in the text."""
    line = pl.element()
    kept = (
        (line.str.count_matches(r"\S+") >= 3)
        & ~line.str.contains(_BARRED_LINE)
        & ~line.str.contains(_LONG_WORD)
    )  # fmt: skip
    sentences = line.filter(kept).str.replace_all(_CITATION, "").str.count_matches(_SENTENCE)
    return pl.DataFrame({"text": texts}).select(
        c4_sentences=pl.col("text").str.split("\n").list.eval(sentences).list.sum().cast(pl.Int64),
        c4_curly_brackets=pl.col("text").str.count_matches("{", literal=True).cast(pl.Int64),
        c4_lorem_ipsum=pl.col("text").str.count_matches("(?i)lorem ipsum").cast(pl.Int64),
    )


def fineweb(texts: pl.Series, words: Words) -> pl.DataFrame:
    """Shares of punctuated, short and repeated lines (white-space lines do not count), and line breaks a word."""
    line = pl.element()
    lines = pl.DataFrame({"text": texts}).select(
        lines=pl.col("text").str.split("\n").list.eval(line.filter(line.str.contains(r"\S"))),
        line_breaks=pl.col("text").str.count_matches("\n", literal=True),
    )
    _, repeated_chars, _ = repeated_pieces(lines["lines"])
    chars = texts.str.replace_all("\n", "", literal=True).str.len_chars()
    frame = lines.with_columns(
        repeated_chars=pl.Series(repeated_chars), chars=chars, words=pl.Series(words.counts())
    )  # fmt: skip
    total = pl.col("lines").list.len()
    punctuated = pl.col("lines").list.eval(line.str.contains(_TERMINAL)).list.sum()
    short = pl.col("lines").list.eval(line.str.len_chars() <= _SHORT_LINE).list.sum()
    return frame.select(
        punctuated_lines=_share(punctuated, total),
        short_lines=_share(short, total),
        line_duplicate_chars=_share(pl.col("repeated_chars"), pl.col("chars")),
        newlines_per_word=_share(pl.col("line_breaks"), pl.col("words")),
    )


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part.cast(pl.Float64) / whole).otherwise(0.0)
