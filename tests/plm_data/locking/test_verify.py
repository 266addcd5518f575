"""Every checksum is computed anew: a flipped byte is found wherever it lies."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from plm_data import engine
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


def replace(path: Path, content: str | bytes) -> None:
    """Put another file in a file's place; what was linked there stays as it is in the store."""
    path.unlink()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_shard_with_a_manifest_to_match_is_found(two: Two) -> None:
    """Shards and manifest of the phase may agree and yet be others than those that were written."""
    folder = two.home / "two" / "phase1"
    other = (two.home / "two" / "phase2" / "shard-00000.parquet").read_bytes()
    theirs = read_manifest(two.home / "two" / "phase2")["shards"][0]
    manifest = read_manifest(folder)
    for name in ("rows", "tokens"):
        manifest[name] += theirs[name] - manifest["shards"][0][name]
    manifest["shards"][0] = theirs
    replace(folder / "shard-00000.parquet", other)
    replace(folder / "manifest.json", json.dumps(manifest))
    with pytest.raises(LockError) as error:
        verify_build(two.home / "two")
    assert f"{folder / 'manifest.json'}: sha256" in str(error.value)
    assert f"{folder / 'shard-00000.parquet'}: sha256" in str(error.value)


@pytest.mark.parametrize("key", ["segment", "stages", "tokenizer", "sources"])
def test_a_manifest_that_says_something_else_is_found(two: Two, key: str) -> None:
    path = two.home / "two" / "phase1" / "manifest.json"
    replace(path, json.dumps({**json.loads(path.read_text(encoding="utf-8")), key: {}}))
    with pytest.raises(LockError, match=rf"1 files are not as (.|\n)*{path}: sha256"):
        verify_build(two.home / "two")


@pytest.mark.parametrize("change", [{"key": None}, {"rows": "7"}, {"shards": [{"file": 1}]}, {"shards": 3}])
def test_a_manifest_that_is_none_is_said_so(two: Two, change: dict[str, object]) -> None:
    path = two.home / "two" / "phase1" / "manifest.json"
    replace(path, json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}))
    with pytest.raises(StoreError, match=rf"{path}: no manifest of a phase's shards"):
        verify_build(two.home / "two")


def test_a_shard_that_nobody_wrote_is_found(two: Two) -> None:
    shards = two.home / "two" / "phase1"
    part = max((two.home / "store" / "normalise").glob("*/part-00001.parquet"))
    for path in (shards / "shard-00099.parquet", part.with_name("part-00099.parquet")):
        shutil.copyfile(part, path)
        with pytest.raises(LockError, match=rf"1 files are not as (.|\n)*{path}: no record names it"):
            verify_build(two.home / "two")
        path.unlink()
    # What people and other programs read beside the shards is no part of them.
    (shards / "README.md").write_text("a card")
    verify_build(two.home / "two")


def test_another_tokenizer_in_the_place_of_the_build_s_is_found(two: Two) -> None:
    link = two.home / "two" / "tokenizer"
    shutil.copytree(link, two.folder / "mine")
    link.unlink()
    link.symlink_to(two.folder / "mine")
    verify_build(two.home / "two")  # the same files
    text = (link / "tokenizer.json").read_text(encoding="utf-8")
    (link / "tokenizer.json").write_text(text + " ", encoding="utf-8")
    with pytest.raises(LockError, match=rf"1 files are not as (.|\n)*{link / 'tokenizer.json'}: sha256"):
        verify_build(two.home / "two")


@pytest.mark.parametrize("change", [{"code": "0" * 64}, {"libraries": {}}, {"fields": {}}, {"key": "0" * 64}])
def test_a_record_that_says_another_origin_is_found(two: Two, change: dict[str, object]) -> None:
    path = next((two.home / "store" / "collect").glob("*/_step.json"))
    replace(path, json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}))
    with pytest.raises(LockError, match=rf"{path}: "):
        verify_build(two.home / "two")


@pytest.mark.parametrize("text", ["", "[]", '{"files": 3}', '{"files": {}, "fields": {}}', "\x00"])
def test_a_record_that_is_none_is_said_so_by_verify_and_build(two: Two, text: str) -> None:
    path = next((two.home / "store" / "judge").glob("*/_step.json"))
    replace(path, text)
    with pytest.raises(StoreError, match=rf"{path}: no record of a step"):
        two.build()
    with pytest.raises(PlmError, match="judge"):
        verify_build(two.home / "two")


def test_of_two_outputs_of_one_content_both_are_hashed(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made anew by changed code, the same bytes have another key: which of the two a build reads is not in its chain."""
    before = engine.code_version
    monkeypatch.setattr(
        engine, "code_version", lambda name: "changed" if name.endswith(".heuristics") else before(name)
    )
    two.build()
    folders = [path.parent for path in (two.home / "store" / "heuristics").glob("*/_step.json")]
    assert len(folders) == 4
    for folder in folders:
        flip(folder / "part-00000.parquet")
        with pytest.raises(LockError, match=rf"{folder / 'part-00000.parquet'}: sha256"):
            verify_build(two.home / "two")
        flip(folder / "part-00000.parquet")


def test_what_a_killed_build_left_and_what_is_of_another_build_is_passed_over(two: Two) -> None:
    shutil.copytree(two.home / "two" / "phase1", two.home / "two" / "phase1.4711.tmp")
    (two.home / "two" / "phase1.4711.tmp" / "shard-00000.parquet").unlink()
    mine = next((two.home / "store" / "judge").glob("*/_step.json")).parent
    shutil.copytree(mine, mine.with_name("0" * 16))
    (mine.with_name("0" * 16) / "_step.json").write_text("{", encoding="utf-8")
    left = shutil.copytree(mine, mine.with_name(f"{mine.name}.partial"))
    flip(max((each for each in left.iterdir() if each.name != "_step.json"), key=lambda each: each.stat().st_size))
    assert verify_build(two.home / "two").phases.keys() == {"phase1", "phase2"}


def test_a_build_is_found_from_within(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    (two.folder / "link").symlink_to(two.home / "two")
    assert verify_build(two.folder / "link").steps
    monkeypatch.chdir(two.home / "two")
    assert verify_build(Path(".")).steps


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
