"""Chunked log-probabilities and their gradients are those of the plain computation."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.alignment import log_probs
from trainer.alignment.log_probs import _HeadLogProbs, sequence_log_probs, token_log_probs
from trainer.config import ModelConfig
from trainer.model import IGNORE_INDEX, PLM


@pytest.fixture
def model(tiny: Callable[..., ModelConfig]) -> PLM:
    torch.manual_seed(0)
    return PLM(tiny(initializer_range=0.3))


def plain(
    model: PLM, input_ids: torch.Tensor, labels: torch.Tensor, document_ids: torch.Tensor | None = None
) -> torch.Tensor:
    all_of_them = model(input_ids, document_ids).log_softmax(-1)
    chosen = all_of_them.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(labels == IGNORE_INDEX, 0.0, chosen)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 4),
    length=st.integers(1, 20),
    chunk=st.integers(1, 30),
    share=st.floats(0, 1),
)
def test_values_and_gradients(
    tiny: Callable[..., ModelConfig], seed: int, rows: int, length: int, chunk: int, share: float
) -> None:
    torch.manual_seed(seed)
    model = PLM(tiny(initializer_range=0.3))
    input_ids = torch.randint(0, 259, (rows, length))
    labels = torch.where(torch.rand(rows, length) < share, torch.randint(0, 259, (rows, length)), IGNORE_INDEX)
    document_ids = torch.randint(0, 2, (rows, length)).cumsum(1)
    weights = torch.randn(rows, length)  # a different gradient for each token

    ours = token_log_probs(model, input_ids, labels, document_ids, chunk)
    theirs = plain(model, input_ids, labels, document_ids)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert bool((ours[labels == IGNORE_INDEX] == 0).all())
    found = torch.autograd.grad((ours * weights).sum(), list(model.parameters()), allow_unused=True)
    expected = torch.autograd.grad((theirs * weights).sum(), list(model.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.zeros_like(other) if one is None else one, other, atol=2e-5, rtol=2e-4)


def test_the_function_itself_in_float64() -> None:
    torch.manual_seed(0)
    hidden, weight = (
        torch.randn(5, 4, dtype=torch.float64, requires_grad=True),
        torch.randn(7, 4, dtype=torch.float64, requires_grad=True),
    )
    labels = torch.tensor([0, 6, 3, 3, 1])
    assert torch.autograd.gradcheck(lambda h, w: _HeadLogProbs.apply(h, w, labels, 2), (hidden, weight))


def test_only_labelled_positions_reach_the_head_and_in_chunks(model: PLM, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    plain_logits = log_probs._logits

    def watched(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        shapes.append(len(hidden))
        return plain_logits(hidden, weight)

    monkeypatch.setattr(log_probs, "_logits", watched)
    labels = torch.full((2, 10), IGNORE_INDEX)
    labels[:, 3:] = 5
    token_log_probs(model, torch.ones(2, 10, dtype=torch.long), labels, chunk=4).sum().backward()
    assert shapes == [4, 4, 4, 2] * 2  # 14 labels: forward, and again backward


def test_bf16_keeps_log_probabilities_in_fp32(tiny: Callable[..., ModelConfig]) -> None:
    torch.manual_seed(0)
    model = PLM(tiny(initializer_range=0.3))
    ids = torch.randint(0, 259, (2, 12))
    exact = token_log_probs(model, ids, ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = token_log_probs(model, ids, ids)
    rounded.sum().backward()
    assert rounded.dtype == torch.float32
    assert model.model.embed_tokens.weight.grad is not None
    torch.testing.assert_close(rounded, exact, atol=0.2, rtol=0.1)


def test_sums_of_rows() -> None:
    labels = torch.tensor([[1, IGNORE_INDEX, 2], [IGNORE_INDEX] * 3])
    sums, counts = sequence_log_probs(torch.tensor([[-1.0, 0.0, -2.0], [0.0, 0.0, 0.0]]), labels)
    assert sums.tolist() == [-3.0, 0.0]
    assert counts.tolist() == [2, 0]
