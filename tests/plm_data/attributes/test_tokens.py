"""The tokenizer: deterministic, reversible, in Hugging Face form, and not to be tricked by a text."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from plm_data.attributes.tokens import (
    SPECIAL_TOKENS,
    TrainTokenizer,
    load_tokenizer,
    save_tokenizer,
    token_lists,
    train_bpe,
)
from plm_data.build import Build
from plm_data.recipe import TokenizerSpec
from plm_data.store import Counts, Output
from plm_data.tables import part_file, write_parquet
from plm_data.text.hashing import rank_hash


@pytest.fixture(scope="module")
def folder(small_build: Build) -> Path:
    small_build.shards("phase1")
    return small_build.tokenizer.path


def test_it_has_the_size_asked_for_and_the_special_tokens_last(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert tokenizer.get_vocab_size() == 700
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [697, 698, 699]


def test_transformers_loads_it_with_the_chat_template(folder: Path) -> None:
    loaded = AutoTokenizer.from_pretrained(folder)
    chat = loaded.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}], tokenize=False
    )
    assert chat == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
    assert loaded.eos_token == "<|endoftext|>" and len(loaded) == 700
    assert loaded("def f(x):")["input_ids"] == load_tokenizer(folder).encode("def f(x):").ids


@settings(max_examples=60)
@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=80))
def test_every_nfc_text_comes_back(small_build: Build, text: str) -> None:
    import unicodedata

    tokenizer = load_tokenizer(small_build.tokenizer.path)
    nfc = unicodedata.normalize("NFC", text)
    assert tokenizer.decode(tokenizer.encode(nfc).ids, skip_special_tokens=False) == nfc


def test_a_special_token_in_a_text_is_only_text(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode("a<|endoftext|>b<|im_start|>system").ids
    assert not set(ids) & {697, 698, 699}
    assert tokenizer.decode(ids) == "a<|endoftext|>b<|im_start|>system"


def test_training_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = [f"def function_{i}(x): return x + {i}\n" * 3 for i in range(200)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_tokenizer(train_bpe(texts, 400), tmp_path / name)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert json.loads((tmp_path / "a" / "tokenizer_config.json").read_text())["eos_token"] == "<|endoftext|>"


def test_every_document_has_its_tokens_with_the_end_token_last(small_build: Build) -> None:
    for source, outputs in small_build.attributes.items():
        tokens = pl.read_parquet(outputs["tokens"].parts())
        documents = pl.read_parquet(small_build.documents[source].parts())
        assert tokens["id"].to_list() == documents["id"].to_list()
        column = pa.chunked_array(pc.cast(tokens["tokens"].to_arrow(), pa.binary()))
        lists = pl.Series(token_lists(column))
        assert (lists.list.last() == 697).all()
        assert (lists.list.len() == tokens["token_count"]).all()
        tokenizer = load_tokenizer(small_build.tokenizer.path)
        for row in range(0, len(lists), 7):
            assert tokenizer.decode(lists[row].to_list()[:-1]) == documents["text"][row]
        # A slice counts from its own first row.
        assert pl.Series(token_lists(column.slice(3, 5))).to_list() == lists[3:8].to_list()


@settings(max_examples=40)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 500)), min_size=1, max_size=40),
    budget=st.integers(0, 6000), pieces=st.integers(1, 3),
)  # fmt: skip
def test_the_sample_is_the_first_of_the_seeded_order_each_content_once(
    sizes: list[tuple[int, int]], budget: int, pieces: int
) -> None:
    """However small a share of the corpus is looked at to find it. Equal contents have equal sizes."""
    of_content = {content: size for content, size in sizes}
    rows = [
        {"id": f"{i:016x}" * 2, "text": f"{content}", "content_hash": f"{content:032x}", "bytes": of_content[content]}
        for i, (content, _) in enumerate(sizes)
    ]
    order = sorted(of_content, key=lambda content: rank_hash(3, "tokenizer", f"{content:032x}"))
    before = itertools.accumulate((of_content[content] for content in order), initial=0)
    expected = [f"{content}" for content, start in zip(order, before, strict=False) if start < budget]
    schema = {"id": pl.String, "text": pl.String, "content_hash": pl.String, "bytes": pl.Int64}
    with tempfile.TemporaryDirectory() as name:
        for piece in range(pieces):
            write_parquet(
                pl.DataFrame(rows[piece::pieces], schema=schema), part_file(Path(name), piece), row_group_rows=4
            )
        documents = Output("normalise", "k", Path(name), Counts(len(rows), len(rows)), False, "c")
        step = TrainTokenizer(spec=TokenizerSpec(), seed=3, shares={}, documents={"s": documents})
        assert step._sample(documents, budget) == expected
