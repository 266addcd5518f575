"""PLM-1.8B on one GPU: attention kernels at heads of 192 and 128, the output head's loss in chunks of some sizes, and
whole training steps, compiled, in bf16.

Needs nothing but this repository and PyTorch with CUDA: `python -m benchmarks.train_gpu`. Each measure is one line of
JSON. A step is what the trainer takes: forward, chunked loss, backward, clipping and AdamW, on rows of 4,096 tokens
that hold documents, between which no attention passes. MFU is by `trainer.compute`: 12.97 GFLOP a token, of which
packing needs less.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import clip_grad_norm_

from trainer.attention import Backend, Documents, attend, attention_mask, see_documents
from trainer.compute import flops_per_token, peak_flops
from trainer.config import PLM_1_8B, ModelConfig, TrainConfig
from trainer.functional import head_loss
from trainer.model import IGNORE_INDEX, PLM
from trainer.optimizer import build_optimizer

_DOCUMENTS = (1500, 700, 1100, 300, 496)  # tokens, in turn, of the documents in a row
_BATCHES = (8, 4, 2, 1)  # sequences: the largest that the memory holds is measured
_TOLERANCE = 2e-2  # of bf16 outputs of two kernels, as a share of the largest


def main() -> None:
    """Run all of it on the GPU that is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_gpu", description=__doc__,
        epilog="example: python -m benchmarks.train_gpu --steps 10",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each setting (default: 10)")
    parser.add_argument("--length", type=int, default=4096, help="tokens a row (default: 4096)")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(2, "train_gpu: found no CUDA device, expected one; train_cpu measures a CPU\n")
    device = torch.device("cuda")
    for line in kernels(PLM_1_8B, 2, arguments.length, device):
        print(json.dumps(line), flush=True)
    for line in heads(PLM_1_8B, 2 * arguments.length, device):
        print(json.dumps(line), flush=True)
    settings: tuple[tuple[Backend, bool], ...] = (("flex", False), ("sdpa", False), ("flex", True))
    for backend, recompute in settings:
        print(
            json.dumps(largest_step(PLM_1_8B, arguments.length, device, arguments.steps, backend, recompute)),
            flush=True,
        )


@dataclass(frozen=True)
class Kernel:
    """A way to compute attention; `backend` forces one of PyTorch's own."""

    name: str
    documents: Documents
    backend: SDPBackend | None = None
    pad: bool = False  # values as wide as keys, which the kernel asks for


def kernels(config: ModelConfig, batch: int, length: int, device: torch.device) -> Iterator[dict[str, Any]]:
    """Measure each kernel's forward and backward pass; a kernel that cannot run here says why.

    Yields:
        A line a kernel: milliseconds, and TFLOP/s of the products of a causal pass.
    """
    heads, wide, narrow = config.num_attention_heads, config.qk_head_dim, config.v_head_dim
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    generator = torch.Generator(device).manual_seed(0)

    def tensor(width: int) -> Tensor:
        made = torch.randn(batch, length, heads, width, generator=generator, device=device, dtype=dtype)
        return made.requires_grad_()

    query, key, value = tensor(wide), tensor(wide), tensor(narrow)
    gradient = torch.randn(batch, length, heads, narrow, generator=generator, device=device, dtype=dtype)
    ids = document_ids(batch, length, device)
    flops = 3.5 * 2 * batch * heads * (wide + narrow) * length * (length + 1) / 2  # backward is 2.5 times forward
    whole = torch.zeros_like(ids)
    found: dict[bool, Tensor] = {}
    for kernel in (
        Kernel("SDPA, flash, values padded, causal", Documents(), SDPBackend.FLASH_ATTENTION, pad=True),
        Kernel("SDPA, cuDNN, causal", Documents(), SDPBackend.CUDNN_ATTENTION),
        Kernel("SDPA, memory-efficient, causal", Documents(), SDPBackend.EFFICIENT_ATTENTION),
        Kernel("FlexAttention, causal", see_documents(whole, "flex")),
        Kernel("SDPA, memory-efficient, documents", see_documents(ids, "sdpa"), SDPBackend.EFFICIENT_ATTENTION),
        Kernel("FlexAttention, documents", see_documents(ids, "flex")),
    ):
        try:
            out, seconds = _timed_kernel(kernel, query, key, value, gradient)
        except RuntimeError as refusal:
            yield {"measure": f"attention 192/128, {kernel.name}", "refused": str(refusal).splitlines()[0][:200]}
            continue
        apart = "documents" in kernel.name
        expected = found.setdefault(apart, _plain(query, key, value, attention_mask(ids if apart else whole)))
        error = float((out - expected).abs().max() / expected.abs().max())
        if error > _TOLERANCE:
            raise SystemExit(f"train_gpu: {kernel.name} differs from the plain attention by {error:.3f} of its largest")
        yield {
            "measure": f"attention 192/128, {kernel.name}", "unit": "TFLOP/s of a causal pass, forward and backward",
            "ours": round(flops / seconds / 1e12, 1), "milliseconds": round(seconds * 1e3, 2), "n": batch * length,
            "error": round(error, 5),
        }  # fmt: skip


def _timed_kernel(kernel: Kernel, query: Tensor, key: Tensor, value: Tensor, gradient: Tensor) -> tuple[Tensor, float]:
    narrow = value.shape[-1]

    def work() -> Tensor:
        given = F.pad(value, (0, key.shape[-1] - narrow)) if kernel.pad else value
        with forced(kernel.backend):
            out = attend(query, key, given, kernel.documents)[..., :narrow]
            out.backward(gradient)
        for each in (query, key, value):
            each.grad = None
        return out.detach()

    work()
    return work(), _seconds(work, query.device, 10)


