"""A lock names all that a result depends on; a locked build refuses each difference by its name."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.stages import build_locked
from plm_data import engine
from plm_data.errors import LockError, RecipeError
from plm_data.locking import lock
from plm_data.locking.lock import differences, inputs, lock_file, read_lock, results, write_lock
from plm_data.shards import read_manifest
from plm_data.store import library_versions
from tests.plm_data.locking.conftest import Two

Tamper = Callable[[Two, pytest.MonkeyPatch], None]


def locked(place: Two) -> Path:
    build = place.open()
    write_lock(lock_file(place.recipe), build.recipe, inputs(build) | results(build))
    return lock_file(place.recipe)


def test_what_was_locked_builds_locked(two: Two) -> None:
    path = locked(two)
    said: list[str] = []
    build = two.open()
    build.say = said.append
    build_locked(build, two.recipe)
    shards = sum(len(phase["shards"]) for phase in read_lock(path)["phases"].values())
    assert shards >= 3 and f"{shards} shards are as locked" in said


def test_a_lock_holds_each_source_file_package_step_and_shard(two: Two) -> None:
    found = read_lock(locked(two))
    assert found["sources"]["one"]["contents"].keys() == {"one.jsonl"}
    assert found["packages"] == library_versions() and {"polars", "pyarrow", "tokenizers"} <= found["packages"].keys()
    assert {"collect (Collect)", "tokenizer (TrainTokenizer)", "tokenizer (FetchTokenizer)"} <= found["code"].keys()
    assert list(found["models"]) == ["lid.176.ftz"]
    assert found["recipe"]["curate"]["gopher"]["min_words"] == 20
    assert found["tokenizer"].keys() >= {"tokenizer.json"} and found["phases"].keys() == {"phase1", "phase2"}


def test_every_library_that_a_step_imports_is_locked_or_shapes_nothing() -> None:
    """A library that decides anything of a text, and is not locked, could change in silence."""
    ours = Path(lock.__file__).parents[1]
    folders = ("attributes", "decisions", "dedup", "mix", "sources", "text")
    files = [*ours.glob("*.py"), *(file for folder in folders for file in (ours / folder).rglob("*.py"))]
    trees = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    named = [alias.name for node in trees if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module or "" for node in trees if isinstance(node, ast.ImportFrom)]
    imported = {name.split(".")[0] for name in named} - sys.stdlib_module_names - {"plm_data", "_typeshed"}
    carry = {"aiohttp", "datatrove", "fsspec", "httpx2", "loguru", "multiprocess", "pydantic", "tqdm", "yaml"}
    unpack = {"brotli"}  # one stream has one meaning
    extract = {"trafilatura", "resiliparse"}  # locked with the web archives that they read
    locked_here = {name.replace("-", "_") for name in library_versions()}
    assert imported <= locked_here | carry | unpack | extract


def test_a_lock_is_the_same_again_and_a_change_is_a_line(two: Two) -> None:
    before = locked(two).read_text(encoding="utf-8").splitlines()
    assert locked(two).read_text(encoding="utf-8").splitlines() == before
    with (two.folder / "one.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "new", "text": "more"}\n')
    after = [line for line in locked(two).read_text(encoding="utf-8").splitlines() if line not in before]
    # The file and the fingerprint of its source; the shards are no longer those of the recipe as it stands.
    assert [line.split(":")[0].strip() for line in after] == ["one.jsonl", "fingerprint"]


def test_what_is_not_built_is_locked_without_shards_and_then_built(two: Two, tmp_path: Path) -> None:
    build = two.open()
    build.home = tmp_path / "new"
    assert results(build) == {}
    write_lock(lock_file(two.recipe), build.recipe, inputs(build))
    said: list[str] = []
    again = two.open()
    again.say = said.append
    build_locked(again, two.recipe, ["phase1"])
    assert said[-1] == "two.lock holds no shards to compare with"


def test_what_an_earlier_build_of_the_recipe_gave_is_locked_and_not_what_the_folder_shows(two: Two) -> None:
    before = read_lock(locked(two))
    steps = (two.home / "two" / "steps.json").read_bytes()
    two.edit("min_words: 20", "min_words: 150")
    two.build()
    shown = (two.home / "two" / "steps.json").read_bytes()
    assert shown != steps and read_lock(locked(two))["phases"] != before["phases"]
    two.edit("min_words: 150", "min_words: 20")
    assert read_lock(locked(two)) == before
    # To lock changes nothing of the build.
    assert (two.home / "two" / "steps.json").read_bytes() == shown


def test_a_lock_names_the_files_of_the_tokenizer_and_no_record(two: Two) -> None:
    assert read_lock(locked(two))["tokenizer"].keys() == {
        "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def shards_folder(place: Two, phase: str) -> Path:
    """Where a phase's shards lie in the store."""
    return place.open().store.folder("shards", read_manifest(place.home / "two" / phase)["key"])


def test_shards_that_are_reused_are_hashed_and_not_believed(two: Two) -> None:
    locked(two)
    path = shards_folder(two, "phase1") / "shard-00000.parquet"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(LockError, match=r"what was built(.|\n)*phases.phase1.shards.shard-00000.parquet: locked "):
        build_locked(two.open(), two.recipe)


def a_package(_: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "library_versions", lambda: {**library_versions(), "polars": "0.0.1"})


