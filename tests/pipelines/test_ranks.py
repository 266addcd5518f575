"""Several processes: one of them tells, none builds, and a folder is one run's at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipelines import cli
from pipelines.ranks import run_lock
from pipelines.stages import open_build
from plm_data.errors import PlmError


def ranks(monkeypatch: pytest.MonkeyPatch, rank: int, world: int = 2) -> None:
    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", world)):
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(("rank", "told"), [(0, 1), (1, 0)])
def test_what_is_not_built_is_refused_and_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small_recipe: Path, tmp_path: Path, rank: int,
    told: int,
) -> None:  # fmt: skip
    ranks(monkeypatch, rank)
    monkeypatch.setattr("sys.argv", ["plm", "train", str(small_recipe), "--home", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.count("torchrun's processes build nothing; run `plm build small` before") == told
    assert not captured.out


def test_the_first_process_alone_says_what_is_built(
    monkeypatch: pytest.MonkeyPatch, small_recipe: Path, small_build: object, tmp_path: Path
) -> None:
    for rank in (0, 1):
        ranks(monkeypatch, rank, world=1)
        said: list[str] = []
        open_build(small_recipe, tmp_path, say=said.append).say("collected")
        assert len(said) == (rank == 0)


def test_a_folder_that_another_run_holds_is_waited_for_or_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    done = threading.Event()

    def wait() -> None:
        with run_lock(tmp_path, said.append):
            done.set()

    with run_lock(tmp_path, said.append):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not done.wait(0.2)
        assert said == [f"{tmp_path}: another run is training in it; waiting for its end"]
        with monkeypatch.context() as several:
            ranks(several, 0)
            refused = pytest.raises(PlmError, match="another run is training in it; wait for its end, and start")
            with refused, run_lock(tmp_path, said.append):
                raise AssertionError("held twice")
            ranks(several, 1)
            with run_lock(tmp_path, said.append):  # the first process holds it for the others
                pass
    waiting.join()
    assert done.is_set() and len(said) == 1
