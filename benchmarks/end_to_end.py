"""From files to verdicts and tokens, beside `tokenizers` alone, which bounds it, on the same documents.

The tokenizer's training is shown as a stage and not counted: its time does not grow with the corpus. The build stays,
for `mixing` to go on from.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from benchmarks import peers
from benchmarks.apart import run_apart
from benchmarks.built import WORKERS, build_anew, built
from benchmarks.common import line
from benchmarks.corpus import corpus, opened
from plm_data.attributes.tokens import load_tokenizer
from plm_data.text.hashing import document_id

_TRAINING = "tokenizer"
# The peer holds its texts, so it is given the first of them; and a large corpus is built once, not in turns.
_PEER_BYTES, _TURNS_BELOW = 200_000_000, 500_000_000


def run(size: int) -> None:
    """Print the throughput, a stage's seconds a megabyte, and the most memory of a process."""
    made = corpus(size)
    folder = {"folder": str(made.folder)}
    # In turns, so that what else the machine does meets both; the best of each counts.
    turns = 2 if size < _TURNS_BELOW else 1
    pairs = [(run_apart(prepare_ours, folder), run_apart(prepare_peer, folder)) for _ in range(turns)]
    ours = min((pair[0] for pair in pairs), key=lambda each: _counted(each.value))
    peer = min((pair[1] for pair in pairs), key=lambda each: each.seconds)
    documents, megabytes, built_tokens, peer_tokens = peer.value
    if documents != made.documents or built_tokens != peer_tokens:
        raise SystemExit(
            f"end_to_end: {documents} of {made.documents} documents have tokens; those that the peer had have "
            f"{built_tokens}, but {peer_tokens} with encode_batch_fast"
        )
    per_megabyte = {stage: round(seconds / made.megabytes, 4) for stage, seconds in ours.value.items()}
    line(
        "files to verdicts and tokens", f"MB/s with {WORKERS} workers", made.megabytes / _counted(ours.value),
        megabytes / peer.seconds, "encode_batch_fast alone, all cores", ours.peak_mb, made.documents,
        megabytes=round(made.megabytes), peer_megabytes=round(megabytes), seconds_per_mb=per_megabyte,
        processor_seconds_per_mb=round(ours.tree_cpu / made.megabytes, 4), peaks_mb=ours.peaks_mb[:4],
    )  # fmt: skip


def _counted(stages: dict[str, float]) -> float:
    return sum(seconds for stage, seconds in stages.items() if stage != _TRAINING)


def prepare_ours(folder: str) -> Callable[[], dict[str, float]]:
    """Ours from nothing: stage → seconds."""
    made = opened(folder)
    return lambda: build_anew(made)


def prepare_peer(folder: str) -> Callable[[], tuple[int, float, int, int]]:
    """The build's tokenizer on the first texts of the corpus: documents of the build, megabytes of these texts, and
    their tokens as the build has them and as the peer."""
    made = opened(folder)
    build = built(made)
    tokenizer, texts = load_tokenizer(build.tokenizer.path), made.texts(_PEER_BYTES)
    names = pl.read_parquet(made.files, columns=["id"])["id"].head(len(texts))
    ids = pl.Series([document_id("corpus", name) for name in names])
    parts = [part for found in build.attributes.values() for part in found["tokens"].parts()]
    counts = pl.read_parquet(parts, columns=["id", "token_count"])
    mine = counts.filter(pl.col("id").is_in(ids.implode()))["token_count"]
    megabytes, found = int(texts.str.len_bytes().sum()) / 1e6, texts.to_list()

    def work() -> tuple[int, float, int, int]:
        # Ours ends every document with one more token.
        return counts.height, megabytes, int(mine.sum()) - len(mine), peers.encode(tokenizer, found)

    return work
