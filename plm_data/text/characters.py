"""What each Unicode character is to the rules: one table for all the compiled scanners.

The classes are those of the regular expressions named here: a test compares the table that is kept with them, so a
scanner and a pattern cannot drift apart. ``python -m plm_data.text.characters`` makes it anew.
"""

from __future__ import annotations

import base64
import unicodedata
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from plm_data.text.character_table import TABLE

# A character of a word in a script that puts spaces between words; and one that is a word by itself.
WORD, UNSPACED = 1, 2
LETTER, SPACE, SENTENCE_END, DIGIT = 4, 8, 16, 32

UNSPACED_SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}"
_PATTERNS = {
    WORD: rf"[\w&&[^_{UNSPACED_SCRIPTS}]]",
    UNSPACED: rf"[{UNSPACED_SCRIPTS}]",
    LETTER: r"\p{L}",
    DIGIT: r"\p{Nd}",
    # Khmer's three signs are in FineWeb's list and not (all) in the property.
    SENTENCE_END: r"[\p{Sentence_Terminal}\x{17D6}\x{17D9}\x{17DA}]",
}
# The last assigned ideograph; the few characters beyond it are of no class.
LIMIT = 0x323B0


def made_classes() -> np.ndarray:
    """The table of ``classes`` from its patterns; slow, and through Polars' threads, so it is made once and kept."""
    # Surrogates are no characters; the letter x in their place is taken out below.
    characters = pl.Series([chr(c) if not 0xD800 <= c <= 0xDFFF else "x" for c in range(LIMIT)])
    table = np.zeros(LIMIT, dtype=np.uint8)
    for flag, pattern in _PATTERNS.items():
        table[characters.str.contains(pattern).to_numpy()] |= flag
    # Python's notion of white space, which str.strip and str.split follow.
    table[[c for c in range(LIMIT) if chr(c).isspace()]] |= SPACE
    table[0xD800:0xE000] = 0
    return table


@lru_cache(maxsize=1)
def classes() -> np.ndarray:
    """uint8 ``[LIMIT]``: the classes of each code point, or-ed; ``made_classes`` as it is kept."""
    return np.frombuffer(zlib.decompress(base64.b85decode(TABLE)), dtype=np.uint8)


@lru_cache(maxsize=1)
def folded() -> np.ndarray:
    """uint32 ``[LIMIT]``: each code point in lower case and without its marks; 0 for a mark (Mn) itself.

    ``É`` → ``e``, as in NFD less marks; a Hangul syllable stays whole.
    """
    table = np.arange(LIMIT, dtype=np.uint32)
    for c in range(0x41, LIMIT):
        character = chr(c)
        # Ideographs and Hangul have neither case nor marks, and are most of the table.
        if 0x3400 <= c < 0xA000 or 0xAC00 <= c < 0xE000 or c >= 0x1F000:
            continue
        if unicodedata.category(character) == "Mn":
            table[c] = 0
            continue
        base = unicodedata.normalize("NFD", character.lower())
        base = "".join(part for part in base if unicodedata.category(part) != "Mn")
        if len(base) == 1:
            table[c] = ord(base)
    return table


# Where in ``folded_classes`` the classes stand, above the 21 bits of a code point.
CLASS_SHIFT = 24


@lru_cache(maxsize=1)
def folded_classes() -> np.ndarray:
    """uint32 ``[LIMIT]``: ``folded``, with the classes of the folded character above it: one look for both."""
    plain = folded()
    return plain | (classes()[plain].astype(np.uint32) << np.uint32(CLASS_SHIFT))


def main() -> None:
    """Write ``character_table.py``."""
    text = base64.b85encode(zlib.compress(made_classes().tobytes(), 9)).decode("ascii")
    rows = "\n".join(f'    "{text[i : i + 110]}"' for i in range(0, len(text), 110))
    Path(__file__).with_name("character_table.py").write_text(
        f'"""Made by python -m plm_data.text.characters: its classes of every character, zlib in base 85."""\n\n'
        f"TABLE = (\n{rows}\n)\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
