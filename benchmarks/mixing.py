"""A phase mixed and written, beside the plain writing of its rows as Parquet; and a plan of a thousand sources.

Mixing goes from the decisions to the shards: ranked, planned, selected, put in their global order, fetched, written,
counted. The peer has the same rows in memory, in order, and only writes them with the same settings. Of ours the
whole is shown, and its last step alone: the rows, as they were fetched, put in order, written, counted and hashed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import multiprocess
import polars as pl
import pyarrow.parquet as pq

from benchmarks.apart import run_apart
from benchmarks.built import WORKERS, built, home, recipe, timed_stages
from benchmarks.common import line
from benchmarks.corpus import Corpus, corpus, opened
from plm_data.build import Build
from plm_data.mix.plan import Declared, make_plan
from plm_data.recipe import PhaseSpec
from plm_data.shards import SCHEMA, shard_writer

# Of the tokens that are kept, so that a phase has to choose.
_SHARE = 0.9
# Duplicates are dropped and nothing else: mixing is measured, and what it reads in vain is little.
_CURATE = dict.fromkeys(("gopher", "repetition", "c4", "fineweb", "language"))
_STEPS = ("rank", "plan", "select", "place", "fetch", "shards")
_SOURCES, _TOKENS = 1000, 2_480_000_000_000


def run(size: int) -> None:
    """Print the throughputs; the rows that both write must be the same."""
    _plan_a_thousand_sources()
    made = corpus(size)
    built(made, _CURATE)
    folder = {"folder": str(made.folder)}
    ours = run_apart(prepare_ours, folder, times=2)
    peer = run_apart(prepare_peer, folder)
    rows, tokens, megabytes, seconds = peer.value
    our_rows, our_tokens, stages = ours.value
    if (our_rows, our_tokens) != (rows, tokens):
        raise SystemExit(
            f"mixing: {our_rows} rows and {our_tokens} tokens are in our shards, and the peer wrote {rows}, {tokens}"
        )
    for measure, ours_seconds in (("decisions to shards", ours.seconds), ("fetched rows to shards", stages["shards"])):
        line(
            measure, f"MB/s of text with {WORKERS} workers", megabytes / ours_seconds, megabytes / seconds,
            "plain Parquet writing of the same rows", ours.peak_mb, rows, megabytes=round(megabytes), tokens=tokens,
            seconds={stage: round(taken, 2) for stage, taken in stages.items() if taken > 0.005},
            peaks_mb=ours.peaks_mb[:4],
        )  # fmt: skip


def _mixed(made: Corpus) -> Build:
    """The corpus's build with a phase of most of its tokens."""
    whole = built(made, _CURATE)
    phase = PhaseSpec(segment="stable", tokens=int(whole.supply["corpus"] * _SHARE), mix={"corpus": 1.0}, cut_last=True)
    return Build(recipe(made, _CURATE).model_copy(update={"phases": {"phase1": phase}}), home(made), workers=WORKERS)


def prepare_ours(folder: str) -> Callable[[], tuple[int, int, dict[str, float]]]:
    """Ours, every time from the decisions: rows and tokens of the shards, and the seconds of each stage."""
    build = _mixed(opened(folder))
    tokens = build.recipe.phases["phase1"].tokens

    def work() -> tuple[int, int, dict[str, float]]:
        for step in _STEPS:
            shutil.rmtree(build.store.root / step, ignore_errors=True)
        stages, say = timed_stages()
        fresh = Build(build.recipe, build.home, workers=WORKERS, say=say)
        return fresh.shards("phase1").counts.kept, tokens, stages

    return work


def prepare_peer(folder: str) -> Callable[[], tuple[int, int, float, float]]:
    """The rows of our shards written again: rows, tokens, megabytes of text, and the seconds of the slower worker."""
    made = opened(folder)
    shards = sorted(_mixed(made).shards("phase1").path.glob("shard-*.parquet"))

    def work() -> tuple[int, int, float, float]:
        context = multiprocess.get_context("forkserver")
        with context.Pool(WORKERS) as pool:
            jobs = [(shards[i::WORKERS], home(made) / f"peer-{i}") for i in range(WORKERS)]
            found = pool.starmap(_write_again, jobs)
        rows, tokens, size = (sum(each[i] for each in found) for i in range(3))
        return int(rows), int(tokens), size / 1e6, max(each[3] for each in found)

    return work


def _write_again(shards: list[Path], out: Path) -> tuple[int, int, int, float]:
    """Read each shard, and time the writing alone."""
    out.mkdir(exist_ok=True)
    rows = tokens = size = 0
    seconds = 0.0
    for shard in shards:
        with pq.ParquetFile(shard) as file:
            groups = [file.read_row_group(group) for group in range(file.num_row_groups)]
        start = time.perf_counter()
        with shard_writer(out / shard.name, SCHEMA) as writer:
            for group in groups:
                writer.write_table(group, row_group_size=group.num_rows)
        seconds += time.perf_counter() - start
        for group in groups:
            rows += group.num_rows
            tokens += group["tokens"].combine_chunks().flatten().__len__()
            size += int(pl.Series(group["text"]).str.len_bytes().sum())
        (out / shard.name).unlink()
    out.rmdir()
    return rows, tokens, size, seconds


def _plan_a_thousand_sources() -> None:
    supply = {f"s{i:04d}": 10**9 + 7919**3 * (i + 1) % (8 * 10**9) for i in range(_SOURCES)}
    stages = {"one": ("stable", 0.6, 1.5), "two": ("decay", 0.3, 2.0), "three": ("constant", 0.1, 4.0)}
    phases = {
        name: PhaseSpec.model_validate(
            {"segment": segment, "tokens": int(_TOKENS * share),
             "mix": {"strategy": "temperature", "temperature": temperature}}
        )
        for name, (segment, share, temperature) in stages.items()
    }  # fmt: skip
    start = time.perf_counter()
    plan = make_plan(phases, {name: Declared(size) for name, size in supply.items()}, dict.fromkeys(supply, 4.0), str)
    seconds = time.perf_counter() - start
    found = sum(take.tokens for takes in plan.values() for take in takes.values())
    asked = sum(phase.tokens for phase in phases.values())
    if found != asked:
        raise SystemExit(f"mixing: the plan has {found:,} tokens, and {asked:,} were asked for")
    line(
        "a plan of 1,000 declared sources", "plans/s", 1 / seconds, n=_SOURCES, tokens=found, seconds=round(seconds, 2)
    )
