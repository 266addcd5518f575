"""Filters on columns: exactly the rows that meet them, each other row counted, none of it read where it need not be."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plm_data.errors import RecipeError, SourceError
from plm_data.recipe_file import load_recipe
from plm_data.recipe_sources import FilesSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.files import FilesReader
from tests.plm_data.sources.local_files import read, spec


def kept(path: Path, where: dict[str, Any]) -> list[str]:
    """The ids that pass; every other row must be dropped, and said to be."""
    items = read(str(path), where=where)
    dropped = [item for item in items if isinstance(item, Rejected)]
    assert {(item.verdict, item.reason) for item in dropped} <= {("dropped", "where")}
    rows = pq.read_metadata(path).num_rows
    assert len(items) == rows and len({item.name for item in items}) == rows
    return [item.name for item in items if isinstance(item, Raw)]


def write(path: Path, column: pa.Array, group: int = 2, **options: Any) -> Path:
    ids = [str(i) for i in range(len(column))]
    pq.write_table(pa.table({"id": ids, "text": ids, "c": column}), path, row_group_size=group, **options)
    return path


@pytest.mark.parametrize(
    ("values", "condition", "expected"),
    [
        (["en", "fr", None, "EN", "en "], "en", "0"),
        (["a", "b", "c", "d"], {"in": ["b", "d", "x"]}, "13"),
        (["2019-12-31", "2020-01-01", "2021"], {"min": "2020-01-01"}, "12"),
        ([2, 3, 4, None], {"min": 3}, "12"),
        ([2, 3, 4], {"max": 3}, "01"),
        ([2, 3, 4, 5], {"min": 2.5, "max": 4}, "12"),
        ([0, 1, 2], 1.0, "1"),
        ([0.1, 0.5, math.nan, None, -0.0], {"max": 0.5}, "014"),
        ([math.nan, math.nan, 1.0], {"in": [1]}, "2"),
        ([True, False, None], True, "0"),
        ([True, False, None], {"in": [False]}, "1"),
        # Apart by one, and the same as doubles.
        ([2**53, 2**53 + 1], 2**53 + 1, "1"),
        (pa.array([0, 2**63, 2**64 - 1], pa.uint64()), {"min": 2**63}, "12"),
        (pa.array([0, 200, 255, 3], pa.uint8()), {"min": 128}, "12"),
        (pa.array(["x", "y", "x"]).dictionary_encode(), "x", "02"),
        (pa.array(["x", None, "y"], pa.large_string()), {"max": "x"}, "0"),
    ],
)
def test_a_condition_keeps_just_these_rows(tmp_path: Path, values: Any, condition: Any, expected: str) -> None:
    column = values if isinstance(values, pa.Array | pa.DictionaryArray) else pa.array(values)
    assert kept(write(tmp_path / "a.parquet", column), {"c": condition}) == list(expected)


def test_all_conditions_must_hold_and_the_first_that_fails_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": list("abc"), "lang": ["en", "en", "fr"], "score": [1, 5, 5]}), path)
    items = read(str(path), where={"lang": "en", "score": {"min": 3}}, id=None)
    assert [item.text for item in items if isinstance(item, Raw)] == ["b"]
    assert [(item.name, item.detail) for item in items if isinstance(item, Rejected)] == [
        (f"{path}:row 1", "column 'score' is 1"),
        (f"{path}:row 3", "column 'lang' is 'fr'"),
    ]


def test_a_column_is_not_taken_for_a_field_within_another(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["0", "1"], "text": ["a", "b"], "c": [{"n": 1}, {"n": 1}], "c.n": [7, 8]}), path)
    assert kept(path, {"c.n": {"min": 8}}) == ["1"]


numbers = st.integers(-3, 3) | st.sampled_from([-0.5, 0.5, 2.5])
words = st.sampled_from(["", "a", "ab", "b", "é", "z"])


def conditions(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    bounds = st.tuples(values, values).map(sorted).map(lambda pair: {"min": pair[0], "max": pair[1]})
    ends = values.flatmap(lambda value: st.sampled_from([{"min": value}, {"max": value}]))
    return values | bounds | ends | st.lists(values, min_size=1, max_size=3).map(lambda some: {"in": some})


@settings(max_examples=60)
@given(
    case=st.one_of(
        *(
            st.tuples(st.lists(cells | st.none(), min_size=1, max_size=20), conditions(asked))
            for cells, asked in (
                (st.integers(-3, 3), numbers),
                (st.floats(-3, 3, width=16) | st.just(math.nan), numbers),
                (words, words),
            )
        )
    ),
    group=st.integers(1, 6),
)
def test_statistics_rule_out_no_row_that_passes(case: tuple[list[Any], Any], group: int) -> None:
    values, condition = case
    asked = condition if isinstance(condition, dict) else {"in": [condition]}

    def passes(value: Any) -> bool:
        return value is not None and all(
            {"min": value >= limit, "max": value <= limit}[key] if key != "in" else value in limit
            for key, limit in asked.items()
        )

    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.parquet", pa.array(values, pa.null() if set(values) == {None} else None), group)
        if set(values) == {None}:
            return
        assert kept(path, {"c": condition}) == [str(i) for i, value in enumerate(values) if passes(value)]


def test_a_row_group_that_is_ruled_out_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.array([1, 2, 8, 9]), compression="none", write_page_checksum=True)
    group = pq.read_metadata(path).row_group(0)
    data = bytearray(path.read_bytes())
    # Its pages are broken: whoever reads them stops.
    for column in range(3):
        data[group.column(column).data_page_offset] ^= 0xFF
    path.write_bytes(bytes(data))
    assert kept(path, {"c": {"min": 3}}) == ["2", "3"]
    with pytest.raises(SourceError, match="is broken"):
        read(str(path), where={"c": {"min": 2}})


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ({"x": 1}, "has no column 'x'; its columns are id, text, c, when, parts"),
        ({"c": "1"}, "has the type int64 in the column 'c', which cannot be compared with the text '1'"),
        ({"c": True}, "has the type int64 in the column 'c', which cannot be compared with the boolean True"),
        ({"id": 1}, "has the type string in the column 'id', which cannot be compared with the number 1"),
        ({"when": "2020"}, r"has the type date32\[day\] in the column 'when'"),
        ({"parts": 1}, "has the type list<"),
    ],
)
def test_a_condition_that_cannot_be_asked_is_one_clear_error(tmp_path: Path, where: dict[str, Any], what: str) -> None:
    path = tmp_path / "a.parquet"
    day = pa.array([1], pa.date32())
    pq.write_table(pa.table({"id": ["1"], "text": ["x"], "c": [1], "when": day, "parts": [[1]]}), path)
    with pytest.raises(SourceError, match=rf"^sources\.web\.where: {path} {what}.*Name a column that serves, or take"):
        read(str(path), where=where)


def test_only_parquet_is_filtered(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n', encoding="utf-8")
    with pytest.raises(RecipeError, match=r"sources\.web\.where: .*a\.jsonl is not Parquet"):
        read(str(tmp_path), where={"c": 1})


def test_another_filter_is_another_fingerprint(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.parquet", pa.array([1, 2])))
    wheres: list[dict[str, Any]] = [{}, {"c": 1}, {"c": 2}, {"c": {"min": 1}}, {"c": {"max": 1}}, {"c": {"in": [1]}}]
    assert len({FilesReader("web", spec(path, where=where)).fingerprint() for where in wheres}) == len(wheres)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({}, "says nothing"),
        (None, "expected a text"),
        ({"min": 3, "max": 2}, "min 3 is more than max 2"),
        ({"min": 3, "max": "4"}, "of more than one kind"),
        ({"in": [1, True]}, "of more than one kind"),
        ({"in": []}, "at least 1 item"),
        ({"least": 3}, "Extra inputs"),
        ({"min": [1]}, "expected a text"),
        (math.nan, "expected a text"),
    ],
)
def test_a_condition_without_sense_is_refused(condition: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec("a.parquet", where={"c": condition})
    # The nearest that has some.
    spec("a.parquet", where={"c": {"min": 3, "max": 3}})


def test_the_recipes_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r\nseed: 1\nsources:\n  a:\n    reader: files\n    paths: [a.parquet]\n    domain: web\n    language: en\n"
        "    license: MIT\n    priority: 1\n    where:\n      dump: {in: [x]}\n      when: {min: 2020-01-01}\n"
        "phases: {p: {segment: stable, tokens: 1K, mix: {a: 1.0}}}\n",
        encoding="utf-8",
    )
    with pytest.raises(RecipeError, match=r"r\.yaml:13: sources\.a\.where\.when\.min: expected a text \(in quotes"):
        load_recipe(path)


def test_the_schema_takes_a_plain_value_and_the_forms() -> None:
    plain, forms = FilesSource.model_json_schema()["$defs"]["Condition"]["anyOf"]
    assert plain == {"type": ["string", "number", "boolean"]}
    assert set(forms["properties"]) == {"equals", "min", "max", "in"} and forms["additionalProperties"] is False
