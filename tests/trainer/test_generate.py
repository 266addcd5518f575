"""Sampling is deterministic, stops where it should, and finds the model in a run's folder."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from trainer import generate
from trainer.checkpoint import Position, save_checkpoint
from trainer.config import ModelConfig, TrainConfig
from trainer.errors import TrainerError
from trainer.generate import complete, load, sample
from trainer.model import PLM
from trainer.optimizer import build_optimizer
from trainer.pretrained import copy_tokenizer, load_tokenizer, save_pretrained

END_OF_TEXT = 256

Tiny = Callable[..., ModelConfig]


@pytest.fixture
def model(tiny: Tiny) -> PLM:
    torch.manual_seed(0)
    return PLM(tiny(initializer_range=0.3)).eval()


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return load_tokenizer(tokenizer_folder)


def test_a_saved_model_is_the_model(tmp_path: Path, model: PLM, tokenizer_folder: Path) -> None:
    save_pretrained(tmp_path / "final", model, tokenizer_folder)
    ids = torch.arange(20).unsqueeze(0)
    for folder in (tmp_path / "final", tmp_path):  # the model's own folder and its run's
        loaded, tokenizer = load(folder)
        assert loaded.config == model.config
        assert torch.equal(loaded(ids), model(ids))
        assert tokenizer.token_to_id("<|im_end|>") == 258


def test_a_run_that_has_not_ended_gives_its_newest_checkpoint(
    tmp_path: Path, tiny: Tiny, model: PLM, tokenizer_folder: Path
) -> None:
    optimizer = build_optimizer(model, TrainConfig(16, 2, 1e-2, 1e-3, 0))
    ids = torch.arange(20).unsqueeze(0)
    for step in (1, 2):
        model.loss(ids, ids).backward()
        optimizer.step()
        config = {"model": asdict(model.config)}
        save_checkpoint(tmp_path, model, optimizer, Position(step), fingerprint="f", config=config, keep=2)
    copy_tokenizer(tokenizer_folder, tmp_path / "tokenizer")
    assert torch.equal(load(tmp_path)[0](ids), model(ids))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"found no config.json, final/ or step-\*/"):
        load(tmp_path)


def test_the_seed_decides_the_text(tmp_path: Path, model: PLM, tokenizer_folder: Path) -> None:
    save_pretrained(tmp_path, model, tokenizer_folder)

    def drawn(seed: int) -> list[str]:
        texts = sample(tmp_path, ["def ", "a"], 20, temperature=1.0, top_p=0.9, seed=seed)
        return ["".join(pieces) for pieces in texts]

    torch.manual_seed(1)
    first = drawn(7)
    torch.manual_seed(2)  # torch's own generator plays no part
    assert len(set(first)) == 2 and drawn(7) == first
    assert drawn(8)[0] != first[0]


def test_temperature_zero_is_greedy(model: PLM, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("abc").ids
    with torch.no_grad():
        for _ in range(5):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert END_OF_TEXT not in ids
    texts = {"".join(complete(model, tokenizer, "abc", 5, 0.0, 1.0, seed)) for seed in (0, 1)}
    assert texts == {tokenizer.decode(ids[3:])}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 5, 1.0, 1.0), "prompt: found ''"),
        (("a", 5, -1.0, 1.0), "temperature: found -1.0"),
        (("a", 5, 1.0, 0.0), "top_p: found 0.0"),
        (("a", 65, 1.0, 1.0), "max_tokens: found 65, expected at most 64"),
    ],
)
def test_wrong_arguments(
    model: PLM, tokenizer: Tokenizer, arguments: tuple[str, int, float, float], message: str
) -> None:
    with pytest.raises(TrainerError, match=message):
        "".join(complete(model, tokenizer, *arguments, seed=0))


def test_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"tokenizer.json: not found"):
        generate.load_tokenizer(tmp_path)
