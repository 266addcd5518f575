"""The trainer's loader: tokens/s beside what the nano model trains on and beside a plain reader, and its starts.

Both peers have the same Parquet from Hugging Face datasets, streamed. The plain reader cuts the concatenated tokens
into sequences and knows no documents, so that there is less to do; TRL packs by best fit as ours, a thousand documents
at a time, and pads. The tokens of all are counted and compared first. Starting and going on is timed at two sizes, of
which one is twenty times the other. The corpus is seeded: lengths as the nano recipe's documents have them (a Pareto
tail: half under 200 tokens, 2% over 7,000), token ids mostly small.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import yaml

from benchmarks.apart import run_apart
from benchmarks.common import line
from benchmarks.corpus import HOME
from plm_data.shards import SCHEMA, shard_writer
from trainer.config import ModelConfig, PhaseData
from trainer.data import Batch, batches, count_sequences
from trainer.documents import read_lengths
from trainer.model import IGNORE_INDEX, PLM
from trainer.packing import pack_full, pack_whole
from trainer.shards import Phase, read_phase

_RECIPE = Path(__file__).parents[1] / "recipes" / "nano.yaml"
_VOCAB_SIZE = 8192
_SHARD, _GROUP = 16_384, 1024  # rows
_SMALLER = 20  # times
_RANKS = 64
_STEP_SECONDS = 5.0  # of training that is timed


def run(size: int) -> None:
    """Print the throughputs, the latencies and what packing cuts; ``size`` is of the tokens, four bytes each."""
    small, large = (str(_corpus(each)) for each in (size // _SMALLER, size))
    nano = run_apart(prepare_training, {"folder": small}, one_core=True)
    ours, peer = (run_apart(prepare, {"folder": large}, 2, one_core=True) for prepare in (prepare_ours, prepare_peer))
    if not np.array_equal(ours.value, peer.value):
        raise SystemExit("loader: our tokens are not the plain reader's")
    tokens = int(ours.value.sum())
    packed, trl = (run_apart(prepare, {"folder": small}, 2, one_core=True) for prepare in (prepare_ours, prepare_trl))
    if not np.array_equal(packed.value, trl.value):
        raise SystemExit("loader: our tokens are not TRL's")
    fewer = int(packed.value.sum())
    line(
        "packed batches of 8 x 256, small", "million tokens/s on one core", fewer / packed.seconds / 1e6,
        fewer / trl.seconds / 1e6, "trl.pack_dataset, bfd_split", packed.peak_mb, fewer, peer_peak_mb=trl.peak_mb,
    )  # fmt: skip
    line(
        "packed batches of 8 x 256, large", "million tokens/s on one core", tokens / ours.seconds / 1e6,
        tokens / peer.seconds / 1e6, "datasets streaming, concatenated and cut", ours.peak_mb, tokens,
        peer_peak_mb=peer.peak_mb,
    )  # fmt: skip
    line(
        "packed batches beside the nano model's training", "tokens/s on one core", tokens / ours.seconds, nano.value,
        "nano, forward, backward and update", n=tokens,
    )  # fmt: skip
    share = run_apart(prepare_share, {"folder": large}, 2, one_core=True)
    line(f"one of {_RANKS} ranks, 4,096 tokens", "million tokens/s of all ranks", tokens / share.seconds / 1e6,
         peak_mb=share.peak_mb, n=tokens)  # fmt: skip
    for place in ("start", "middle"):
        taken = [
            run_apart(prepare_first, {"folder": each, "place": place}, 5, one_core=True) for each in (small, large)
        ]
        line(
            f"first batch, from the {place}", "batches/s", 1 / taken[1].seconds, 1 / taken[0].seconds,
            f"the same on a {_SMALLER}th of the tokens", taken[1].peak_mb, tokens,
            milliseconds=round(taken[1].seconds * 1e3, 1), milliseconds_small=round(taken[0].seconds * 1e3, 1),
        )  # fmt: skip
    _cuts(read_lengths(_phase(large)))
    _packing_alone()


def _corpus(size: int) -> Path:
    """A phase of about ``size`` bytes of tokens, made once; its manifest comes last."""
    folder = HOME / f"loader-{size}"
    if (folder / "manifest.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(size)
    shards: list[dict[str, int | str]] = []
    left = size // 4
    while left > 0:
        lengths = np.minimum(80 * (rng.pareto(0.8, _SHARD) + 1), 16_384).astype(np.int64)
        lengths = lengths[: np.searchsorted(np.cumsum(lengths), left) + 1]
        path = folder / f"shard-{len(shards):05d}.parquet"
        with shard_writer(path, SCHEMA) as writer:
            for start in range(0, len(lengths), _GROUP):
                writer.write_table(_rows(rng, lengths[start : start + _GROUP]))
        shards.append({"file": path.name, "rows": len(lengths), "tokens": int(lengths.sum()), "sha256": ""})
        left -= int(lengths.sum())
    rows, tokens = (sum(int(shard[key]) for shard in shards) for key in ("rows", "tokens"))
    manifest = {
        "format": 1, "phase": "phase1", "segment": "stable", "rows": rows, "tokens": tokens, "stages": [],
        "tokenizer": {"vocab_size": _VOCAB_SIZE, "sha256": ""}, "sources": {"made": {}}, "shards": shards,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def _rows(rng: np.random.Generator, lengths: np.ndarray) -> pa.Table:
    values = (_VOCAB_SIZE * rng.random(int(lengths.sum()), np.float32) ** 3).astype(np.int32)
    tokens = pa.ListArray.from_arrays(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32), values)
    others = [pa.array(["made"] * len(lengths))] * (len(SCHEMA) - 1)
    return pa.table([*others, tokens], schema=SCHEMA)


def _phase(folder: str) -> Phase:
    return read_phase(PhaseData("phase1", "stable", Path(folder)))


def _nano(phase: Phase) -> Iterator[Batch]:
    """The phase as the nano recipe trains on it."""
    train = yaml.safe_load(_RECIPE.read_text(encoding="utf-8"))["train"]
    return batches(phase, train["sequence_length"], train["batch_size"], window=train["shuffle_window"])


def prepare_ours(folder: str) -> Callable[[], np.ndarray]:
    """All of the nano recipe's batches, made one after another: how often each token id is there."""
    phase = _phase(folder)
    next(_nano(phase))  # compiled

    def work() -> np.ndarray:
        counts = np.zeros(_VOCAB_SIZE, np.int64)
        padding = 0
        for batch in _nano(phase):
            counts += np.bincount(batch.input_ids.numpy().ravel(), minlength=_VOCAB_SIZE)
            padding += batch.input_ids.numel() - batch.tokens
        counts[0] -= padding
        return counts

    return work


