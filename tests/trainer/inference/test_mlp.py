"""Rows that no activation needs are not read, and the result is that of the dense product."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from trainer.config import PLM_1_8B, ModelConfig
from trainer.inference import mlp as module
from trainer.inference.mlp import mlp, prepare_for_decoding, sum_rows
from trainer.model import MLP, PLM

REAL = replace(PLM_1_8B, num_hidden_layers=1, vocab_size=8)


def real_mlp(share: float, dtype: torch.dtype = torch.float32) -> MLP:
    """PLM-1.8B's MLP with about this share of zero activations, the weights of `down_proj` by rows."""
    with torch.device("meta"):
        model = PLM(REAL)
    made: MLP = model.model.layers[0].mlp.to_empty(device="cpu")  # type: ignore[operator,union-attr]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.02, generator=generator)
        made.up_proj.weight[: round(8192 * (2 * share - 1))] = 0
    made = made.to(dtype)
    made.down_proj.weight.data = made.down_proj.weight.data.t().contiguous().t()
    return made


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("tokens", [1, 3])
@torch.inference_mode()
def test_sparse_equals_dense_at_the_published_widths(
    share: float, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = real_mlp(share)
    x = torch.randn(tokens, 2048, generator=torch.Generator().manual_seed(1))
    assert abs(float((made.up_proj(x) <= 0).float().mean()) - share) < 0.02
    monkeypatch.setattr(module, "SPARSE_UP_TO", {torch.float32: 100.0})
    calls = counted(monkeypatch)
    found = mlp(made, x)
    assert calls == [tokens]
    expected = made(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    def count(*arguments: torch.Tensor | int) -> torch.Tensor:
        calls.append(arguments[-1])  # type: ignore[arg-type]
        return sum_rows(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "sum_rows", count)
    return calls


@pytest.mark.parametrize(
    ("share", "dtype", "tokens", "sparse"),
    [
        (0.5, torch.float32, 1, True),
        (0.35, torch.float32, 1, False),
        (0.8, torch.float32, 3, True),  # three fifths of the rows between them
        (0.5, torch.float32, 3, False),
        (0.1, torch.bfloat16, 1, True),
        (0.99, torch.float32, 17, False),
    ],
)
@torch.inference_mode()
def test_the_share_of_zeros_decides(
    share: float, dtype: torch.dtype, tokens: int, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = real_mlp(0.5, dtype)
    generator = torch.Generator().manual_seed(1)
    activations = torch.rand(tokens, 8192, generator=generator) + 0.1
    activations[torch.rand(tokens, 8192, generator=generator) < share + 0.01] = 0
    monkeypatch.setattr(module, "product", lambda *_: activations.to(dtype))
    calls = counted(monkeypatch)
    mlp(made, torch.zeros(tokens, 2048, dtype=dtype))
    assert bool(calls) == sparse


@given(data=st.data())
def test_sums_of_rows_equal_the_product_of_matrices(data: st.DataObject) -> None:
    count, units, width = (data.draw(st.integers(1, most)) for most in (5, 20, 6))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    rows = torch.randn(units, width, generator=generator)
    activations = torch.rand(count, units, generator=generator)
    activations[torch.rand(count, units, generator=generator) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))] = 0
    tokens, columns = activations.nonzero(as_tuple=True)
    found = sum_rows(rows, activations[tokens, columns], tokens, columns, count)
    torch.testing.assert_close(found, activations @ rows)


def test_preparing_changes_the_layout_of_large_weights_alone(tmp_path: Path, tiny: Callable[..., ModelConfig]) -> None:
    small = PLM(tiny())
    prepare_for_decoding(small)
    save_file(small.state_dict(), tmp_path / "small.safetensors")  # refuses what is not contiguous
    large = PLM(tiny(hidden_size=512, intermediate_size=2048))
    before = {name: value.clone() for name, value in large.state_dict().items()}
    parameters = list(large.parameters())
    prepare_for_decoding(large)
    assert all(torch.equal(before[name], value) for name, value in large.state_dict().items())
    assert all(one is other for one, other in zip(parameters, large.parameters(), strict=True))
    weights = [layer.mlp.down_proj.weight for layer in large.model.layers]  # type: ignore[union-attr]
    assert all(weight.t().is_contiguous() for weight in weights)  # type: ignore[union-attr,operator]
