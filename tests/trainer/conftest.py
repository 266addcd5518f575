"""Small phase folders, tokenizers and models for the trainer's tests."""

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from trainer.config import ModelConfig, PhaseData, Segment

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END_OF_TEXT = 256  # after the 256 bytes
VOCAB_SIZE = 259

Documents = Sequence[Sequence[int]]

torch.set_num_threads(1)  # the models are tiny, and files of tests run side by side


def _byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    assert tokenizer.token_to_id(SPECIAL[0]) == END_OF_TEXT
    return tokenizer


TOKENIZER_SHA256 = hashlib.sha256(_byte_tokenizer().to_str(pretty=True).encode()).hexdigest()  # of its file


def _write_phase(
    folder: Path,
    documents: Documents,
    name: str = "phase1",
    segment: Segment = "stable",
    shards: int = 2,
    row_group: int = 3,
    stages: Sequence[tuple[int, int]] = (),
    sources: Sequence[str] = ("x",),
    targets: Sequence[Sequence[int]] | None = None,
    vocab_size: int = VOCAB_SIZE,
) -> PhaseData:
    """Write documents, as token ids, in the form of a phase; `row_group` is in rows, `stages` (length, documents).

    The documents have the `sources` in turn. With `targets`, flat pairs of start and end, they are conversations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    cuts = np.linspace(0, len(documents), shards + 1).astype(int)
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        rows = documents[start:end]
        table = pa.table(
            {
                "id": [f"{name}-{start + row}" for row in range(len(rows))],
                "text": [" ".join(map(str, row)) for row in rows],
                "source": [sources[row % len(sources)] for row in range(start, end)],
                **{column: ["x"] * len(rows) for column in ("domain", "language", "license")},
                "tokens": pa.array(rows, pa.list_(pa.int32())),
            }
        )
        if targets is not None:
            table = table.append_column("targets", pa.array(targets[start:end], pa.list_(pa.int32())))
        path = folder / f"shard-{number:05d}.parquet"
        pq.write_table(table, path, compression="zstd", row_group_size=row_group)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append({"file": path.name, "rows": len(rows), "tokens": sum(map(len, rows)), "sha256": digest})
    ends = [0, *itertools.accumulate(count for _, count in stages)]
    parts = [documents[start:end] for start, end in itertools.pairwise(ends)]
    manifest = {
        "format": 1,
        "phase": name,
        "segment": segment,
        "rows": len(documents),
        "tokens": sum(map(len, documents)),
        "tokenizer": {"vocab_size": vocab_size, "sha256": TOKENIZER_SHA256},
        "sources": {source: {} for source in sources},
        "stages": [
            {"sequence_length": length, "tokens": sum(map(len, part))}
            for (length, _), part in zip(stages, parts, strict=True)
        ],
        "shards": entries,
    }
    if targets is not None:
        manifest["kind"] = "conversations"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return PhaseData(name, segment, folder)


def _random_documents(count: int, seed: int = 0, longest: int = 40) -> list[list[int]]:
    """Return documents of 1 to `longest` tokens, each ending with the end-of-text token."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest, count)
    return [[*rng.integers(0, 256, length).tolist(), END_OF_TEXT] for length in lengths]


@pytest.fixture(scope="session")
def write_phase() -> Callable[..., PhaseData]:
    """The function that writes a small phase folder."""
    return _write_phase


@pytest.fixture(scope="session")
def random_documents() -> Callable[..., list[list[int]]]:
    """The function that makes up documents."""
    return _random_documents


@pytest.fixture
def three_phases(tmp_path: Path) -> list[PhaseData]:
    """A stable, a decay and a constant phase of counting documents, which a model learns fast."""

    def counting(count: int, seed: int) -> list[list[int]]:
        starts = np.random.default_rng(seed).integers(0, 200, count)
        return [[*range(start, start + 20), END_OF_TEXT] for start in starts]

    return [
        _write_phase(tmp_path / "phase1", counting(60, 1), "phase1", "stable"),
        _write_phase(tmp_path / "phase2", counting(30, 2), "phase2", "decay"),
        _write_phase(tmp_path / "phase3", counting(20, 3), "phase3", "constant"),
    ]


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte tokenizer in Hugging Face form."""
    folder = tmp_path_factory.mktemp("tokenizer")
    _byte_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": SPECIAL[0]}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": SPECIAL[0]}))
    return folder


@pytest.fixture(scope="session")
def tiny() -> Callable[..., ModelConfig]:
    """A function that returns a tiny model's sizes, changed by keyword."""

    def build(**changes: float) -> ModelConfig:
        sizes: dict[str, float] = {
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "kv_lora_rank": 12,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 6,
            "max_position_embeddings": 64,
        }
        return ModelConfig(**{**sizes, **changes})  # type: ignore[arg-type]

    return build
