"""A whole build of which the documents and the tokenizer come from the hub, through faults and with a token."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest

from plm_data.attributes.tokens import save_tokenizer, train_bpe
from plm_data.build import Build
from plm_data.locking.lock import inputs, read_lock, results, write_lock
from plm_data.locking.verify import verify_build
from plm_data.recipe_file import load_recipe
from plm_data.report.page import write_report
from tests.plm_data.sources.hub_files import PATH, noise, parquet
from tests.plm_data.sources.hub_server import REVISION, Fault, HubServer

MODEL, CANARY = "owner/model", "hf_canaryTokenThatMustBeNowhere"
RECIPE = f"""\
name: hubs
seed: 1
partitions: PIECES
tokenizer: {{hub: {MODEL}, revision: "{REVISION}"}}
sources:
  web: {{reader: hub, path: {PATH}, revision: "{REVISION}", read: HOW, where: {{language: en, score: {{min: 3}}}},
        domain: web, language: en, license: CC0-1.0, priority: 1}}
curate: {{gopher: null, repetition: null, c4: null, fineweb: null, language: null}}
phases:
  phase1: {{segment: stable, tokens: 2K, mix: {{web: 1.0}}}}
"""


@pytest.fixture
def published(hub: HubServer, tmp_path: Path) -> HubServer:
    save_tokenizer(train_bpe([noise(i) for i in range(50)], 320), tmp_path)
    hub.add(
        MODEL, {name: (tmp_path / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}, "models"
    )
    rows: list[dict[str, object]] = [
        {"id": f"d{i}", "text": noise(i), "language": "en" if i % 4 else "fr", "score": i % 5} for i in range(60)
    ]
    hub.add(PATH, {"data/a.parquet": parquet(rows[:35]), "data/b.parquet": parquet(rows[35:])})
    return hub


def build(tmp_path: Path, pieces: int, how: str, name: str) -> Build:
    path = tmp_path / "hubs.yaml"
    path.write_text(RECIPE.replace("PIECES", str(pieces)).replace("HOW", how), encoding="utf-8")
    made = Build(load_recipe(path), tmp_path / name, workers=1)
    made.check()
    return made


def shards(made: Build) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in made.shards("phase1").path.glob("*.parquet")
    }


def test_the_same_shards_come_through_faults_in_pieces_and_by_columns(
    published: HubServer, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    published.token = CANARY
    made = build(tmp_path, 1, "whole", "home")
    first = shards(made)
    assert first and waits == []
    counts = made.collected["web"].counts
    assert (counts.read, counts.kept, counts.dropped) == (60, 18, 42)
    ids = {f"d{i}" for i in range(60) if i % 4 and i % 5 >= 3}
    assert set(pl.read_parquet(made.documents["web"].parts())["name"]) == ids
    manifest = json.loads((made.shards("phase1").path / "manifest.json").read_text())
    tokenizer = published.repositories["models", MODEL][REVISION]["tokenizer.json"]
    assert manifest["tokenizer"]["sha256"] == hashlib.sha256(tokenizer).hexdigest()
    refused = pl.read_parquet(made.decided["web"].parts("rejected"))
    assert refused["rule"].to_list() == ["collect.where"] * 42
    write_report(made)
    write_lock(tmp_path / "hubs.lock", made.recipe, inputs(made) | results(made))
    locked = read_lock(tmp_path / "hubs.lock")
    assert locked["tokenizer"].keys() == {"tokenizer.json", "tokenizer_config.json"} and locked["phases"]["phase1"]
    assert locked["sources"]["web"]["contents"] == made.readers["web"].contents() != {}
    verify_build(made.folder)

    # Another declared size is another plan and the same documents.
    declared = build(tmp_path, 1, "whole, bytes: 1MB", "home")
    assert declared.collected["web"].reused and declared.known_supply["web"][0] == 500_000

    # Built already, it needs no hub.
    published.seen.clear()
    assert shards(build(tmp_path, 1, "whole", "home")) == first and published.seen == []

    monkeypatch.setenv("HF_HOME", str(tmp_path / "other"))
    published.faults = [
        Fault("drop", at=3000, times=2), Fault("status", "/resolve/", status=429, retry_after="3"),
        Fault("truncate", at=900), Fault("status", "/api/", status=500), Fault("corrupt", at=2000),
    ]  # fmt: skip
    assert shards(build(tmp_path, 3, "whole", "broken")) == first and 3 in waits
    assert all(fault.times == 0 for fault in published.faults)
    assert shards(build(tmp_path, 3, "columns", "columns")) == first

    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 100 and not [path for path in written if CANARY.encode() in path.read_bytes()]
    assert {each.headers.get("authorization") for each in published.downloads()} == {None}
