"""C4's line rules: which lines of a text stay, with what in them, and what those lines hold.

Source: Raffel et al. 2020 (JMLR 21/140) section 2.2, in the order of datatrove's filter. A line is stripped; it goes
if it has a word over 1,000 characters, fewer than three words, or names javascript or a policy phrase; citations
(``[1]``, ``[edit]``, ``[citation needed]``) are taken out of it. Terminal punctuation is a measure of its own: C4
asks it of every line, FineWeb of none. A word here is what stands between white space.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from plm_data.text.characters import DIGIT, LIMIT, SPACE
from plm_data.text.sentences import count_sentences
from plm_data.text.words import decode

_NEWLINE: Final = 0x0A
_MIN_WORDS, _MAX_WORD = 3, 1000


def _phrase(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8).copy()


LOREM_IPSUM = "lorem ipsum"
BARRED = (
    "javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
_LOREM = _phrase(LOREM_IPSUM)
_BARRED = tuple(_phrase(text) for text in BARRED)
_EDIT, _NEEDED = _phrase("[edit]"), _phrase("[citation needed]")


@njit(cache=True, nogil=True)
def _at(data: np.ndarray, i: int, stop: int, phrase: np.ndarray) -> bool:
    """Whether ``phrase`` (lower case, ASCII) stands at byte ``i``, in whatever case."""
    if i + len(phrase) > stop:
        return False
    for k in range(len(phrase)):
        c = data[i + k]
        if 0x41 <= c <= 0x5A:
            c |= np.uint8(0x20)
        if c != phrase[k]:
            return False
    return True


@njit(cache=True, nogil=True)
def _exactly_at(data: np.ndarray, i: int, stop: int, phrase: np.ndarray) -> bool:
    return i + len(phrase) <= stop and bool(np.all(data[i : i + len(phrase)] == phrase))


@njit(cache=True, nogil=True)
def _citation(data: np.ndarray, i: int, stop: int, classes: np.ndarray) -> int:
    """Bytes of the citation at byte ``i``, which is a ``[``; 0 if there is none."""
    k = i + 1
    while k < stop:
        c, width = decode(data, k)
        if c >= LIMIT or not classes[c] & DIGIT:
            break
        k += width
    if k < stop and data[k] == 0x5D:
        return k + 1 - i
    if _exactly_at(data, i, stop, _EDIT):
        return len(_EDIT)
    return len(_NEEDED) if _exactly_at(data, i, stop, _NEEDED) else 0


@njit(cache=True, nogil=True)
def _short_or_long(data: np.ndarray, start: int, stop: int, classes: np.ndarray) -> bool:
    """Whether a line has too few words or one too long."""
    words, length, longest = 0, 0, 0
    i = start
    while i < stop:
        c = np.int64(data[i])
        width = 1
        if c >= 0x80:
            c, width = decode(data, i)
        if c < LIMIT and classes[c] & SPACE:
            length = 0
        else:
            words += length == 0
            length += 1
            longest = max(longest, length)
        i += width
    return words < _MIN_WORDS or longest > _MAX_WORD


@njit(cache=True, nogil=True)
def _terminal(line: np.ndarray, stop: int) -> bool:
    """Whether a line ends as C4 wants it: in ``. ? ! " '``, and not in an ellipsis."""
    if stop == 0:
        return False
    c = line[stop - 1]
    if c == 0x2E:
        return not (stop >= 3 and line[stop - 2] == 0x2E and line[stop - 3] == 0x2E)
    return bool(c == 0x3F or c == 0x21 or c == 0x22 or c == 0x27)


@njit(cache=True, nogil=True)
def edit(
    data: np.ndarray, bounds: np.ndarray, classes: np.ndarray, terminal: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The edited texts (bytes, int64 bounds ``[n + 1]``), and of each: sentences in the lines that stay, and curly
    opening brackets and "lorem ipsum" in the lines that the length rules leave.

    ``terminal``: also drop lines without terminal punctuation. Arrays are int64 ``[n]``.
    """
    documents = len(bounds) - 1
    out = np.empty(bounds[-1] - bounds[0] + 1, np.uint8)
    out_bounds = np.zeros(documents + 1, np.int64)
    sentences, curly, lorem = (
        np.zeros(documents, np.int64),
        np.zeros(documents, np.int64),
        np.zeros(documents, np.int64),
    )
    n = 0
    for d in range(documents):
        begin, end, first = bounds[d], bounds[d + 1], n
        while begin < end:
            stop = begin
            while stop < end and data[stop] != _NEWLINE:
                stop += 1
            a, b = _strip(data, begin, stop, classes)
            begin = stop + 1
            if _short_or_long(data, a, b, classes):
                continue
            mark = n
            if n > first:
                out[n] = _NEWLINE
                n += 1
            line = n
            i = a
            while i < b:
                skip = _citation(data, i, b, classes) if data[i] == 0x5B else 0
                if skip:
                    i += skip
                else:
                    out[n] = data[i]
                    n, i = n + 1, i + 1
            if terminal and not _terminal(out[line:n], n - line):
                n = mark
                continue
            has_curly, has_lorem, barred = _marks(out, line, n)
            curly[d] += 0 if barred == 2 else has_curly
            lorem[d] += has_lorem
            if barred:
                n = mark
                continue
            sentences[d] += count_sentences(out, line, n, classes)
        # As a whole the text is stripped: a citation may have stood at its end, behind a space.
        a, b = _strip(out, first, n, classes)
        for i in range(b - a):
            out[first + i] = out[a + i]
        n = first + b - a
        out_bounds[d + 1] = n
    return out[:n], out_bounds, sentences, curly, lorem


@njit(cache=True, nogil=True)
def _marks(line: np.ndarray, start: int, stop: int) -> tuple[int, int, int]:
    """Curly opening brackets, "lorem ipsum", and whether a phrase bars the line (2: javascript)."""
    curly, lorem, barred = 0, 0, 0
    for i in range(start, stop):
        c = line[i]
        if c == 0x7B:
            curly += 1
            continue
        if 0x41 <= c <= 0x5A:
            c |= np.uint8(0x20)
        if c == 0x6C:
            lorem += _at(line, i, stop, _LOREM)
        elif c == 0x6A:
            if _at(line, i, stop, _BARRED[0]):
                barred = 2
        elif barred == 0 and (c == 0x74 or c == 0x70 or c == 0x63 or c == 0x75):
            for phrase in _BARRED[1:]:
                if _at(line, i, stop, phrase):
                    barred = 1
    return curly, lorem, barred


@njit(cache=True, nogil=True)
def _strip(data: np.ndarray, start: int, stop: int, classes: np.ndarray) -> tuple[int, int]:
    """The bytes of ``data[start:stop]`` without white space around them."""
    while start < stop:
        c, width = decode(data, start)
        if c >= LIMIT or not classes[c] & SPACE:
            break
        start += width
    while stop > start:
        last = stop - 1
        while last > start and data[last] & 0xC0 == 0x80:
            last -= 1
        c, _ = decode(data, last)
        if c >= LIMIT or not classes[c] & SPACE:
            break
        stop = last
    return start, stop
