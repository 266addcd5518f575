"""The adapter against a plain computation and against lm_eval's own wrapping of transformers, on the same weights."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer

from tests.trainer.test_model import reference
from trainer.errors import TrainerError
from trainer.evaluation import harness
from trainer.evaluation.harness import HarnessLM
from trainer.model import PLM

WINDOW = 64

PAIRS = [
    ("The cat", " sat"), ("", "Hello there"), ("Where is ", "it?"), ("Same context", " a"), ("Same context", " b"),
    ("Same context", " bb"), ("é中文", "字"), ("x" * 100, "yz" * 10), ("tab\t", "\n\n"), ("<|im_start|>user\nhi<|im_end|>\n", "yes<|im_end|>"),
]  # fmt: skip
TEXTS = ["short", "é中文字" * 4, "a longer text, " * 20, "x" * 64, "x" * 65, "y"]


def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, each, index) for index, each in enumerate(arguments)]  # type: ignore[arg-type]


@pytest.fixture
def ours(model: PLM, tokenizer: Tokenizer) -> HarnessLM:
    return HarnessLM(model, tokenizer, WINDOW, quiet=True)


@pytest.fixture
def theirs(model: PLM, tokenizer_folder: Path) -> Any:
    """lm_eval's HFLM around transformers' implementation of the same weights."""
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerFast

    special = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "clean_up_tokenization_spaces": False}
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_folder / "tokenizer.json"), **special)
    return HFLM(pretrained=reference(model), tokenizer=fast, max_length=WINDOW, batch_size=3, device="cpu")  # type: ignore[arg-type]


def test_likelihoods_are_those_of_lm_evals_own_wrapping(ours: HarnessLM, theirs: Any) -> None:
    found = ours.loglikelihood(requests("loglikelihood", PAIRS))
    expected = theirs.loglikelihood(requests("loglikelihood", PAIRS), disable_tqdm=True)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=2e-4)
    assert len({round(value, 3) for value, _ in found}) == len(
        PAIRS
    )  # so that no two could stand in each other's place


def test_rolling_likelihoods_are_those_of_lm_evals_own_wrapping(ours: HarnessLM, theirs: Any) -> None:
    asked = [(text,) for text in TEXTS]
    found = ours.loglikelihood_rolling(requests("loglikelihood_rolling", asked))
    assert found == pytest.approx(theirs.loglikelihood_rolling(requests("loglikelihood_rolling", asked)), abs=2e-3)


def test_greedy_completions_are_those_of_lm_evals_own_wrapping(ours: HarnessLM, theirs: Any) -> None:
    asked = [
        (context, {"until": [], "max_gen_toks": 8, "do_sample": False})
        for context in ("ab", "The cat", "z" * 90, "1 + 1 =")
    ]
    found = ours.generate_until(requests("generate_until", asked))
    assert found == theirs.generate_until(requests("generate_until", asked), disable_tqdm=True)
    assert len(set(found)) > 1


def test_a_likelihood_is_the_plain_computation(ours: HarnessLM, model: PLM, tokenizer: Tokenizer) -> None:
    context, continuation = tokenizer.encode("The cat").ids, tokenizer.encode(" sat").ids
    with torch.no_grad():
        logits = model(torch.tensor([context + continuation]))[0].double().log_softmax(-1)
    expected = sum(logits[len(context) - 1 + at, token].item() for at, token in enumerate(continuation))
    assert ours.loglikelihood(requests("loglikelihood", [("The cat", " sat")]))[0][0] == pytest.approx(
        expected, abs=1e-5
    )


def test_a_greedy_continuation_is_said_to_be_one(ours: HarnessLM, tokenizer: Tokenizer) -> None:
    (text,) = ours.generate_until(requests("generate_until", [("ab", {"until": [], "max_gen_toks": 1})]))
    other = "q" if text != "q" else "r"
    found = ours.loglikelihood(requests("loglikelihood", [("ab", text), ("ab", other)]))
    assert (found[0][1], found[1][1]) == (True, False) and found[0][0] > found[1][0]


def test_nothing_to_say_is_certain_and_too_much_is_an_error(ours: HarnessLM) -> None:
    assert ours.loglikelihood(requests("loglikelihood", [("a", "")])) == [(0.0, True)]
    assert math.isfinite(ours.loglikelihood(requests("loglikelihood", [("a", "b" * WINDOW)]))[0][0])
    with pytest.raises(TrainerError, match="continuation of 65 tokens"):
        ours.loglikelihood(requests("loglikelihood", [("a", "b" * (WINDOW + 1))]))


def test_completions_end_before_a_stop_string_and_have_half_a_window(ours: HarnessLM) -> None:
    (whole,) = ours.generate_until(requests("generate_until", [("ab", {"until": [], "max_gen_toks": 1000})]))
    assert 1 <= len(whole) <= WINDOW // 2
    stop = whole[3:5]
    asked = [("ab", {"until": [stop], "max_gen_toks": 1000}), ("ab", {"until": [], "max_gen_toks": 1000})]
    cut, again = ours.generate_until(requests("generate_until", asked))
    assert cut == whole[: whole.index(stop)] and again == whole


def test_draws_depend_on_the_context_and_on_how_often_it_was_asked(
    ours: HarnessLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = {"until": [], "max_gen_toks": 12, "do_sample": True, "temperature": 1.0}
    one, two, other = ours.generate_until(
        requests("generate_until", [("ab", drawing), ("ab", drawing), ("cd", drawing)])
    )
    assert one != two
    assert ours.generate_until(requests("generate_until", [("cd", drawing), ("ab", drawing)])) == [other, one]
    settings: list[Any] = []
    monkeypatch.setattr(harness, "generate", lambda *a, **k: settings.append(a[3]) or [])
    with pytest.raises(ValueError):
        ours.generate_until(requests("generate_until", [("ab", {"until": [], "temperature": 0.7, "do_sample": False})]))
    assert settings[0].temperature == 0.0  # greedy, whatever the temperature that the task left in


def test_turns_are_chatml_and_reach_the_model_as_special_tokens(ours: HarnessLM, tokenizer: Tokenizer) -> None:
    turns = [{"role": "user", "content": "1 + 1?"}]
    text = ours.apply_chat_template(turns)
    assert text == "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    ids = ours.tok_encode(text)
    assert [ids.count(tokenizer.token_to_id(token)) for token in ("<|im_start|>", "<|im_end|>")] == [2, 1]
    opened = ours.apply_chat_template([*turns, {"role": "assistant", "content": "It is"}], add_generation_prompt=False)
    assert opened.endswith("<|im_start|>assistant\nIt is")
    assert ours.chat_template(True) and ours.chat_template(False) is None
    assert ours.tokenizer_name == HarnessLM(ours.model, tokenizer, 32).tokenizer_name
