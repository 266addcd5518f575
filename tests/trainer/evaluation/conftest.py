"""Held-out documents, tasks and a small model for the tests of the evaluation."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer

from tests.trainer.conftest import END_OF_TEXT, VOCAB_SIZE
from trainer.config import ModelConfig, PhaseData
from trainer.model import PLM
from trainer.pretrained import load_tokenizer


def write_rows(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    name: str = "held-out",
    kind: str | None = None,
    shards: int = 2,
    tokenizer_sha256: str = "0" * 64,
) -> PhaseData:
    """Write rows as shards of the held-out segment; a row's `tokens` are its text's bytes if it names none."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    filled = [
        {"id": f"{name}-{index}", "source": "s", "domain": "d", "language": "en", "license": "MIT"}
        | row
        | {"tokens": row.get("tokens", [*row["text"].encode(), END_OF_TEXT])}
        for index, row in enumerate(rows)
    ]
    kinds = {"tokens": pa.list_(pa.int32())}
    schema = pa.schema([(key, kinds.get(key, pa.string())) for key in filled[0]])
    for number in range(shards):
        part = filled[number::shards]
        table = pa.Table.from_pylist(part, schema)
        path = folder / f"shard-{number:05d}.parquet"
        pq.write_table(table, path, row_group_size=3)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        tokens = sum(len(row["tokens"]) for row in part)
        entries.append({"file": path.name, "rows": len(part), "tokens": tokens, "sha256": digest})
    manifest = {
        "format": 1,
        "phase": name,
        "segment": "held-out",
        "rows": len(filled),
        "tokens": sum(entry["tokens"] for entry in entries),
        "tokenizer": {"vocab_size": VOCAB_SIZE, "sha256": tokenizer_sha256},
        "shards": entries,
    } | ({"kind": kind} if kind else {})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return PhaseData(name, "held-out", folder)


@pytest.fixture(scope="session")
def rows_writer() -> Callable[..., PhaseData]:
    """The function that writes held-out shards."""
    return write_rows


@pytest.fixture(scope="session")
def model(tiny: Callable[..., ModelConfig]) -> PLM:
    """A random model with weights large enough for its predictions to differ from each other."""
    torch.manual_seed(0)
    plm = PLM(tiny(initializer_range=0.3)).eval()
    with torch.no_grad():
        for name, parameter in plm.named_parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
            elif "embed_tokens" in name:
                parameter.mul_(0.5)
    return plm


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    """The byte tokenizer: its ids are not the bytes, but every byte is a token."""
    return load_tokenizer(tokenizer_folder)
