"""The texts of the real corpora, in normal form."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from plm_data.text.normalise import normalise

FOLDER = Path(os.environ.get("PLM_CORPORA", Path(__file__).parents[3] / "shared" / "corpora"))


def _rows(name: str) -> Iterator[dict]:
    path = FOLDER / name
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def warc_pages(path: Path) -> Iterator[tuple[str, bytes]]:
    """Address and body of each HTTP response of a WARC file."""
    data, at = gzip.decompress(path.read_bytes()), 0
    while at < len(data):
        end = data.index(b"\r\n\r\n", at)
        fields = dict(line.split(": ", 1) for line in data[at:end].decode().split("\r\n")[1:])
        stop = end + 4 + int(fields["Content-Length"])
        if fields["WARC-Type"] == "response":
            yield fields["WARC-Target-URI"], data[end + 4 : stop].split(b"\r\n\r\n", 1)[1]
        at = stop + 4


def _parquet(name: str) -> Callable[[], list[str]]:
    return lambda: pl.read_parquet(FOLDER / name, columns=["text"])["text"].to_list()


def _json(name: str, text: Callable[[dict], str]) -> Callable[[], list[str]]:
    return lambda: [text(row) for row in _rows(name)]


CORPORA: dict[str, Callable[[], list[str]]] = {
    **{name: _parquet(f"{name}.parquet") for name in ("peps", "eips", "tldr", "chinese_poetry", "python_algorithms")},
    **{name: _json(f"{name}.jsonl.gz", lambda row: row["text"]) for name in ("rust_rfcs", "rust_book")},
    **{name: _json(f"{name}.jsonl", lambda row: f"{row['question']}\n{row['answer']}") for name in ("gsm8k_train", "gsm8k_test")},
    **{
        name: _json(f"{name}.jsonl", lambda row: row["instruction"])
        for name in ("self_instruct_seed_tasks", "self_instruct_user_oriented_instructions")
    },
    "humaneval": _json("humaneval.jsonl.gz", lambda row: row["prompt"]),
    "web": lambda: [body.decode("utf-8", "replace") for _, body in warc_pages(FOLDER / "web.warc.gz")],
    "web_truth": lambda: [row["text"] for row in json.loads((FOLDER / "web_truth.json").read_text("utf-8")).values()],
}  # fmt: skip


def texts_of(name: str) -> pl.Series:
    """The texts of a corpus in normal form, in its order; those with nothing in them are left out."""
    texts = normalise(pl.Series("text", CORPORA[name](), dtype=pl.String))
    return texts.filter(texts.str.contains(r"\S"))