@contextmanager
def forced(backend: SDPBackend | None) -> Iterator[None]:
    """Allow `scaled_dot_product_attention` one backend alone."""
    if backend is None:
        yield
        return
    with sdpa_kernel(backend):
        yield


def _plain(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Attention as its formula says, a head at a time, in fp32."""
    outs = []
    with torch.no_grad():
        for head in range(query.shape[2]):
            q, k, v = (each[:, :, head].float() for each in (query, key, value))
            scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~seen[:, 0], float("-inf"))
            outs.append((scores.softmax(-1) @ v).to(query.dtype))
    return torch.stack(outs, dim=2)


def heads(config: ModelConfig, tokens: int, device: torch.device) -> Iterator[dict[str, Any]]:
    """Measure the loss over the vocabulary, forward and backward, by the tokens whose logits exist at once.

    The peer is PyTorch's kernel with as large chunks; its sum is in bf16.

    Yields:
        A line a size: milliseconds, TFLOP/s of the three products, and the peak of the memory.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    generator = torch.Generator(device).manual_seed(0)
    size = {"generator": generator, "device": device, "dtype": dtype}
    hidden = torch.randn(tokens, config.hidden_size, **size).requires_grad_()  # type: ignore[call-overload]
    weight = (0.02 * torch.randn(config.vocab_size, config.hidden_size, **size)).requires_grad_()  # type: ignore[call-overload]
    labels = torch.randint(config.vocab_size, (tokens,), generator=generator, device=device)
    flops = 6 * hidden.numel() * config.vocab_size

    def timed(loss: Callable[[], Tensor]) -> tuple[float, float, float]:
        def work() -> Tensor:
            found = loss()
            found.backward()
            hidden.grad = weight.grad = None
            return found.detach()

        value = float(work())
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = _seconds(work, device, 5)
        return value, seconds, torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0

    for chunk in (512, 2048, 8192):
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=min(chunk, tokens))
        peer, theirs, _ = timed(
            partial(F.linear_cross_entropy, hidden, weight, labels, reduction="sum", options=options)
        )
        value, ours, peak = timed(partial(head_loss, hidden, weight, labels, IGNORE_INDEX, chunk))
        yield {
            "measure": f"output head, chunks of {chunk} tokens", "unit": "TFLOP/s, forward and backward",
            "ours": round(flops / ours / 1e12, 4), "peer": round(flops / theirs / 1e12, 4),
            "peer_name": "torch.nn.functional.linear_cross_entropy", "milliseconds": round(ours * 1e3, 2),
            "peak_mb": round(peak), "loss": value / tokens, "peer_loss": peer / tokens, "n": tokens,
        }  # fmt: skip


def document_ids(batch: int, length: int, device: torch.device) -> Tensor:
    """Return (batch, length) numbers of documents of the lengths above, cut off at a row's end."""
    repeats = length // sum(_DOCUMENTS) + 1
    lengths = torch.tensor(_DOCUMENTS * repeats)
    row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)[:length]
    return row.expand(batch, -1).contiguous().to(device)


def largest_step(
    config: ModelConfig, length: int, device: torch.device, steps: int, backend: Backend, recompute: bool
) -> dict[str, Any]:
    """Measure steps of as many sequences as the memory holds."""
    for batch in _BATCHES:
        # what was measured before lies in cycles, those of its compiled blocks and of the error that ended it
        torch.compiler.reset()
        gc.collect()
        torch.cuda.empty_cache()
        with suppress(torch.OutOfMemoryError):
            return step_line(config, batch, length, device, steps, backend, recompute)
    return {"measure": f"training step, {backend}", "refused": "not even one sequence fits this device's memory"}


def step_line(
    config: ModelConfig, batch: int, length: int, device: torch.device, steps: int, backend: Backend, recompute: bool
) -> dict[str, Any]:
    """Measure training steps: tokens/s, MFU where the device's peak is known, and the peak of its memory."""
    cuda = device.type == "cuda"
    torch.manual_seed(0)
    with device:
        plm = PLM(config)
    plm.model.attention, plm.model.recompute = backend, recompute
    if cuda:
        for layer in plm.model.layers:
            layer.compile()
    optimizer = build_optimizer(plm, TrainConfig(length, batch, 1e-4, 1e-5, 0))
    ids = torch.randint(config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(1)).to(device)
    documents = document_ids(batch, length, device)
    labels = torch.where(documents == documents.roll(-1, 1), ids.roll(-1, 1), IGNORE_INDEX)
    labels[:, -1] = IGNORE_INDEX

    def work() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            loss = plm.loss(ids, labels, documents)
        loss.backward()
        clip_grad_norm_(plm.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    first = float(work())
    for _ in range(2):
        work()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = _seconds(work, device, steps)
    last = float(work())
    if not last < first:
        raise SystemExit(f"train_gpu: the loss went from {first} to {last}, expected it to fall on one batch")
    tokens, peak = batch * length / seconds, peak_flops(device, True)
    mfu = None if peak is None else round(flops_per_token(config, length) * tokens / peak, 4)
    return {
        "measure": f"training step, {backend}{', recomputed' if recompute else ''}", "unit": "tokens/s",
        "ours": round(tokens), "mfu": mfu,
        "peak_mb": round(torch.cuda.max_memory_allocated() / 2**20) if cuda else None, "n": steps, "batch": batch,
        "length": length, "device": torch.cuda.get_device_name() if cuda else "cpu",
        "loss": [round(first, 4), round(last, 4)],
    }  # fmt: skip


def _seconds(work: Callable[[], Any], device: torch.device, times: int) -> float:
    """The mean of some runs, the device's queue emptied before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


if __name__ == "__main__":
    main()
