"""A corpus whose duplicates are known, and builds of it from local files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from plm_data.build import Build
from plm_data.recipe_file import load_recipe

STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]

RECIPE = """\
name: planted
seed: 11
partitions: {partitions}
tokenizer: {{vocab_size: 600, train_bytes: 50KB}}
sources:
{sources}
curate: {{repetition: null, c4: null, fineweb: null, language: null{curate}}}
phases:
  phase1: {{segment: stable, tokens: 2K, mix: {{{first}: 1.0}}}}
"""
SOURCE = '  {name}: {{reader: files, paths: ["{name}"], domain: web, language: en, license: CC0-1.0, priority: {priority}{more}}}\n'


@dataclass
class Corpus:
    """Documents by name, and which of them are copies: name of a copy → name of its original."""

    texts: dict[str, str] = field(default_factory=dict)
    exact: dict[str, str] = field(default_factory=dict)
    near: dict[str, str] = field(default_factory=dict)

    def family(self, name: str) -> str:
        """The original of a document, which may be itself."""
        return self.exact.get(name) or self.near.get(name) or name


def jaccard(a: str, b: str, width: int = 5) -> float:
    """Of the word shingles of two texts of plain words."""
    one, two = (
        {tuple(words[i : i + width]) for i in range(len(words) - width + 1)} for words in (a.split(), b.split())
    )
    return len(one & two) / len(one | two)


def plant(seed: int, originals: int, exact: int, near: int) -> Corpus:
    """Unrelated documents of 100 to 240 words; copies that normal form makes equal; copies of a Jaccard >= 0.9."""
    rng = np.random.default_rng(seed)
    vocabulary = ["".join(letters) for letters in rng.choice(list("aeioubcdfghlmnprst"), size=(4000, 6))]

    def some(count: int) -> list[str]:
        plain = rng.random(count) < 0.7
        return np.where(plain, rng.choice(vocabulary, count), rng.choice(STOP_WORDS, count)).tolist()

    corpus = Corpus({f"o{i}": " ".join(some(int(rng.integers(100, 240)))) for i in range(originals)})
    for i in range(exact):
        # Some originals have no copy, some have several; line ends and outer white space are no difference.
        corpus.exact[f"e{i}"] = original = f"o{int(rng.integers(originals // 2))}"
        corpus.texts[f"e{i}"] = ["{}", "{}\r\n", "\n{} \t\n", "\ufeff{}"][i % 4].format(corpus.texts[original])
    for i in range(near):
        corpus.near[f"n{i}"] = original = f"o{int(rng.integers(originals))}"
        words = corpus.texts[original].split()
        match i % 3:
            case 0:
                words[int(rng.integers(10, len(words) - 10))] = "changed"
            case 1:
                words = [*words[3:], "a", "new", "end"]
            case _:
                words.insert(int(rng.integers(10, len(words) - 10)), "inserted")
        text = " ".join(words)
        if jaccard(text, corpus.texts[original]) < 0.9:  # a short one: only its last word may change
            text = " ".join([*corpus.texts[original].split(), "more"])
        corpus.texts[f"n{i}"] = text
    return corpus


def write_rows(path: Path, texts: Mapping[str, str]) -> None:
    rows = "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rows, encoding="utf-8")


def open_planted(
    folder: Path, sources: Mapping[str, int], partitions: int = 3, workers: int = 1, curate: str = "", more: str = ""
) -> Build:
    """A build of the folders in ``folder`` that ``sources`` names with their priorities; the working folder is there."""
    made = "".join(SOURCE.format(name=name, priority=priority, more=more) for name, priority in sources.items())
    path = folder / "planted.yaml"
    path.write_text(
        RECIPE.format(partitions=partitions, sources=made, curate=curate, first=next(iter(sources))), encoding="utf-8"
    )
    return Build(load_recipe(path), folder / "home", workers=workers)
