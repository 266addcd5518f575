"""The main text of 181 real pages beside what people have marked as such, by the metric of their benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.web import scores, texts_by_address, true_texts, web_reader
from plm_data.sources.base import Raw

# A little below what `python -m benchmarks web` prints: F1 and precision.
LEAST = {"balanced": (0.960, 0.945), "precise": (0.960, 0.955), "fast": (0.930, 0.885)}


@pytest.mark.parametrize("mode", LEAST)
def test_the_text_of_the_pages_is_found(corpora: Path, mode: str) -> None:
    truth = true_texts(corpora)
    found = texts_by_address(web_reader(corpora, mode))
    assert len(truth) == 181 and set(found) <= set(truth)
    precision, _, f1 = scores(truth, found)
    assert f1 >= LEAST[mode][0] and precision >= LEAST[mode][1]


def test_every_page_becomes_one_document_in_whatever_number_of_pieces(corpora: Path) -> None:
    reader = web_reader(corpora, "fast")
    whole = list(reader.read(0, 1))
    assert len(whole) == 181 and all(isinstance(item, Raw) for item in whole)
    parted = [item for piece in range(5) for item in reader.read(piece, 5)]
    assert sorted(parted, key=lambda item: item.name) == sorted(whole, key=lambda item: item.name)
