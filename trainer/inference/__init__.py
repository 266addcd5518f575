"""Text from a trained model: the latent cache, the forward pass over it, and batched decoding."""

from trainer.inference.decoding import Completion, decode, generate, stream
from trainer.inference.mlp import prepare_for_decoding
from trainer.inference.sampling import Sampling

__all__ = ["Completion", "Sampling", "decode", "generate", "prepare_for_decoding", "stream"]
