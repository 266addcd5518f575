"""The step that measures: a text's measures are its own, and its rows lie beside its documents."""

from __future__ import annotations

import polars as pl
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.attributes.heuristics import heuristics
from plm_data.build import Build
from plm_data.rules import RULE_SETS
from tests.plm_data.attributes.measured import measure
from tests.plm_data.text.alphabets import pieces_of

SOME = pieces_of(["a", "b c", "the ", " ", "\n", "\n\n", "{", "...", "床。", "One two three. ", "# ", "javascript"], 12)


@settings(max_examples=150)
@given(st.lists(SOME, max_size=6), st.integers(0, 3))
def test_a_texts_measures_do_not_depend_on_its_batch(texts: list[str], start: int) -> None:
    series = pl.Series(texts, dtype=pl.String)
    together = heuristics(series[start:]).to_dicts()
    assert together == [measure(text) for text in texts[start:]]


def test_every_rule_but_the_languages_reads_a_measure_and_no_measure_is_null_or_not_a_number() -> None:
    frame = heuristics(pl.Series(["", "...", "one two three.\n\none two three."]))
    columns = {rule.column for rules in RULE_SETS if rules.name != "language" for rule in rules.rules}
    assert columns <= set(frame.columns)
    for column in columns:
        assert frame[column].is_not_null().all() and frame[column].cast(pl.Float64).is_not_nan().all()


def test_an_empty_text_measures_zero() -> None:
    found = measure("")
    assert found.pop("c4_text") is None
    assert set(found.values()) == {0}


def test_measures_lie_row_beside_row_with_the_documents(small_build: Build) -> None:
    for source, outputs in small_build.attributes.items():
        documents = small_build.documents[source]
        for name in ("heuristics", "language", "tokens"):
            assert len(outputs[name].parts()) == len(documents.parts())
            for ours, theirs in zip(outputs[name].parts(), documents.parts(), strict=True):
                mine, texts = pq.ParquetFile(ours), pq.ParquetFile(theirs)
                assert mine.read(["id"]) == texts.read(["id"])
                sizes = [[f.metadata.row_group(i).num_rows for i in range(f.num_row_groups)] for f in (mine, texts)]
                assert sizes[0] == sizes[1]
        part = documents.parts()[0]
        expected = heuristics(pl.read_parquet(part)["text"])
        assert pl.read_parquet(outputs["heuristics"].parts()[0]).drop("id").equals(expected)