def prepare_peer(folder: str) -> Callable[[], np.ndarray]:
    """Inputs and labels of the same shape, cut from the concatenated tokens: how often each token id is there."""
    from datasets import load_dataset

    files = sorted(map(str, Path(folder).glob("*.parquet")))
    length, batch_size = 256, 8
    need = length * batch_size

    def cut() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        rows = load_dataset("parquet", data_files=files, split="train", streaming=True, columns=["tokens"])
        rest = np.empty(0, np.int64)
        for some in rows.with_format("numpy").iter(batch_size=1000):
            tokens = np.concatenate((rest, *some["tokens"])).astype(np.int64)
            whole = (len(tokens) - 1) // need * need
            for start in range(0, whole, need):
                inputs, labels = tokens[start : start + need], tokens[start + 1 : start + need + 1]
                yield torch.from_numpy(inputs.reshape(-1, length)), torch.from_numpy(labels.reshape(-1, length))
            rest = tokens[whole:]
        yield torch.from_numpy(rest), torch.from_numpy(rest[1:])  # no sequence: so that all tokens are counted

    def work() -> np.ndarray:
        counts = np.zeros(_VOCAB_SIZE, np.int64)
        for inputs, _ in cut():
            counts += np.bincount(inputs.numpy().ravel(), minlength=_VOCAB_SIZE)
        return counts

    return work


