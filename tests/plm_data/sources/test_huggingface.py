"""Datasets by ``datasets``: local files here, through the same code as the hub."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from plm_data.engine import run_steps
from plm_data.errors import RecipeError, SourceError
from plm_data.recipe_sources import HuggingFaceSource
from plm_data.sources.collect import Collect, Normalise
from plm_data.sources.huggingface import HuggingFaceReader
from plm_data.store import Counts, Store
from plm_data.text.normalise import content_hash

ROWS = [
    {"id": "a", "text": "first", "lic": "MIT"},
    {"id": "b", "text": None, "lic": "MIT"},
    {"id": "c", "text": "third\r\n", "lic": None},
    {"id": "a", "text": "again", "lic": "MIT"},
    {"id": "d", "text": " \n", "lic": "MIT"},
    {"id": "e", "text": "\ufffd\ufffd\ufffdx", "lic": "MIT"},
]


def spec(**options: object) -> HuggingFaceSource:
    common = {
        "reader": "huggingface",
        "path": "json",
        "domain": "web",
        "language": "en",
        "license": "CC0-1.0",
        "priority": 1,
    }
    return HuggingFaceSource.model_validate(common | options)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def test_bad_rows_are_quarantined_each_with_its_reason(rows: Path, tmp_path: Path) -> None:
    source, store = spec(data_files=[str(rows)], license_column="lic"), Store(tmp_path / "store")
    reader = HuggingFaceReader("web", source)
    collected = run_steps(
        store, [Collect(source="web", spec=source, fingerprint=reader.fingerprint(), pieces=2)], "collect"
    )[0]
    assert collected.counts == Counts(read=6, kept=5, dropped=0, quarantined=1)
    documents = run_steps(store, [Normalise(collected=collected, pieces=2)], "normalise")[0]
    assert documents.counts == Counts(read=5, kept=2, dropped=0, quarantined=3)
    kept = pl.read_parquet(documents.parts()).sort("name").select("name", "text", "license").rows()
    # Of the two rows named a, the one whose hash is smaller.
    first, again = content_hash(pl.Series(["first", "again"]))
    assert kept == [("a", "first" if first < again else "again", "MIT"), ("c", "third", "CC0-1.0")]
    refused = pl.concat(pl.read_parquet(part) for o in (collected, documents) for part in o.parts("rejected"))
    assert sorted(refused.select("name", "reason").rows()) == [
        ("a", "repeated-name"), ("b", "no-text"), ("d", "empty"), ("e", "broken-encoding"),
    ]  # fmt: skip


def test_ids_do_not_depend_on_how_rows_lie_in_files(rows: Path, tmp_path: Path) -> None:
    lines = rows.read_text(encoding="utf-8").splitlines(keepends=True)
    for i, line in enumerate(lines[::-1]):
        (tmp_path / f"part-{i}.jsonl").write_text(line, encoding="utf-8")
    whole = {item.name for item in HuggingFaceReader("web", spec(data_files=[str(rows)])).read(0, 1)}
    split = {
        item.name for item in HuggingFaceReader("web", spec(data_files=[str(tmp_path / "part-*.jsonl")])).read(0, 1)
    }
    assert whole == split == {"a", "b", "c", "d", "e"}


def test_a_copy_under_the_same_name_is_dropped_and_no_reason_for_alarm(tmp_path: Path) -> None:
    path, store = tmp_path / "rows.jsonl", Store(tmp_path / "store")
    path.write_text('{"text": "same"}\n' * 3 + '{"text": "other"}\n{"text": 3}\n', encoding="utf-8")
    source = spec(data_files=[str(path)], id=None)
    collected = run_steps(store, [Collect(source="web", spec=source, fingerprint="x", pieces=1)], "collect")[0]
    assert collected.counts == Counts(5, 4, 0, 1)
    assert run_steps(store, [Normalise(collected=collected, pieces=1)], "normalise")[0].counts == Counts(4, 2, 2, 0)


def test_rows_without_an_id_are_named_by_their_text(rows: Path) -> None:
    names = [item.name for item in HuggingFaceReader("web", spec(data_files=[str(rows)], id=None)).read(0, 1)]
    assert len(names) == len(set(names)) == 6 and all(len(name) == 64 for name in names)


def test_no_such_file_is_said_before_any_work() -> None:
    with pytest.raises(RecipeError, match=r"sources\.web\.data_files: no file matches /nowhere"):
        HuggingFaceReader("web", spec(data_files=["/nowhere/*.jsonl"])).fingerprint()


def test_a_hub_dataset_must_be_pinned() -> None:
    with pytest.raises(ValidationError, match="needs its revision"):
        spec(path="some/dataset")
    assert spec(path="some/dataset", revision="0" * 40).revision == "0" * 40


def test_a_file_that_is_not_what_it_says_is_one_error_naming_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "text": "x"}\nnot json\n', encoding="utf-8")
    with pytest.raises(SourceError, match=r"sources\.web: one of .*rows\.jsonl cannot be read .*Mend the file"):
        list(HuggingFaceReader("web", spec(data_files=[str(path)])).read(0, 1))


def test_an_empty_file_holds_no_rows(tmp_path: Path, rows: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert list(HuggingFaceReader("web", spec(data_files=[str(tmp_path / "empty.jsonl")])).read(0, 1)) == []
    assert len(list(HuggingFaceReader("web", spec(data_files=[str(tmp_path / "*.jsonl")])).read(0, 1))) == 6
