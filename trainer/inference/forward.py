"""The forward pass over the latent cache, equal to the training path but for rounding.

Tokens of several sequences lie flat behind each other, (tokens, width), so that products see no padding; attention
alone knows which sequence a token belongs to. Attention has two equal forms. *Absorbed*: `kv_b_proj` moves into the
query and the output, so that attention runs over the latents themselves, as one key and value for all heads (arXiv
2405.04434, section 2.1.2). *Expanded*: every head's keys and values are made from the latents, as in training. The
first has no work a key but the attention itself, which is wider; so it serves few queries, and the second many.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import ModelConfig
from trainer.inference.cache import LatentCache
from trainer.inference.mlp import mlp, product
from trainer.model import PLM, Attention, apply_rope


class Span(NamedTuple):
    """Consecutive new tokens of one sequence of the cache, from position `start` on."""

    sequence: int
    start: int
    size: int


def hidden_states(
    model: PLM, cache: LatentCache, ids: Sequence[int], spans: Sequence[Span], absorb: bool | None = None
) -> Tensor:
    """Read new tokens into the cache; return their last hidden states, normed, (tokens, width).

    Args:
        model: a PLM.
        cache: holds every earlier position of the spans' sequences.
        ids: the spans' tokens, behind each other.
        spans: of different sequences, or of one in their order.
        absorb: the form of attention; None takes the one that has less to compute.
    """
    device = cache.entries.device
    positions = torch.cat([torch.arange(span.start, span.start + span.size) for span in spans]).to(device)
    sequences = torch.tensor([span.sequence for span in spans for _ in range(span.size)], device=device)
    cos, sin = cache.cos[positions], cache.sin[positions]
    groups = _groups(spans, device)
    x = model.model.embed_tokens(torch.tensor(ids, device=device))
    for layer, entries in zip(model.model.layers, cache.entries.unbind(0), strict=True):
        attention: Attention = layer.self_attn  # type: ignore[assignment]
        q_nope, q_rope, entry = _project(attention, layer.input_layernorm(x), cos, sin)  # type: ignore[operator]
        entries[sequences, positions] = entry
        x = x + product(_attend(attention, q_nope, q_rope, entries, groups, absorb), attention.o_proj.weight)
        x = x + mlp(layer.mlp, layer.post_attention_layernorm(x))  # type: ignore[arg-type,operator]
    return model.model.norm(x)


def next_logits(hidden: Tensor, model: PLM, known: int) -> Tensor:
    """Return the logits (tokens, known) of each hidden state's successor, over the first `known` of the vocabulary."""
    return product(hidden, model.model.embed_tokens.weight[:known])


class _Group(NamedTuple):
    """What attention computes at once: `size` queries of each of some neighbouring sequences, over `length` keys."""

    tokens: slice
    sequences: slice
    size: int
    length: int
    mask: Tensor | None  # true where a query may see a key
    causal: bool  # in place of a mask, where the queries begin with the keys


def _groups(spans: Sequence[Span], device: torch.device) -> list[_Group]:
    first, last = spans[0].sequence, spans[0].sequence + len(spans)
    neighbours = all(span.sequence == first + number and span.size == 1 for number, span in enumerate(spans))
    if neighbours:  # a step of decoding
        starts = torch.tensor([span.start for span in spans], device=device)
        length = max(span.start for span in spans) + 1
        mask = None
        if any(span.start + 1 < length for span in spans):
            mask = (torch.arange(length, device=device) <= starts.unsqueeze(1)).view(-1, 1, 1, length)
        return [_Group(slice(0, len(spans)), slice(first, last), 1, length, mask, False)]
    found, token = [], 0
    for sequence, start, size in spans:
        length, mask = start + size, None
        if start and size > 1:
            mask = torch.ones(size, length, dtype=torch.bool, device=device).tril(start)
        tokens, token = slice(token, token + size), token + size
        found.append(_Group(tokens, slice(sequence, sequence + 1), size, length, mask, start == 0 and size > 1))
    return found


