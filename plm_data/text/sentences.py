"""Sentences of a line: one rule for every language.

A sentence has at least one word character and ends at a run of ``. ! ?`` (closing quotes or brackets included) before
white space, at ``。！？``, or where its line ends. So ``3.14`` and ``plm.text`` end nothing.
"""

from __future__ import annotations

import numpy as np
import regex
from numba import njit

from plm_data.text.characters import LIMIT, SPACE, UNSPACED, UNSPACED_SCRIPTS, WORD
from plm_data.text.words import decode

# The definition; the counter below is tested against it.
_BETWEEN = regex.compile(r"(?<=[.!?][.!?\"')\]”’»]*)\s+|(?<=[。！？])")
_IN_WORD = regex.compile(rf"[^\W_]|[{UNSPACED_SCRIPTS}]")


def sentences(line: str) -> list[str]:
    """The sentences of one line."""
    return [part for part in _BETWEEN.split(line) if part and _IN_WORD.search(part)]


@njit(cache=True, nogil=True)
def count_sentences(data: np.ndarray, start: int, stop: int, classes: np.ndarray) -> int:
    """``len(sentences(...))`` of the line ``data[start:stop]``."""
    n, ended, has_word = 0, False, False
    i = start
    while i < stop:
        c = np.int64(data[i])
        width = 1
        if c >= 0x80:
            c, width = decode(data, i)
        flags = classes[c] if c < LIMIT else np.uint8(0)
        if c == 0x3002 or c == 0xFF01 or c == 0xFF1F:
            n += has_word
            ended, has_word = False, False
        elif c == 0x2E or c == 0x21 or c == 0x3F:
            ended = True
        elif ended and flags & SPACE:
            n += has_word
            ended, has_word = False, False
        elif ended and (c == 0x22 or c == 0x27 or c == 0x29 or c == 0x5D or c == 0x201D or c == 0x2019 or c == 0xBB):
            pass
        else:
            ended = False
            has_word |= (flags & (WORD | UNSPACED)) != 0
        i += width
    return n + has_word
