"""The ways to compute attention are one: a mask, a call a document, causal alone, FlexAttention; and none crosses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer import attention
from trainer.attention import Documents, attend, attention_mask, piece_lengths, see_documents


def documents_of(rows: list[list[int]]) -> Tensor:
    """Numbers of documents of these lengths, row by row."""
    return torch.stack([torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row)) for row in rows])


@st.composite
def layouts(draw: st.DrawFn) -> Tensor:
    length = draw(st.integers(1, 24))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        cuts = sorted(draw(st.sets(st.integers(1, max(1, length - 1)), max_size=5)) if length > 1 else [])
        rows.append([b - a for a, b in zip([0, *cuts], [*cuts, length], strict=True)])
    return documents_of(rows)


def tensors(ids: Tensor, wide: int, narrow: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*ids.shape, 2, width, generator=generator).requires_grad_() for width in (wide, wide, narrow)]


def by_formula(query: Tensor, key: Tensor, value: Tensor, ids: Tensor) -> Tensor:
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) * query.shape[-1] ** -0.5
    later = torch.ones(ids.shape[1], ids.shape[1]).triu(1).bool()
    unseen = later | (ids[:, None, :, None] != ids[:, None, None, :])
    return torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(unseen, float("-inf")).softmax(-1), value)


@settings(deadline=None, max_examples=30)
@given(ids=layouts(), narrow=st.sampled_from([4, 6, 8]))
def test_every_way_gives_the_formulas_values_and_gradients(ids: Tensor, narrow: int) -> None:
    inputs = tensors(ids, 6, narrow)
    expected = by_formula(*inputs, ids)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(expected, inputs, direction)
    mask = torch.zeros(ids.shape[0], 1, ids.shape[1], ids.shape[1]).masked_fill(~attention_mask(ids), float("-inf"))
    for way in (Documents(mask=mask), Documents(lengths=piece_lengths(ids)), see_documents(ids, "sdpa")):
        out = attend(*inputs, way)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
        for found, right in zip(torch.autograd.grad(out, inputs, direction), gradients, strict=True):
            torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-4)


def test_flex_attention_gives_the_same() -> None:
    ids = documents_of([[40, 60, 28], [128]])
    with torch.no_grad():
        inputs = [each.detach() for each in tensors(ids, 16, 16)]  # on a CPU it has no gradient
        torch.testing.assert_close(
            attend(*inputs, see_documents(ids, "flex")), by_formula(*inputs, ids), atol=1e-5, rtol=1e-4
        )


def test_pieces_end_with_their_row() -> None:
    ids = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 2, 3]])  # a number that goes on in the next row is another document
    assert piece_lengths(ids) == (2, 3, 3, 1, 1)


def test_the_way_follows_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert see_documents(None, "sdpa") == Documents()
    assert see_documents(documents_of([[8], [8]]), "sdpa") == Documents()  # a row is a document: causal alone
    ids = documents_of([[4, 4], [8]])
    assert see_documents(ids, "sdpa").mask is not None  # small squares cost less than calls
    monkeypatch.setattr(attention, "_SCORES_A_CALL", 1)
    assert see_documents(ids, "sdpa").lengths == (4, 4, 8)
