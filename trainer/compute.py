"""How large a model is and what a token of training costs, from its sizes alone."""

import torch

from trainer.config import ModelConfig

# Dense bf16 products a second of NVIDIA's data sheets, without sparsity, by a part of the device's name.
_PEAKS = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
}


def peak_flops(device: torch.device, bf16: bool) -> float | None:
    """Return the operations a second that a device is sold with; none where nobody told, as of a CPU."""
    if device.type != "cuda" or not bf16:
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


def parameters(config: ModelConfig) -> int:
    """Count the parameters; the embedding, which is the output head too, counts once."""
    norms = config.num_hidden_layers * (2 * config.hidden_size + config.kv_lora_rank) + config.hidden_size
    return _in_products(config) + norms


def flops_per_token(config: ModelConfig, length: int) -> float:
    """Return the floating-point operations of a token, forward and backward, in sequences of `length` tokens.

    A product costs two operations a weight forward and twice that backward (Kaplan et al. 2020, arXiv 2001.08361,
    section 2.1). Attention is causal: a query meets (length + 1) / 2 keys on average, and packing, which keeps it
    within a document, makes it less. Norms, rotations and the softmax are left out.
    """
    heads = config.num_attention_heads
    attention = config.num_hidden_layers * heads * (config.qk_head_dim + config.v_head_dim) * (length + 1) / 2
    return 6 * (_in_products(config) + attention)


def _in_products(config: ModelConfig) -> int:
    """Count the weights that a token is multiplied with: each once, the embedding as the output head."""
    width, heads, latent = config.hidden_size, config.num_attention_heads, config.kv_lora_rank
    attention = (
        width * heads * config.qk_head_dim  # q_proj
        + width * (latent + config.qk_rope_head_dim)  # kv_a_proj_with_mqa
        + latent * heads * (config.qk_nope_head_dim + config.v_head_dim)  # kv_b_proj
        + heads * config.v_head_dim * width  # o_proj
    )
    mlp = 2 * width * config.intermediate_size
    return config.num_hidden_layers * (attention + mlp) + config.vocab_size * width
