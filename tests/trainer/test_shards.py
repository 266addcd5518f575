"""A phase folder that is not what its manifest says is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import shards
from trainer.config import PhaseData
from trainer.errors import TrainerError
from trainer.shards import read_phase, verify_shards


@pytest.fixture
def documents(random_documents: Callable[..., list[list[int]]]) -> list[list[int]]:
    return random_documents(12)


@pytest.fixture
def data(tmp_path: Path, write_phase: Callable[..., PhaseData], documents: list[list[int]]) -> PhaseData:
    return write_phase(tmp_path / "phase1", documents)


def rewrite(data: PhaseData, **changes: Any) -> None:
    path = data.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_good_phase(data: PhaseData, documents: list[list[int]]) -> None:
    phase = read_phase(data)
    verify_shards(phase)
    assert phase.tokens == sum(map(len, documents))
    assert [shard.rows for shard in phase.shards] == [6, 6]
    assert phase.vocab_size == 259
    assert (phase.kind, phase.sources) == ("documents", ("x",))


def test_missing_manifest(data: PhaseData) -> None:
    (data.folder / "manifest.json").unlink()
    with pytest.raises(TrainerError, match=r"manifest.json: not found, expected the manifest of a phase"):
        read_phase(data)


def test_torn_manifest(data: PhaseData) -> None:
    (data.folder / "manifest.json").write_text('{"format": 1, ')
    with pytest.raises(TrainerError, match=r"manifest.json: not JSON"):
        read_phase(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format: found 2, expected 1"),
        ({"phase": "phase9"}, "phase: found 'phase9', expected 'phase1'"),
        ({"segment": "decay"}, "segment: found 'decay', expected 'stable'"),
        ({"kind": "prompts"}, "kind: found 'prompts', expected 'documents'"),
        ({"sources": 3}, "expected rows, tokens, tokenizer, sources and shards"),
        ({"tokens": 3}, "tokens: found 3, expected its shards' sum"),
        ({"rows": 3}, "rows: found 3, expected its shards' sum 12"),
        ({"shards": None}, "expected rows, tokens, tokenizer, sources and shards"),
        ({"tokenizer": {}}, "cannot read 'vocab_size'"),
    ],
)
def test_wrong_manifest(data: PhaseData, changes: dict[str, Any], message: str) -> None:
    rewrite(data, **changes)
    with pytest.raises(TrainerError, match=message):
        read_phase(data)


def test_changed_shard(data: PhaseData) -> None:
    path = data.folder / "shard-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainerError, match=r"shard-00001.parquet: found sha256"):
        verify_shards(read_phase(data))


def test_missing_shard(data: PhaseData) -> None:
    (data.folder / "shard-00000.parquet").unlink()
    with pytest.raises(TrainerError, match=r"shard-00000.parquet: not found"):
        verify_shards(read_phase(data))


def test_the_kind_that_the_caller_expects(data: PhaseData) -> None:
    with pytest.raises(TrainerError, match="kind: found 'documents', expected 'conversations'"):
        read_phase(data, "conversations")
    rewrite(data, kind="conversations")
    assert read_phase(data, "conversations").kind == "conversations"
    rewrite(data, kind="documents")
    assert read_phase(data).kind == "documents"


def test_shards_that_were_found_right_are_read_again_only_if_they_changed(
    tmp_path: Path, write_phase: Callable[..., PhaseData], monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = read_phase(write_phase(tmp_path / "phase1", [[1, 256]] * 8))
    read: list[str] = []
    digest = shards.sha256
    monkeypatch.setattr(shards, "sha256", lambda path: (read.append(path.name), digest(path))[1])
    known = tmp_path / "verified.json"
    verify_shards(phase, known)
    assert read == ["shard-00000.parquet", "shard-00001.parquet"]
    verify_shards(phase, known)
    assert len(read) == 2
    phase.shards[1].path.write_bytes(phase.shards[1].path.read_bytes() + b"x")
    with pytest.raises(TrainerError, match="shard-00001"):
        verify_shards(phase, known)
    assert read[2:] == ["shard-00001.parquet"]
