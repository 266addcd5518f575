"""The commands after fine-tuning, as a person types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from pipelines.cli import cli
from plm_data.build import Build
from plm_data.errors import PlmError, RecipeError
from tests.conftest import SMALL
from tests.pipelines.commands import run
from trainer.config import ModelConfig
from trainer.model import PLM
from trainer.pretrained import load_tokenizer, save_pretrained

AFTER = """
preferences:
  prompts: {sums: {reader: worked-maths, license: Apache-2.0, examples: 24, skip: 300}}
  select: rule
  activation: {epochs: 1, learning_rate: 0.001}
  refinements: 1
  rounds: 1
  prompts_per_round: 12
  temperature: 1.0
  max_tokens: 6
  beta: 0.1
  lambda: 0.25
  learning_rate: 0.001
  batch_size: 4
"""

COMPARED = """
sft:
  sft1:
    epochs: 1
    learning_rate: 0.001
    max_quarantined: 0.9  # most are longer than a sequence of 128 tokens
    sources: {sums: {reader: worked-maths, license: Apache-2.0, examples: 16}}
evaluate:
  max_tokens: 6
  tasks: {sums: {reader: worked-maths, license: Apache-2.0, examples: 6}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(SMALL + AFTER, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, small_build: Build) -> Path:
    """A model of random weights with the recipe's tokenizer, and room for every refinement."""
    torch.manual_seed(0)
    folder, tokenizer = tmp_path_factory.mktemp("tuned") / "model", small_build.tokenizer.path
    sizes = ModelConfig(
        load_tokenizer(tokenizer).get_vocab_size(), 32, 64, 1, 2, 8, 16, 8, 16, 1024, initializer_range=0.3
    )
    save_pretrained(folder, PLM(sizes), tokenizer)
    return folder


@pytest.fixture(scope="module")
def home(small_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aligned")


def test_align(recipe: Path, model: Path, home: Path) -> None:
    command = ("align", recipe, "--from", model, "--home", home, "--workers", 1)
    told = run(*command).output
    folder = home / "small" / "model-aligned"
    assert "activation: 12 pairs of 12 chains" in told  # a model of random weights is right by no chance
    assert "round-1: 0 pairs of 12 chains" in told
    assert "no pair: " in told
    assert (folder / "final" / "model.safetensors").is_file()
    settings = json.loads((folder / "run.json").read_text(encoding="utf-8"))["align"]
    wanted = {"rounds": 1, "lambda_": 0.25, "batch_size": 4, "activation_prompts": 12, "max_tokens": 6, "seed": 7}
    assert wanted.items() <= settings.items()
    assert ", reused" in run(*command).output


def test_compare_alignment(model: Path, home: Path, tmp_path: Path) -> None:
    compared = tmp_path / "small.yaml"
    compared.write_text(SMALL + AFTER + COMPARED, encoding="utf-8")
    shutil.copytree(model, home / "small" / "model" / "final")
    command = ("compare-alignment", compared, "--seeds", 2, "--home", home, "--workers", 1)
    told = run(*command).output
    for contender in ("sft1", "iterative DPO", "ARIES direct", "ARIES with refinement"):
        assert contender in told
    folder = home / "small" / "compare-alignment"
    found = json.loads((folder / "compare-alignment.json").read_text(encoding="utf-8"))
    assert f"Right answers to {found['tasks']} held-out tasks" in told
    assert found["seeds"] == [7, 8]
    assert found["budget"]["dpo"]["answers"] == found["budget"]["aries"]["answers"]
    assert found["verdict"] in told
    assert (folder / "compare-alignment.html").is_file()


def test_compare_alignment_needs_tasks(recipe: Path, home: Path) -> None:
    with pytest.raises(RecipeError, match="no 'sft' section, which the comparison needs"):
        run("compare-alignment", recipe, "--home", home, "--workers", 1)


def test_align_without_a_tuned_model(recipe: Path, home: Path) -> None:
    with pytest.raises(PlmError, match="there is no such model yet"):
        run("align", recipe, "--home", home / "elsewhere", "--workers", 1)


def test_align_without_preferences(small_recipe: Path, model: Path, home: Path) -> None:
    with pytest.raises(RecipeError, match="no 'preferences' section"):
        run("align", small_recipe, "--from", model, "--home", home, "--workers", 1)


def test_chat_answers_once(model: Path) -> None:
    command = ("chat", model, "--max-tokens", 5, "--prompt", "What is 1 + 1?")
    told = run(*command).output
    assert told == run(*command).output
    assert "model:" not in told
    assert run(*command, "--refine", 1).output != told


def test_chat_goes_on_until_an_empty_line(model: Path) -> None:
    command = ["chat", str(model), "--max-tokens", "5", "--refine", "1"]
    result = CliRunner().invoke(cli, command, input="one\ntwo\n\n")
    assert result.exit_code == 0, result.output
    assert result.output.count("model: ") == 2
    assert result.output.count("refined 1: ") == 2
    assert CliRunner().invoke(cli, command, input="").exit_code == 0  # Ctrl-D


def test_an_answer_cannot_steer_the_terminal() -> None:
    from pipelines.cli_align import _printable

    assert _printable("a\x1b[31mb\r\x07c\nd\te\u202ef") == "a[31mbc\nd\tef"