def prepare_trl(folder: str) -> Callable[[], np.ndarray]:
    """The same batches by TRL's packing, padded, with labels and document ids: how often each token id is there."""
    from datasets import load_dataset
    from trl import pack_dataset

    files = sorted(map(str, Path(folder).glob("*.parquet")))

    def padded() -> Iterator[tuple[torch.Tensor, int]]:
        rows = load_dataset("parquet", data_files=files, split="train", streaming=True, columns=["tokens"])
        for some in pack_dataset(rows, 256, strategy="bfd_split").with_format("numpy").iter(batch_size=8):
            packed = np.empty((3, len(some["tokens"]), 256), np.int64)
            packed[:] = [[[0]], [[IGNORE_INDEX]], [[-1]]]
            for i, (tokens, lengths) in enumerate(zip(some["tokens"], some["seq_lengths"], strict=True)):
                packed[0, i, : len(tokens)] = tokens
                packed[1, i, : len(tokens) - 1] = tokens[1:]
                packed[1, i, np.cumsum(lengths) - 1] = IGNORE_INDEX
                packed[2, i, : len(tokens)] = np.repeat(np.arange(len(lengths)), lengths)
            yield torch.from_numpy(packed), int((packed[2] < 0).sum())

    def work() -> np.ndarray:
        counts = np.zeros(_VOCAB_SIZE, np.int64)
        for (inputs, *_), padding in padded():
            counts += np.bincount(inputs.numpy().ravel(), minlength=_VOCAB_SIZE)
            counts[0] -= padding
        return counts

    return work


def prepare_share(folder: str) -> Callable[[], int]:
    """What one of many ranks does for its share of batches of two sequences a rank: the tokens of all ranks."""
    phase = _phase(folder)
    next(batches(phase, 4096, 2 * _RANKS))

    def work() -> int:
        return sum(batch.tokens for batch in batches(phase, 4096, 2 * _RANKS, rank=1, world=_RANKS))

    return work


def prepare_first(folder: str, place: str) -> Callable[[], int]:
    """From the folder to the first batch, at the phase's start or in its middle; windows of 1,024 sequences."""

    def work() -> int:
        phase = _phase(folder)
        consumed = count_sequences(phase.tokens, 256) // 2 // 1024 * 1024 if place == "middle" else 0
        return next(batches(phase, 256, 8, consumed=consumed)).tokens

    work()  # compiled
    return work


def prepare_training(folder: str) -> Callable[[], float]:
    """The nano model's tokens/s on one core: the loss, its gradient and AdamW's update, on our batches."""
    recipe = yaml.safe_load(_RECIPE.read_text(encoding="utf-8"))
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = PLM(ModelConfig(vocab_size=_VOCAB_SIZE, **recipe["model"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    stream = _nano(_phase(folder))

    def step() -> int:
        batch = next(stream)
        model.loss(batch.input_ids, batch.labels, batch.document_ids).backward()
        optimizer.step()
        optimizer.zero_grad()
        return batch.tokens

    step()

    def work() -> float:
        tokens, start = 0, time.perf_counter()
        while time.perf_counter() - start < _STEP_SECONDS:
            tokens += step()
        return tokens / (time.perf_counter() - start)

    return work


def _cuts(lengths: np.ndarray) -> None:
    """Print the share of documents that would fit in a sequence and are cut, ours and by concatenation."""
    ends = np.cumsum(lengths)
    for length, window in ((256, 8192), (256, 1024), (4096, 1024)):
        fitting = lengths <= length
        crossing = (ends - lengths) // length != (ends - 1) // length
        pieces = np.zeros(len(lengths), np.int64)
        sequences = 0
        for start in range(0, int(ends[-1]), window * length):
            part = np.clip(ends, start, start + window * length) - np.clip(
                ends - lengths, start, start + window * length
            )
            found = pack_full(part, length)
            pieces += np.bincount(found.documents, minlength=len(lengths))
            sequences += found.sequences
        line(
            f"documents that fit and are left whole, {length} tokens, windows of {window}", "% of documents",
            100 * float((pieces[fitting] == 1).mean()), 100 * float((~crossing[fitting]).mean()),
            "concatenated and cut", n=int(fitting.sum()),
            padding_percent=round(100 * (1 - int(ends[-1]) / (sequences * length)), 4),
        )  # fmt: skip


def _packing_alone() -> None:
    """Print what packing itself takes: a million documents, log-normal lengths of 700 tokens on average."""
    lengths = np.random.default_rng(0).lognormal(np.log(300), 1.3, 1_000_000).astype(np.int64) + 1
    for name, pack, drawn in (("cut", pack_full, lengths), ("whole", pack_whole, np.minimum(lengths, 4096))):
        pack(drawn[:10], 4096)
        start = time.perf_counter()
        found = pack(drawn, 4096)
        seconds = time.perf_counter() - start
        line(
            f"best fit alone, documents {name}, 4,096 tokens", "million documents/s", 1 / seconds, n=len(drawn),
            padding_percent=round(100 * (1 - int(drawn.sum()) / (found.sequences * 4096)), 4),
        )  # fmt: skip
