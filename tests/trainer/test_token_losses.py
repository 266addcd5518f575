"""The losses of single tokens and their gradients are those of the plain computation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.config import ModelConfig
from trainer.functional import head_log_probs
from trainer.model import IGNORE_INDEX, PLM


def plain(
    model: PLM, input_ids: torch.Tensor, labels: torch.Tensor, document_ids: torch.Tensor | None = None
) -> torch.Tensor:
    all_of_them = model(input_ids, document_ids).log_softmax(-1)
    chosen = all_of_them.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(labels == IGNORE_INDEX, 0.0, -chosen)


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

    ours = model.token_losses(input_ids, labels, document_ids, chunk)
    theirs = plain(model, input_ids, labels, document_ids)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert bool((ours[labels == IGNORE_INDEX] == 0).all())
    found = torch.autograd.grad((ours * weights).sum(), list(model.parameters()), allow_unused=True)
    expected = torch.autograd.grad((theirs * weights).sum(), list(model.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.zeros_like(other) if one is None else one, other, atol=2e-5, rtol=2e-4)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor):
                self.elements = max(self.elements, each.numel())
        return made


def test_the_logits_never_exist_at_once(tiny: Callable[..., ModelConfig]) -> None:
    vocabulary, width, tokens, chunk = 6000, 8, 160, 16
    model = PLM(tiny(vocab_size=vocabulary, hidden_size=width, max_position_embeddings=tokens))
    input_ids = torch.randint(0, vocabulary, (1, tokens))
    for limit, expected in ((chunk, True), (tokens, False)):
        with Largest() as largest:
            losses = model.token_losses(input_ids, input_ids, chunk=limit)
            (losses * torch.rand(tokens)).sum().backward()
        assert (largest.elements <= chunk * vocabulary) is expected
    labels = torch.full_like(input_ids, IGNORE_INDEX)
    labels[:, :chunk] = 5
    with Largest() as largest:  # only labelled positions reach the head
        model.token_losses(input_ids, labels, chunk=tokens).sum().backward()
    assert largest.elements <= chunk * vocabulary


@pytest.mark.parametrize("labels", [200, 60])
def test_bf16_products_give_fp32_losses(labels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(labels, 16, generator=generator).bfloat16()
    weight = torch.randn(300, 16, generator=generator).bfloat16()
    targets = torch.randint(0, 300, (labels,), generator=generator)
    gradient = torch.rand(labels, generator=generator)
    wide = [each.float().requires_grad_() for each in (hidden, weight)]
    expected = (wide[0] @ wide[1].T).bfloat16().float().log_softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1)
    narrow = [each.requires_grad_() for each in (hidden, weight)]
    found = head_log_probs(*narrow, targets, 64)  # several chunks, the last one smaller
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    # PyTorch's are a hundred times as far off: they are rounded to bf16
    rounded = -F.linear_cross_entropy(*narrow, targets, reduction="none").float()
    assert (rounded - expected).abs().max() > 100 * (found - expected).abs().max()
    for one, other in zip(
        torch.autograd.grad(found, narrow, gradient), torch.autograd.grad(expected, wide, gradient), strict=True
    ):
        assert one.dtype == torch.bfloat16
        assert (one.float() - other).norm() / other.norm() < 0.01


def test_under_autocast_the_sums_over_an_answer_stay_near_fp32s(tiny: Callable[..., ModelConfig]) -> None:
    torch.manual_seed(0)
    model = PLM(tiny(initializer_range=0.3))
    ids = torch.randint(0, 259, (8, 64))
    exact = model.token_losses(ids, ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.token_losses(ids, ids)
    found.sum().backward()
    assert found.dtype == torch.float32
    assert model.model.embed_tokens.weight.grad is not None
    torch.testing.assert_close(found, exact, atol=0.2, rtol=0.1)
