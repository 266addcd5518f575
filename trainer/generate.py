"""Samples text from a trained model."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer

from trainer.checkpoint import MODEL, STATE, newest_checkpoint
from trainer.errors import TrainerError
from trainer.inference import Sampling, prepare_for_decoding, stream
from trainer.model import PLM
from trainer.pretrained import CONFIG, load_model, load_pretrained, load_tokenizer


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
    folder: Path, prompts: Iterable[str], max_tokens: int, temperature: float = 1.0, top_p: float = 1.0, seed: int = 0
) -> Iterator[Iterator[str]]:
    """Load a model once and complete each prompt; see `load` and `complete`."""
    model, tokenizer = load(folder)
    prepare_for_decoding(model)
    for prompt in prompts:
        yield complete(model, tokenizer, prompt, max_tokens, temperature, top_p, seed)


def complete(
    model: PLM, tokenizer: Tokenizer, prompt: str, max_tokens: int, temperature: float, top_p: float, seed: int
) -> Iterator[str]:
    """Yield the prompt's continuation, without the prompt, as it is decoded.

    The same arguments give the same text: the draws come from a generator of their own. See `Sampling` for the
    settings, and `generate` for what happens to a prompt that is too long.

    Raises:
        TrainerError: an empty prompt, or a setting out of its range.
    """
    tokens: list[int] = tokenizer.encode(prompt).ids
    if not tokens:
        raise TrainerError(f"prompt: found {prompt!r}, which has no token, expected some text to continue")
    return stream(model, tokenizer, tokens, Sampling(max_tokens, temperature, top_p), seed)
