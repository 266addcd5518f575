"""The part of a text that a rule objects to, to show beside the rule's number.

It says what is there, not whether that is too much: the threshold is the recipe's. Plain Python, for one document at
a time; what a word, a sentence or a line's trait is, is defined where it is measured.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import polars as pl

from plm_data.attributes.language import identify
from plm_data.attributes.quality import STOP_WORDS
from plm_data.attributes.repetition import DUPLICATE_N_GRAMS, TOP_N_GRAMS
from plm_data.text.c4_lines import BARRED, LOREM_IPSUM
from plm_data.text.characters import LIMIT, SENTENCE_END, classes
from plm_data.text.printable import clip, quote
from plm_data.text.sentences import sentences
from plm_data.text.words import WORD

_CHARS: Final = 200
_QUOTED: Final = 120
_SHORT_LINE: Final = 30
_ELLIPSIS = re.compile(r"\.\.\.|…")
_TERMINAL = (".", "?", "!", '"', "'")  # C4's, where the recipe asks for it
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")


def offending_part(rule: str, text: str, stop_words: Sequence[str] = STOP_WORDS, terminal: bool = False) -> str | None:
    """At most 200 printable characters; None if nothing in the text is of the rule's kind, or no such rule reads texts.

    ``rule``: ``set.key``, as ``plm_data.rules.rule_names`` lists them. ``text``: in normal form. ``stop_words,
    terminal``: as it was measured, of its source's language, and whether C4's lines end in punctuation.
    """
    parts: dict[str, Callable[[str], str | None]] = {
        **_PARTS,
        "gopher.min_stop_words": partial(_stop_words, stop_words=stop_words),
        "c4.min_sentences": partial(_c4_sentences, terminal=terminal),
    }
    found = parts[rule](text) if rule in parts else None
    return None if found is None else clip(found, _CHARS)


def _words(text: str) -> list[str]:
    return pl.Series([text]).str.extract_all(WORD)[0].to_list()


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def _listed(items: Iterable[str], each: int = 40, most: int = 4) -> str:
    """The first few, quoted."""
    return ", ".join(quote(item, each) for item in list(items)[:most])


def _word_count(text: str) -> str:
    return f"{len(_words(text)):,} words"


def _by_length(text: str, longest: bool) -> str | None:
    """The words at one end, with how often they stand there."""
    counts = Counter(_words(text))
    ends = sorted(counts, key=lambda word: (-len(word) if longest else len(word), -counts[word], word))[:4]
    shown = ", ".join(f"{quote(word, 40)} ({counts[word]:,} x)" for word in ends)
    return f"{'longest' if longest else 'shortest'} words: {shown}" if ends else None


def _worst_line(text: str, count: Callable[[str], int], what: str) -> str | None:
    """The line with the most of something."""
    total = sum(map(count, text.split("\n")))
    worst = max(text.split("\n"), key=count)
    return f"{total:,} {what}, {count(worst):,} of them in {quote(worst.strip(), _QUOTED)}" if total else None


def _ellipses(line: str) -> int:
    return len(_ELLIPSIS.findall(line))


def _lines_that(text: str, trait: Callable[[str], bool], what: str, of: list[str]) -> str | None:
    """How many lines have a trait, with the most frequent of them."""
    having = [line.strip() for line in of if trait(line)]
    if not having:
        return None
    examples = [line for line, _ in Counter(having).most_common(3)]
    return f"{len(having):,} of {len(of):,} lines {what}: {_listed(examples, 50, 3)}"


def _bullet(line: str) -> bool:
    return line.strip()[:1] in ("•", "-") and bool(line.strip())


def _ellipsis_end(line: str) -> bool:
    return line.rstrip().endswith(("...", "…"))


def _unpunctuated(line: str) -> bool:
    code = ord(line[-1])
    return not (code < LIMIT and classes()[code] & SENTENCE_END)


def _without_letter(text: str) -> str | None:
    words = _words(text)
    bare = Counter(word for word in words if not any(map(str.isalpha, word)))
    if not bare:
        return None
    shown = ", ".join(f"{quote(word, 30)} ({n:,} x)" for word, n in bare.most_common(4))
    return f"{bare.total():,} of {len(words):,} words have no letter: {shown}"


def _stop_words(text: str, stop_words: Sequence[str]) -> str:
    found = set(_words(text))
    there = [word for word in stop_words if word in found]
    return f"of the {len(stop_words)} stop words it has {len(there)}: {', '.join(there) or 'none'}"


def _repeated(pieces: list[str], what: str, by_chars: bool) -> str | None:
    """What repeats most: the piece with the most copies, or with the most characters in its later copies."""
    counts = Counter(pieces)
    again = {piece: n - 1 for piece, n in counts.items() if n > 1}
    if not again:
        return None
    worst = max(again, key=lambda piece: again[piece] * (len(piece) if by_chars else 1))
    chars = sum(n * len(piece) for piece, n in again.items())
    return (
        f"{sum(again.values()):,} of {len(pieces):,} {what} ({chars:,} characters) repeat an earlier one; "
        f"{counts[worst]:,} times: {quote(worst.strip(), 100)}"
    )


def _paragraphs(text: str) -> list[str]:
    return re.split(r"\n{2,}", text.strip())


def _n_grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = _words(text)
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def _top_n_gram(n: int, text: str) -> str | None:
    """The most frequent n-gram; of equally frequent ones the first."""
    found = Counter(_n_grams(text, n)).most_common(1)
    if not found or found[0][1] < 2:
        return None
    (gram, count), total = found[0], len(_n_grams(text, n))
    return f"{count:,} of {total:,} {n}-grams: {quote(' '.join(gram), _QUOTED)}"


def _duplicate_n_grams(n: int, text: str) -> str | None:
    """The first n-gram that comes again, as they are counted: from left to right without overlap."""
    seen: set[tuple[str, ...]] = set()
    again: list[tuple[str, ...]] = []
    grams, i = _n_grams(text, n), 0
    while i < len(grams):
        step = 1
        if grams[i] in seen:
            again.append(grams[i])
            step = n
        seen.add(grams[i])
        i += step
    if not again:
        return None
    return f"{len(again):,} repeated {n}-grams, the first: {quote(' '.join(again[0]), _QUOTED)}"


def _c4_sentences(text: str, terminal: bool) -> str:
    """How many sentences C4's line rules leave, and a line that they take."""
    total, taken = 0, []
    for line in _lines(text):
        longest, left = max(map(len, line.split())), _CITATION.sub("", line.strip())
        barred = next((phrase for phrase in BARRED if phrase in left.lower()), None)
        if longest > 1000:
            taken.append((f"a word of {longest:,} characters", line))
        elif len(line.split()) < 3:
            taken.append(("fewer than 3 words", line))
        elif terminal and (left.endswith("...") or not left.endswith(_TERMINAL)):
            taken.append(("no terminal punctuation", line))
        elif barred:
            taken.append((f"names “{barred}”", line))
        else:
            total += len(sentences(left))
    said = f"{total:,} sentence{'' if total == 1 else 's'} in the lines that C4 keeps"
    if not taken:
        return said
    # The line that would have given the most.
    why, line = max(taken, key=lambda each: len(sentences(each[1])))
    return f"{said}; {len(taken):,} lines do not count, such as ({why}) {quote(line.strip(), 80)}"


