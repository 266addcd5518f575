"""The near-duplicate steps over texts by name, as a build runs them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from plm_data.dedup.clusters import Bands, Cluster, Match, NearClusters, Sign, buckets_for
from plm_data.engine import run_steps
from plm_data.store import Counts, Output, Store
from plm_data.tables import part_file, write_parquet
from plm_data.text.hashing import document_id, partition_of


def documents_output(folder: Path, texts: dict[str, str], pieces: int) -> Output:
    """Documents named ``texts``' keys, each in the partition of its id, in the order given."""
    folder.mkdir(parents=True)
    ids = {document_id("s", name): text for name, text in texts.items()}
    for piece in range(pieces):
        mine = [identity for identity in ids if partition_of(identity, pieces) == piece]
        frame = pl.DataFrame(
            {"id": mine, "text": [ids[identity] for identity in mine]}, schema={"id": pl.String, "text": pl.String}
        )
        write_parquet(frame, part_file(folder, piece), row_group_rows=3)
    return Output("normalise", folder.name, folder, Counts(len(ids), len(ids)), False, content=str(folder))


def near_clusters(
    home: Path,
    sources: dict[str, dict[str, str]],
    pieces: int = 2,
    bands: int = 14,
    rows: int = 8,
    shingle_words: int = 5,
    min_jaccard: float | None = None,
) -> dict[str, tuple[str, int]]:
    """Name → (the name of its cluster's smallest id, the cluster's size), over all sources."""  # fmt: skip
    store = Store(home / "store")
    names = {document_id("s", name)[:16]: name for texts in sources.values() for name in texts}
    documents = {source: documents_output(home / source, texts, pieces) for source, texts in sources.items()}
    signing = [
        Sign(documents=output, permutations=112, shingle_words=shingle_words, keep_shingles=min_jaccard is not None)
        for output in documents.values()
    ]
    signed = dict(zip(documents, run_steps(store, signing, "sign"), strict=True))
    buckets = buckets_for(bands * sum(output.counts.kept for output in signed.values()))
    banding = [Bands(signatures=output, bands=bands, rows=rows, buckets=buckets) for output in signed.values()]
    banded = dict(zip(signed, run_steps(store, banding, "bands"), strict=True))
    match = Match(bands=banded, signatures=signed if min_jaccard else {}, buckets=buckets, min_jaccard=min_jaccard)
    matched = run_steps(store, [match], "match")[0]
    clustered = run_steps(store, [Cluster(matched=matched, pieces=pieces)], "clusters")[0]
    attaching = [NearClusters(signatures=output, clusters=clustered, pieces=pieces) for output in signed.values()]
    found: dict[str, tuple[str, int]] = {}
    for output, near in zip(documents.values(), run_steps(store, attaching, "near"), strict=True):
        for ours, theirs in zip(near.parts(), output.parts(), strict=True):
            frame = pl.read_parquet(ours)
            assert frame["id"].equals(pl.read_parquet(theirs)["id"])
            for identity, cluster, size in frame.iter_rows():
                found[names[identity[:16]]] = (names[f"{cluster:016x}"], size)
    return found


def members(found: dict[str, tuple[str, int]]) -> set[frozenset[str]]:
    """The clusters of two or more, by the names of their members; checks their names and sizes."""
    clusters: dict[str, set[str]] = {}
    for name, (cluster, _) in found.items():
        clusters.setdefault(cluster, set()).add(name)
    for cluster, group in clusters.items():
        assert cluster == min(group, key=lambda name: document_id("s", name)[:16])
        assert {found[name][1] for name in group} == {len(group)}
    return {frozenset(group) for group in clusters.values() if len(group) > 1}
