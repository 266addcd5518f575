"""The engine: rows are conserved, finished partitions are kept, finished steps are found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from plm_data.engine import Step, run_steps
from plm_data.errors import StoreError
from plm_data.store import Counts, Output, Store
from plm_data.tables import part_file, write_parquet


@dataclass(frozen=True)
class Numbers(Step):
    """Writes its partition's number; ``loses``: claims a row that it does not account for."""

    name: ClassVar[str] = "numbers"
    pieces: int
    log: str
    fails_at: int = -1
    loses: bool = False
    expected: int | None = None

    @property
    def partitions(self) -> int:
        return self.pieces

    @property
    def rows_expected(self) -> int | None:
        return self.expected

    def description(self) -> dict:
        described = super().description()
        del described["fields"]["fails_at"]  # so that a mended step finds what the failing one has done
        return described

    def run(self, partition: int, out: Path) -> Counts:
        with open(self.log, "a") as file:
            file.write(f"{partition}\n")
        if partition == self.fails_at:
            raise OSError("disk full")
        write_parquet(pl.DataFrame({"n": [partition]}), part_file(out, partition))
        return Counts(read=2 if self.loses else 1, kept=1)


def test_a_second_run_does_no_work(tmp_path: Path) -> None:
    step = Numbers(3, str(tmp_path / "log"))
    store = Store(tmp_path / "store")
    first, second = (run_steps(store, [step], "numbers")[0] for _ in range(2))
    assert (first.reused, second.reused) == (False, True) and first.path == second.path
    assert (tmp_path / "log").read_text().split() == ["0", "1", "2"]
    assert first.counts == Counts(3, 3, 0, 0)
    assert pl.read_parquet(first.parts())["n"].to_list() == [0, 1, 2]


def test_an_interrupted_step_goes_on_where_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError, match="disk full"):
        run_steps(store, [Numbers(3, str(tmp_path / "log"), fails_at=2)], "numbers")
    run_steps(store, [Numbers(3, str(tmp_path / "log"))], "numbers")
    assert (tmp_path / "log").read_text().split() == ["0", "1", "2", "2"]


def test_a_lost_row_stops_the_step(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="rows were lost: 2 read, but 1 kept"):
        run_steps(Store(tmp_path), [Numbers(1, str(tmp_path / "log"), loses=True)], "numbers")


def test_a_step_must_read_what_its_inputs_hold(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="its inputs hold 4 rows, but 3 were read"):
        run_steps(Store(tmp_path), [Numbers(3, str(tmp_path / "log"), expected=4)], "numbers")
    assert run_steps(Store(tmp_path / "fine"), [Numbers(3, str(tmp_path / "log"), expected=3)], "numbers")


def test_workers_make_the_same_output_as_one_process(tmp_path: Path) -> None:
    one = run_steps(Store(tmp_path / "one"), [Numbers(5, str(tmp_path / "log"))], "numbers", workers=1)[0]
    two = run_steps(Store(tmp_path / "two"), [Numbers(5, str(tmp_path / "log"))], "numbers", workers=2)[0]
    assert one.key == two.key
    for a, b in zip(sorted(one.path.iterdir()), sorted(two.path.iterdir()), strict=True):
        assert a.name == b.name and a.read_bytes() == b.read_bytes()


def test_a_failing_worker_is_one_error_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="numbers failed with OSError: disk full.*run the same command again"):
        run_steps(Store(tmp_path), [Numbers(4, str(tmp_path / "log"), fails_at=1)], "numbers", workers=2)


@dataclass(frozen=True)
class Labelled(Step):
    """Writes the same whatever its label."""

    name: ClassVar[str] = "labelled"
    label: str
    number: int = 1

    @property
    def partitions(self) -> int:
        return 1

    def run(self, partition: int, out: Path) -> Counts:
        write_parquet(pl.DataFrame({"n": [self.number]}), part_file(out, partition))
        return Counts(read=1, kept=1)


@dataclass(frozen=True)
class After(Labelled):
    """Reads what a labelled step wrote."""

    name: ClassVar[str] = "after"
    inputs: dict[str, Output] = field(default_factory=dict)


def test_what_is_made_anew_to_the_same_bytes_makes_nothing_after_it_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def build(label: str, number: int) -> tuple[bool, bool]:
        first = run_steps(store, [Labelled(label, number)], "labelled")[0]
        second = run_steps(store, [After("x", inputs={"s": first})], "after")[0]
        return first.reused, second.reused

    assert build("one", 1) == (False, False)
    assert build("another", 1) == (False, True)
    assert build("one", 2) == (False, False)
    assert build("another", 1) == (True, True)


def test_which_input_is_whose_counts(tmp_path: Path) -> None:
    """Two sources that swap their contents are no input as before."""
    a, b = (run_steps(Store(tmp_path), [Labelled("x", number)], "labelled")[0] for number in (1, 2))
    assert After("x", inputs={"s": a, "t": b}).key() != After("x", inputs={"s": b, "t": a}).key()
    assert After("x", inputs={"s": a, "t": b}).key() == After("x", inputs={"t": b, "s": a}).key()


@dataclass(frozen=True)
class Summed(Numbers):
    """Sums its partitions' numbers once all are there; ``place`` is where it looks on the way, and shapes nothing."""

    name: ClassVar[str] = "summed"
    unkeyed: ClassVar[frozenset[str]] = frozenset({"place"})
    place: str = ""

    def finish(self, out: Path) -> None:
        total = sum(pl.read_parquet(part)["n"].sum() for part in out.glob("part-*.parquet"))
        (out / "total").write_text(str(total))


def test_a_step_is_finished_once_with_all_its_partitions(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    output = run_steps(store, [Summed(4, str(tmp_path / "log"))], "summed")[0]
    assert (output.path / "total").read_text() == "6" and "total" in (output.path / "_step.json").read_text()
    # Where it looked is no part of what it is; what it makes is.
    assert run_steps(store, [Summed(4, str(tmp_path / "log"), place="elsewhere")], "summed")[0].reused
    assert not run_steps(store, [Summed(5, str(tmp_path / "log"))], "summed")[0].reused


def test_an_output_that_is_discarded_is_made_anew(tmp_path: Path) -> None:
    store, step = Store(tmp_path / "store"), Numbers(2, str(tmp_path / "log"))
    output = run_steps(store, [step], "numbers")[0]
    store.discard(output)
    assert not output.path.exists() and store.find(step.name, step.key()) is None
    assert list((tmp_path / "store" / "numbers").iterdir()) == []
    again = run_steps(store, [step], "numbers")[0]
    assert not again.reused and again.content == output.content
