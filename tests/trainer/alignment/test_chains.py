"""Chains go on from the answer before, and their draws depend on neither order nor batch."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from trainer.alignment.chains import Policy, collect, draw_seed
from trainer.alignment.prompts import Prompt
from trainer.chat import ChatML, Turn
from trainer.config import ModelConfig
from trainer.inference import Completion, Sampling
from trainer.model import PLM
from trainer.pretrained import load_pretrained

Make = Callable[..., Prompt]


class Scripted:
    """Stands in for the decoder: answers with a number drawn from the seed, and keeps what it was asked."""

    def __init__(self, chat: ChatML, finish: str = "end") -> None:
        self.chat, self.finish = chat, finish
        self.calls: list[list[list[int]]] = []

    def __call__(
        self, model: PLM, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], sampling: Sampling,
        seeds: Sequence[int], *, progress: object = None,
    ) -> list[Completion]:  # fmt: skip
        self.calls.append([list(prompt) for prompt in prompts])
        texts = [str(random.Random(seed).randrange(10**6)) for seed in seeds]
        return [Completion([self.chat.start, *self.chat.encode(text)], text, self.finish, 0) for text in texts]  # type: ignore[arg-type]


@pytest.fixture
def policy(tiny: Callable[..., ModelConfig], chat: ChatML) -> Policy:
    model = PLM(tiny(max_position_embeddings=200))
    return Policy(model, chat, Sampling(8), "again", Scripted(chat))


def test_a_refinement_is_asked_for_after_the_answer_before(policy: Policy, chat: ChatML, make_prompt: Make) -> None:
    (chain,) = collect(policy, [make_prompt("1 + 1?")], 3, refine=True, seed=1, stage="round-1")
    first, second, third = (answer.text for answer in chain.answers)
    assert len({first, second, third}) == 3
    turns = [Turn("user", "1 + 1?")]
    asked = [[chat.prompt(turns)]]
    for text in (first, second):  # not the whole conversation: the answer before alone
        asked.append([chat.prompt([*turns, Turn("assistant", text), Turn("user", "again")])])
    assert policy.generate.calls == asked  # type: ignore[attr-defined]
    assert chain.answers[0].tokens == tuple(chat.encode(first))  # a stray special token is no part of an answer


def test_direct_answers_are_all_of_the_question(policy: Policy, make_prompt: Make) -> None:
    prompt = make_prompt()
    (chain,) = collect(policy, [prompt], 3, refine=False, seed=1, stage="round-1")
    assert len({answer.text for answer in chain.answers}) == 3
    assert policy.generate.calls == [[list(prompt.tokens)]] * 3  # type: ignore[attr-defined]


def test_neither_order_nor_company_plays_a_part(policy: Policy, make_prompt: Make) -> None:
    prompts = [make_prompt(f"q{n}") for n in range(5)]

    def texts(some: Sequence[Prompt], stage: str = "round-1", seed: int = 1) -> dict[str, list[str]]:
        chains = collect(policy, some, 2, refine=True, seed=seed, stage=stage)
        return {chain.prompt.id: [answer.text for answer in chain.answers] for chain in chains}

    together = texts(prompts)
    assert texts(prompts[::-1]) == together
    assert texts(prompts[2:3])["q2"] == together["q2"]
    assert texts(prompts, stage="round-2")["q2"] != together["q2"]
    assert texts(prompts, seed=2)["q2"] != together["q2"]


def test_the_real_decoder_gives_the_same_chains_in_any_order(toy_model: Path, chat: ChatML, make_prompt: Make) -> None:
    policy = Policy(load_pretrained(toy_model), chat, Sampling(3, 1.0), "again")
    prompts = [make_prompt(f"{letter}{n}") for n in range(4) for letter in "ab"]
    chains = collect(policy, prompts, 2, refine=True, seed=1, stage="round-1")
    mirrored = collect(policy, prompts[::-1], 2, refine=True, seed=1, stage="round-1")
    assert mirrored[::-1] == chains
    assert all(len(chain.answers) == 2 for chain in chains)


def test_a_context_without_room_ends_the_chain(policy: Policy, make_prompt: Make) -> None:
    seen: list[int] = []
    long, longer = make_prompt("x" * 160), make_prompt("x" * 190)
    chains = collect(policy, [make_prompt(), long, longer], 3, refine=True, seed=1, stage="s", progress=seen.append)
    assert [len(chain.answers) for chain in chains] == [3, 1, 0]
    exact = make_prompt("x" * (200 - 8 - len(make_prompt("").tokens)))
    (chain,) = collect(policy, [exact], 1, refine=True, seed=1, stage="s")
    assert len(exact.tokens) + 8 == 200
    assert len(chain.answers) == 1  # the last position but none


def test_an_answer_that_was_cut_off_is_not_finished(policy: Policy, chat: ChatML, make_prompt: Make) -> None:
    cut = Policy(policy.model, chat, policy.sampling, "again", Scripted(chat, "length"))
    for maker, finished in ((policy, True), (cut, False)):
        (chain,) = collect(maker, [make_prompt()], 1, refine=True, seed=1, stage="s")
        assert chain.answers[0].finished is finished


def test_a_draws_seed_is_the_same_everywhere() -> None:
    assert draw_seed(1, "round-1", "id", 0) == 421857536335170963
    names = {draw_seed(*name) for name in [(1, "a", "b", 0), (1, "a", "b", 1), (1, "b", "a", 0), (2, "a", "b", 0)]}
    assert len(names) == 4
    assert all(0 <= seed < 2**63 for seed in names)
    assert torch.Generator().manual_seed(max(names))  # what torch takes as a seed
