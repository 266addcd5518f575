"""A small build of two sources of files, and a copy of it for each test, which may change it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from plm_data.build import Build
from plm_data.recipe_file import load_recipe
from tests.planted import plant

RECIPE = """\
name: two
seed: 5
max_epochs: 2
partitions: 2
tokenizer: {vocab_size: 600, train_bytes: 40KB}
sources:
  one: {reader: files, paths: [one.jsonl], domain: web, language: en, license: CC0-1.0, priority: 2}
  two: {reader: files, paths: [two.jsonl], domain: web, language: en, license: MIT, priority: 1}
curate: {repetition: null, c4: null, fineweb: null, language: null, gopher: {min_words: 20}}
phases:
  phase1: {segment: stable, tokens: 6K, mix: {one: 0.5, two: 0.5}}
  phase2: {segment: decay, tokens: 3K, mix: {one: 0.5, two: 0.5}}
shards: {rows_per_shard: 8, rows_per_group: 4}
"""
FILE = "two.yaml"


@dataclass
class Two:
    """A folder with the recipe, its files and its build."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / FILE

    @property
    def home(self) -> Path:
        return self.folder / "build"

    def open(self) -> Build:
        return Build(load_recipe(self.recipe), self.home, workers=1)

    def build(self) -> Build:
        made = self.open()
        for phase in made.recipe.phases:
            made.shards(phase)
        return made

    def edit(self, old: str, new: str) -> None:
        """Change the recipe."""
        text = self.recipe.read_text(encoding="utf-8")
        assert text.count(old) == 1
        self.recipe.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished build; tests get copies."""
    folder = tmp_path_factory.mktemp("two")
    texts = list(plant(3, 120, 10, 10).texts.items())
    for name, rows in (("one", texts[:80]), ("two", texts[60:])):
        lines = [json.dumps({"id": identity, "text": text}) + "\n" for identity, text in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / FILE).write_text(RECIPE, encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        Two(folder).build()
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def two(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    """A copy of the build, in which the test stands."""
    folder = tmp_path / "two"
    shutil.copytree(built, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return Two(folder)
