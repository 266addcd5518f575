"""PLM: a dense transformer with multi-head latent attention and a squared-ReLU MLP (arXiv 2503.12167).

Parameter names are those of the Hugging Face model. This is the training path: keys and values are expanded from the
latent for every head, and a whole sequence is computed at once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainer.attention import Backend, Documents, attend, see_documents
from trainer.config import ModelConfig
from trainer.errors import TrainerError
from trainer.functional import apply_rope, head_log_probs, head_loss, rms_norm, rope_table, squared_relu

IGNORE_INDEX = -100  # a label that no loss is taken of
LOSS_CHUNK = 512  # tokens whose logits exist at once; logits of a whole batch would be its largest tensor by far


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


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

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, documents: Documents) -> Tensor:
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
        return self.o_proj(attend(query, key, value, documents).flatten(2))


class MLP(nn.Module):
    """Two layers with a squared ReLU between them and no gate."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(squared_relu(self.up_proj(x)))


class Block(nn.Module):
    """Pre-norm attention and MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, documents: Documents) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, documents)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The embedding, the blocks and the final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention: Backend = "sdpa"
        self.recompute = False  # activation checkpointing: a block keeps its input alone and is run again backward

    def forward(self, input_ids: Tensor, document_ids: Tensor | None) -> Tensor:
        length = input_ids.shape[1]
        if length > self.config.max_position_embeddings:
            raise TrainerError(
                f"model.max_position_embeddings: found a sequence of {length} tokens, expected at most "
                f"{self.config.max_position_embeddings}; shorten the sequence or raise the setting"
            )
        cos, sin = rope_table(length, self.config.qk_rope_head_dim, self.config.rope_theta, input_ids.device)
        documents = see_documents(document_ids, self.attention)
        # On a CPU the table's gradient has the rows that were looked up alone; it is added to the output head's, so a
        # second gradient as large as the table is never made.
        x = F.embedding(input_ids, self.embed_tokens.weight, sparse=not input_ids.is_cuda)
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(layer, x, cos, sin, documents, use_reentrant=False)
            else:
                x = layer(x, cos, sin, documents)
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

    def loss(
        self, input_ids: Tensor, labels: Tensor, document_ids: Tensor | None = None, count: int | None = None
    ) -> Tensor:
        """Return the mean cross-entropy, in nats, of the labels that are not `IGNORE_INDEX`; zero if there are none.

        The logits are computed and differentiated `LOSS_CHUNK` tokens at a time, so that they never exist for the
        whole batch.

        Args:
            input_ids: (batch, length) integers below the vocabulary's size.
            labels: (batch, length), shifted already: labels[b, t] is the token after input_ids[b, t].
            document_ids: as in `forward`.
            count: what the sum is divided by; None: the labels here. A part of a batch is divided by the whole's.
        """
        hidden, weight = self._head_inputs(input_ids, document_ids)
        hidden, targets = hidden.flatten(0, 1), labels.flatten()
        if hidden.dtype == torch.float32:
            options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=min(LOSS_CHUNK, len(hidden)))
            total = F.linear_cross_entropy(
                hidden, weight, targets, reduction="sum", ignore_index=IGNORE_INDEX, options=options
            )
        else:  # PyTorch's would sum in that type, to two digits
            total = head_loss(hidden, weight, targets, IGNORE_INDEX, LOSS_CHUNK)
        return total / ((labels != IGNORE_INDEX).sum().clamp(min=1) if count is None else count)

    def token_losses(
        self, input_ids: Tensor, labels: Tensor, document_ids: Tensor | None = None, chunk: int = LOSS_CHUNK
    ) -> Tensor:
        """Return each label's cross-entropy (batch, length) in nats, fp32, zero where it is `IGNORE_INDEX`.

        The head runs over the labelled positions alone, `chunk` at a time, and once more backward: of an answer's
        context there is often more than of the answer. The other arguments are those of `loss`.
        """
        hidden, weight = self._head_inputs(input_ids, document_ids)
        known = labels != IGNORE_INDEX
        losses = -head_log_probs(hidden[known], weight, labels[known], chunk)
        return torch.zeros(labels.shape, device=losses.device).masked_scatter(known, losses)

    def _head_inputs(self, input_ids: Tensor, document_ids: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the last hidden states and the head's weight; autocast to what a matrix product would be given."""
        hidden, weight = self.model(input_ids, document_ids), self.model.embed_tokens.weight
        device = input_ids.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            return hidden.to(dtype), weight.to(dtype)
        return hidden, weight
