"""Completions together and alone: the same tokens, ends, stops, seeds and errors."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import Tensor

from trainer.config import ModelConfig
from trainer.errors import TrainerError
from trainer.inference import Completion, Sampling, forward, generate, stream
from trainer.model import PLM

END_OF_TEXT, IM_END = 256, 258

Tiny = Callable[..., ModelConfig]


def prompts_of(lengths: Sequence[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(len(lengths))
    return [torch.randint(256, (length,), generator=generator).tolist() for length in lengths]


@torch.inference_mode()
def greedy_without_cache(model: PLM, prompt: list[int], count: int, ends: Sequence[int] = ()) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        token = int(model(torch.tensor([ids]))[0, -1].argmax())
        if token in ends:
            break
        ids.append(token)
    return ids[len(prompt) :]


def scripted(monkeypatch: pytest.MonkeyPatch, script: Callable[[int], dict[int, float]], vocabulary: int = 259) -> None:
    """Give the n-th step's logits by a distribution, whatever the model says."""
    step = -1

    def logits(hidden: Tensor, model: PLM, known: int) -> Tensor:
        nonlocal step
        step += 1
        found = torch.full((len(hidden), vocabulary), -float("inf"))
        for token, probability in script(step).items():
            found[:, token] = torch.tensor(probability).log()
        return found[:, :known]

    monkeypatch.setattr("trainer.inference.decoding.next_logits", logits)


def says(monkeypatch: pytest.MonkeyPatch, tokens: Sequence[int]) -> None:
    """Make every completion these tokens."""
    scripted(monkeypatch, lambda step: {tokens[step % len(tokens)]: 1.0})


def test_greedy_tokens_are_those_of_the_training_path(model: PLM, tokenizer: Tokenizer) -> None:
    prompts = prompts_of([5, 1, 30, 17])
    found = generate(model, tokenizer, prompts, Sampling(12), [0] * 4, end=())
    assert [each.tokens for each in found] == [greedy_without_cache(model, prompt, 12) for prompt in prompts]
    assert all(each.text == tokenizer.decode(each.tokens) and each.finish == "length" for each in found)
    assert len({tuple(each.tokens) for each in found}) == 4


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=7),
    batch_size=st.integers(1, 4),
    prefill_chunk=st.integers(1, 50),
    temperature=st.sampled_from([0.0, 1.0]),
    order=st.randoms(use_true_random=False),
)
def test_a_prompts_completion_does_not_depend_on_the_others(
    model: PLM,
    tokenizer: Tokenizer,
    lengths: list[int],
    batch_size: int,
    prefill_chunk: int,
    temperature: float,
    order: Any,
) -> None:
    """Ends come at any time (a tenth of the ids are ends), so that sequences leave and others join throughout."""
    prompts, sampling, ends = prompts_of(lengths), Sampling(9, temperature, 0.95), range(0, 259, 10)
    seeds = list(range(len(lengths)))
    alone = [
        generate(model, tokenizer, [p], sampling, [seed], end=ends)[0] for p, seed in zip(prompts, seeds, strict=True)
    ]
    order.shuffle(seeds)
    together = generate(
        model, tokenizer, [prompts[seed] for seed in seeds], sampling, seeds,
        end=ends, batch_size=batch_size, prefill_chunk=prefill_chunk,
    )  # fmt: skip
    assert together == [alone[seed] for seed in seeds]


def test_the_seed_decides_and_torchs_generator_does_not(model: PLM, tokenizer: Tokenizer) -> None:
    def drawn(*seeds: int) -> list[list[int]]:
        found = generate(model, tokenizer, [[1, 2, 3]] * len(seeds), Sampling(20, 1.0), seeds, end=())
        return [each.tokens for each in found]

    torch.manual_seed(1)
    first, second, again = drawn(7, 8, 7)
    torch.manual_seed(2)
    assert drawn(7) == [first] == [again] and first != second


