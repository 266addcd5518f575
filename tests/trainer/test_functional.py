"""Hand-written gradients against autograd's of the plain formulas, and the rotation against complex numbers' own."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.functional import apply_rope, rms_norm, rope_table, squared_relu


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


def both(ours: Tensor, plain: Tensor, inputs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Values and gradients of the same inputs along the same direction."""
    direction = normal(*ours.shape, seed=9, dtype=ours.dtype).detach()
    found = [[out.detach(), *torch.autograd.grad(out, inputs, direction)] for out in (ours, plain)]
    return found[0], found[1]


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 7), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_squared_relu(rows: int, width: int, seed: int) -> None:
    x = normal(rows, width, seed=seed)
    for a, b in zip(*both(squared_relu(x), F.relu(x).square(), [x]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_squared_relu_is_flat_where_it_is_not_positive() -> None:
    x = torch.tensor([-1.0, -0.0, 0.0, 2.0], requires_grad=True)
    out = squared_relu(x)
    assert out.tolist() == [0, 0, 0, 4]
    assert torch.autograd.grad(out.sum(), x)[0].tolist() == [0, 0, 0, 4]


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 5), width=st.integers(1, 16), scale=st.sampled_from([1e-4, 1.0, 1e3]), seed=st.integers(0, 99)
)
def test_rms_norm(rows: int, width: int, scale: float, seed: int) -> None:
    x = (normal(2, rows, width, seed=seed).detach() * scale).float().requires_grad_()
    weight = normal(width, seed=seed + 1, dtype=torch.float32)
    plain = weight * F.rms_norm(x, (width,), eps=1e-6)
    for a, b in zip(*both(rms_norm(x, weight, 1e-6), plain, [x, weight]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 / min(scale, 1))


def test_rms_norm_computes_in_fp32_and_casts_before_the_weight() -> None:
    x = (normal(3, 64, dtype=torch.float32).detach() * 100).bfloat16().requires_grad_()
    weight = normal(64, seed=1, dtype=torch.float32).detach().bfloat16().requires_grad_()
    out = rms_norm(x, weight, 1e-6)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, weight * F.rms_norm(x.float(), (64,), eps=1e-6).bfloat16())
    assert not torch.equal(out, F.rms_norm(x, (64,), weight=weight, eps=1e-6))  # the nearest other order differs
    assert [each.dtype for each in torch.autograd.grad(out.sum(), [x, weight])] == [torch.bfloat16] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation_turns_interleaved_pairs(dtype: torch.dtype) -> None:
    x = normal(2, 5, 3, 8, dtype=torch.float32).detach().to(dtype).requires_grad_()
    cos, sin = rope_table(5, 8, 100.0, torch.device("cpu"))
    even, odd = x.float()[..., 0::2], x.float()[..., 1::2]
    plain = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(dtype)
    ours = apply_rope(x, cos, sin)
    assert ours.dtype == dtype
    for a, b in zip(*both(ours, plain, [x]), strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.allclose(
        ours[:, 1:], torch.cat((even * cos - odd * sin, even * sin + odd * cos), -1).to(dtype)[:, 1:]
    )
    assert torch.equal(ours[:, 0], x[:, 0])  # position 0 is not turned
    odd_place = torch.cat((torch.zeros(1, dtype=dtype), x.detach().flatten()))[1:].view(x.shape)
    assert torch.equal(apply_rope(odd_place, cos, sin), ours)
    slanted = x.transpose(1, 2).contiguous().transpose(1, 2)  # as a slice of a wider product lies
    assert torch.equal(apply_rope(slanted, cos, sin), ours)
