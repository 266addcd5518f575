"""Causal attention within documents: which keys a query may see, and the kernels that compute it.

A row of a batch holds several documents one after another. What the kernels need to know of them is made once a
forward pass (`see_documents`) and used by every layer (`attend`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

Backend = Literal["sdpa", "mask", "flex"]  # mask: SDPA whose work has one form for every batch, as a compiler wants it

# On a CPU a call for every document pays where the masked square of a row is larger by these scores a call.
# Measured on two cores at heads of 48 and of 192.
_SCORES_A_CALL = 65_536

# Forms of a batch that a kernel is compiled for: the last batches of phases, stages and held-out data have fewer rows.
# Past the limit, which is 8 by itself, FlexAttention would run unfused and hold every score.
_FORMS = 64


@dataclass(frozen=True)
class Documents:
    """What a kernel needs to know of a batch's documents: at most one of the three; none of them: causal alone."""

    mask: Tensor | None = None  # (batch, 1, length, length) of the products' type, added to the scores: 0 or -inf
    lengths: tuple[int, ...] | None = None  # of the documents' pieces, over all rows one after another
    blocks: BlockMask | None = None  # FlexAttention's


def see_documents(document_ids: Tensor | None, backend: Backend) -> Documents:
    """Prepare (batch, length) numbers of documents, which are contiguous in a row, for `attend`."""
    if document_ids is None:
        return Documents()
    if backend == "flex":
        return Documents(blocks=_blocks(document_ids))
    if backend == "sdpa" and not document_ids.is_cuda:
        lengths = piece_lengths(document_ids)
        if len(lengths) == len(document_ids):  # a row is a document
            return Documents()
        square = document_ids.shape[0] * document_ids.shape[1] ** 2
        if square > sum(length * (length + 1) // 2 + _SCORES_A_CALL for length in lengths):
            return Documents(lengths=lengths)
    seen, kind = attention_mask(document_ids), document_ids.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
    return Documents(mask=torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf")))


def attention_mask(document_ids: Tensor) -> Tensor:
    """Return (batch, 1, length, length), true where a query may see a key: not later, and of the same document."""
    same = document_ids.unsqueeze(2) == document_ids.unsqueeze(1)
    return same.tril().unsqueeze(1)


def piece_lengths(document_ids: Tensor) -> tuple[int, ...]:
    """Return the lengths of the runs of one number, row by row; a run ends with its row."""
    starts = torch.ones_like(document_ids, dtype=torch.bool)
    starts[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    where = starts.flatten().nonzero().flatten().tolist()
    return tuple(end - start for start, end in zip(where, [*where[1:], document_ids.numel()], strict=True))


def attend(query: Tensor, key: Tensor, value: Tensor, documents: Documents) -> Tensor:
    """Return softmax(query · key / sqrt(head width)) · value over the keys that each query may see.

    Args:
        query, key: (batch, length, heads, width).
        value: (batch, length, heads, its own width).
        documents: of `see_documents`.

    Returns:
        (batch, length, heads, value's width).
    """
    if documents.blocks is not None:
        kernel: Callable[..., Tensor] = flex_attention if torch.compiler.is_compiling() else _compiled_flex()
        out = kernel(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), block_mask=documents.blocks)
        return out.transpose(1, 2)
    width = value.shape[-1]
    if not value.is_cuda:  # the CPU's blocked kernel wants values as wide as keys; the plain one takes twice as long
        value = F.pad(value, (0, max(0, key.shape[-1] - width)))
    if documents.lengths is not None:
        return _by_document(query, key, value, documents.lengths)[..., :width]
    mask = None if documents.mask is None else documents.mask.to(query.dtype)
    q, k, v = (each.transpose(1, 2) for each in (query, key, value))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return out.transpose(1, 2)[..., :width]


def _by_document(query: Tensor, key: Tensor, value: Tensor, lengths: tuple[int, ...]) -> Tensor:
    pieces = [each.flatten(0, 1).transpose(0, 1).unsqueeze(0).split(lengths, dim=2) for each in (query, key, value)]
    outs = [F.scaled_dot_product_attention(q, k, v, is_causal=True) for q, k, v in zip(*pieces, strict=True)]
    return torch.cat(outs, dim=2).squeeze(0).transpose(0, 1).unflatten(0, query.shape[:2])


def _blocks(document_ids: Tensor) -> BlockMask:
    batch, length = document_ids.shape

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (document_ids[row, query] == document_ids[row, key])

    make: Callable[..., BlockMask] = _compiled_blocks() if document_ids.is_cuda else create_block_mask
    return make(seen, batch, None, length, length, device=document_ids.device)


@cache
def _compiled_flex() -> Any:
    """FlexAttention's fused kernel; run plainly it would hold every score."""
    return _compiled(flex_attention) if torch.cuda.is_available() else flex_attention


@cache
def _compiled_blocks() -> Any:
    return _compiled(create_block_mask)


def _compiled(function: Callable[..., Any]) -> Any:
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, _FORMS)
    return torch.compile(function, dynamic=False)
