"""A tokenizer from the hub: the published bytes, checked, or refused for what would spoil the tokens."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors

from plm_data.attributes.hub_tokenizer import FetchTokenizer
from plm_data.attributes.tokens import load_tokenizer, save_tokenizer, train_bpe
from plm_data.engine import run_steps
from plm_data.errors import RecipeError, SourceError
from plm_data.recipe_file import load_recipe
from plm_data.store import Store
from tests.plm_data.sources.hub_server import REVISION, Fault, HubServer

MODEL = "owner/model-1.5B"
STEP = FetchTokenizer(hub=MODEL, revision=REVISION)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a model's repository."""
    folder = tmp_path_factory.mktemp("published")
    save_tokenizer(train_bpe(["some text to train on, and some more of it"] * 20, 300), folder)
    files = {name: (folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
    return {**files, "config.json": b"{}", "model.safetensors": b"\0" * 2000}


def test_the_published_bytes_are_the_output_and_come_once(
    hub: HubServer, tmp_path: Path, published: dict[str, bytes]
) -> None:
    hub.add(MODEL, published, "models")
    store = Store(tmp_path / "store")
    output = run_steps(store, [STEP], "tokenizer")[0]
    record = json.loads((output.path / "_step.json").read_text())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (output.path / name).read_bytes() == published[name]
        assert record["files"][name]["sha256"] == hashlib.sha256(published[name]).hexdigest()
    text = "some text<|endoftext|>"
    whole = Tokenizer.from_str(published["tokenizer.json"].decode())
    # In a document the end-of-text token is only text.
    assert load_tokenizer(output.path).encode("some text").ids == whole.encode("some text").ids
    assert len(load_tokenizer(output.path).encode(text).ids) > len(whole.encode(text).ids)
    assert not any("safetensors" in each.path or each.path.rsplit("/", 1)[-1] == "config.json" for each in hub.seen)
    # The commit says what the bytes are: with the output there, the hub is not asked again.
    hub.seen.clear()
    assert run_steps(store, [STEP], "tokenizer")[0].reused and hub.seen == []
    assert FetchTokenizer(hub=MODEL, revision="2" * 40).key() != STEP.key()


def test_faults_are_survived_or_refused(
    hub: HubServer, tmp_path: Path, published: dict[str, bytes], waits: list[float]
) -> None:
    hub.add(MODEL, published, "models")
    hub.faults = [Fault("drop", at=500), Fault("status", "/resolve/", status=500), Fault("corrupt", at=700)]
    output = run_steps(Store(tmp_path / "a"), [STEP], "tokenizer")[0]
    assert (output.path / "tokenizer.json").read_bytes() == published["tokenizer.json"] and waits == [1, 1]
    hub.add(MODEL, {**published, "tokenizer.json": published["tokenizer.json"] + b"\n"}, "models", "2" * 40)
    hub.faults = [Fault("corrupt", at=700, times=2)]
    with pytest.raises(
        SourceError, match=r"^tokenizer\.hub: tokenizer\.json of owner/model-1\.5B: what .* not the hash"
    ):
        run_steps(Store(tmp_path / "b"), [FetchTokenizer(hub=MODEL, revision="2" * 40)], "tokenizer")


def altered(data: bytes, **change: Any) -> bytes:
    return json.dumps({**json.loads(data), **change}).encode()


def with_end_around(data: bytes) -> bytes:
    tokenizer = Tokenizer.from_str(data.decode())
    end = ("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    return tokenizer.to_str().encode()


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda data: None, rf"has no tokenizer\.json at {REVISION}; expected a model with tokenizer\.json"),
        (lambda data: b"{}" * 1000, r"cannot be read: "),
        (lambda data: data.replace(b"<|endoftext|>", b"</s>"), r"has no token <\|endoftext\|>, which ends every document"),
        (
            lambda data: altered(data, truncation={"max_length": 512, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}),
            "cuts or pads texts by itself",
        ),
        (
            lambda data: altered(data, padding={"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None,
                                                "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}),
            "cuts or pads texts by itself",
        ),
        (with_end_around, "puts special tokens of its own around a text"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_would_spoil_the_tokens_is_refused(
    hub: HubServer, tmp_path: Path, published: dict[str, bytes], alter: Any, message: str
) -> None:
    data = alter(published["tokenizer.json"])
    files = {name: each for name, each in published.items() if name != "tokenizer.json"}
    hub.add(MODEL, files if data is None else {**files, "tokenizer.json": data}, "models")
    with pytest.raises(SourceError, match=rf"^tokenizer\.hub: .*{message}"):
        run_steps(Store(tmp_path / "store"), [STEP], "tokenizer")


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ("{hub: Qwen/Qwen2-1.5B}", "hub and revision go together"),
        (f"{{revision: {REVISION!r}}}", "hub and revision go together"),
        (f"{{hub: Qwen/Qwen2-1.5B, revision: {REVISION!r}, vocab_size: 700}}", "is not trained; take out vocab_size"),
        ("{hub: Qwen/Qwen2-1.5B, revision: main}", r"\.revision: expected a commit, all 40 digits"),
        (f"{{hub: ../up, revision: {REVISION!r}}}", r"\.hub: String should match"),
        (f"{{hub: Qwen/Qwen2-1.5B, revision: {REVISION!r}, min_bytes_per_token: 3}}", None),
    ],
)
def test_what_a_recipe_may_say_of_it(tmp_path: Path, tokenizer: str, message: str | None) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        f"name: r\nseed: 1\ntokenizer: {tokenizer}\nsources:\n  a: {{reader: worked-maths, documents: 3, domain: maths,\n"
        "      language: en, license: MIT, priority: 1}\nphases: {p: {segment: stable, tokens: 1K, mix: {a: 1.0}}}\n",
        encoding="utf-8",
    )
    if message is None:
        assert load_recipe(path).tokenizer.hub == "Qwen/Qwen2-1.5B"
        return
    with pytest.raises(RecipeError, match=rf"r\.yaml:3: tokenizer.*{message}"):
        load_recipe(path)
