"""A recipe to start from: small, whole and commented, for one of the usual readers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from plm_data.errors import RecipeError


@dataclass(frozen=True)
class _Start:
    """What differs by reader: the source's entry, and the budgets of three phases that fit it."""

    source: str
    tokens: tuple[str, str, str]


_STARTS = {
    "python": _Start(
        """\
  docs:                        # docstrings of this Python environment, as prose: no network, no account
    reader: python-docs
    packages: all              # or a list of distributions, such as [numpy, click]
    max_bytes: 5MB             # of files read, sampled by a hash of their ids
    domain: docs
    language: en
    license: NOASSERTION       # each file has its package's licence; this stands where a package names none
    priority: 10               # of two duplicates, the source of higher priority keeps its own
""",
        ("60K", "20K", "10K"),
    ),
    "files": _Start(
        """\
  documents:
    reader: files              # Parquet, JSON Lines (also .gz, .zst) and texts of one document each
    paths: ["data/*.jsonl"]    # files, folders or globs, from the folder in which plm runs
    text: text                 # the column of the text
    id: null                   # the column of the id; null: the text's own hash
    domain: web
    language: en
    license: NOASSERTION       # an SPDX expression; license_column names the column of rows that say it themselves
    priority: 10               # of two duplicates, the source of higher priority keeps its own
    # tokens: 5M               # of one epoch, if you know it: then the plan is exact before any work
""",
        ("30K", "10K", "5K"),
    ),
    "hub": _Start(
        """\
  web:
    reader: hub                # a dataset repository of the Hugging Face hub
    path: HuggingFaceFW/fineweb-edu
    revision: 87f09149ef4734204d70ed1d046ddc9ca3f2b8f9    # a commit; null: planned, and built once it is pinned
    files: [sample/10BT/000_00000.parquet]                # globs within the repository
    text: text
    domain: web
    language: en
    license: ODC-By-1.0
    priority: 10               # of two duplicates, the source of higher priority keeps its own
    tokens: 700M               # of one epoch: a fourteenth of the 10BT sample
""",
        ("80M", "15M", "5M"),
    ),
}

_TEXT = """\
# A recipe of PLM. For completion in an editor run `plm schema > recipe.schema.json` and make this the first line:
# yaml-language-server: $schema=recipe.schema.json
# extends: other.yaml          # takes every key that does not stand here from another recipe
name: {name}                   # builds go to build/{name}
description: what this corpus is for
seed: 1                        # with the texts, it decides every sample and order
max_epochs: 1                  # most passes over a source, all phases together
held_out: 0.01                 # of the kept documents, by content hash: in no phase, to measure the loss on

tokenizer:                     # byte-level BPE, trained on a sample of the documents
  vocab_size: 4096
  train_bytes: 2MB

sources:
{source}
curate:                        # thresholds not named are those of the papers; null turns a rule or a whole set off
  gopher: {{min_words: 30}}
  c4: {{max_curly_brackets: null}}
  fineweb: null
  language: {{min_score: 0.3}}
  # domains: {{code: {{fineweb: null}}}}          # other thresholds for a domain; also languages and sources
  # dedup: {{min_jaccard: 0.8}}                   # near duplicates must be so similar
  guardrails: {{max_source_loss: 0.95, max_quarantined: 0.05}}

phases:                        # segments of the Warmup-Stable-Decay-Constant schedule, in this order
  phase1:
    segment: stable
    tokens: {stable}
    mix: {{{mix}: 1.0}}        # shares by source or domain, which sum to 1
  phase2:
    segment: decay
    tokens: {decay}
    mix: {{{mix}: 1.0}}
  phase3:
    segment: constant
    tokens: {constant}
    mix: {{{mix}: 1.0}}

model:                         # a small PLM; leave model and train out for a corpus alone
  hidden_size: 128
  intermediate_size: 512
  num_hidden_layers: 2
  num_attention_heads: 4
  kv_lora_rank: 32
  qk_nope_head_dim: 32
  qk_rope_head_dim: 16
  v_head_dim: 32
  max_position_embeddings: 256

train:
  sequence_length: 256
  batch_size: 8
  learning_rate: 0.002
  final_learning_rate: 0.0002
  warmup_tokens: 10K
  sample_prompts: ["The "]
"""


def recipe_text(name: str, reader: str) -> str:
    """The recipe that ``plm new`` writes."""
    start = _STARTS[reader]
    stable, decay, constant = start.tokens
    mix = start.source.split(":", 1)[0].strip()
    return _TEXT.format(
        name=name, source=start.source, mix=mix, stable=stable, decay=decay, constant=constant
    )  # fmt: skip


def write_recipe(path: Path, name: str, reader: str) -> Path:
    """Write it; raises ``RecipeError`` if the name cannot be one, or the file is there."""
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) is None:
        raise RecipeError(
            f"{name!r} cannot be a recipe's name; expected lower-case letters, digits, dots, dashes and underscores."
        )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(recipe_text(name, reader))
    except FileExistsError:
        raise RecipeError(f"{path}: is there already, and is not written over; take another name.") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be written: {error.strerror}.") from error
    return path
