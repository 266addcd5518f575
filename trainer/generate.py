"""Samples text from a trained model."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from trainer.checkpoint import MODEL, STATE, newest_checkpoint
from trainer.errors import TrainerError
from trainer.model import PLM
from trainer.pretrained import CONFIG, END_OF_TEXT, load_model, load_pretrained, load_tokenizer


def load(folder: Path) -> tuple[PLM, Tokenizer]:
    """Load a model and its tokenizer.

    Args:
        folder: one that `save_pretrained` wrote, or a run's folder: then its final model, or its newest intact
            checkpoint where the run has not ended.

    Raises:
        TrainerError: the folder holds neither.
    """
    for candidate in (folder, folder / "final"):
        if (candidate / CONFIG).is_file():
            return load_pretrained(candidate), load_tokenizer(candidate)
    found = newest_checkpoint(folder)
    if found is None:
        raise TrainerError(
            f"{folder}: found no {CONFIG}, final/ or step-*/, expected a trained model or its run's folder"
        )
    path, state = found
    return load_model(path / MODEL, state["config"]["model"], path / STATE), load_tokenizer(folder / "tokenizer")


def sample(
    folder: Path, prompt: str, max_tokens: int, temperature: float = 1.0, top_p: float = 1.0, seed: int = 0
) -> str:
    """Load a model and complete a prompt; see `load` and `complete`."""
    model, tokenizer = load(folder)
    return complete(model, tokenizer, prompt, max_tokens, temperature, top_p, seed)


@torch.inference_mode()
def complete(
    model: PLM, tokenizer: Tokenizer, prompt: str, max_tokens: int, temperature: float, top_p: float, seed: int
) -> str:
    """Return the prompt's continuation, without the prompt.

    The whole context is computed again for each token. It is cut to the model's positions from the left. The same
    arguments give the same text: the draws come from a generator of their own.

    Args:
        model: a PLM; only ids that the tokenizer knows are drawn, though its vocabulary may be padded.
        tokenizer: of the model.
        prompt: text, one token or more.
        max_tokens: tokens to draw at most; `<|endoftext|>` ends the text earlier and is not part of it.
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: draw from the smallest set of likeliest tokens that holds this probability (arXiv 1904.09751).
        seed: of the draws.

    Raises:
        TrainerError: an empty prompt, a negative temperature, or a `top_p` outside 0 … 1.
    """
    if temperature < 0 or not 0 < top_p <= 1:
        raise TrainerError(
            f"temperature, top_p: found {temperature} and {top_p}, expected zero or more and a number above 0 up to 1"
        )
    tokens: list[int] = tokenizer.encode(prompt).ids
    if not tokens:
        raise TrainerError(f"prompt: found {prompt!r}, which has no token, expected some text to continue")
    end_of_text, known = tokenizer.token_to_id(END_OF_TEXT), tokenizer.get_vocab_size()
    device = model.model.embed_tokens.weight.device
    generator = torch.Generator().manual_seed(seed)
    prompt_length = len(tokens)
    while len(tokens) - prompt_length < max_tokens:
        context = torch.tensor([tokens[-model.config.max_position_embeddings :]], device=device)
        token = _draw(model(context)[0, -1, :known].float().cpu(), temperature, top_p, generator)
        if token == end_of_text:
            break
        tokens.append(token)
    return tokenizer.decode(tokens[prompt_length:])


def _draw(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    probabilities, order = (logits / temperature).softmax(-1).sort(descending=True, stable=True)
    # a token stays if the likelier ones together hold less than top_p, so the likeliest always does
    probabilities[probabilities.cumsum(-1) - probabilities >= top_p] = 0
    return int(order[torch.multinomial(probabilities, 1, generator=generator)])
