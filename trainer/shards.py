"""A phase's manifest: what its shards hold, and whether they still hold it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.config import PhaseData
from trainer.errors import TrainerError
from trainer.files import read_json, sha256, write_json

MANIFEST = "manifest.json"
VERIFIED = "verified.json"
_READERS = 8  # shards that are hashed at a time
FORMAT = 1  # version of the shard format that this trainer reads

Kind = Literal["documents", "conversations", "prompts"]  # what a row is


@dataclass(frozen=True)
class Shard:
    """One Parquet file of documents."""

    path: Path
    rows: int
    tokens: int
    sha256: str


@dataclass(frozen=True)
class Stage:
    """A stretch of a phase that is trained at one sequence length (None: the run's); it ends where a document does."""

    sequence_length: int | None
    tokens: int


@dataclass(frozen=True)
class Phase:
    """A data phase as its manifest describes it."""

    data: PhaseData
    kind: Kind
    tokens: int
    stages: tuple[Stage, ...]  # in turn; their tokens sum to the phase's
    vocab_size: int
    tokenizer_sha256: str
    sources: tuple[str, ...]  # names, sorted
    shards: tuple[Shard, ...]
    manifest: bytes

    @property
    def path(self) -> Path:
        """The manifest's file."""
        return self.data.folder / MANIFEST


def read_phase(data: PhaseData, kind: Kind = "documents") -> Phase:
    """Read a phase's manifest; the shards themselves are not touched.

    Raises:
        TrainerError: the manifest is missing or incomplete, describes another phase, segment or kind of rows, or its
            totals disagree.
    """
    path = data.folder / MANIFEST
    manifest = read_json(path, "the manifest of a phase")
    described = {"kind": "documents", **manifest}  # which a manifest of documents does not say
    for key, expected in (("format", FORMAT), ("phase", data.name), ("segment", data.segment), ("kind", kind)):
        if described.get(key) != expected:
            raise TrainerError(
                f"{path}: {key}: found {described.get(key)!r}, expected {expected!r}; "
                "build the phase again or correct the run's phases"
            )
    try:
        shards = tuple(_shard(data.folder, entry) for entry in manifest["shards"])
        rows, tokens = int(manifest["rows"]), int(manifest["tokens"])
        listed = tuple(Stage(int(each["sequence_length"]), int(each["tokens"])) for each in manifest.get("stages", ()))
        vocab_size, digest = int(manifest["tokenizer"]["vocab_size"]), str(manifest["tokenizer"]["sha256"])
        sources = tuple(sorted(map(str, manifest.get("sources", ()))))
    except (KeyError, TypeError, ValueError) as error:
        raise TrainerError(
            f"{path}: cannot read {error}, expected rows, tokens, tokenizer, sources and shards; build the phase again"
        ) from None
    for key, total, found, parts in (
        ("rows", rows, sum(shard.rows for shard in shards), "shards"),
        ("tokens", tokens, sum(shard.tokens for shard in shards), "shards"),
        ("tokens", tokens, sum(stage.tokens for stage in listed) if listed else tokens, "stages"),
    ):
        if total != found:
            raise TrainerError(
                f"{path}: {key}: found {total}, expected its {parts}' sum {found}; build the phase again"
            )
    stages = listed or (Stage(None, tokens),)
    return Phase(data, kind, tokens, stages, vocab_size, digest, sources, shards, path.read_bytes())


def _shard(folder: Path, entry: dict[str, Any]) -> Shard:
    return Shard(folder / entry["file"], int(entry["rows"]), int(entry["tokens"]), str(entry["sha256"]))


def verify_shards(phase: Phase, known: Path | None = None) -> None:
    """Compare each shard's bytes with the manifest's digest.

    Args:
        phase: whose shards.
        known: JSON file that notes the shards found right, so that a run that goes on reads those anew alone whose
            size or time has changed since.

    Raises:
        TrainerError: a shard is missing or holds other bytes.
    """
    noted = read_json(known, "the shards that were verified") if known and known.exists() else {}
    unknown: list[tuple[Shard, list[object]]] = []
    for shard in phase.shards:
        if not shard.path.is_file():
            raise TrainerError(f"{shard.path}: not found, expected a shard of {phase.path}; build the phase again")
        status = shard.path.stat()
        stamp = [shard.sha256, status.st_size, status.st_mtime_ns]
        if noted.get(str(shard.path)) != stamp:
            unknown.append((shard, stamp))
    readers = ThreadPoolExecutor(_READERS)
    try:
        digests = readers.map(sha256, [shard.path for shard, _ in unknown])
        for (shard, stamp), found in zip(unknown, digests, strict=True):
            if found != shard.sha256:
                raise TrainerError(
                    f"{shard.path}: found sha256 {found}, expected {shard.sha256} from {phase.path}; "
                    "the file has changed since: restore it or build the phase again"
                )
            noted[str(shard.path)] = stamp
    finally:
        readers.shutdown(cancel_futures=True)
    if known:
        write_json(known, noted)
