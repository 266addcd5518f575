"""Every checksum is computed anew: a flipped byte is found wherever it lies."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from plm_data.errors import LockError, PlmError, StoreError
from plm_data.locking.verify import verify_build
from plm_data.shards import read_manifest
from tests.plm_data.locking.conftest import Two


def flip(path: Path, at: int = -20) -> None:
    """Change one byte, in a file of its own: what is linked elsewhere stays."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    os.remove(path)
    path.write_bytes(bytes(data))


def test_an_untouched_build_is_as_recorded(two: Two) -> None:
    found = verify_build(two.home / "two")
    for phase in ("phase1", "phase2"):
        manifest = read_manifest(two.home / "two" / phase)
        assert found.phases[phase] == (len(manifest["shards"]), manifest["rows"], manifest["tokens"])
    kinds = {path.parent.name for path in two.home.glob("store/*/*") if not path.name.startswith(".")}
    # All that led to the shards; the texts that were fetched for them are gone.
    assert found.steps >= len(kinds - {"plan", "fetch"}) and found.files > found.steps


def test_a_flipped_byte_of_a_shard_is_named(two: Two) -> None:
    path = two.home / "two" / "phase1" / "shard-00001.parquet"
    flip(path)
    with pytest.raises(LockError, match=rf"1 files are not as .*\n  {path}: sha256 [0-9a-f]+ was recorded, found"):
        verify_build(two.home / "two")


@pytest.mark.parametrize("step", ["normalise", "tokens", "judge", "decide", "tokenizer", "place", "shards"])
def test_a_flipped_byte_of_a_step_before_is_named(two: Two, step: str) -> None:
    folder = next(each for each in sorted((two.home / "store" / step).iterdir()) if each.is_dir())
    path = max((each for each in folder.iterdir() if each.name != "_step.json"), key=lambda each: each.stat().st_size)
    flip(path)
    with pytest.raises(LockError, match=rf"\n  {path}: sha256"):
        verify_build(two.home / "two")


def test_a_changed_record_does_not_hide_a_changed_file(two: Two) -> None:
    """What a step was made from is recorded by content: another content has no place in the chain."""
    folder = next(each for each in sorted((two.home / "store" / "decide").iterdir()) if each.is_dir())
    record = json.loads((folder / "_step.json").read_text(encoding="utf-8"))
    name = next(iter(record["files"]))
    record["files"][name]["sha256"] = "0" * 64
    (folder / "_step.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(LockError, match="no output of step decide has the content"):
        verify_build(two.home / "two")


def test_a_file_that_is_gone_and_a_wrong_count_are_named(two: Two) -> None:
    (two.home / "two" / "phase2" / "shard-00000.parquet").unlink()
    path = two.home / "two" / "phase1" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["shards"][0]["tokens"] += 1
    path.unlink()
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(LockError) as error:
        verify_build(two.home / "two")
    assert "phase2/shard-00000.parquet: it is not there" in str(error.value)
    assert "phase1/shard-00000.parquet: " in str(error.value) and "tokens are recorded, found" in str(error.value)
    assert "phase1/manifest.json: " in str(error.value) and "its shards' sum to" in str(error.value)


def test_what_is_no_build_is_said_so(two: Two, tmp_path: Path) -> None:
    with pytest.raises(PlmError, match="no phase is built there"):
        verify_build(tmp_path)
    shutil.rmtree(two.home / "store" / "shards")
    with pytest.raises(StoreError, match="which it was written by, is not there"):
        verify_build(two.home / "two")
