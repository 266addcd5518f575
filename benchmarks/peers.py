"""The peers: datatrove's filters and deduplication as published, and `tokenizers`, on the same texts as ours.

datatrove comes twice: stock (spaCy's English words) and with our segmentation in its place, since the word
tokenizer takes most of its time and decides its verdicts.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
import regex
import xxhash
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
)
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.stats import PipelineStats
from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer
from loguru import logger
from tokenizers import Tokenizer

from plm_data.text.sentences import sentences
from plm_data.text.words import WORD

STOCK, SAME = "datatrove stock", "datatrove, same tokenizer"
BANDS, ROWS, SHINGLE_WORDS = 14, 8, 5


class OurTokenizer(WordTokenizer):
    """Our words and sentences as a tokenizer of datatrove's, by Python's ``regex``."""

    def __init__(self) -> None:
        super().__init__()
        # The same pattern in the dialect of Python's regex package.
        self._pattern = regex.compile(WORD.replace("&&[^", "--["), regex.V1)

    def word_tokenize(self, text: str) -> list[str]:
        found: list[str] = self._pattern.findall(text)
        return found

    def sent_tokenize(self, text: str) -> list[str]:
        return sentences(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        spans, end = [], 0
        for sentence in sentences(text):
            start = text.index(sentence, end)
            end = start + len(sentence)
            spans.append((start, end))
        return spans


def require_spacy() -> None:
    """Refuse to run without datatrove's English tokenizer, which none of its own extras installs."""
    if importlib.util.find_spec("spacy") is None:
        raise SystemExit(
            "spaCy, datatrove's English tokenizer, is not installed: pip install -c constraints.txt -e .[bench]"
        )


@lru_cache(maxsize=2)
def language(name: str) -> str | WordTokenizer:
    """What datatrove's steps take as their language: its English, or our segmentation."""
    if name == SAME:
        return OurTokenizer()
    require_spacy()
    return str(Languages.english)


@lru_cache(maxsize=4)
def filters(name: str, min_words: int = 50) -> dict[str, BaseFilter]:
    """FineWeb's four filters in FineWeb's order, by the names of our rule sets."""
    words = language(name)
    return {
        "repetition": GopherRepetitionFilter(language=words),
        "gopher": GopherQualityFilter(min_doc_words=min_words, language=words),
        "c4": C4QualityFilter(filter_no_terminal_punct=False, language=words),
        "fineweb": FineWebQualityFilter(language=words),
    }


@contextlib.contextmanager
def same_sentences(name: str) -> Iterator[None]:
    """With our tokenizer, C4's sentences as we count them: datatrove takes a line that has none for one."""
    if name == SAME:
        with mock.patch.object(c4_filters, "split_into_sentences", lambda line, _: sentences(line)):
            yield
    else:
        yield


def verdicts(name: str, texts: list[str], min_words: int = 50) -> dict[str, list[bool]]:
    """Which texts each filter keeps, each asked of every text as it came."""
    asked = filters(name, min_words)
    found: dict[str, list[bool]] = {key: [] for key in asked}
    with same_sentences(name):
        for text in texts:
            for key, filter_ in asked.items():
                # C4's filter rewrites its document, so each has its own; datatrove caches the words of a text.
                found[key].append(filter_.filter(Document(text=text, id="")) is True)
    return found


def chain(name: str, texts: list[str]) -> list[bool]:
    """Which texts all four keep, one after another as a pipeline runs them: each sees what those before it left."""
    found = []
    with same_sentences(name):
        for text in texts:
            document = Document(text=text, id="")
            found.append(all(filter_.filter(document) is True for filter_ in filters(name).values()))
    return found


class _Quiet(LocalPipelineExecutor):
    """Without the console log, which would be part of the time."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        logger.disable("datatrove")
        return super()._run_for_rank(rank, local_rank, node_rank)


def _run(steps: list[PipelineStep], tasks: int, workers: int, logs: Path) -> None:
    logger.disable("datatrove")
    executor = _Quiet(steps, tasks=tasks, workers=workers, logging_dir=str(logs), skip_completed=False)
    executor.run()
    if missing := executor.get_incomplete_ranks(skip_completed=True):
        raise SystemExit(f"datatrove left {len(missing)} of {tasks} tasks undone")


def _reader(files: Path) -> ParquetReader:
    return ParquetReader(str(files), read_metadata=False)


def _tasks(files: Path) -> int:
    return len(list(files.glob("*.parquet")))


def _hash(text: str) -> int:
    # datatrove's 64-bit xxhash, given bytes: from version 4 on xxhash takes no strings.
    return int(xxhash.xxh64_intdigest(text.encode("utf-8")))


def minhash(files: Path, work: Path, name: str, workers: int) -> None:
    """datatrove's four MinHash stages from a folder of Parquet files to ``work/kept``."""
    config = MinhashConfig(
        n_grams=SHINGLE_WORDS, num_buckets=BANDS, hashes_per_bucket=ROWS,
        hash_config=HashConfig(precision=64, hash_fc="xxhash"),
    )  # fmt: skip
    tasks, words = _tasks(files), language(name)
    signature = MinhashDedupSignature(str(work / "signatures"), config=config, language=words)
    signature._hash_func = _hash
    signatures, buckets, remove = (str(work / folder) for folder in ("signatures", "buckets", "remove"))
    stages: list[tuple[list[PipelineStep], int]] = [
        ([_reader(files), signature], tasks),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], BANDS),
        ([MinhashDedupCluster(buckets, remove, config=config)], 1),
        ([_reader(files), MinhashDedupFilter(remove), ParquetWriter(str(work / "kept"), compression="zstd")], tasks),
    ]
    for i, (steps, count) in enumerate(stages):
        _run(steps, count, workers, work / f"logs-{i}")


def _content(document: Document) -> bytes:
    # Bytes, as in `_hash`.
    text: str = document.text
    return text.encode("utf-8")


def exact(files: Path, work: Path, workers: int, rewrite: bool = True) -> None:
    """datatrove's exact-deduplication stages from a folder of Parquet files; the third writes ``work/kept``."""
    config = ExactDedupConfig(content_getter=_content)
    tasks = _tasks(files)
    signatures, duplicates = str(work / "signatures"), str(work / "duplicates")
    kept = ParquetWriter(str(work / "kept"), compression="zstd")
    stages: list[tuple[list[PipelineStep], int]] = [
        ([_reader(files), ExactDedupSignature(signatures, config, finder_workers=workers)], tasks),
        ([ExactFindDedups(signatures, duplicates, config)], workers),
        ([_reader(files), ExactDedupFilter(duplicates, config), kept], tasks),
    ]
    for i, (steps, count) in enumerate(stages if rewrite else stages[:2]):
        _run(steps, count, workers, work / f"logs-{i}")


def kept_ids(work: Path) -> list[str]:
    """The ids of the documents that a pipeline kept, sorted."""
    files = sorted((work / "kept").glob("**/*.parquet"))
    found: list[str] = pl.concat([pl.read_parquet(file, columns=["id"]) for file in files])["id"].sort().to_list()
    return found


def encode(tokenizer: Tokenizer, texts: list[str], batch: int = 2048) -> int:
    """Tokens of all texts by ``encode_batch_fast`` alone, on every core."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    total = 0
    for start in range(0, len(texts), batch):
        encoded: list[Any] = tokenizer.encode_batch_fast(texts[start : start + batch])
        total += sum(len(each.ids) for each in encoded)
    return total