def _line_breaks(text: str) -> str:
    lines = _lines(text)
    shortest = sorted(dict.fromkeys(lines), key=len)
    said = f"{text.count(chr(10)):,} line breaks, {len(_words(text)):,} words"
    return f"{said}; the shortest lines: {_listed(shortest, 30, 3)}" if len(lines) > 1 else said


def _language(text: str) -> str:
    label, score, second, second_score = identify(text)
    return f"{label} {score:.2f}, then {second} {second_score:.2f}"


_PARTS: dict[str, Callable[[str], str | None]] = {
    "gopher.min_words": _word_count,
    "gopher.max_words": _word_count,
    "gopher.min_mean_word_length": partial(_by_length, longest=False),
    "gopher.max_mean_word_length": partial(_by_length, longest=True),
    "gopher.max_symbol_ratio": lambda text: (
        _worst_line(text, lambda line: line.count("#"), "'#' signs")
        if text.count("#") > _ellipses(text)
        else _worst_line(text, _ellipses, "ellipses")
    ),
    "gopher.max_bullet_lines": lambda text: _lines_that(text, _bullet, "start with a bullet", text.split("\n")),
    "gopher.max_ellipsis_lines": lambda text: _lines_that(
        text, _ellipsis_end, "end in an ellipsis", text.split("\n")
    ),
    "gopher.min_alpha_words": _without_letter,
    "repetition.max_duplicate_lines": lambda text: _repeated(_lines(text), "lines", by_chars=False),
    "repetition.max_duplicate_line_chars": lambda text: _repeated(_lines(text), "lines", by_chars=True),
    "repetition.max_duplicate_paragraphs": lambda text: _repeated(_paragraphs(text), "paragraphs", by_chars=False),
    "repetition.max_duplicate_paragraph_chars": lambda text: _repeated(_paragraphs(text), "paragraphs", by_chars=True),
    **{f"repetition.max_top_{n}_gram": partial(_top_n_gram, n) for n in TOP_N_GRAMS},
    **{f"repetition.max_duplicate_{n}_grams": partial(_duplicate_n_grams, n) for n in DUPLICATE_N_GRAMS},
    "c4.max_curly_brackets": lambda text: _worst_line(text, lambda line: line.count("{"), "'{' signs"),
    "c4.max_lorem_ipsum": lambda text: _worst_line(
        text, lambda line: line.lower().count(LOREM_IPSUM), f"x “{LOREM_IPSUM}”"
    ),
    "fineweb.min_punctuated_lines": lambda text: _lines_that(
        text, _unpunctuated, "end without punctuation", _lines(text)
    ),
    "fineweb.max_short_lines": lambda text: _lines_that(
        text, lambda line: len(line) <= _SHORT_LINE, f"have at most {_SHORT_LINE} characters", _lines(text)
    ),
    "fineweb.max_line_duplicate_chars": lambda text: _repeated(_lines(text), "lines", by_chars=True),
    "fineweb.max_newlines_per_word": _line_breaks,
    "language.min_score": _language,
}  # fmt: skip
