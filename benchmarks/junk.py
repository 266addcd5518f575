"""Documents that a rule must drop: each kind is made for one or two rules, of seeded words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Longer than Gopher's most words; planted seldom, since it weighs as much as 200 common documents.
GIANT_WORDS = 100_500


class Junk:
    """Makers of junk documents. ``words``: common words, of which sentences are drawn; ``seed``: a generator."""

    def __init__(self, words: list[str], random: np.random.Generator):
        self._words, self._random = np.array(words, dtype=object), random

    def make(self, which: int) -> str:
        """A document of kind ``which`` modulo the number of kinds."""
        return _KINDS[which % len(_KINDS)](self)

    def words(self, n: int) -> list[str]:
        drawn: list[str] = self._words[self._random.integers(len(self._words), size=n)].tolist()
        return drawn

    def sentence(self, n: int = 12) -> str:
        return " ".join(self.words(n)).capitalize() + "."

    def lines(self, n: int, words: int = 12) -> list[str]:
        return [self.sentence(words) for _ in range(n)]

    def mixed(self, pieces: list[str]) -> list[str]:
        return [pieces[i] for i in self._random.permutation(len(pieces))]

    def giant(self) -> str:
        """More words than Gopher allows, and nothing else wrong with them."""
        return "\n".join(self.lines(GIANT_WORDS // 50, 50))

    def short(self) -> str:
        return "\n".join(self.lines(3, 8))

    def hashes(self) -> str:
        return "\n".join(f"# {line} #tag #{self.words(1)[0]}" for line in self.lines(8))

    def ellipses(self) -> str:
        return "\n".join(" ... ".join(self.words(15)) + "." for _ in range(8))

    def bullets(self) -> str:
        return "\n".join(f"- {line}" for line in self.lines(15))

    def ellipsis_ends(self) -> str:
        return "\n".join(line + ".." for line in self.lines(15))

    def numbers(self) -> str:
        rows = self._random.integers(0, 10_000, size=(20, 10))
        return "\n".join([*(" ".join(map(str, row)) + "." for row in rows.tolist()), *self.lines(3)])

    def long_words(self) -> str:
        return "\n".join("".join(self.words(5)) + " " + "".join(self.words(4)) + " end." for _ in range(40))

    def short_words(self) -> str:
        letters = self._random.integers(97, 123, size=(20, 20)).tolist()
        return "\n".join(" ".join(map(chr, row)) + "." for row in letters)

    def no_stop_words(self) -> str:
        stop = {"the", "be", "to", "of", "and", "that", "have", "with"}
        drawn = [word for word in self.words(200) if word.lower() not in stop]
        return "\n".join(" ".join(drawn[i : i + 12]) + "." for i in range(0, len(drawn), 12))

    def repeated_lines(self) -> str:
        return "\n".join(self.mixed(self.lines(10) + [self.sentence()] * 8))

    def repeated_paragraphs(self) -> str:
        return "\n\n".join(self.mixed(self.lines(8, 25) + ["\n".join(self.lines(2))] * 6))

    def frequent_phrase(self) -> str:
        phrase = " ".join(self.words(4))
        return "\n".join(f"{phrase} {self.sentence(6)}" for _ in range(15))

    def repeated_phrases(self) -> str:
        phrases = [" ".join(self.words(11)) for _ in range(4)]
        return "\n".join(f"{self.sentence(5)} {phrases[i % 4]} {self.words(1)[0]}." for i in range(16))

    def braces(self) -> str:
        return "\n".join(f"{line} {{ {self.words(1)[0]} }}" for line in self.lines(10))

    def lorem_ipsum(self) -> str:
        return "\n".join([*self.lines(8), "Lorem ipsum dolor sit amet, consectetur adipiscing elit.", *self.lines(4)])

    def policies(self) -> str:
        phrases = ("javascript", "our privacy policy", "terms of use", "the use of cookies")
        return "\n".join(f"{line} Please read {phrases[i % 4]} here." for i, line in enumerate(self.lines(12)))

    def unpunctuated(self) -> str:
        return "\n".join(line[:-1] for line in self.lines(12))

    def short_lines(self) -> str:
        return "\n".join(self.lines(40, 3))

    def endless_word(self) -> str:
        return "\n".join([*self.lines(3), "x" * 1200 + " " + self.sentence(), *self.lines(1)])


_KINDS: tuple[Callable[[Junk], str], ...] = (
    Junk.short, Junk.hashes, Junk.ellipses, Junk.bullets, Junk.ellipsis_ends, Junk.numbers, Junk.long_words,
    Junk.short_words, Junk.no_stop_words, Junk.repeated_lines, Junk.repeated_paragraphs, Junk.frequent_phrase,
    Junk.repeated_phrases, Junk.braces, Junk.lorem_ipsum, Junk.policies, Junk.unpunctuated, Junk.short_lines,
    Junk.endless_word,
)  # fmt: skip
