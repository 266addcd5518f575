"""The one normal form of every document's text.

Unicode NFC, ``\\n`` as the only line break, no control characters, no white space at line ends, at most two
empty lines in a row, no white space around the document except its indentation. Nothing that carries meaning
in code (indentation, case, punctuation) is touched.
"""

from __future__ import annotations

import polars as pl
import xxhash

# Line breaks of Unicode beside \n, so that "line" means one thing in every rule.
_LINE_BREAKS = r"\r\n|[\r\v\f\x{85}\x{2028}\x{2029}]"
# Controls other than tab and line feed, the byte-order mark, and code points that are not characters.
_CONTROLS = r"[\x{00}-\x{08}\x{0e}-\x{1f}\x{7f}-\x{84}\x{86}-\x{9f}\x{feff}\x{fffe}\x{ffff}]"


def normalise(text: pl.Expr) -> pl.Expr:
    """The normal form of a column of texts. Idempotent: a second pass changes nothing."""
    return (
        text.str.replace_all(_LINE_BREAKS, "\n")
        .str.replace_all(_CONTROLS, "")
        .str.normalize("NFC")
        .str.replace_all(r"[^\S\n]+(\n|\z)", "${1}")
        .str.replace_all(r"\n{4,}", "\n\n\n")
        .str.strip_chars("\n")
    )


def content_hash(texts: pl.Series) -> pl.Series:
    """xxh3-128 of each normalised text as 32 hex digits: the identity for exact duplicates and for sampling."""
    return pl.Series(
        "content_hash", [xxhash.xxh3_128_hexdigest(text.encode("utf-8")) for text in texts], dtype=pl.String
    )
