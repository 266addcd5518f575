"""Gopher, C4 and FineWeb rules beside datatrove's filters, a core beside a core.

Ours measures everything of every document and compares with the default thresholds; a filter of datatrove stops at
the first rule that drops. Times are processor seconds, which a busy machine does not lengthen.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from benchmarks.apart import Measured, run_apart
from benchmarks.common import line
from benchmarks.corpus import corpus, opened
from benchmarks.peers import SAME, STOCK, chain, require_spacy, verdicts
from plm_data.attributes.heuristics import heuristics
from plm_data.rules import C4, FINEWEB, GOPHER, REPETITION, RuleSet

# As in FineWeb's pipeline.
_ORDER = (REPETITION, GOPHER, C4, FINEWEB)
# Documents the peers see: datatrove's stock filters do half a megabyte a second.
PEER_BYTES = 10_000_000
_BATCH = 2048

Verdicts = dict[str, list[bool]]


def run(size: int) -> None:
    """Print the throughput of all four rule sets; verdicts must be equal first, a document and a rule set at a time."""
    require_spacy()
    made = corpus(size)
    arguments = {"folder": str(made.folder), "max_bytes": min(size, PEER_BYTES)}
    texts = made.texts(min(size, PEER_BYTES))
    megabytes = int(texts.str.len_bytes().sum()) / 1e6
    ours = run_apart(prepare_ours, arguments, times=5, one_core=True)
    same = run_apart(prepare_peer, {**arguments, "name": SAME}, one_core=True)
    _equal(ours.value, same.value, texts)
    stock = run_apart(prepare_peer, {**arguments, "name": STOCK}, one_core=True)
    for name, peer in ((SAME, same), (STOCK, stock)):
        _report("filters: a verdict a rule set", ours, peer, name, megabytes, len(texts))

    ours_chain = run_apart(prepare_our_chain, arguments, times=5, one_core=True)
    for name in (SAME, STOCK):
        peer = run_apart(prepare_chain, {**arguments, "name": name}, one_core=True)
        if name == SAME:
            _equal({"all": ours_chain.value}, {"all": peer.value}, texts)
        _report("filters: one after another", ours_chain, peer, name, megabytes, len(texts))
    for name in ours.value:
        different = sum(a != b for a, b in zip(ours.value[name], stock.value[name], strict=True)) / len(texts)
        kept = sum(ours.value[name]) / len(texts)
        line(
            f"verdicts of {name} that differ from stock", "share of documents", different, n=len(texts),
            kept_by_ours=round(kept, 4),
        )  # fmt: skip


def prepare_ours(folder: str, max_bytes: int) -> Callable[[], Verdicts]:
    """Ours on the corpus's first documents: rule set → kept."""
    texts = opened(folder).texts(max_bytes)
    heuristics(texts.head(20))  # compiles

    def work() -> Verdicts:
        parts = [_kept(heuristics(batch)) for batch in _batches(texts)]
        return {rules.name: pl.concat(parts)[rules.name].to_list() for rules in _ORDER}

    return work


def prepare_our_chain(folder: str, max_bytes: int) -> Callable[[], list[bool]]:
    """Ours as a pipeline: FineWeb's rules see what C4's line rules left of the text."""
    texts = opened(folder).texts(max_bytes)
    heuristics(texts.head(20))

    def work() -> list[bool]:
        kept: list[bool] = []
        for batch in _batches(texts):
            frame = heuristics(batch)
            early = _kept(frame).select(pl.all_horizontal("repetition", "gopher", "c4")).to_series().to_numpy().copy()
            edited = frame["c4_text"].fill_null(batch).filter(pl.Series(early))
            early[early] = _kept(heuristics(edited))["fineweb"].to_numpy()
            kept += early.tolist()
        return kept

    return work


def prepare_peer(folder: str, max_bytes: int, name: str) -> Callable[[], Verdicts]:
    """datatrove's filters, each asked of every document."""
    texts = opened(folder).texts(max_bytes).to_list()
    verdicts(name, texts[:20])
    return lambda: verdicts(name, texts)


def prepare_chain(folder: str, max_bytes: int, name: str) -> Callable[[], list[bool]]:
    """datatrove's filters, one after another."""
    texts = opened(folder).texts(max_bytes).to_list()
    chain(name, texts[:20])
    return lambda: chain(name, texts)


def _batches(texts: pl.Series) -> list[pl.Series]:
    return [texts.slice(start, _BATCH) for start in range(0, len(texts), _BATCH)]


def _kept(frame: pl.DataFrame) -> pl.DataFrame:
    def keeps(rules: RuleSet) -> pl.Expr:
        return pl.all_horizontal(
            pl.col(r.column) >= r.default if r.bound == "min" else pl.col(r.column) <= r.default for r in rules.rules
        ).alias(rules.name)

    return frame.select(keeps(rules) for rules in _ORDER)


def _equal(ours: Verdicts, peer: Verdicts, texts: pl.Series) -> None:
    """Stop with the first document on which a rule set's verdict differs."""
    for name, found in ours.items():
        different = [i for i, (a, b) in enumerate(zip(found, peer[name], strict=True)) if a != b]
        if different:
            i = different[0]
            words = {True: "keep", False: "drop"}
            raise SystemExit(
                f"filters: {name} differs on {len(different)} of {len(texts)} documents; the first is document {i}, "
                f"which we {words[found[i]]} and datatrove would {words[peer[name][i]]}: {texts[i][:200]!r}"
            )


def _report(measure: str, ours: Measured, peer: Measured, name: str, megabytes: float, n: int) -> None:
    line(
        measure, "MB/s on one core", megabytes / ours.cpu, megabytes / peer.cpu, name, ours.peak_mb, n,
        peer_peak_mb=peer.peak_mb,
    )  # fmt: skip
