"""The latent cache: what attention needs of the tokens read so far."""

import torch

from trainer.config import ModelConfig
from trainer.model import rope_table

ROUND = 64  # positions are allocated in multiples of it


def latent_numbers(config: ModelConfig) -> int:
    """Numbers that the latent cache holds of a token in a layer: the normed latent and the turned rotary key."""
    return config.kv_lora_rank + config.qk_rope_head_dim


def expanded_numbers(config: ModelConfig) -> int:
    """Numbers that a cache of every head's key and value would hold of a token in a layer."""
    return config.num_attention_heads * (config.qk_head_dim + config.v_head_dim)


class LatentCache:
    """Keys and values of some sequences in compressed form (arXiv 2405.04434, section 2.1.2).

    All memory is allocated at once, so that a token is written in place and nothing is ever copied to grow. It starts
    as zeros: attention gives positions that a shorter sequence lacks a weight of zero, and zero times what
    uninitialised memory may hold, NaN, is NaN.

    Attributes:
        entries: (layers, sequences, positions, latent + rotary key); see `latent_numbers`.
        cos, sin: the rotary angles of the positions, as `rope_table` returns them.
    """

    def __init__(
        self, config: ModelConfig, sequences: int, positions: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        positions = -(-positions // ROUND) * ROUND
        shape = (config.num_hidden_layers, sequences, positions, latent_numbers(config))
        self.entries = torch.zeros(shape, dtype=dtype, device=device)
        self.cos, self.sin = rope_table(positions, config.qk_rope_head_dim, config.rope_theta, device)

    @property
    def bytes_per_token(self) -> float:
        """Bytes that the cache has allocated a token, over all layers."""
        _, sequences, positions, _ = self.entries.shape
        return self.entries.nbytes / (sequences * positions)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` entries of one sequence over those of another."""
        if source != target:
            self.entries[:, target, :length] = self.entries[:, source, :length]
