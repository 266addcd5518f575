"""What a recipe measures appears in the report, known to it or not; what is no measure does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from plm_data.attributes.measure import Measure
from plm_data.build import Build
from plm_data.engine import run_steps
from plm_data.errors import StoreError
from plm_data.report.columns import columns, extents, frames, median
from plm_data.report.facts import gather
from plm_data.store import Store


@dataclass(frozen=True)
class MeasureMood(Measure):
    """A step that the report has never heard of."""

    name: ClassVar[str] = "mood"

    def measure(self, texts: pl.Series) -> pl.DataFrame:
        vowels = texts.str.count_matches("[aeiou]").cast(pl.Int32)
        return pl.DataFrame(
            {
                "vowels": vowels,
                # Some have no value, one way or the other.
                "calm": pl.select(
                    pl.when(vowels % 5 == 0).then(None).when(vowels % 5 == 1).then(float("nan")).otherwise(vowels / 7)
                ).to_series(),
                "tone": pl.select(
                    pl.when(vowels % 3 == 0).then(pl.lit("glad")).when(vowels % 3 == 1).then(pl.lit("sad"))
                ).to_series(),
                "loud": vowels > 100,
                "essay": texts,
                "spans": [[1, 2]] * len(texts),
                "key": [f"{i:032x}{len(text):08x}" for i, text in enumerate(texts)],
            }
        )


@pytest.fixture(scope="module")
def moody(small_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Build:
    build = Build(small_build.recipe, small_build.home, workers=1)
    steps = [MeasureMood(documents=documents) for documents in build.documents.values()]
    outputs = run_steps(Store(tmp_path_factory.mktemp("mood")), steps, "mood")
    for source, output in zip(build.documents, outputs, strict=True):
        build.attributes[source]["mood"] = output
    return build


def test_numbers_and_labels_are_measures_and_ids_texts_and_lists_are_not(moody: Build) -> None:
    found = {(column.name, column.kind) for column in columns(moody) if column.step == "mood"}
    assert found == {("vowels", "number"), ("calm", "number"), ("tone", "category"), ("loud", "category")}
    known = {column.name for column in columns(moody)}
    assert {"words", "language_match", "runner_up", "token_count"} <= known
    assert not known & {"id", "tokens", "c4_text", "signature"}


def test_ends_and_median_are_of_finite_values(moody: Build) -> None:
    table = pl.concat(
        pl.read_parquet(outputs["mood"].parts(), columns=["vowels", "calm"]) for outputs in moody.attributes.values()
    )
    vowels, calm = (next(c for c in columns(moody) if c.name == name) for name in ("vowels", "calm"))
    ends = extents(moody, [vowels, calm])
    assert (ends[vowels].low, ends[vowels].high, ends[vowels].whole) == (
        table["vowels"].min(), table["vowels"].max(), True,
    )  # fmt: skip
    values = table["calm"].drop_nulls().drop_nans()
    assert (ends[calm].low, ends[calm].high, ends[calm].whole) == (values.min(), values.max(), False)
    assert ends[calm].positive == values.filter(values > 0).min()
    assert median(moody, calm) == values.median() and median(moody, vowels) == table["vowels"].median()


def test_a_step_that_the_report_has_never_heard_of_is_in_it(moody: Build) -> None:
    facts = gather(moody)
    rows: dict[str, dict[str, Any]] = {row["name"]: row for row in facts["attributes"] if row["step"] == "mood"}
    assert set(rows) == {"vowels", "calm", "tone", "loud"}
    tables = {
        source: pl.read_parquet(outputs["mood"].parts()).join(
            pl.read_parquet(moody.decided[source].parts("verdicts"), columns=["id", "verdict"]), on="id"
        )
        for source, outputs in moody.attributes.items()
    }
    for source, table in tables.items():
        kept = table.filter(pl.col("verdict") == "kept")
        spread = rows["vowels"]["distribution"]["by_source"][source]
        assert sum(spread["documents"]) == table.height and sum(spread["kept"]) == kept.height
        there = table["calm"].drop_nulls().drop_nans()
        assert sum(rows["calm"]["distribution"]["by_source"][source]["documents"]) == len(there)
        for value in rows["tone"]["values"]:
            said = value["by_source"].get(source, {"documents": 0, "kept": 0})
            assert said["documents"] == table.filter(pl.col("tone") == value["value"]).height
            assert said["kept"] == kept.filter(pl.col("tone") == value["value"]).height
    whole = pl.concat(tables.values())
    assert rows["tone"]["missing"] == whole["tone"].null_count() > 0
    assert rows["calm"]["missing"] == whole.height - len(whole["calm"].drop_nulls().drop_nans()) > 0
    assert {value["value"] for value in rows["loud"]["values"]} == {"true", "false"}


def test_columns_that_rules_read_have_their_place_with_the_rules(facts: dict[str, Any]) -> None:
    read = {rule["column"] for rule in facts["rules"]}
    named = {row["name"] for row in facts["attributes"]}
    assert not read & named and not named & {"token_count", "language"}
    # Of a rule that is off in every source the column is a measure like any other.
    assert "c4_curly_brackets" in named and {"chars", "runner_up", "language_score"} <= named


def test_rows_that_do_not_go_together_are_an_error(moody: Build, tmp_path: Path) -> None:
    build = Build(moody.recipe, moody.home, workers=1)
    documents = build.documents["worked-maths"]
    outputs = run_steps(Store(tmp_path), [MeasureMood(documents=documents)], "mood")
    part = outputs[0].parts()[0]
    pl.read_parquet(part).reverse().write_parquet(part)
    build.attributes["worked-maths"]["mood"] = outputs[0]
    with pytest.raises(StoreError, match="its rows are not those of the other attributes; delete the folder"):
        list(frames(build, "worked-maths", columns(build)))
