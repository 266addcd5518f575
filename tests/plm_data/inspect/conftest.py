"""A corpus of a few documents whose stories are known: what is dropped by a rule, what by which duplicate, and why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from plm_data.build import Build
from plm_data.recipe_file import load_recipe

VOCABULARY = ["".join(letters) for letters in np.random.default_rng(8).choice(list("abdefgiklmnoprstu"), size=(500, 5))]
EVIL = "evil\x1b[31m\x07\u202ename"

RECIPE = """\
name: notes
seed: 3
partitions: 2
held_out: 0.2
tokenizer: {{vocab_size: 600, train_bytes: 50KB}}
sources:
  low: {{reader: huggingface, path: json, data_files: ["{folder}/low.jsonl"], domain: web, language: en, license: MIT,
        priority: 10, license_column: license}}
  high: {{reader: huggingface, path: json, data_files: ["{folder}/high.jsonl"], domain: docs, language: en,
         license: MIT, priority: 20}}
curate:
  gopher: {{min_words: 20, max_words: 5000, min_stop_words: null, min_alpha_words: 0.5}}
  repetition: null
  c4: null
  fineweb: null
  language: null
  domains: {{docs: {{gopher: {{min_words: null}}}}}}
  guardrails: {{max_source_loss: 1.0}}
phases:
  phase1: {{segment: stable, tokens: 1500, mix: {{low: 1.0}}}}
  phase2: {{segment: decay, tokens: 500, mix: {{low: 0.5, high: 0.5}}}}
"""


def text_of(seed: int, words: int = 100) -> str:
    """A text that shares no shingle with one of another seed."""
    return " ".join(np.random.default_rng(seed).choice(VOCABULARY, size=words)) + "."


def changed(text: str, place: int, word: str) -> str:
    words = text.split()
    words[place] = word
    return " ".join(words)


def several(text: str, places: tuple[int, ...], word: str) -> str:
    for place in places:
        text = changed(text, place, word)
    return text


DOCUMENTS = {
    "low": {
        "outranked": text_of(1),
        "shorter": changed(text_of(2), 50, "x"),
        "longer": changed(text_of(2), 50, "longest"),
        "same-a": text_of(3),
        "same-b": text_of(3),
        "brief": "Three words only\nand then four more.",
        EVIL: text_of(4, 12),
        "19 words": text_of(5, 19),
        "20 words": text_of(6, 20),
        "21 words": text_of(7, 21),
        # The ends of a chain: each is near the middle, and not near the other.
        "chain a": several(several(text_of(8), (20, 60), "b"), (35, 80), "a"),
        "chain b": several(text_of(8), (20, 60), "b"),
        "chain c": several(text_of(8), (45, 90), "longest"),
        **{f"plain {i}": text_of(100 + i) for i in range(30)},
    },
    "high": {"outranking": changed(text_of(1), 30, "another"), "lonely": text_of(9), "brief too": "One two."},
}


@pytest.fixture(scope="session")
def notes_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    for source, documents in DOCUMENTS.items():
        rows = [
            json.dumps({"id": name, "text": text, "license": "MIT\x1b[2J" if name == EVIL else "MIT"}) + "\n"
            for name, text in documents.items()
        ]
        # A name that comes twice with other texts: one of them is quarantined.
        if source == "low":
            rows.append(
                json.dumps({"id": "21 words", "text": "another text under a name\x1b that is taken", "license": "MIT"})
                + "\n"
            )
        (folder / f"{source}.jsonl").write_text("".join(rows), encoding="utf-8")
    path = folder / "notes.yaml"
    path.write_text(RECIPE.format(folder=folder), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def notes(notes_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The corpus, decided, with its first phase; tests must not write into it."""
    build = Build(load_recipe(notes_recipe), tmp_path_factory.mktemp("notes-home"), workers=1)
    build.check()
    build.shards("phase1")
    return build


@pytest.fixture(scope="session")
def ids(notes: Build) -> dict[str, str]:
    """Name → id."""
    return dict(notes.table("verdicts").select("name", "id").collect().iter_rows())
