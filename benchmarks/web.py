"""The main text of real web pages: how much of it is found, and how fast, beside Trafilatura called as it is.

The pages and their human-marked texts are those of scrapinghub's article extraction benchmark, and so is the metric of
its ``evaluate.py``: 4-grams of ``\\w+`` as multisets; precision and recall averaged over the pages; F1 of the averages.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import trafilatura

from benchmarks.apart import run_apart
from benchmarks.base_texts import CORPORA
from benchmarks.common import line
from plm_data.recipe_sources import WarcSource
from plm_data.sources.archive_bytes import archive_blocks
from plm_data.sources.base import Raw
from plm_data.sources.charset import decode
from plm_data.sources.http_message import parse_response
from plm_data.sources.warc import WarcReader
from plm_data.sources.warc_records import Record, read_records

ARCHIVE, TRUTH = "web.warc.gz", "web_truth.json"
_GRAM, _LARGEST = 4, 100_000_000
# Mode → what Trafilatura is asked for the same text; Resiliparse has no peer here.
MODES: Final[dict[str, dict[str, Any] | None]] = {
    "balanced": {"fast": True, "include_comments": False},
    "precise": {"favor_precision": True, "include_comments": False},
    "fast": None,
}


def run(size: int) -> None:
    """Print F1 and pages a second of each mode; our texts must be the peer's. ``size`` counts for nothing: the pages
    are what they are.

    Ours is all of the reader, from the file to documents, with the extraction in a process of its own. The peer has
    the decoded pages in memory and extracts them in one process.
    """
    truth = true_texts(CORPORA)
    for mode, options in MODES.items():
        ours = run_apart(prepare_ours, {"mode": mode}, times=3)
        peer = run_apart(prepare_peer, {"options": options}, times=3) if options else None
        if peer and ours.value != peer.value:
            differ = sum(ours.value.get(address) != text for address, text in peer.value.items())
            raise SystemExit(f"web: {differ} of {len(peer.value)} texts of {mode} differ from Trafilatura's")
        precision, recall, f1 = scores(truth, ours.value)
        line(
            f"pages to text, extract: {mode}", "pages/s, one worker", len(truth) / ours.seconds,
            len(truth) / peer.seconds if peer else None,
            f"trafilatura {trafilatura.__version__} in one process" if peer else None,
            ours.peak_mb, len(truth), f1=round(f1, 4), precision=round(precision, 4), recall=round(recall, 4),
        )  # fmt: skip


def prepare_ours(mode: str) -> Callable[[], dict[str, str]]:
    """The reader: text by address."""
    reader = web_reader(CORPORA, mode)
    # Starts the process that extracts.
    next(reader.read(0, 1))
    return lambda: texts_by_address(reader)


def prepare_peer(options: dict[str, Any]) -> Callable[[], dict[str, str]]:
    """Trafilatura on the decoded pages: text by address, of the pages in which it finds any."""
    pages = [(address, decode(body, charset)[0]) for address, charset, body in _pages(CORPORA)]

    def work() -> dict[str, str]:
        found = {address: trafilatura.extract(page, **options) for address, page in pages}
        return {address: text for address, text in found.items() if text}

    return work


def web_reader(corpora: Path, mode: str) -> WarcReader:
    spec = {"reader": "warc", "paths": [str(corpora / ARCHIVE)], "extract": mode, "domain": "web", "language": "en",
            "license": "NOASSERTION", "priority": 1}  # fmt: skip
    return WarcReader("web", WarcSource.model_validate(spec))


def texts_by_address(reader: WarcReader) -> dict[str, str]:
    return {item.metadata["url"]: item.text for item in reader.read(0, 1) if isinstance(item, Raw) and item.metadata}


def true_texts(corpora: Path) -> dict[str, str]:
    """What people have marked as the text of each page, by its address."""
    found = json.loads((corpora / TRUTH).read_text(encoding="utf-8"))
    return {page["url"]: page["text"] for page in found.values()}


def _pages(corpora: Path) -> list[tuple[str, str | None, bytes]]:
    """Address, charset of the header, and body."""
    pages = []
    for record in read_records(archive_blocks(corpora / ARCHIVE, ARCHIVE), _LARGEST):
        if not isinstance(record, Record) or record.block is None:
            raise SystemExit(f"web: {ARCHIVE} is broken at record {record.number}")
        response = parse_response(record.block)
        pages.append((record.fields["warc-target-uri"], response.charset, response.body(_LARGEST)))
    return pages


def scores(truth: Mapping[str, str], found: Mapping[str, str]) -> tuple[float, float, float]:
    """Precision, recall and F1 of the texts found, by page; a page without one has found nothing.

    Each page counts the same. Precision is averaged over the pages where anything was found, recall over those where
    anything was to be found, and F1 is of these averages, as that benchmark does it.
    """
    precisions, recalls = [], []
    for page, true in truth.items():
        wanted, given = _grams(true), _grams(found.get(page, ""))
        hits = (wanted & given).total()
        if given:
            precisions.append(hits / given.total())
        if wanted:
            recalls.append(hits / wanted.total())
    precision, recall = fmean(precisions), fmean(recalls)
    return precision, recall, 2 * precision * recall / (precision + recall)


def _grams(text: str) -> Counter[tuple[str, ...]]:
    """4-grams with their counts; of fewer words all of them as one."""
    words = re.findall(r"\w+", text)
    return Counter(gram for i in range(max(1, len(words) - _GRAM + 1)) if (gram := tuple(words[i : i + _GRAM])))
