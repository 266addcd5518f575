"""How fast this machine curates: the heavy steps on a little synthetic text, in about two seconds."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

_BYTES = 600_000
_SECONDS_A_STEP = 0.25
_LETTERS = "eeeeetttaaaooiinnsshhrrddllucmfwypvbgkjqxzé"


@dataclass(frozen=True)
class Rate:
    """Bytes of text that a step gets through in a second of one core, by step; and what was measured."""

    steps: dict[str, float]
    measured: str

    @property
    def seconds_per_byte(self) -> float:
        """Of one core, all steps together."""
        return sum(1 / rate for rate in self.steps.values())


def given_rate(megabytes: float) -> Rate:
    """A rate that the user states, in megabytes of text a second and core."""
    return Rate({"all steps": megabytes * 1e6}, f"given: {megabytes:g} MB of text a second and core")


def measured_rate() -> Rate:
    """Measure the steps that read every text, in processor time, so that threads count with their work.

    Reading the sources, matching, mixing and writing shards are not among them: they move columns and are limited by
    the disk.
    """
    texts = synthetic_texts(_BYTES)
    size = int(texts.str.len_bytes().sum())
    with TemporaryDirectory() as folder:
        steps = _steps(texts, Path(folder))
        rates = {name: size / _seconds(step) for name, step in steps.items()}
    return Rate(
        rates,
        f"measured here: {', '.join(rates)} of {size / 1e6:.1f} MB of synthetic text, in processor time, on a "
        f"machine of {os.cpu_count()} cores. Reading, matching, mixing and writing shards are not in it.",
    )


def synthetic_texts(size: int) -> pl.Series:
    """Sentences of made-up words in lines and paragraphs, about ``size`` bytes; always the same.

    With rare words, marks and accents enough that a step takes about as long for it as for a text that people wrote.
    """
    draw = random.Random(0)
    words = ["".join(draw.choices(_LETTERS, k=draw.randint(2, 10))) for _ in range(30_000)]
    words[:40:5] = ["the", "be", "to", "of", "and", "that", "have", "with"]
    frequent = list(accumulate(1 / (rank + 3) for rank in range(len(words))))
    texts, made = list[str](), 0
    while made < size:
        lines = []
        for _ in range(draw.randint(5, 60)):
            sentence = " ".join(draw.choices(words, cum_weights=frequent, k=draw.randint(5, 25)))
            lines.append(sentence.capitalize() + draw.choice([".", ".", "?", ".\n", f" ({draw.randint(1, 9999)})’s."]))
        texts.append("\n".join(lines))
        made += len(texts[-1])
    return pl.Series(texts)


def _steps(texts: pl.Series, folder: Path) -> dict[str, Callable[[], object]]:
    # late: compiled code and models, which only a measurement needs
    from plm_data.attributes.heuristics import heuristics
    from plm_data.attributes.language import language
    from plm_data.attributes.tokens import train_bpe
    from plm_data.dedup.minhash import signatures
    from plm_data.tables import write_parquet
    from plm_data.text.normalise import content_hash, normalise

    tokenizer = train_bpe(texts.head(30).to_list(), 2_000)
    return {
        "normalise": lambda: content_hash(normalise(texts)),
        "heuristics": lambda: heuristics(texts),
        "language": lambda: language(texts, "en"),
        "signatures": lambda: signatures(texts, 112, 5),
        "tokenise": lambda: tokenizer.encode_batch_fast(texts.to_list()),
        "write": lambda: write_parquet(pl.DataFrame({"text": texts}), folder / "texts.parquet"),
    }


def _seconds(step: Callable[[], object]) -> float:
    """Processor seconds of a step, after a first run that compiles and loads."""
    step()
    turns, start, until = 0, time.process_time(), time.monotonic() + _SECONDS_A_STEP
    while turns == 0 or time.monotonic() < until:
        step()
        turns += 1
    return max(time.process_time() - start, 1e-9) / turns