def test_no_work_is_done_for_what_has_ended(model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that go through the model: every prompt's, and every drawn one's but the last of each completion."""
    passed: list[int] = []

    def counting(model: PLM, cache: Any, ids: Sequence[int], spans: Any, absorb: bool | None = None) -> Tensor:
        passed.append(len(ids))
        return forward.hidden_states(model, cache, ids, spans, absorb)

    monkeypatch.setattr("trainer.inference.decoding.hidden_states", counting)
    prompts, ends = prompts_of([3, 9, 1, 20, 6]), range(0, 259, 6)
    found = generate(model, tokenizer, prompts, Sampling(30, 1.0), range(5), end=ends, batch_size=2)
    assert {each.finish for each in found} == {"end"}
    # a completion of n tokens that an end follows has read all n
    assert sum(passed) == sum(map(len, prompts)) + sum(len(each.tokens) for each in found)
    assert max(passed[1:]) <= 20


def test_ends_are_no_part_of_a_completion(model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    (a,) = tokenizer.encode("a").ids
    for end in (END_OF_TEXT, IM_END):
        says(monkeypatch, [a, end])
        assert generate(model, tokenizer, [[1]], Sampling(5), [0]) == [Completion([a], "a", "end", 0)]
    says(monkeypatch, [a, END_OF_TEXT, IM_END])
    assert generate(model, tokenizer, [[1]], Sampling(5), [0], end=[IM_END])[0].tokens == [a, END_OF_TEXT]
    says(monkeypatch, [IM_END])
    assert generate(model, tokenizer, [[1]], Sampling(5), [0]) == [Completion([], "", "end", 0)]


def test_a_stop_ends_the_text_before_it(model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tokenizer.encode("né\n\nQ: é").ids
    says(monkeypatch, ids)
    sampling = Sampling(20, stop=("\n\nQ", "\n\n\n"))
    found = generate(model, tokenizer, [[1]], sampling, [0])[0]
    assert (found.text, found.finish) == ("né", "stop") and tokenizer.decode(found.tokens) == "né\n\nQ"
    says(monkeypatch, ids)
    found = generate(model, tokenizer, [[1]], Sampling(6, stop=("Q",)), [0])[0]  # on the last token that is allowed
    assert (found.text, found.finish, len(found.tokens)) == ("né\n\n", "stop", 6)
    says(monkeypatch, ids)
    found = generate(model, tokenizer, [[1]], Sampling(5, stop=("\n\nQ",)), [0])[0]  # one short of it
    assert (found.text, found.finish) == ("né\n\n", "length")
    says(monkeypatch, ids)
    found = generate(model, tokenizer, [[1]], Sampling(20, stop=("é",)), [0])[0]  # two tokens of a character
    assert (found.text, found.finish, len(found.tokens)) == ("n", "stop", 3)


def test_a_stream_gives_whole_characters_and_returns_the_completion(
    model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "aé😀 一."
    ids = tokenizer.encode(text).ids

    def pieces() -> Iterator[str]:
        nonlocal completion
        completion = yield from stream(model, tokenizer, [1], Sampling(len(ids)), 0)

    completion: Completion | None = None
    says(monkeypatch, ids)
    assert list(pieces()) == list(text)
    assert completion == Completion(ids, text, "length", 0)
    says(monkeypatch, ids)
    assert "".join(stream(model, tokenizer, [1], Sampling(2), 0)) == "a\ufffd"  # cut within a character


def test_a_stream_is_decoded_as_it_is_read(model: PLM, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def script(step: int) -> dict[int, float]:
        steps.append(step)
        return {tokenizer.encode("ab").ids[step % 2]: 1.0}

    scripted(monkeypatch, script)
    pieces = stream(model, tokenizer, [1], Sampling(40), 0)
    assert [next(pieces), next(pieces)] == ["a", "b"] and steps == [0, 1]
    assert not torch.is_inference_mode_enabled()


def test_a_prompt_that_is_too_long_loses_its_oldest_tokens(model: PLM, tokenizer: Tokenizer) -> None:
    (prompt,) = prompts_of([80])
    found = generate(model, tokenizer, [prompt, prompt[:61]], Sampling(4), [0, 0], end=())
    assert found[0].tokens == greedy_without_cache(model, prompt[-61:], 4) and found[0].cut == 19
    assert found[1].tokens == greedy_without_cache(model, prompt[:61], 4) and found[1].cut == 0  # 64 positions are read
    (whole,) = generate(model, tokenizer, [prompt], Sampling(64), [0], end=())
    assert whole.tokens == greedy_without_cache(model, prompt[-1:], 64) and whole.cut == 79


def test_ids_that_the_tokenizer_lacks_are_never_drawn(
    tiny: Tiny, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    padded = PLM(tiny(vocab_size=300))
    (a,) = tokenizer.encode("a").ids
    scripted(monkeypatch, lambda _: {a: 0.01, 280: 0.99}, vocabulary=300)
    assert generate(padded, tokenizer, [[1]], Sampling(3), [0])[0].text == "aaa"
    monkeypatch.undo()
    found = generate(padded, tokenizer, [[1]] * 9, Sampling(40, 5.0), range(9), end=())
    assert max(token for each in found for token in each.tokens) < 259


def test_progress_counts_the_prompts(model: PLM, tokenizer: Tokenizer) -> None:
    counts: list[int] = []
    generate(model, tokenizer, prompts_of([1] * 5), Sampling(3), [0] * 5, batch_size=2, progress=counts.append)
    assert sum(counts) == 5
    assert generate(model, tokenizer, [], Sampling(3), [], progress=counts.append) == [] and sum(counts) == 5


def test_bf16_decodes(model: PLM, tokenizer: Tokenizer, tiny: Tiny) -> None:
    half = PLM(tiny()).bfloat16()
    half.load_state_dict(model.state_dict())
    found = generate(half, tokenizer, prompts_of([5, 20]), Sampling(6, 0.8, 0.9), [0, 1], end=())
    assert [len(each.tokens) for each in found] == [6, 6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": [[1], []], "seeds": [0, 0]}, "prompt 1: found no token"),
        ({"prompts": [[1, 259]]}, "prompt 0: found token ids from 1 to 259, expected 0 to 258"),
        ({"prompts": [[-1]]}, "found token ids from -1"),
        ({"seeds": [0, 1]}, "seeds: found 2, expected one for each of 1 prompts"),
        ({"sampling": Sampling(65)}, "max_tokens: found 65, expected at most 64"),
        ({"batch_size": 0}, "batch_size, prefill_chunk: found 0"),
        ({"prefill_chunk": 0}, "found 32 and 0"),
    ],
)
def test_wrong_arguments(model: PLM, tokenizer: Tokenizer, changes: dict[str, Any], message: str) -> None:
    arguments = {"prompts": [[1]], "sampling": Sampling(5), "seeds": [0], **changes}
    with pytest.raises(TrainerError, match=message):
        generate(model, tokenizer, **arguments)
