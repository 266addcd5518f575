"""Training steps on the CPU beside the reference out of transformers: the same weights, tokens, optimiser and clipping.

Two models: nano as its recipe trains it, and a slice of PLM-1.8B, two layers at the real widths with the whole
vocabulary, at the real 4,096 tokens. Each contender has a process of its own. A nano row is measured twice: causal
alone, and with attention kept within documents, for which the reference is given a mask. Losses and gradient norms of
the first step are the same, which is asserted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from benchmarks.apart import run_apart
from benchmarks.common import line
from benchmarks.reference import reference
from trainer.attention import attention_mask
from trainer.config import PLM_1_8B, PLM_NANO, ModelConfig, TrainConfig
from trainer.data import Batch
from trainer.distributed import ALONE, parallelise
from trainer.loop import training_step
from trainer.model import IGNORE_INDEX, PLM
from trainer.optimizer import build_optimizer
from trainer.run import set_up

SLICE = replace(PLM_1_8B, num_hidden_layers=2)
_CLIP = 1.0
_PEER = "transformers DeepseekV3ForCausalLM"
_DOCUMENT = 100  # tokens of a document, about nano's mean

Steps = Callable[[], tuple[float, float]]  # returns the loss and the gradient's norm


def run(size: int) -> None:
    """Print tokens/s and peaks; ``size``: tokens of the slice's sequence."""
    for name, config, batch, length, documents, times in (
        ("nano, causal rows", PLM_NANO, 8, 256, False, 12),
        ("nano, documents apart", PLM_NANO, 8, 256, True, 12),
        ("2 layers of PLM-1.8B, causal row", SLICE, 1, size, False, 1),
    ):
        arguments = {"config": asdict(config), "batch": batch, "length": length, "documents": documents}
        ours = run_apart(prepare_ours, arguments, times)
        peer = run_apart(prepare_peer, arguments, times)
        if times == 1 and not _close(ours.value, peer.value):
            raise SystemExit(f"train_cpu: {name}: ours has loss and norm {ours.value}, the reference {peer.value}")
        tokens = batch * length
        line(
            f"training, {name}", "tokens/s, fp32, all cores", tokens / ours.seconds, tokens / peer.seconds, _PEER,
            ours.peak_mb, times, peer_peak_mb=peer.peak_mb, peak_ratio=round(ours.peak_mb / peer.peak_mb, 2),
            loss=round(ours.value[0], 5), peer_loss=round(peer.value[0], 5), tokens=tokens,
        )  # fmt: skip


def _close(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return all(abs(x - y) <= 1e-3 * abs(y) for x, y in zip(a, b, strict=True))


def _batch(config: ModelConfig, batch: int, length: int, documents: bool) -> Batch:
    ids = torch.randint(config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(1))
    numbers = (torch.arange(length) // _DOCUMENT if documents else torch.zeros(length, dtype=torch.long)).expand(
        batch, -1
    )
    labels = torch.full_like(ids, IGNORE_INDEX)
    same = numbers[:, 1:] == numbers[:, :-1]
    labels[:, :-1] = torch.where(same, ids[:, 1:], IGNORE_INDEX)
    return Batch(ids, labels, numbers.contiguous(), ids.numel(), batch, int((labels != IGNORE_INDEX).sum()))


def _settings(batch: int, length: int) -> TrainConfig:
    return TrainConfig(length, batch, 1e-3, 1e-4, 0, gradient_clip=_CLIP)


def _model(config: dict[str, Any]) -> PLM:
    torch.manual_seed(0)
    return PLM(ModelConfig(**config))


def _warmed(step: Steps, config: dict[str, Any]) -> Steps:
    """A small model takes its first steps before the clock runs; a large one has none to spare."""
    if config["num_hidden_layers"] * config["hidden_size"] < SLICE.hidden_size:
        step()
        step()
    return step


def prepare_ours(config: dict[str, Any], batch: int, length: int, documents: bool) -> Steps:
    """Our step."""
    plm, train = _model(config), _settings(batch, length)
    set_up(plm, train, ALONE)
    loss, optimizer = parallelise(plm, ALONE, "auto", False), build_optimizer(plm, train)
    made = _batch(plm.config, batch, length, documents)
    given = made if documents else replace(made, document_ids=torch.zeros_like(made.document_ids))
    return _warmed(lambda: training_step(plm, loss, optimizer, given, 1e-3, train, ALONE), config)


def prepare_peer(config: dict[str, Any], batch: int, length: int, documents: bool) -> Steps:
    """The reference's step, as its documentation has it."""
    plm = _model(config)
    made = _batch(plm.config, batch, length, documents)
    model = reference(plm, share=True).train()
    del plm
    matrices = [each for each in model.parameters() if each.ndim >= 2]
    vectors = [each for each in model.parameters() if each.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    further: dict[str, Any] = {}
    if documents:
        seen = attention_mask(made.document_ids)
        further["attention_mask"] = torch.zeros(seen.shape).masked_fill_(~seen, float("-inf"))
    # it shifts the labels itself
    labels = torch.cat((torch.full((batch, 1), IGNORE_INDEX), made.labels[:, :-1]), dim=1)

    def step() -> tuple[float, float]:
        loss = model(input_ids=made.input_ids, labels=labels, **further).loss
        loss.backward()
        norm = clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss), float(norm)

    return _warmed(step, config)
