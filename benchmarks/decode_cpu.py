"""Decoding on the CPU at batch 1 and PLM-1.8B's widths, beside `generate` of the reference with its own cache.

The model is an eighth of PLM-1.8B in every part: 4 of its 32 layers and an eighth of its vocabulary, so that the layers
and the output head have the shares of the time that they have in the whole. Its weights are random, which leaves half
of the squared ReLU's activations zero; for larger shares rows of `up_proj` are zeroed, which are read all the same.

The reference of transformers 5.23 keeps latents too, and expands them all again for every token. So it is measured a
second time with expanded keys and values kept, as its earlier versions did: the faster peer, and the larger one.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from statistics import median as _median
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import Tensor

from benchmarks.common import line
from benchmarks.reference import reference as built
from trainer.config import PLM_1_8B, ModelConfig
from trainer.inference import Sampling, decode, prepare_for_decoding
from trainer.inference.cache import LatentCache
from trainer.inference.forward import Span, hidden_states, next_logits
from trainer.model import PLM

CONFIG = replace(
    PLM_1_8B, num_hidden_layers=PLM_1_8B.num_hidden_layers // 8, vocab_size=PLM_1_8B.vocab_size // 8
)  # fmt: skip
_NEW = 17  # tokens decoded; the first comes with the prompt and is not timed
_STEPS = 15  # of each kind and share of zeros
_SHARES = (0.5, 0.8, 0.9, 0.95)
_PEER = "transformers DeepseekV3ForCausalLM.generate"
_EXPANDED = f"{_PEER}, expanded keys and values kept"
# Largest difference of logits from the reference's in fp32, and of sparse from dense, as a share of their deviation.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}

Timed = tuple[list[int], float, float]  # the tokens, the seconds up to the first, the median of the others


def run(size: int) -> None:
    """Print tokens/s and memory, in fp32 and bf16; ``size``: tokens of context."""
    context = torch.randint(CONFIG.vocab_size, (size,), generator=torch.Generator().manual_seed(1)).tolist()
    for dtype in (torch.float32, torch.bfloat16):
        _measure(_random_model(CONFIG).to(dtype), context, str(dtype).removeprefix("torch."))


@torch.inference_mode()
def _measure(dense: PLM, context: list[int], dtype: str) -> None:
    """``dense`` is measured as it lies, and a copy of it, which shares all else, with `down_proj` by rows."""
    with torch.device("meta"):
        ours = PLM(dense.config)
    ours.load_state_dict(dense.state_dict(), assign=True)
    prepare_for_decoding(ours)
    reference = built(dense, share=True)

    runs = {"ours": _decode(ours, context), _PEER: _generate(reference, context)}
    with _expanded_kept(reference):
        runs[_EXPANDED] = _generate(reference, context)
    if dtype == "float32":
        if len({tuple(tokens) for tokens, _, _ in runs.values()}) > 1:
            raise SystemExit("decode_cpu: the greedy tokens differ from the reference's; there is nothing to compare")
    else:  # the likeliest tokens may be too near each other to tell them apart
        _check_logits(dense, ours, context)
    prefill = {name: len(context) / first for name, (_, first, _) in runs.items()}
    speed = {name: 1 / other for name, (_, _, other) in runs.items()}
    told: dict[str, Any] = {
        "n": len(context), "dtype": dtype, "layers": CONFIG.num_hidden_layers, "threads": torch.get_num_threads(),
    }  # fmt: skip
    zeros = round(_zeros(ours, context), 3)
    for peer in (_PEER, _EXPANDED):
        line("decoding, batch 1", "tokens/s", speed["ours"], speed[peer], peer, zeros=zeros, **told)
    line("prefill, to the first token", "tokens/s", prefill["ours"], prefill[_PEER], _PEER, **told)
    _cache_line(reference, context, told)
    _zeros_lines(dense, ours, context, max(speed[_PEER], speed[_EXPANDED]), told)


def _random_model(config: ModelConfig) -> PLM:
    with torch.device("meta"):
        model = PLM(config)
    model = model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, config.initializer_range, generator=generator)
            else:
                parameter.fill_(1)
    return model.eval()


def _check_logits(dense: PLM, ours: PLM, context: list[int]) -> None:
    """Of the last tokens, read by ours one by one after the others, as they are decoded.

    They are held against the reference's in fp32 of the same weights: its own in bf16 are farther from those than ours.
    """
    steps = 4
    first = len(context) - steps
    cache = _filled(ours, context[:first], len(context))
    found = torch.stack([_step(ours, cache, position, context[position])[1] for position in range(first, len(context))])
    wide = built(copy.deepcopy(dense).float(), share=True)
    wanted = wide(torch.tensor([context]), logits_to_keep=steps).logits[0].to(found.dtype)
    _check_close(found, wanted, "the reference's")


def _check_close(found: Tensor, wanted: Tensor, whose: str) -> None:
    apart = float((found - wanted).abs().max() / wanted.float().std())
    if not apart <= _TOLERANCE[wanted.dtype]:
        raise SystemExit(
            f"decode_cpu: logits differ from {whose} by {apart:.1e} of their deviation in {wanted.dtype}, expected at "
            f"most {_TOLERANCE[wanted.dtype]:.0e}; there is nothing to compare"
        )


class _Expanded:
    """An attention's `expand_kv` that expands just the tokens that are new, and keeps what it expanded."""

    def __init__(self, expand: Callable[[Tensor, Tensor], Sequence[Tensor]]) -> None:
        self.expand = expand
        self.kept: list[Tensor] = []

    def __call__(self, latent: Tensor, rope: Tensor) -> list[Tensor]:
        seen = self.kept[0].shape[2] if self.kept else 0
        if seen >= latent.shape[2]:  # another text begins
            self.kept, seen = [], 0
        new = self.expand(latent[:, :, seen:], rope[:, :, seen:])
        self.kept = [torch.cat(pair, dim=2) for pair in zip(self.kept, new, strict=True)] if self.kept else list(new)
        return self.kept


