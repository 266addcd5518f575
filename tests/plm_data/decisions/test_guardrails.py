"""Guardrails: a build that loses too much, or clusters too much, is stopped and told why."""

from __future__ import annotations

from pathlib import Path

import pytest

from plm_data.decisions.guardrails import check_guardrails
from plm_data.errors import GuardrailError
from plm_data.recipe import Guardrails
from tests.plm_data.decisions.chain import decide

REFUSED = [{"name": "q", "verdict": "quarantined", "reason": "r", "detail": ""}]


def test_a_source_that_loses_too_much_is_named_with_its_costliest_rules(tmp_path: Path) -> None:
    lost = [{"id": f"d{i}", "words": 60 if i == 0 else 1, "symbol_ratio": i % 2} for i in range(8)]
    fine = [{"id": f"f{i}", "words": 60} for i in range(2)]
    limits = {"gopher.min_words": 50.0, "gopher.max_symbol_ratio": 0.1}
    made = decide(tmp_path, {"fine": fine, "lost": lost}, limits, pieces=3).outputs
    check_guardrails(made, Guardrails(max_source_loss=0.875))
    with pytest.raises(
        GuardrailError, match=r"source lost: 87\.5% of its 8 documents .*max_source_loss = 87\.4%.*gopher\.min_words 7"
    ):
        check_guardrails(made, Guardrails(max_source_loss=0.874))


def test_a_cluster_too_large_is_told_across_sources(tmp_path: Path) -> None:
    sources = {source: [{"id": f"{source}{i}", "cluster": "k"} for i in range(2)] for source in "st"}
    made = decide(tmp_path, sources, pieces=2).outputs
    check_guardrails(made, Guardrails(max_cluster=4, max_source_loss=1))
    with pytest.raises(GuardrailError, match="cluster holds 4 documents, more than .* = 3.*min_jaccard"):
        check_guardrails(made, Guardrails(max_cluster=3, max_source_loss=1))


def test_near_copies_in_a_source_that_keeps_them_are_no_cluster(tmp_path: Path) -> None:
    made = decide(tmp_path, {"s": [{"id": f"d{i}", "cluster": "k"} for i in range(4)]}, exact_only=["s"]).outputs
    check_guardrails(made, Guardrails(max_cluster=1))
    assert made["s"].counts.kept == 4


@pytest.mark.parametrize("pieces", [1, 3])
def test_too_much_in_quarantine(tmp_path: Path, pieces: int) -> None:
    made = decide(tmp_path, {"s": [{"id": f"d{i}"} for i in range(3)]}, rejected={"s": REFUSED}, pieces=pieces).outputs
    check_guardrails(made, Guardrails(max_quarantined=0.25))
    with pytest.raises(GuardrailError, match="source s: 1 of 4 documents are quarantined"):
        check_guardrails(made, Guardrails(max_quarantined=0.24))


def test_what_a_reader_dropped_is_no_loss(tmp_path: Path) -> None:
    refused = [{"name": f"r{i}", "verdict": "dropped", "reason": "empty-file", "detail": ""} for i in range(9)]
    made = decide(tmp_path, {"s": [{"id": "a"}]}, rejected={"s": refused}).outputs
    check_guardrails(made, Guardrails(max_source_loss=0.01, max_quarantined=0.01))
    assert made["s"].counts.dropped == 9


def test_a_source_without_documents_stops_nothing(tmp_path: Path) -> None:
    made = decide(tmp_path, {"s": []}, pieces=2).outputs
    check_guardrails(made, Guardrails(max_source_loss=0.01, max_quarantined=0.01, max_cluster=1))
    assert made["s"].counts.read == 0
