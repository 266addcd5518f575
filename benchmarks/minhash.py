"""MinHash deduplication from documents to survivors beside datatrove's four stages, two workers beside two workers.

Both use 14 bands of 8 rows over 5-word shingles, read and write Parquet, and are judged by the planted truth: the
recall of near copies must not be below datatrove's, and no exact copy may stay.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from benchmarks import peers
from benchmarks.apart import run_apart
from benchmarks.common import line
from benchmarks.corpus import corpus, opened
from benchmarks.dedup_steps import FirstOf, Keep, documents, kept_ids, near_clusters
from benchmarks.peers import BANDS, ROWS, SAME, SHINGLE_WORDS, STOCK, require_spacy
from plm_data.engine import run_steps
from plm_data.store import Store

WORKERS = 2
# The corpus that the peers see: stock datatrove does about a megabyte a second.
PEER_BYTES = 40_000_000
# A near copy (Jaccard >= 0.9) is missed with probability < 0.0004, so recalls this close are the same.
_CHANCE = 0.002


def run(size: int) -> None:
    """Print the throughput of the whole deduplication and how well it finds the planted copies."""
    require_spacy()
    small = corpus(min(size, PEER_BYTES))
    truth = small.truth()
    ours = run_apart(prepare_ours, {"folder": str(small.folder)}, times=3)
    found = quality(truth, ours.value)
    full = corpus(size)
    large = run_apart(prepare_ours, {"folder": str(full.folder)}, times=2) if size > small.size else ours
    for name in (SAME, STOCK):
        peer = run_apart(prepare_peer, {"folder": str(small.folder), "name": name})
        theirs = quality(truth, peer.value)
        check(found, theirs, name)
        facts = {
            "found": found,
            "peer_found": theirs,
            "peer_peak_mb": peer.peak_mb,
            "megabytes": round(small.megabytes),
        }
        unit = f"MB/s with {WORKERS} workers"
        line(
            "minhash dedup, documents to survivors", unit, small.megabytes / ours.seconds,
            small.megabytes / peer.seconds, name, ours.peak_mb, small.documents, **facts,
        )  # fmt: skip
        if large is not ours:
            line(
                "minhash dedup, documents to survivors, at full size", unit, full.megabytes / large.seconds,
                small.megabytes / peer.seconds, f"{name}, {small.megabytes:.0f} MB", large.peak_mb, full.documents,
                megabytes=round(full.megabytes), found=quality(full.truth(), large.value),
            )  # fmt: skip


def prepare_ours(folder: str) -> Callable[[], list[str]]:
    """Ours, every time from nothing: ids of the survivors."""
    made = opened(folder)

    def work() -> list[str]:
        with tempfile.TemporaryDirectory(prefix="minhash-", dir=made.folder.parent) as work_folder:
            store, source = Store(Path(work_folder)), documents(made)
            clusters = near_clusters(store, source, BANDS, ROWS, SHINGLE_WORDS, WORKERS)
            first = run_steps(store, [FirstOf(labelled=clusters, column="near_cluster")], "first", WORKERS)[0]
            return kept_ids(run_steps(store, [Keep(documents=source, survivors=first)], "keep", WORKERS)[0])

    return work


def prepare_peer(folder: str, name: str) -> Callable[[], list[str]]:
    """datatrove's stages: ids of the survivors."""
    made = opened(folder)
    peers.language(name)

    def work() -> list[str]:
        with tempfile.TemporaryDirectory(prefix="minhash-", dir=made.folder.parent) as work_folder:
            peers.minhash(made.folder / "files", Path(work_folder), name, WORKERS)
            return peers.kept_ids(Path(work_folder))

    return work


def quality(truth: pl.DataFrame, kept: list[str]) -> dict[str, float]:
    """Recall of exact and of near copies, and the share of the dropped documents that are planted copies.

    A group of copies should keep one: what it keeps beyond is missed, and a group that keeps none lost one to
    documents that are no copies of it (junk and short documents can be near duplicates unplanned).
    """
    frame = truth.with_columns(kept=pl.col("id").is_in(pl.Series(kept).implode()))
    # Byte-equal documents: an original and its exact copies; a near copy is a group of its own.
    equal = pl.when(pl.col("kind") == "near").then("id").otherwise("cluster")
    same = frame.group_by(equal.alias("text")).agg(pl.col("kept").sum(), n=pl.len())
    groups = frame.group_by("cluster").agg(pl.col("kept").sum(), near=(pl.col("kind") == "near").sum())
    surplus = (pl.col("kept").cast(pl.Int64) - 1).clip(0).sum()
    dropped = frame.height - len(kept)
    return {
        "exact_recall": _share(same.select(surplus).item(), same.select((pl.col("n") - 1).sum()).item()),
        "near_recall": _share(groups.select(surplus).item(), groups.select(pl.col("near").sum()).item()),
        "precision": _share(groups.filter(pl.col("kept") == 0).height, dropped),
    }


def _share(missed: float, total: float) -> float:
    return round(1 - missed / max(total, 1), 5)


def check(ours: dict[str, float], theirs: dict[str, float], name: str) -> None:
    """Stop where we find less than the peer, or drop what it keeps."""
    if ours["exact_recall"] < 1:
        raise SystemExit(f"minhash: exact copies survive: recall {ours['exact_recall']}")
    for measure in ("near_recall", "precision"):
        if ours[measure] < theirs[measure] - _CHANCE:
            raise SystemExit(f"minhash: {measure} is {ours[measure]}, but {theirs[measure]} with {name}")
