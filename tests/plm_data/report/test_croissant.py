"""Croissant metadata: valid for mlcroissant, which reads the rows by it offline; hostile text stays text."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlcroissant
import polars as pl
import pytest

from plm_data.report.croissant import croissant
from plm_data.report.licences import roll_up
from plm_data.report.phase_card import PhaseCard
from plm_data.shards import SCHEMA

HOSTILE = '"}],"@id":"x\n</script><script>alert(1)</script>\u202e\x00 {{7*7}}'
# Nothing that a build writes has a date.
UNDATED = 'Property "https://schema.org/datePublished" is recommended, but does not exist.'


def loaded(metadata: dict[str, Any], folder: Path) -> Any:
    """The dataset as mlcroissant reads it; raises its ValidationError for metadata with errors."""
    path = folder / "croissant.json"
    path.write_text(json.dumps(metadata), encoding="utf-8")
    return mlcroissant.Dataset(jsonld=str(path))


def as_python(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else [int(item) for item in value]


def test_mlcroissant_finds_no_error_and_reads_every_row(folder: Path) -> None:
    dataset = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert issues.errors == set()
    assert [warning for warning in issues.warnings if UNDATED not in warning] == []
    rows = pl.concat(pl.read_parquet(path) for path in sorted(folder.glob("shard-*.parquet")))
    records = [
        {key.split("/")[1]: as_python(value) for key, value in record.items()}
        for record in dataset.records("documents")
    ]
    assert records == rows.to_dicts()


def test_it_names_each_shard_with_its_hash_and_size(folder: Path) -> None:
    metadata = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    files = {file["contentUrl"]: file for file in metadata["distribution"] if file["@type"] == "cr:FileObject"}
    assert set(files) == {path.name for path in folder.glob("*.parquet")}
    for name, file in files.items():
        assert file["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert file["contentSize"] == f"{(folder / name).stat().st_size} B"
    (records,) = metadata["recordSet"]
    assert [field["name"] for field in records["field"]] == SCHEMA.names
    assert metadata["inLanguage"] == ["en"]
    assert "datePublished" not in metadata


@pytest.mark.parametrize(
    "stated, licences",
    [
        (["MIT"], ["https://spdx.org/licenses/MIT.html"]),
        (["Apache 2.0", "MIT"], ["https://spdx.org/licenses/Apache-2.0.html", "https://spdx.org/licenses/MIT.html"]),
        (["NOASSERTION"], ["Others: each record states its own, in the field license."]),
        (
            ["MIT", "ISC OR Zlib"],
            ["https://spdx.org/licenses/MIT.html", "Others: each record states its own, in the field license."],
        ),
    ],
)
def test_licences_are_addresses_where_they_are_known(
    passed_on: PhaseCard, stated: list[str], licences: list[str]
) -> None:
    assert croissant(replace(passed_on, licences=roll_up([(text, 1, 1) for text in stated])))["license"] == licences


def test_hostile_text_stays_text(passed_on: PhaseCard, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "hostile")
    metadata = croissant(replace(passed_on, description=HOSTILE, licences=roll_up([(HOSTILE, 1, 1)])))
    dataset = loaded(metadata, tmp_path / "hostile")
    assert dataset.metadata.description.endswith(HOSTILE)
    assert {key for key in metadata if not key.startswith(("rai:", "@"))} == {
        key for key in croissant(passed_on) if not key.startswith(("rai:", "@"))
    }
    assert len(list(dataset.records("documents"))) == passed_on.rows
