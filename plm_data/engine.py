"""Runs steps over their partitions on datatrove's executor, checks that no row is lost, and keeps the output.

A step is a frozen dataclass. Its fields are its inputs (``Output``) and parameters (anything JSON-able or a
pydantic model), and together with its code they make its key.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import multiprocess
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger
from pydantic import BaseModel
from tqdm import tqdm

from plm_data.errors import PlmError, StoreError
from plm_data.store import Counts, Output, Store, code_version, digest, library_versions, write_json


@dataclasses.dataclass(frozen=True)
class Step(ABC):
    """One step of a build: ``partitions`` independent pieces of work that write into one folder."""

    name: ClassVar[str]
    # Fields that say where something lies for the moment, and shape nothing.
    unkeyed: ClassVar[frozenset[str]] = frozenset()

    @property
    @abstractmethod
    def partitions(self) -> int:
        """How many pieces; given by the recipe and the inputs, never by the number of workers."""

    @property
    def rows_expected(self) -> int | None:
        """Rows that all partitions together must read, where the inputs say it."""
        return None

    @abstractmethod
    def run(self, partition: int, out: Path) -> Counts:
        """Do one piece: write files named by the partition into ``out``, each whole or not at all."""

    def finish(self, out: Path) -> dict[str, str]:
        """What takes all partitions together, such as a manifest; done once they are there, before the output is.

        Gives the sha256 of files, by name, where the step knows it already.
        """
        return {}

    def key(self) -> str:
        """Hash of the step's inputs, parameters, code and the libraries that shape its bytes."""
        return digest(self.description())

    def description(self) -> dict[str, Any]:
        fields = {
            field.name: _keyed(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name not in self.unkeyed
        }
        code = code_version(type(self).__module__)
        return {"name": self.name, "fields": fields, "code": code, "libraries": library_versions()}


def _keyed(value: Any) -> Any:
    if isinstance(value, Output):
        return {"input": value.step, "content": value.content}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(name): _keyed(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_keyed(item) for item in value]
    return value


class _RunPartitions(PipelineStep):
    """The datatrove step that carries ours: rank ``r`` of ``n`` does every ``n``-th piece of work."""

    name = "plm partition"
    type = "plm"

    def __init__(self, work: list[tuple[Step, int, str]]):
        super().__init__()
        self.work = work

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        for step, partition, out in self.work[rank::world_size]:
            _run_partition(step, partition, Path(out))
        yield from ()


class _QuietExecutor(LocalPipelineExecutor):
    """datatrove's local executor without its logs and statistics, which take longer than a small piece of work: our
    progress bar, counts and errors say what is going on, and our markers what is done.

    A worker gets the pipeline once, and then the numbers of its ranks: datatrove sends it with every rank, which for
    thousands of them is the square of that, and has a manager's process beside the pool.
    """

    def run(self) -> None:
        context = multiprocess.get_context(self.start_method)
        with context.Pool(self.workers, initializer=_receive, initargs=(self.pipeline, self.tasks)) as pool:
            deque(pool.imap_unordered(_run_rank, range(self.tasks)), maxlen=0)


# In a worker: what it is to run, and how many ranks there are.
_received: tuple[list[PipelineStep], int] = ([], 0)


def _receive(pipeline: list[PipelineStep], world_size: int) -> None:
    global _received
    _received = (pipeline, world_size)


def _run_rank(rank: int) -> None:
    pipeline, world_size = _received
    for step in pipeline:
        deque(step(None, rank, world_size), maxlen=0)


def _done_file(out: Path, partition: int) -> Path:
    return out / f"{partition:05d}.done.json"


def _run_partition(step: Step, partition: int, out: Path) -> None:
    counts = step.run(partition, out).check(f"step {step.name}, partition {partition}")
    write_json(_done_file(out, partition), dataclasses.asdict(counts))


@contextmanager
def _progress_bar(title: str, work: Sequence[tuple[Step, int, str]], show: bool) -> Iterator[None]:
    """Counts finished partitions as their markers appear, whoever makes them."""
    stop = threading.Event()
    markers = [_done_file(Path(out), partition) for _, partition, out in work]
    bar = tqdm(total=len(markers), desc=title, unit="part", disable=not show, leave=False, mininterval=0.5)

    def watch() -> None:
        while not stop.wait(0.2):
            bar.update(sum(marker.exists() for marker in markers) - bar.n)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        bar.close()


def _execute(work: list[tuple[Step, int, str]], workers: int) -> None:
    """Run the pieces of work, in this process or over datatrove's pool of processes."""
    if workers == 1 or len(work) == 1:
        for step, partition, out in work:
            _run_partition(step, partition, Path(out))
        return
    # Workers share the cores: without this each would start as many threads as there are cores.
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    for variable in ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
        os.environ.setdefault(variable, threads)
    # The server from which workers are forked starts once, so it imports what any stage will need.
    modules = [*sorted(name for name in sys.modules if name.split(".")[0] == __name__.split(".")[0]), "plm_data.warm"]
    multiprocess.get_context("forkserver").set_forkserver_preload(modules)
    logger.disable("datatrove")
    # Nothing is logged there; without a name datatrove would choose one.
    _QuietExecutor([_RunPartitions(work)], tasks=len(work), workers=workers, logging_dir=tempfile.gettempdir()).run()


def run_steps(
    store: Store, steps: Sequence[Step], title: str, workers: int = 1, progress: bool = False
) -> list[Output]:
    """The outputs of some independent steps, made where they are not there yet, in the order given.

    An interrupted run leaves its finished partitions behind, and the next one goes on from there.
    """
    with store.lock():
        keys = [step.key() for step in steps]
        found = [store.find(step.name, key) for step, key in zip(steps, keys, strict=True)]
        work: list[tuple[Step, int, str]] = []
        for step, key, output in zip(steps, keys, found, strict=True):
            if output is None:
                out = store.partial(step.name, key)
                out.mkdir(parents=True, exist_ok=True)
                work += [(step, p, str(out)) for p in range(step.partitions) if not _done_file(out, p).exists()]
        if work:
            with _progress_bar(title, work, progress):
                try:
                    _execute(work, workers)
                except PlmError:
                    raise
                except Exception as error:
                    raise StoreError(
                        f"step {title} failed with {type(error).__name__}: {error}. What was done is kept; "
                        f"mend the cause and run the same command again."
                    ) from error
        return [
            output if output is not None else _finish(store, step, key)
            for step, key, output in zip(steps, keys, found, strict=True)
        ]


def _finish(store: Store, step: Step, key: str) -> Output:
    partial = store.partial(step.name, key)
    counts = Counts()
    for partition in range(step.partitions):
        counts += Counts(**json.loads(_done_file(partial, partition).read_text(encoding="utf-8")))
    counts.check(f"step {step.name}")
    if step.rows_expected is not None and counts.read != step.rows_expected:
        raise StoreError(
            f"step {step.name}: its inputs hold {step.rows_expected} rows, but {counts.read} were read. "
            f"Delete {partial} and run the same command again."
        )
    return store.commit(step.name, key, step.description(), counts, step.finish(partial))
