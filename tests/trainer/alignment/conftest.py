"""Phases of prompts, and a toy task: answer with the digit that is asked, which a tiny model does half of the time."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from trainer.alignment.chains import Answer
from trainer.alignment.pairs import row_log_probs
from trainer.alignment.prompts import Prompt
from trainer.chat import ChatML, Turn
from trainer.config import ModelConfig, PhaseData, Segment
from trainer.model import PLM
from trainer.pretrained import load_tokenizer, save_pretrained

COLUMNS = ("question", "reference", "answer", "check", "chosen", "rejected")
AGAIN = "again"  # a refinement prompt that fits into 64 positions


@pytest.fixture(scope="session")
def chat(tokenizer_folder: Path) -> ChatML:
    return ChatML(load_tokenizer(tokenizer_folder))


@pytest.fixture(scope="session")
def write_prompts(chat: ChatML) -> Callable[..., PhaseData]:
    """A function that writes rows (question, and what else a row has) as a phase of prompts."""

    def write(
        folder: Path,
        rows: Sequence[dict[str, str | None]],
        name: str = "preferences",
        segment: Segment = "preferences",
        shards: int = 2,
    ) -> PhaseData:
        folder.mkdir(parents=True)
        entries = []
        for shard in range(shards):
            part = [(n, row) for n, row in enumerate(rows) if n * shards // len(rows) == shard]
            tokens = [chat.prompt([Turn("user", row["question"] or "")]) for _, row in part]
            table = pa.table(
                {
                    "id": [f"{name}-{n}" for n, _ in part],
                    "text": [chat.tokenizer.decode(ids, skip_special_tokens=False) for ids in tokens],
                    **{column: ["toy"] * len(part) for column in ("source", "domain", "language", "license")},
                    "tokens": pa.array(tokens, pa.list_(pa.int32())),
                    **{column: pa.array([row.get(column) for _, row in part], pa.string()) for column in COLUMNS},
                }
            )
            path = folder / f"shard-{shard:05d}.parquet"
            pq.write_table(table, path, compression="zstd")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            entries.append({"file": path.name, "rows": len(part), "tokens": sum(map(len, tokens)), "sha256": digest})
        manifest = {
            "format": 1,
            "kind": "prompts",
            "phase": name,
            "segment": segment,
            "rows": len(rows),
            "tokens": sum(entry["tokens"] for entry in entries),  # type: ignore[misc]
            "tokenizer": {"vocab_size": 259, "sha256": "0" * 64},
            "sources": {},
            "shards": entries,
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return PhaseData(name, segment, folder)

    return write


def digits(count: int) -> list[dict[str, str | None]]:
    """Toy prompts: a letter and a digit are asked, and the digit is the answer."""
    return [
        {
            "question": f"{chr(97 + n // 10 % 26)}{n % 10}",
            "reference": str(n % 10),
            "answer": str(n % 10),
            "check": "number",
        }
        for n in range(count)
    ]


@pytest.fixture(scope="session")
def toy_prompts(tmp_path_factory: pytest.TempPathFactory, write_prompts: Callable[..., PhaseData]) -> PhaseData:
    return write_prompts(tmp_path_factory.mktemp("toy") / "preferences", digits(120))


@pytest.fixture(scope="session")
def toy_tasks(tmp_path_factory: pytest.TempPathFactory, write_prompts: Callable[..., PhaseData]) -> PhaseData:
    return write_prompts(tmp_path_factory.mktemp("toy") / "tasks", digits(260)[200:], "tasks", "held-out")


@pytest.fixture(scope="session")
def toy_model(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., ModelConfig], chat: ChatML, tokenizer_folder: Path
) -> Path:
    """A tiny model that was taught the toy task by answers of which half are a random digit."""
    torch.manual_seed(0)
    model = PLM(tiny(initializer_range=0.1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(260):
        rows = []
        for letter, digit, other, noise in torch.randint(0, 2600, (32, 4), generator=generator).tolist():
            prompt = chat.prompt([Turn("user", f"{chr(97 + letter % 26)}{digit % 10}")])
            rows.append((prompt, [*chat.encode(str((other if noise % 2 else digit) % 10)), chat.end]))
        sums, lengths = row_log_probs(model, rows)
        (-sums.sum() / lengths.sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("toy") / "model"
    save_pretrained(folder, model, tokenizer_folder)
    return folder


@pytest.fixture(scope="session")
def make_prompt(chat: ChatML) -> Callable[..., Prompt]:
    """A function that returns a prompt, its fields by keyword."""

    def make(question: str = "1?", **fields: Any) -> Prompt:
        known: dict[str, Any] = dict.fromkeys(("reference", "answer", "check", "chosen", "rejected"))
        tokens = tuple(chat.prompt([Turn("user", question)]))
        return Prompt(**{"id": question, "source": "toy", "tokens": tokens, "question": question, **known, **fields})

    return make


@pytest.fixture(scope="session")
def make_answer(chat: ChatML) -> Callable[..., Answer]:
    """A function that returns a finished answer of a text."""

    def make(text: str, finished: bool = True) -> Answer:
        return Answer(tuple(chat.encode(text)), text, finished)

    return make