def a_line_of_code(_: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lock.code_version
    monkeypatch.setattr(
        lock, "code_version", lambda name: "changed" if name == "plm_data.decisions.judge" else before(name)
    )


def a_machine(_: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock.platform, "machine", lambda: "riscv64")


def a_byte(place: Two, _: pytest.MonkeyPatch) -> None:
    data = (place.folder / "one.jsonl").read_bytes()
    (place.folder / "one.jsonl").write_bytes(data.replace(b"the ", b"tha ", 1))


def the_order_of_the_steps(_: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lock.code_version
    monkeypatch.setattr(lock, "code_version", lambda name: "changed" if name == "plm_data.build" else before(name))


def a_file_that_is_gone(place: Two, _: pytest.MonkeyPatch) -> None:
    (place.folder / "three.jsonl").write_bytes((place.folder / "two.jsonl").read_bytes())
    place.edit("paths: [two.jsonl]", "paths: [three.jsonl]")


def a_model(_: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lock.file_sha256
    monkeypatch.setattr(lock, "file_sha256", lambda path: "0" if path.suffix == ".ftz" else before(path))


@pytest.mark.parametrize(
    ("tamper", "item"),
    [
        (a_package, r"packages.polars: locked [\d.]+, found 0.0.1"),
        (a_line_of_code, r"code.judge \(Judge\): locked [0-9a-f]+, found changed"),
        (the_order_of_the_steps, r"code.build \(Build\): locked [0-9a-f]+, found changed"),
        (a_machine, "platform.machine: locked .*, found riscv64"),
        (a_byte, r"sources.one.contents.one.jsonl: locked [0-9a-f]+, found [0-9a-f]+"),
        (a_file_that_is_gone, r"sources.two.contents.two.jsonl: locked [0-9a-f]+, found nothing"),
        (a_model, "models.lid.176.ftz: locked [0-9a-f]+, found 0"),
        (lambda place, _: place.edit("min_words: 20", "min_words: 21"),
         r"recipe.curate.gopher.min_words: locked 20.0, found 21.0"),
        (lambda place, _: place.edit("seed: 5", "seed: 6"), "recipe.seed: locked 5, found 6"),
    ],
)  # fmt: skip
def test_a_locked_build_names_what_differs_before_any_work(
    two: Two, monkeypatch: pytest.MonkeyPatch, tamper: Tamper, item: str
) -> None:
    locked(two)
    tamper(two, monkeypatch)
    build = two.open()
    monkeypatch.setattr(build, "_run", lambda *_: pytest.fail("a step was run"))
    with pytest.raises(LockError, match=rf"two.lock: what the recipe is built from(.|\n)*{item}"):
        build_locked(build, two.recipe)


def test_other_shards_than_locked_are_named_after_the_build(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    path = locked(two)
    content = read_lock(path)
    content["phases"]["phase2"]["shards"]["shard-00000.parquet"] = "f" * 64
    write_lock(path, two.open().recipe, content)
    # Only the phases that are built are compared.
    build_locked(two.open(), two.recipe, ["phase1"])
    with pytest.raises(LockError, match=r"what was built(.|\n)*phases.phase2.shards.shard-00000.parquet: locked fff"):
        build_locked(two.open(), two.recipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format: 1\nplatform: 2026-13-45\n", "not valid YAML"),
        (None, "there is no lock; make it with `plm lock`"),
        ("[1, 2", "not valid YAML"),
        ("format: 99\n", "not a lock of format 1"),
        ("format: 1\nrecipe: {}\n", "it lacks platform, packages, code, models, sources"),
    ],
)
def test_what_is_no_lock_is_said_so(two: Two, text: str | None, message: str) -> None:
    if text is not None:
        lock_file(two.recipe).write_text(text, encoding="utf-8")
    with pytest.raises(LockError, match=message):
        build_locked(two.open(), two.recipe)


def test_a_lock_that_cannot_be_written_is_said_so(two: Two) -> None:
    with pytest.raises(LockError, match="nowhere/two.lock: the lock cannot be written there: No such file"):
        write_lock(two.folder / "nowhere" / "two.lock", two.open().recipe, {})


def test_what_has_no_commit_is_not_locked_and_nothing_is_asked_of_the_hub(two: Two) -> None:
    before = "{reader: files, paths: [two.jsonl]"
    two.edit(before, "{reader: hub, path: a/b, revision: null, bytes: 5MB")
    with pytest.raises(RecipeError, match="sources.two: revision is null"):
        inputs(two.open())


def test_a_lock_is_data_and_nothing_in_it_is_run(two: Two) -> None:
    lock_file(two.recipe).write_text("!!python/object/apply:os.system ['touch ran']\n", encoding="utf-8")
    with pytest.raises(LockError, match="not valid YAML"):
        build_locked(two.open(), two.recipe)
    assert not (two.folder / "ran").exists()


def test_differences_are_by_path_and_equal_items_are_none() -> None:
    one = {"a": {"b": 1, "c": [1, 2]}, "same": {"x": {}}, "gone": {"k": None}}
    two_ = {"a": {"b": 2, "c": [1, 2, 3]}, "same": {"x": {}}, "new": "n"}
    found = {(each.item, str(each.locked), str(each.found)) for each in differences(one, two_)}
    assert found == {
        ("a.b", "1", "2"), ("a.c", "[1, 2]", "[1, 2, 3]"), ("gone.k", "None", "None"), ("new", "None", "n"),
    }  # fmt: skip
    assert yaml.safe_load(yaml.safe_dump(one)) == one and differences(one, one) == []


def test_the_code_of_every_step_that_runs_is_locked(two: Two) -> None:
    """A step that is not in the lock could change in silence."""
    run = {output.step for found in two.build().outputs.values() for output in found.values()}
    assert run <= {step.split()[0] for step in read_lock(locked(two))["code"]}
    assert engine.code_version("plm_data.decisions.judge") == read_lock(lock_file(two.recipe))["code"]["judge (Judge)"]
