"""A conversation keeps its last answers, refines each as in training, and leaves out what there is no room for."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from trainer.inference import Completion, Sampling

from trainer import conversation
from trainer.chat import ChatML, Turn
from trainer.config import ModelConfig
from trainer.conversation import Conversation
from trainer.errors import TrainerError
from trainer.model import PLM
from trainer.pretrained import load_tokenizer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, chat: ChatML) -> list[str]:
    """The contexts that the model is shown, as text; it answers a, b, c … in two pieces each."""
    contexts: list[str] = []

    def stream(model: Any, tokenizer: Any, context: Sequence[int], sampling: Sampling, seed: int) -> Iterator[str]:
        text = chr(ord("a") + len(contexts)) * 2
        contexts.append(tokenizer.decode(list(context), skip_special_tokens=False))
        yield text[0]
        yield text[1]
        return Completion(chat.encode(text), text, "end", 0)

    monkeypatch.setattr(conversation, "stream", stream)
    return contexts


@pytest.fixture
def chat(tokenizer_folder: Path) -> ChatML:
    return ChatML(load_tokenizer(tokenizer_folder))


@pytest.fixture
def talk(tiny: Callable[..., ModelConfig], chat: ChatML) -> Callable[..., Conversation]:
    """A function that begins a conversation with a model of so many positions."""

    def begin(positions: int = 200, max_tokens: int = 10) -> Conversation:
        return Conversation(
            PLM(tiny(max_position_embeddings=positions)), chat.tokenizer, Sampling(max_tokens), refinement_prompt="z"
        )

    return begin


def shown(chat: ChatML, *texts: str) -> str:
    roles = ("user", "assistant")
    turns = [Turn(roles[number % 2], text) for number, text in enumerate(texts)]  # type: ignore[arg-type]
    return chat.tokenizer.decode(chat.prompt(turns), skip_special_tokens=False)


def test_the_exchanges_so_far_are_shown(talk: Callable[..., Conversation], chat: ChatML, asked: list[str]) -> None:
    ours = talk()
    assert list(ours.ask("one")) == [(0, "a"), (0, "a")]
    assert list(ours.ask("two")) == [(0, "b"), (0, "b")]
    assert asked == [shown(chat, "one"), shown(chat, "one", "aa", "two")]


def test_a_refinement_takes_the_answers_place(
    talk: Callable[..., Conversation], chat: ChatML, asked: list[str]
) -> None:
    ours = talk()
    assert [number for number, _ in ours.ask("one", 2)] == [0, 0, 1, 1, 2, 2]
    list(ours.ask("two"))
    assert asked == [
        shown(chat, "one"), shown(chat, "one", "aa", "z"), shown(chat, "one", "bb", "z"), shown(chat, "one", "cc", "two"),
    ]  # fmt: skip


def test_the_oldest_exchanges_give_way(talk: Callable[..., Conversation], chat: ChatML, asked: list[str]) -> None:
    ours = talk(positions=80)
    for question in ("one", "two", "three"):
        list(ours.ask(question))
    assert asked == [shown(chat, "one"), shown(chat, "one", "aa", "two"), shown(chat, "two", "bb", "three")]


def test_a_question_without_room(talk: Callable[..., Conversation], asked: list[str]) -> None:
    ours = talk(positions=64)
    with pytest.raises(TrainerError, match=r"prompt: found \d+ tokens, expected at most 54"):
        list(ours.ask("x" * 60))
    with pytest.raises(TrainerError, match="max_tokens: found 64, expected less than the model's 64"):
        talk(positions=64, max_tokens=64)
