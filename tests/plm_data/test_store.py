"""The store: an output is whole or not there, and its key is of all that shapes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.errors import StoreError
from plm_data.store import Counts, Output, Store, code_version, digest


def test_an_output_is_found_only_after_its_commit(tmp_path: Path) -> None:
    store, key = Store(tmp_path), "k" * 64
    partial = store.partial("step", key)
    partial.mkdir(parents=True)
    (partial / "part-00000.parquet").write_bytes(b"abc")
    (partial / "00000.done.json").write_text("{}")
    assert store.find("step", key) is None
    made = store.commit("step", key, {}, Counts(3, 2, 1, 0))
    found = store.find("step", key)
    assert found is not None and found.reused and not made.reused
    assert found.counts == Counts(3, 2, 1, 0)
    assert [path.name for path in sorted(found.path.iterdir())] == ["_step.json", "part-00000.parquet"]


def test_a_commit_that_was_killed_before_its_rename_is_done_again(tmp_path: Path) -> None:
    store, key = Store(tmp_path), "k" * 64
    store.partial("step", key).mkdir(parents=True)
    (store.partial("step", key) / "a.parquet").write_bytes(b"abc")
    (store.partial("step", key) / "_step.json").write_text("of the killed build")
    (store.partial("step", key) / "a.parquet.77.tmp").write_text("half")
    store.commit("step", key, {}, Counts())
    found = store.find("step", key)
    assert found and sorted(path.name for path in found.path.iterdir()) == ["_step.json", "a.parquet"]


def test_a_file_that_changed_its_size_or_went_is_named(tmp_path: Path) -> None:
    store, key = Store(tmp_path), "k" * 64
    store.partial("step", key).mkdir(parents=True)
    (store.partial("step", key) / "a.parquet").write_bytes(b"abc")
    output = store.commit("step", key, {}, Counts())
    (output.path / "a.parquet").write_bytes(b"ab")
    with pytest.raises(StoreError, match=r"a\.parquet: expected 3 bytes .* found 2 bytes"):
        store.find("step", key)
    (output.path / "a.parquet").unlink()
    with pytest.raises(StoreError, match="found no file"):
        store.find("step", key)


@given(st.tuples(*[st.integers(0, 10**6)] * 3))
def test_rows_that_add_up_pass_and_one_lost_row_does_not(rows: tuple[int, int, int]) -> None:
    kept, dropped, quarantined = rows
    counts = Counts(kept + dropped + quarantined, kept, dropped, quarantined)
    assert counts.check("here") is counts
    with pytest.raises(StoreError, match="here: rows were lost"):
        Counts(counts.read + 1, kept, dropped, quarantined).check("here")


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_code_version_follows_code_and_imports_but_not_comments(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "lower.py").write_text("x = 1\n")

    def version(upper: str, lower: str) -> str:
        (room / "upper.py").write_text(upper)
        (room / "lower.py").write_text(lower)
        command = "import sys; sys.dont_write_bytecode = True; from plm_data.store import code_version; print(code_version('room.upper'))"
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", command], capture_output=True, text=True, check=True, env=environment
        ).stdout  # fmt: skip

    base = version("from room.lower import x\n", "x = 1\n")
    assert version("# a comment\nfrom room.lower  import x\n", "x = 1  # why\n") == base
    assert version("from room.lower import x\ny = 2\n", "x = 1\n") != base
    assert version("from room.lower import x\n", "x = 2\n") != base


def test_code_version_of_a_step_is_its_own() -> None:
    assert code_version("plm_data.decisions.judge") != code_version("plm_data.mix")
    assert len(code_version("plm_data.mix")) == 64


def output(store: Store, key: str, content: bytes, name: str = "a.parquet") -> Output:
    store.partial("step", key).mkdir(parents=True)
    (store.partial("step", key) / name).write_bytes(content)
    return store.commit("step", key, {}, Counts())


def test_the_content_is_of_the_files_alone_and_the_same_when_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, same, other, renamed = (
        output(store, key * 64, content, name)
        for key, content, name in (("a", b"x", "p"), ("b", b"x", "p"), ("c", b"y", "p"), ("d", b"x", "q"))
    )
    assert one.content == same.content and one.key != same.key
    assert len({one.content, other.content, renamed.content}) == 3
    found = store.find("step", "a" * 64)
    assert found is not None and found.content == one.content