@contextmanager
def _expanded_kept(reference: Any) -> Iterator[list[_Expanded]]:
    """The reference with every head's keys and values kept; yields those of the layers."""
    attentions = [layer.self_attn for layer in reference.model.layers]
    for attention in attentions:
        attention.expand_kv = _Expanded(attention.expand_kv)
    try:
        yield [attention.expand_kv for attention in attentions]
    finally:
        for attention in attentions:
            del attention.expand_kv  # the class has its own


def _decode(model: PLM, context: list[int]) -> Timed:
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(CONFIG.vocab_size)}, unk_token="w0"))
    sampling = Sampling(max_tokens=_NEW)
    times = [time.perf_counter()]
    decoding = decode(model, words, [context], sampling, [0], end=(), batch_size=1, prefill_chunk=512)
    tokens = []
    for _, _, completion in decoding:
        times.append(time.perf_counter())
        tokens = completion.tokens if completion else []
    return tokens, times[1] - times[0], _median(later - sooner for sooner, later in pairwise(times[1:]))


class _Clock:
    """What `generate` calls a streamer: it is given the prompt, then every token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def _generate(reference: Any, context: list[int]) -> Timed:
    clock = _Clock()
    ids = torch.tensor([context])
    reference.generation_config.eos_token_id = None
    found = reference.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=_NEW, do_sample=False, pad_token_id=0, streamer=clock
    )
    tokens: list[int] = found[0, len(context) :].tolist()
    if len(tokens) != _NEW:
        raise SystemExit(f"decode_cpu: the reference gave {len(tokens)} tokens, expected {_NEW}")
    times = clock.times
    return tokens, times[1] - times[0], _median(later - sooner for sooner, later in pairwise(times[1:]))


def _filled(model: PLM, context: Sequence[int], positions: int) -> LatentCache:
    weight = model.model.embed_tokens.weight
    cache = LatentCache(model.config, 1, positions, weight.dtype, weight.device)
    for start in range(0, len(context), 512):
        tokens = context[start : start + 512]
        hidden_states(model, cache, tokens, [Span(0, start, len(tokens))])
    return cache


def _step(model: PLM, cache: LatentCache, position: int, token: int) -> tuple[float, Tensor]:
    """Seconds and logits of one token that is read."""
    before = time.perf_counter()
    logits = next_logits(hidden_states(model, cache, [token], [Span(0, position, 1)]), model, CONFIG.vocab_size)
    return time.perf_counter() - before, logits[0]


def _cache_line(reference: Any, context: list[int], told: dict[str, Any]) -> None:
    """Both are measured by the bytes of their tensors."""
    tokens = 64
    with _expanded_kept(reference) as layers:
        reference(torch.tensor([context[:tokens]]))
        kept = layers[0].kept
    peer_bytes = sum(tensor.nbytes for tensor in kept) / tokens
    ours = LatentCache(CONFIG, 1, len(context), kept[0].dtype, torch.device("cpu"))
    ours_bytes = ours.bytes_per_token / CONFIG.num_hidden_layers
    line(
        "cache", "tokens of a layer in a MB", 1e6 / ours_bytes, 1e6 / peer_bytes, "expanded keys and values",
        bytes_a_token=round(ours_bytes), peer_bytes_a_token=round(peer_bytes), **told,
    )  # fmt: skip


def _zeros_lines(dense: PLM, ours: PLM, context: list[int], peer: float, told: dict[str, Any]) -> None:
    """Decoding with more and more of `up_proj` zero, by the dense product and by rows."""
    order = torch.randperm(CONFIG.intermediate_size, generator=torch.Generator().manual_seed(2))
    cache = _filled(ours, context, len(context) + _STEPS)
    for share in _SHARES:
        silenced = order[: round(CONFIG.intermediate_size * (1 - (1 - share) / _SHARES[0]))]
        for layer in dense.model.layers:
            layer.mlp.up_proj.weight[silenced] = 0  # type: ignore[union-attr,operator]
        sparse, plain = [], []
        for step, position in enumerate(range(len(context), len(context) + _STEPS)):
            sparse.append(_step(ours, cache, position, context[step]))  # in turn, so that a slower minute meets both
            plain.append(_step(dense, cache, position, context[step]))
        logits, wanted = (torch.stack([logits for _, logits in steps]) for steps in (sparse, plain))
        _check_close(logits, wanted, "those of the dense product")
        ours_speed, dense_speed = (1 / _median(seconds for seconds, _ in steps) for steps in (sparse, plain))
        line(
            "decoding by the share of zeros", "tokens/s", ours_speed, dense_speed, "ours with the dense product",
            zeros=round(_zeros(ours, context), 3),
            ratio_to_faster_peer=round(ours_speed / peer, 2), **told,
        )  # fmt: skip


def _zeros(model: PLM, context: list[int]) -> float:
    """The share of activations that are zero, over the layers and some tokens."""
    shares: list[float] = []

    def note(_: Any, __: Any, found: Tensor) -> None:
        shares.append(float((found <= 0).float().mean()))

    handles = [layer.mlp.up_proj.register_forward_hook(note) for layer in model.model.layers]  # type: ignore[union-attr]
    model.model(torch.tensor([context[:64]]), None)  # the training path, which calls the modules
    for handle in handles:
        handle.remove()
    return sum(shares) / len(shares)