def _project(attention: Attention, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the queries' two parts (tokens, heads, nope or rope) and the cache's entries (tokens, latent + rope)."""
    config = attention.config
    q = product(x, attention.q_proj.weight).unflatten(-1, (config.num_attention_heads, config.qk_head_dim))
    q_nope, q_rope = q.split((config.qk_nope_head_dim, config.qk_rope_head_dim), dim=-1)
    compressed = product(x, attention.kv_a_proj_with_mqa.weight)
    latent, k_rope = compressed.split((config.kv_lora_rank, config.qk_rope_head_dim), dim=-1)
    k_rope = apply_rope(k_rope.unsqueeze(1), cos, sin).squeeze(1)
    return q_nope, apply_rope(q_rope, cos, sin), torch.cat((attention.kv_a_layernorm(latent), k_rope), dim=-1)


def _attend(
    attention: Attention, q_nope: Tensor, q_rope: Tensor, entries: Tensor, groups: Sequence[_Group], absorb: bool | None
) -> Tensor:
    """Return (tokens, heads · value) of one layer's `entries` (sequences, positions, latent + rope)."""
    found = []
    for group in groups:
        form = absorbed if (absorbing_is_less(attention.config, group) if absorb is None else absorb) else expanded
        keys = entries[group.sequences, : group.length]
        found.append(form(attention, q_nope[group.tokens], q_rope[group.tokens], keys, group))
    return found[0] if len(found) == 1 else torch.cat(found)


def absorbing_is_less(config: ModelConfig, group: _Group) -> bool:
    """Return whether the absorbed form has fewer multiplications; what both have is left out."""
    latent, nope_and_value = config.kv_lora_rank, config.qk_nope_head_dim + config.v_head_dim
    absorbed_form = group.size * latent * nope_and_value + group.size * group.length * 2 * latent
    expanded_form = group.length * latent * nope_and_value + group.size * group.length * nope_and_value
    return absorbed_form < expanded_form


def absorbed(attention: Attention, q_nope: Tensor, q_rope: Tensor, keys: Tensor, group: _Group) -> Tensor:
    """Attend over the latents themselves; `keys` (sequences, length, latent + rope) are the values too."""
    config = attention.config
    heads, latent = config.num_attention_heads, config.kv_lora_rank
    nope, value = config.qk_nope_head_dim, config.v_head_dim
    # (heads, nope, latent), (heads, value, latent)
    to_key, to_value = attention.kv_b_proj.weight.view(heads, nope + value, latent).split((nope, value), dim=1)
    q_latent = torch.bmm(q_nope.transpose(0, 1), to_key).transpose(0, 1)
    query = torch.cat((q_latent, q_rope), dim=-1)  # (tokens, heads, latent + rope)
    if group.size == 1:
        # The heads, having one key, are as good as queries; but the kernel's threads share out heads, not queries.
        shared = math.gcd(heads, max(1, torch.get_num_threads() // query.shape[0])) if not query.is_cuda else 1
        query = query.unflatten(1, (shared, heads // shared))
    else:
        query, shared = query.unflatten(0, (-1, group.size)).transpose(1, 2), heads
    keys = keys.unsqueeze(1).expand(-1, shared, -1, -1)
    out = F.scaled_dot_product_attention(
        query, keys, keys, attn_mask=group.mask, is_causal=group.causal, scale=config.qk_head_dim**-0.5
    )[..., :latent]  # as wide as the keys, which the CPU's blocked kernel wants
    out = out.flatten(1, 2) if group.size == 1 else out.transpose(1, 2).flatten(0, 1)
    out = out.transpose(0, 1)  # (heads, tokens, latent)
    if out.dtype == torch.bfloat16:  # the CPU's product of bf16 takes six times as long with the weight on the right
        return torch.bmm(to_value, out.transpose(1, 2)).permute(2, 0, 1).flatten(1)
    return torch.bmm(out, to_value.transpose(1, 2)).transpose(0, 1).flatten(1)


def expanded(attention: Attention, q_nope: Tensor, q_rope: Tensor, keys: Tensor, group: _Group) -> Tensor:
    """Attend over every head's keys and values, made from the latents; see `absorbed`."""
    config = attention.config
    heads, nope, value_dim = config.num_attention_heads, config.qk_nope_head_dim, config.v_head_dim
    latent, k_rope = keys.split((config.kv_lora_rank, config.qk_rope_head_dim), dim=-1)
    made = F.linear(latent, attention.kv_b_proj.weight).unflatten(-1, (heads, nope + value_dim))
    k_nope, value = made.split((nope, value_dim), dim=-1)
    key = torch.cat((k_nope, k_rope.unsqueeze(2).expand(-1, -1, heads, -1)), dim=-1)
    if not key.is_cuda:  # as in the training path
        value = F.pad(value, (0, max(0, config.qk_head_dim - value_dim)))
    query = torch.cat((q_nope, q_rope), dim=-1).unflatten(0, (-1, group.size))
    out = F.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=group.mask,
        is_causal=group.causal,
    )
    return out[..., :value_dim].transpose(1, 2).flatten(0, 1).flatten(1)
