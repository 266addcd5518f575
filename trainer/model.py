"""PLM: a dense transformer with multi-head latent attention and a squared-ReLU MLP (arXiv 2503.12167).

Parameter names are those of the Hugging Face model. This is the training path: keys and values are expanded from the
latent for every head, and a whole sequence is computed at once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config import ModelConfig
from trainer.errors import TrainerError

IGNORE_INDEX = -100  # a label that no loss is taken of
LOSS_CHUNK = 512  # tokens whose logits exist at once; logits of a whole batch would be its largest tensor by far


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in fp32, cast back, then times the weight."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * F.rms_norm(x.float(), (x.shape[-1],), eps=self.eps).to(x.dtype)


def rope_table(length: int, dim: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the rotary angles of positions 0 … length - 1, each (length, 1, dim / 2) in fp32."""
    frequencies = theta ** -(torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequencies).unsqueeze(1)
    return angles.cos(), angles.sin()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the interleaved pairs (2i, 2i + 1) of `x` (batch, length, heads, dim) by their position's angle.

    Pairing i with i + dim / 2 instead, as Llama's code does, gives other logits whose argmax mostly agrees.
    """
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)


def attention_mask(document_ids: Tensor) -> Tensor:
    """Return (batch, 1, length, length), true where a query may see a key: not later, and of the same document."""
    same = document_ids.unsqueeze(2) == document_ids.unsqueeze(1)
    return same.tril().unsqueeze(1)


class Attention(nn.Module):
    """Multi-head latent attention (arXiv 2405.04434, section 2.1) without query compression."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        heads, latent = config.num_attention_heads, config.kv_lora_rank
        self.q_proj = nn.Linear(config.hidden_size, heads * config.qk_head_dim, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(config.hidden_size, latent + config.qk_rope_head_dim, bias=False)
        self.kv_a_layernorm = RMSNorm(latent, config.rms_norm_eps)
        self.kv_b_proj = nn.Linear(latent, heads * (config.qk_nope_head_dim + config.v_head_dim), bias=False)
        self.o_proj = nn.Linear(heads * config.v_head_dim, config.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        config = self.config
        heads, nope, rope, value_dim = (
            config.num_attention_heads,
            config.qk_nope_head_dim,
            config.qk_rope_head_dim,
            config.v_head_dim,
        )
        q_nope, q_rope = self.q_proj(x).unflatten(-1, (heads, nope + rope)).split((nope, rope), dim=-1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split((config.kv_lora_rank, rope), dim=-1)
        expanded = self.kv_b_proj(self.kv_a_layernorm(latent)).unflatten(-1, (heads, nope + value_dim))
        k_nope, value = expanded.split((nope, value_dim), dim=-1)
        k_rope = apply_rope(k_rope.unsqueeze(2), cos, sin)  # one rotary key for all heads

        query = torch.cat((q_nope, apply_rope(q_rope, cos, sin)), dim=-1)
        key = torch.cat((k_nope, k_rope.expand(-1, -1, heads, -1)), dim=-1)
        if not x.is_cuda:  # the CPU's blocked kernel wants values as wide as keys; the plain one takes twice as long
            value = F.pad(value, (0, max(0, nope + rope - value_dim)))
        out = F.scaled_dot_product_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=mask,
            is_causal=mask is None,
        )
        return self.o_proj(out[..., :value_dim].transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two layers with a squared ReLU between them and no gate."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.relu(self.up_proj(x)).square())


class Block(nn.Module):
    """Pre-norm attention and MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The embedding, the blocks and the final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, input_ids: Tensor, document_ids: Tensor | None) -> Tensor:
        length = input_ids.shape[1]
        if length > self.config.max_position_embeddings:
            raise TrainerError(
                f"model.max_position_embeddings: found a sequence of {length} tokens, expected at most "
                f"{self.config.max_position_embeddings}; shorten the sequence or raise the setting"
            )
        cos, sin = rope_table(length, self.config.qk_rope_head_dim, self.config.rope_theta, input_ids.device)
        mask = None if document_ids is None else attention_mask(document_ids)
        x = self.embed_tokens(input_ids)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.norm(x)


class PLM(nn.Module):
    """A PLM with its output head tied to the embedding, freshly initialised from torch's global generator."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=config.initializer_range)

    def forward(self, input_ids: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """Return the logits (batch, length, vocabulary) of each token's successor.

        Args:
            input_ids: (batch, length) integers below the vocabulary's size.
            document_ids: (batch, length) integers; attention stays within tokens of the same number. Without them it
                is causal alone. Positions run on through the row, which a document does not notice: RoPE is relative.

        Raises:
            TrainerError: the rows are longer than `max_position_embeddings`.
        """
        return F.linear(self.model(input_ids, document_ids), self.model.embed_tokens.weight)

    def loss(self, input_ids: Tensor, labels: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """Return the mean cross-entropy, in nats, of the labels that are not `IGNORE_INDEX`; zero if there are none.

        `labels` (batch, length) are shifted already: labels[b, t] is the token after input_ids[b, t]. The logits are
        computed and differentiated `LOSS_CHUNK` tokens at a time, so that they never exist for the whole batch.
        """
        hidden = self.model(input_ids, document_ids).flatten(0, 1)
        weight = self.model.embed_tokens.weight
        device = input_ids.device.type
        if torch.is_autocast_enabled(device):  # the chunked kernel does not cast by itself
            dtype = torch.get_autocast_dtype(device)
            hidden, weight = hidden.to(dtype), weight.to(dtype)
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=min(LOSS_CHUNK, hidden.shape[0]))
        total = F.linear_cross_entropy(
            hidden, weight, labels.flatten(), reduction="sum", ignore_index=IGNORE_INDEX, options=options
        )
        return total.float() / (labels != IGNORE_INDEX).sum().clamp(min=1)
