"""Parameters and operations from a model's sizes, against the model itself and the published figures."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.compute import flops_per_token, parameters
from trainer.config import PLM_1_8B, SIZES, ModelConfig
from trainer.model import PLM


def counted(config: ModelConfig) -> int:
    with torch.device("meta"):
        model = PLM(config)
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_model_has_its_published_size_and_compute() -> None:
    assert parameters(PLM_1_8B) == counted(PLM_1_8B) == 1_825_458_176
    assert round(flops_per_token(PLM_1_8B, 4096) / 1e9, 2) == 12.97
    # Attention over twice the tokens costs twice as much; the products stay.
    products = flops_per_token(PLM_1_8B, 4096) - 6 * 32 * 16 * (192 + 128) * 4097 / 2
    assert products == pytest.approx(6 * (1_825_458_176 - 32 * (2 * 2048 + 512) - 2048))


_SIZES = st.integers(1, 12)


@settings(max_examples=20)
@given(st.tuples(*[_SIZES] * 8), st.integers(1, 6))
def test_parameters_are_those_of_the_model(sizes: tuple[int, ...], half_rope: int) -> None:
    vocabulary, width, mlp, layers, heads, latent, nope, value = sizes
    config = ModelConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        kv_lora_rank=latent,
        qk_nope_head_dim=nope,
        qk_rope_head_dim=2 * half_rope,
        v_head_dim=value,
        max_position_embeddings=16,
    )
    assert parameters(config) == counted(config)


def test_operations_are_those_that_torch_counts_forward() -> None:
    """The plain attention computes the whole square of scores, of which a causal one needs half."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    config = ModelConfig(
        vocab_size=64, hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=12, max_position_embeddings=32,
    )  # fmt: skip
    length = 32
    model = PLM(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(1, length, dtype=torch.long))
    attention = 2 * 2 * 4 * (12 + 12)  # of a token with one key: layers, heads, widths of keys and values
    whole = flops_per_token(config, length) / 3 + attention * (length - (length + 1) / 2)
    assert counter.get_total_flops() / length == pytest.approx(whole)


def test_the_named_sizes_are_as_large_as_their_names_say() -> None:
    counts = {}
    for name, config in SIZES.items():
        with torch.device("meta"):
            counts[name] = sum(parameter.numel() for parameter in PLM(config).parameters())
        assert counts[name] == parameters(config)
    assert counts["1.8B"] == 1_825_458_176
    assert counts["100M"] == pytest.approx(100e6, rel=0.06) and counts["350M"] == pytest.approx(350e6, rel=0.03)
    assert counts["nano"] < 3_000_000
