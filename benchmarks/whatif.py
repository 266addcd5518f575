"""Another threshold: decided anew from the attributes, beside datatrove's filters run again on the same documents.

Three ways of ours: the build of the changed recipe (verdicts and ledger on disk), ``what_if``, which answers in
memory, and that on a million synthetic rows. Which documents the rules keep must be the same as datatrove's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.apart import run_apart
from benchmarks.built import WORKERS, build_anew, built, home
from benchmarks.common import line
from benchmarks.corpus import corpus, opened
from benchmarks.peers import SAME, verdicts
from plm_data.build import Build
from plm_data.decisions.columns import SourceColumns
from plm_data.decisions.ledger import rule_columns
from plm_data.store import Counts, Output
from plm_data.tables import SLICE_BYTES, part_file, write_parquet
from plm_data.whatif import what_if

PEER_BYTES = 100_000_000
MIN_WORDS = 200
_ROWS = 1_000_000
_NAMES = ["token_count", "chars", "content_hash", "near_cluster", "near_cluster_size", *rule_columns()]


def run(size: int) -> None:
    """Print documents a second; the documents that the rules keep must be datatrove's first."""
    made = corpus(min(size, PEER_BYTES))
    folder = {"folder": str(made.folder)}
    build_anew(made, _curate(50))
    peer = run_apart(prepare_peer, folder, one_core=True)
    rebuilt = run_apart(prepare_rebuilt, folder, times=3)
    names, survivors = rebuilt.value
    if names != peer.value:
        different = sorted(set(names) ^ set(peer.value))
        raise SystemExit(
            f"whatif: the rules keep {len(names)} documents and datatrove {len(peer.value)}; {len(different)} are kept "
            f"by one alone, the first is {different[0]}"
        )
    asked = run_apart(prepare_asked, folder, times=3)
    if asked.value != survivors:
        raise SystemExit(f"whatif: in memory {asked.value} documents survive, in the changed build {survivors}")
    # Made by a process of its own, whose memory is none of ours.
    holder = run_apart(prepare_rows, {**folder, "rows": _ROWS}).value
    many = run_apart(prepare_many, {**folder, "holder": holder, "rows": _ROWS}, times=3)
    for measure, ours, n in (
        (f"the changed recipe built with {WORKERS} workers", rebuilt, made.documents),
        ("what_if", asked, made.documents),
        ("what_if, synthetic rows", many, _ROWS),
    ):
        peer_name = f"{SAME}, all filters again on {made.documents} documents, one core"
        line(
            measure, "documents/s", n / ours.seconds, made.documents / peer.seconds, peer_name, ours.peak_mb, n,
            seconds=round(ours.seconds, 3), peer_seconds=round(peer.seconds, 3),
        )  # fmt: skip
    shutil.rmtree(home(made))


def _curate(min_words: int) -> dict[str, object]:
    # datatrove's filters do not ask for the language.
    return {"gopher": {"min_words": min_words}, "language": None}


def prepare_peer(folder: str) -> Callable[[], list[str]]:
    """datatrove: ids of the documents that all four filters keep with the changed threshold."""
    made = opened(folder)
    texts = made.texts().to_list()
    ids = pl.concat([pl.read_parquet(file, columns=["id"]) for file in made.files])["id"].to_list()
    verdicts(SAME, texts[:20], MIN_WORDS)

    def work() -> list[str]:
        kept = verdicts(SAME, texts, MIN_WORDS).values()
        return sorted(name for name, *all_keep in zip(ids, *kept, strict=True) if all(all_keep))

    return work


def prepare_rebuilt(folder: str) -> Callable[[], tuple[list[str], int]]:
    """Ours, a new threshold every time and ``MIN_WORDS`` at last: ids that the rules keep, and how many survive all."""
    made = opened(folder)
    asked = iter(range(MIN_WORDS - 2, MIN_WORDS + 1))

    def work() -> tuple[list[str], int]:
        table = built(made, _curate(next(asked))).table("verdicts").select("name", "reason").collect()
        by_rules = table.filter(pl.col("reason").is_null() | pl.col("reason").str.starts_with("dedup."))
        return by_rules["name"].sort().to_list(), int(table["reason"].is_null().sum())

    return work


def prepare_asked(folder: str) -> Callable[[], int]:
    """Ours in memory, from the build's columns."""
    build = built(opened(folder), _curate(50))
    return lambda: _survivors(build)


def prepare_rows(folder: str, rows: int) -> Callable[[], str]:
    """Synthetic rows: the build's, drawn again and again, with duplicates as often as there; their folder."""

    def work() -> str:
        build = built(opened(folder), _curate(50))
        frame = build.source_columns("corpus").all(["id", *_NAMES])
        random = np.random.Generator(np.random.PCG64(1))
        chosen = frame[random.integers(frame.height, size=rows)]
        # What a round of as many rows as there are documents repeats of another is no duplicate of it.
        round_ = pl.Series(np.arange(rows) // frame.height, dtype=pl.UInt64)
        chosen = chosen.with_columns(
            id=pl.Series(np.arange(rows)).cast(pl.String).str.zfill(32),
            content_hash=pl.col("content_hash") + round_.cast(pl.String),
            near_cluster=pl.col("near_cluster") ^ round_,
        )
        holder = tempfile.mkdtemp(prefix="whatif-", dir=home(opened(folder)))
        write_parquet(chosen, part_file(Path(holder), 0), SLICE_BYTES // 100)
        return holder

    return work


def prepare_many(folder: str, holder: str, rows: int) -> Callable[[], int]:
    """The same from the synthetic rows."""
    all_columns = Output("columns", "", Path(holder), Counts(rows, rows), reused=True, content="")
    columns = SourceColumns(**{field.name: all_columns for field in fields(SourceColumns)})
    synthetic = _Synthetic(built(opened(folder), _curate(50)), columns)
    return lambda: _survivors(synthetic)


class _Synthetic(Build):
    """A build whose columns are other rows than its own."""

    def __init__(self, build: Build, columns: SourceColumns):
        super().__init__(build.recipe, build.home)
        self._columns = columns

    def source_columns(self, source: str) -> SourceColumns:
        return self._columns


def _survivors(build: Build) -> int:
    """How many documents survive the rules and their duplicates with the changed threshold."""
    return int(what_if(build, [f"curate.gopher.min_words={MIN_WORDS}"])["new_documents"].item())
