"""Every checksum of a build computed anew, from its shards up to what its sources were read into.

A phase's manifest names its shards' digests and the key of the step that wrote them; each step's record names its own
files and the contents of its inputs, which lead to the steps before it. Nothing but these files is needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from plm_data.attributes.tokens import TrainTokenizer
from plm_data.errors import LockError, PlmError, StoreError
from plm_data.shards import WriteShards, read_manifest
from plm_data.store import RECORD, digest, file_sha256, read_record

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
    # A build that was killed while it showed a phase leaves a temporary folder.
    found = sorted(each.parent for each in build.glob("*/manifest.json") if each.parent.suffix != ".tmp")
    if not found:
        raise PlmError(f"{build}: no phase is built there; expected the folder of a build, such as build/nano.")
    return found


def store_of(build: Path) -> Path:
    """The store that a build's folder lies beside, be it named from within or by a link."""
    homes = build.absolute().parent, build.resolve().parent
    return next((home / "store" for home in homes if (home / "store").is_dir()), homes[0] / "store")


def verify_build(build: Path, progress: bool = False) -> Verified:
    """Recompute every checksum; raises ``LockError`` with each file that is not as it was recorded."""
    store = store_of(build)
    wrong: list[str] = []
    phases: dict[str, tuple[int, int, int]] = {}
    shown: dict[Path, Path] = {}  # folder of a phase → where its files lie in the store
    lineage = Lineage(store)
    for folder in phase_folders(build):
        manifest = read_manifest(folder)
        phases[folder.name] = (len(manifest["shards"]), manifest["rows"], manifest["tokens"])
        shown[folder] = written = store / WriteShards.name / manifest["key"][:16]
        if not written.is_dir():
            raise StoreError(f"{folder}: {written}, which it was written by, is not there; build it anew.")
        lineage.add(written)
    wrong += lineage.missing
    records = sorted(lineage.records.items())
    wrong += [fault for folder, record in records for fault in _record_faults(folder, record)]
    files = [(folder / name, entry) for folder, record in records for name, entry in record["files"].items()]
    for folder, written in shown.items():
        wrong += _unrecorded(folder.glob("*.parquet"), folder, lineage.records[written])
        files += [
            (folder / name, entry)
            for name, entry in lineage.records[written]["files"].items()
            if not _same(folder / name, written / name)
        ]
    total = sum(entry["bytes"] for _, entry in files)
    faults: dict[Path, str] = {}
    with (
        ThreadPoolExecutor() as pool,  # hashing frees the interpreter's lock
        tqdm(total=total, desc="verify", unit="B", unit_scale=True, disable=not progress, leave=False) as bar,
    ):
        for (path, entry), fault in zip(files, pool.map(lambda each: _fault(*each), files), strict=True):
            bar.update(entry["bytes"])
            faults |= {path: fault} if fault else {}
    wrong += [f"{path}: {fault}" for path, fault in faults.items()]
    wrong += _tokenizer_faults(build / "tokenizer", lineage)
    for folder, written in shown.items():
        sound = {
            name for name in lineage.records[written]["files"] if not {folder / name, written / name} & faults.keys()
        }
        wrong += _recount(folder, read_manifest(folder), sound)
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


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)


def _record_faults(folder: Path, record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a step's record: its key is the hash of what it says that it was made from."""
    made_from = {name: record.get(name) for name in ("name", "fields", "code", "libraries")}
    if record["key"] != digest(made_from) or folder.name != record["key"][:16]:
        yield f"{folder / RECORD}: its key is not that of what it says that it was made from"
    yield from _unrecorded(folder.rglob("*"), folder, record)


def _unrecorded(found: Iterable[Path], folder: Path, record: dict[str, Any]) -> Iterator[str]:
    """Files that nobody wrote, which would be read with the others."""
    for path in sorted(found):
        name = path.relative_to(folder).as_posix()
        # A build that was killed at its end leaves its markers.
        if path.is_file() and name != RECORD and not name.endswith(".done.json") and name not in record["files"]:
            yield f"{path}: no record names it"


def _tokenizer_faults(folder: Path, lineage: Lineage) -> list[str]:
    """What is wrong with the tokenizer that a build shows: it must be one that its phases were made with."""
    made = [record for each, record in lineage.records.items() if each.parent.name == TrainTokenizer.name]
    found = [
        [
            f"{folder / name}: {fault}"
            for name, entry in record["files"].items()
            if (fault := _fault(folder / name, entry))
        ]
        for record in made
    ]
    return min(found, key=len, default=[])


def _recount(folder: Path, manifest: dict[str, Any], sound: set[str]) -> Iterator[str]:
    """Where the rows and tokens of a phase's ``sound`` shards are not those of its manifest."""
    for shard in manifest["shards"]:
        path = folder / shard["file"]
        if shard["file"] not in sound:
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


class Lineage:
    """The outputs that some outputs were made from, by their folders in a store; found by their contents.

    Of several with one content all count: nothing says which of them was read.
    """

    def __init__(self, store: Path):
        self._store = store
        self._made: dict[str, Mapping[str, list[Path]]] = {}
        self.records: dict[Path, dict[str, Any]] = {}
        self.inputs: dict[Path, list[Path]] = {}
        self.missing: list[str] = []

    def add(self, folder: Path) -> None:
        """Add an output and all that it was made from."""
        if folder in self.records:
            return
        record = read_record(folder)
        if not isinstance(record.get("fields"), dict) or "code" not in record or "name" not in record:
            raise StoreError(
                f"{folder / RECORD}: it does not say what it was made from. Delete {folder} and build anew."
            )
        self.records[folder], self.inputs[folder] = record, []
        for step, content in _inputs(record["fields"]):
            if step not in self._made:
                self._made[step] = self._contents(step)
            if content not in self._made[step]:
                self.missing.append(f"{folder}: no output of step {step} has the content {content[:16]} that it is of")
            for made in self._made[step].get(content, ()):
                self.inputs[folder].append(made)
                self.add(made)

    def _contents(self, step: str) -> Mapping[str, list[Path]]:
        """Content → the outputs of a step that have it; one without a record has none."""
        found = defaultdict[str, list[Path]](list)
        for path in sorted((self._store / step).glob(f"*/{RECORD}")):
            if path.parent.suffix != ".partial":
                with suppress(StoreError):
                    found[content_of(read_record(path.parent))].append(path.parent)
        return found


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
