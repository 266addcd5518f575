"""The rules on real text: datatrove's verdicts, given the same words and sentences, on every document there is."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.real.corpora import CORPORA
from tests.real.parity import RULE_SETS, Parity, compare

# Corpus and place of a document → why our verdict is another one. There is none; what could differ, and would be right
# to: '１' alone, no word to datatrove; sentence ends that Unicode has added since its list; white space other than
# spaces and tabs before a document's first paragraph.
EXPLAINED: dict[tuple[str, int], str] = {}

# The largest in pieces and first, so that two processes end together.
_PIECES = {"chinese_poetry": 34_000, "tldr": 20_000}
_ORDER = ["chinese_poetry", "tldr", "peps", "web", "rust_rfcs", "eips"]


@pytest.fixture(scope="module")
def parities(corpora: Path) -> dict[str, list[Parity]]:
    """Corpus → its pieces, compared."""
    names = [*_ORDER, *(name for name in CORPORA if name not in _ORDER)]
    size = {name: _PIECES.get(name, 10**9) for name in names}
    pieces = [(name, i * size[name]) for name in names for i in range(3 if name in _PIECES else 1)]
    found: dict[str, list[Parity]] = defaultdict(list)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = [(name, pool.submit(compare, name, start, start + size[name])) for name, start in pieces]
        for name, future in running:
            found[name].append(future.result())
    return found


@pytest.mark.parametrize("name", CORPORA)
def test_every_verdict_is_datatroves(parities: dict[str, list[Parity]], name: str) -> None:
    differ = {(name, place): why for piece in parities[name] for place, why in piece.differ.items()}
    assert {place: why for place, why in differ.items() if place not in EXPLAINED} == {}
    assert {place for place in EXPLAINED if place[0] == name} <= set(differ)


@pytest.mark.parametrize("name", CORPORA)
def test_c4s_edited_text_is_datatroves(parities: dict[str, list[Parity]], name: str) -> None:
    assert [place for piece in parities[name] for place in piece.edited] == []


def test_every_document_was_compared_and_each_rule_set_kept_and_dropped_many(parities: dict[str, list[Parity]]) -> None:
    texts = {name: sum(piece.texts for piece in pieces) for name, pieces in parities.items()}
    assert texts["chinese_poetry"] == 100_936 and texts["tldr"] == 38_404 and texts["gsm8k_train"] == 7_473
    assert set(texts) == set(CORPORA) and sum(texts.values()) > 150_000
    for rules in RULE_SETS:
        kept = sum(piece.kept[rules] for pieces in parities.values() for piece in pieces)
        assert 5_000 < kept < sum(texts.values()) - 5_000
    assert sum(piece.changed for pieces in parities.values() for piece in pieces) > 1_000
