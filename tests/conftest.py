"""What several rooms' tests share: a small recipe of real sources, and one build of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from plm_data.build import Build
from plm_data.recipe_file import load_recipe

# No test is timed; and what CI runs is the same each time.
settings.register_profile("plm", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("plm")

SMALL = """\
name: small
seed: 7
partitions: 3
held_out: 0.03
tokenizer: {vocab_size: 700, train_bytes: 200KB}
sources:
  python-code: {reader: python-code, domain: code, language: python, license: NOASSERTION, priority: 20,
                packages: [click, tqdm, jinja2]}
  python-docs: {reader: python-docs, domain: docs, language: en, license: NOASSERTION, priority: 30,
                packages: [click, tqdm, jinja2]}
  package-readmes: {reader: package-readmes, domain: web, language: en, license: NOASSERTION, priority: 10}
  worked-maths: {reader: worked-maths, domain: maths, language: en, license: Apache-2.0, priority: 40,
                 documents: 300, dedup: exact}
curate:
  c4: {max_curly_brackets: null}
  fineweb: null
  domains:
    code: {c4: null, language: null, gopher: {min_stop_words: null, min_alpha_words: 0.5}, repetition: null}
    docs: {repetition: null, gopher: {min_alpha_words: 0.6}}
    maths: {gopher: {min_words: 20, min_alpha_words: null, min_mean_word_length: 1, min_stop_words: null},
            repetition: null, language: null, c4: {min_sentences: 3}}
  guardrails: {max_source_loss: 0.95}
phases:
  phase1: {segment: stable, tokens: 40K, mix: {python-code: 0.6, python-docs: 0.2, worked-maths: 0.2}}
  phase2: {segment: decay, tokens: 20K, mix: {python-code: 0.4, package-readmes: 0.4, worked-maths: 0.2}}
shards: {rows_per_shard: 50, rows_per_group: 16}
model: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, kv_lora_rank: 8,
        qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 16, max_position_embeddings: 128}
train: {sequence_length: 128, batch_size: 8, learning_rate: 0.01, final_learning_rate: 0.001, warmup_tokens: 5K,
        sample_prompts: ["def "]}
"""


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a recipe that builds in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_build(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A finished build of the small recipe; tests must not write into it."""
    build = Build(load_recipe(small_recipe), tmp_path_factory.mktemp("home"), workers=1)
    build.check()
    for phase in build.recipe.phases:
        build.shards(phase)
    return build
