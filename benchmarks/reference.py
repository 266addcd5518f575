"""The independent reference of the architecture: transformers' DeepSeek-V3, dense, with the MLP of Nemotron."""

from __future__ import annotations

from typing import Any

from torch import nn

from trainer.model import PLM


def reference(model: PLM, share: bool = False) -> nn.Module:
    """The same weights, copied or shared, in a model whose every line is of transformers; its output head is tied."""
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, NemotronConfig
    from transformers.models.nemotron.modeling_nemotron import NemotronMLP

    config = model.config
    sizes: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "hidden_act": "relu2",
    }
    other = DeepseekV3ForCausalLM(
        DeepseekV3Config(
            **sizes,
            vocab_size=config.vocab_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_attention_heads,
            q_lora_rank=None,
            kv_lora_rank=config.kv_lora_rank,
            qk_nope_head_dim=config.qk_nope_head_dim,
            qk_rope_head_dim=config.qk_rope_head_dim,
            v_head_dim=config.v_head_dim,
            first_k_dense_replace=config.num_hidden_layers,
            rope_interleave=True,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            rms_norm_eps=config.rms_norm_eps,
            max_position_embeddings=config.max_position_embeddings,
            tie_word_embeddings=True,
        )
    )
    for layer in other.model.layers:
        layer.mlp = NemotronMLP(NemotronConfig(**sizes, mlp_bias=False))
    missing, unexpected = other.load_state_dict(model.state_dict(), strict=False, assign=share)
    if (missing, unexpected) != (["lm_head.weight"], []):  # tied: has no tensor of its own here
        raise ValueError(f"the reference's parameters are not PLM's: missing {missing}, unexpected {unexpected}")
    other.tie_weights()
    return other.to(next(model.parameters()).dtype).eval()
