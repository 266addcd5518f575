"""Models whose logits differ enough that a wrong term shows, and the tokenizer of bytes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from trainer.config import ModelConfig
from trainer.model import PLM
from trainer.pretrained import load_tokenizer


def _randomised(config: ModelConfig, scale: float = 10.0) -> PLM:
    torch.manual_seed(0)
    model = PLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
            elif "embed_tokens" not in name:
                parameter.mul_(scale)
    return model.eval()


@pytest.fixture(scope="session")
def randomised() -> Callable[..., PLM]:
    """The function that builds a model with larger weights than at initialisation."""
    return _randomised


@pytest.fixture(scope="session")
def model(tiny: Callable[..., ModelConfig]) -> PLM:
    """A tiny model, which no test may change."""
    return _randomised(tiny())


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    """Of the bytes: ids 0 to 255 in the order of their symbols, then the special tokens."""
    return load_tokenizer(tokenizer_folder)
