"""Every checksum of a build computed anew, from its shards up to what its sources were read into.

A phase's manifest names its shards' digests and the key of the step that wrote them; each step's record names its own
files and the contents of its inputs, which lead to the steps before it. Nothing but these files is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from plm_data.errors import LockError, PlmError, StoreError
from plm_data.shards import WriteShards, read_manifest
from plm_data.store import digest, file_sha256

_MOST_SHOWN = 20


@dataclass(frozen=True)
class Verified:
    """What was computed anew and found to be as recorded."""

    phases: dict[str, tuple[int, int, int]]  # shards, rows, tokens
    steps: int
    files: int
    megabytes: float


def phase_folders(build: Path) -> list[Path]:
    """The folders of a build that hold a phase's shards (or held-out ones); raises ``PlmError`` if there is none."""
    found = sorted(each.parent for each in build.glob("*/manifest.json"))
    if not found:
        raise PlmError(f"{build}: no phase is built there; expected the folder of a build, such as build/nano.")
    return found


def verify_build(build: Path, progress: bool = False) -> Verified:
    """Recompute every checksum; raises ``LockError`` with each file that is not as it was recorded."""
    store = build.parent / "store"
    wrong: list[str] = []
    phases: dict[str, tuple[int, int, int]] = {}
    lineage = Lineage(store)
    for folder in phase_folders(build):
        manifest = read_manifest(folder)
        phases[folder.name] = (len(manifest["shards"]), manifest["rows"], manifest["tokens"])
        wrong += _recount(folder, manifest)
        written = store / WriteShards.name / manifest["key"][:16]
        if not written.is_dir():
            raise StoreError(f"{folder}: {written}, which it was written by, is not there; build it anew.")
        lineage.add(written)
    wrong += lineage.missing
    records = sorted(lineage.records.items())
    files = [(folder / name, entry) for folder, record in records for name, entry in record["files"].items()]
    total = sum(entry["bytes"] for _, entry in files)
    with (
        ThreadPoolExecutor() as pool,  # hashing frees the interpreter's lock
        tqdm(total=total, desc="verify", unit="B", unit_scale=True, disable=not progress, leave=False) as bar,
    ):
        for (path, entry), fault in zip(files, pool.map(lambda each: _fault(*each), files), strict=True):
            bar.update(entry["bytes"])
            wrong += [f"{path}: {fault}"] if fault else []
    if wrong:
        more = [f"and {len(wrong) - _MOST_SHOWN} more"] if len(wrong) > _MOST_SHOWN else []
        raise LockError(
            f"{build}: {len(wrong)} files are not as they were written:\n  "
            + "\n  ".join([*wrong[:_MOST_SHOWN], *more])
            + "\nDelete the folder of each in the store, and run `plm build` to make it anew."
        )
    return Verified(phases, len(records), len(files), total / 1e6)


def _fault(path: Path, entry: dict[str, Any]) -> str | None:
    if not path.is_file():
        return "it is not there"
    found = file_sha256(path)
    return None if found == entry["sha256"] else f"sha256 {entry['sha256']} was recorded, found {found}"


def _recount(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a phase's shards as they lie: their digests, rows and tokens."""
    for shard in manifest["shards"]:
        path = folder / shard["file"]
        if fault := _fault(path, shard):
            yield f"{path}: {fault}"
            continue
        rows = tokens = 0
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["tokens"]):
                rows += batch.num_rows
                tokens += pc.sum(pc.list_value_length(batch["tokens"])).as_py() or 0
        if (rows, tokens) != (shard["rows"], shard["tokens"]):
            yield f"{path}: {shard['rows']} rows and {shard['tokens']} tokens are recorded, found {rows} and {tokens}"
    for name in ("rows", "tokens"):
        if (found := sum(shard[name] for shard in manifest["shards"])) != manifest[name]:
            yield f"{folder / 'manifest.json'}: {manifest[name]} {name} are recorded, but its shards' sum to {found}"


def record_of(folder: Path) -> dict[str, Any]:
    """What a step's output says of itself; raises ``StoreError``."""
    path = folder / "_step.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: no record of a step ({error!r}); delete {folder} and build it anew.") from error


class Lineage:
    """The outputs that some outputs were made from, by their folders in a store; found by their contents."""

    def __init__(self, store: Path):
        self._store = store
        self._made: dict[str, dict[str, Path]] = {}
        self.records: dict[Path, dict[str, Any]] = {}
        self.inputs: dict[Path, list[Path]] = {}
        self.missing: list[str] = []

    def add(self, folder: Path) -> None:
        """Add an output and all that it was made from."""
        if folder in self.records:
            return
        self.records[folder], self.inputs[folder] = record_of(folder), []
        for step, content in _inputs(self.records[folder]["fields"]):
            if step not in self._made:
                records = sorted((self._store / step).glob("*/_step.json"))
                self._made[step] = {content_of(record_of(each.parent)): each.parent for each in records}
            if (made := self._made[step].get(content)) is None:
                self.missing.append(f"{folder}: no output of step {step} has the content {content[:16]} that it is of")
                continue
            self.inputs[folder].append(made)
            self.add(made)


def content_of(record: dict[str, Any]) -> str:
    """The hash by which the steps after it know an output."""
    return digest(record["files"])


def _inputs(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if value.keys() == {"input", "content"}:
            yield value["input"], value["content"]
            return
        for item in value.values():
            yield from _inputs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _inputs(item)
