"""Exact deduplication from documents to survivors beside datatrove's three stages, two workers beside two workers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks import peers
from benchmarks.apart import run_apart
from benchmarks.common import line
from benchmarks.corpus import Corpus, corpus, opened, real_corpus
from benchmarks.dedup_steps import FirstOf, Hash, Keep, documents, kept_ids
from plm_data.engine import run_steps
from plm_data.store import Store

WORKERS = 2


def run(size: int) -> None:
    """Print the throughputs; the survivors must be as many as datatrove's and as there are different texts first.

    A verdict is what our step makes: documents are never rewritten, the phases take those that are kept. datatrove's
    last stage rewrites them, so it is measured with and without that stage, and ours with rewriting as well.

    Twice: on the seeded corpus, whose documents are long, so that reading Parquet takes the time; and on the real
    corpora, most of whose texts are short, so that what is done for each document does.
    """
    made = corpus(size)
    copies = made.truth().filter(kind="exact")["id"]
    # Of the texts that nobody copied some are the same by themselves, such as the licences of packages.
    originals = pl.scan_parquet(made.files).filter(~pl.col("id").is_in(copies.implode()))
    _measure(made, int(originals.select(pl.col("text").hash().n_unique()).collect().item()), "seeded corpus")
    if (real := real_corpus()) is not None:
        _measure(real, real.texts().n_unique(), "real corpora")


def _measure(made: Corpus, texts: int, name: str) -> None:
    folder = str(made.folder)
    decided = run_apart(prepare_ours, {"folder": folder, "rewrite": False}, times=3)
    rewritten = run_apart(prepare_ours, {"folder": folder, "rewrite": True}, times=3)
    whole = run_apart(prepare_peer, {"folder": folder, "rewrite": True}, times=2)
    found = run_apart(prepare_peer, {"folder": folder, "rewrite": False}, times=2)
    counts = {len(each.value) for each in (decided, rewritten, whole)}
    if counts != {texts}:
        raise SystemExit(f"exact: {counts} documents survive, ours and with datatrove, and {texts} texts differ")
    for measure, ours, peer, peer_name in (
        ("documents to verdicts", decided, whole, "datatrove ExactDedup"),
        ("documents to verdicts", decided, found, "datatrove ExactDedup, without its rewriting stage"),
        ("documents to survivors rewritten", rewritten, whole, "datatrove ExactDedup"),
    ):
        line(
            f"exact dedup, {name}, {measure}", f"MB/s with {WORKERS} workers", made.megabytes / ours.seconds,
            made.megabytes / peer.seconds, peer_name, ours.peak_mb, made.documents, survivors=texts,
            peer_peak_mb=peer.peak_mb, megabytes=round(made.megabytes),
        )  # fmt: skip


def prepare_ours(folder: str, rewrite: bool) -> Callable[[], list[str]]:
    """Ours, every time from nothing: ids of the survivors."""
    made = opened(folder)

    def work() -> list[str]:
        with tempfile.TemporaryDirectory(prefix="exact-", dir=made.folder.parent) as work_folder:
            store, source = Store(Path(work_folder)), documents(made)
            hashed = run_steps(store, [Hash(documents=source)], "hash", WORKERS)[0]
            first = run_steps(store, [FirstOf(labelled=hashed, column="content_hash")], "first", WORKERS)[0]
            if not rewrite:
                return kept_ids(first)
            return kept_ids(run_steps(store, [Keep(documents=source, survivors=first)], "keep", WORKERS)[0])

    return work


def prepare_peer(folder: str, rewrite: bool) -> Callable[[], list[str]]:
    """datatrove's stages: ids of the survivors, or none if nothing is rewritten."""
    made = opened(folder)

    def work() -> list[str]:
        with tempfile.TemporaryDirectory(prefix="exact-", dir=made.folder.parent) as work_folder:
            peers.exact(made.folder / "files", Path(work_folder), WORKERS, rewrite)
            return peers.kept_ids(Path(work_folder)) if rewrite else []

    return work
