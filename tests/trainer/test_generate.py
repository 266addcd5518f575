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


def scripted(monkeypatch: pytest.MonkeyPatch, model: PLM, probabilities: dict[int, float]) -> list[int]:
    """Make the model predict this distribution always; return the lengths of the contexts that it is shown."""
    lengths: list[int] = []

    def forward(ids: torch.Tensor, document_ids: torch.Tensor | None = None) -> torch.Tensor:
        lengths.append(ids.shape[1])
        logits = torch.full((1, ids.shape[1], model.config.vocab_size), -float("inf"))
        for token, probability in probabilities.items():
            logits[..., token] = torch.tensor(probability).log()
        return logits

    monkeypatch.setattr(model, "forward", forward)
    return lengths


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
    torch.manual_seed(1)
    first = sample(tmp_path, "def ", 20, temperature=1.0, top_p=0.9, seed=7)
    torch.manual_seed(2)  # torch's own generator plays no part
    assert sample(tmp_path, "def ", 20, temperature=1.0, top_p=0.9, seed=7) == first
    assert sample(tmp_path, "def ", 20, temperature=1.0, top_p=0.9, seed=8) != first


def test_temperature_zero_is_greedy(model: PLM, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("abc").ids
    with torch.no_grad():
        for _ in range(5):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert END_OF_TEXT not in ids
    texts = {complete(model, tokenizer, "abc", 5, 0.0, 1.0, seed) for seed in (0, 1)}
    assert texts == {tokenizer.decode(ids[3:])}


def test_stops_at_end_of_text(model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, model, {END_OF_TEXT: 1.0})
    assert complete(model, tokenizer, "abc", 5, 1.0, 1.0, 0) == ""


def test_top_p_keeps_the_smallest_sufficient_set(
    model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = tokenizer.encode("abc").ids
    scripted(monkeypatch, model, {b: 0.5, a: 0.3, c: 0.2})
    drawn = {p: set(complete(model, tokenizer, "x", 300, 1.0, p, 0)) for p in (0.4, 0.7, 1.0)}
    assert drawn == {0.4: {"b"}, 0.7: {"a", "b"}, 1.0: {"a", "b", "c"}}


def test_context_is_cut_to_the_models_positions(
    model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (a,) = tokenizer.encode("a").ids
    lengths = scripted(monkeypatch, model, {a: 1.0})
    assert complete(model, tokenizer, "x" * 62, 4, 1.0, 1.0, 0) == "aaaa"
    assert lengths == [62, 63, 64, 64]


def test_ids_beyond_the_tokenizer_are_never_drawn(
    tiny: Tiny, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    padded = PLM(tiny(vocab_size=300))
    (a,) = tokenizer.encode("a").ids
    scripted(monkeypatch, padded, {a: 0.01, 280: 0.99})
    assert complete(padded, tokenizer, "x", 3, 0.0, 1.0, 0) == "aaa"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("", 5, 1.0, 1.0), "prompt: found ''"), (("a", 5, -1.0, 1.0), "found -1.0"), (("a", 5, 1.0, 0.0), "and 0.0")],
)
def test_wrong_arguments(
    model: PLM, tokenizer: Tokenizer, arguments: tuple[str, int, float, float], message: str
) -> None:
    with pytest.raises(TrainerError, match=message):
        complete(model, tokenizer, *arguments, seed=0)


def test_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"tokenizer.json: not found"):
        generate.load_tokenizer(tmp_path)
