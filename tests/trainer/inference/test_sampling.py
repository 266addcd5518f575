"""Draws against transformers' top-p and the distribution that they are of."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import TrainerError
from trainer.inference import sampling as module
from trainer.inference.sampling import Sampling, draw, nucleus


@given(
    seed=st.integers(0, 999), size=st.integers(1, 60), top_p=st.floats(0.01, 0.99), scale=st.sampled_from([0.1, 1, 8])
)
def test_top_p_keeps_what_transformers_keeps(seed: int, size: int, top_p: float, scale: float) -> None:
    from transformers import TopPLogitsWarper

    logits = torch.randn(3, size, generator=torch.Generator().manual_seed(seed)) * scale
    warped = TopPLogitsWarper(top_p)(torch.zeros(3, 0, dtype=torch.long), logits)
    probabilities, order = nucleus(logits.softmax(-1), top_p)
    found = torch.zeros_like(logits).scatter(-1, order, probabilities)
    # both sum in floating point: a token whose likelier ones hold top_p to seven digits may go either way
    likeliest = logits.softmax(-1).sort(descending=True).values
    if ((likeliest.cumsum(-1) - top_p).abs() > 1e-5).all():
        assert torch.equal(found > 0, warped.isfinite())
        torch.testing.assert_close(found / found.sum(-1, keepdim=True), warped.softmax(-1))


def test_looking_at_the_likeliest_first_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(4, 500, generator=torch.Generator().manual_seed(0)) * 3
    uniforms = torch.linspace(0, 0.999, 40).tolist()
    settings = [Sampling(1, 1.0, top_p) for top_p in (0.1, 0.9, 0.999999)]

    def drawn() -> list[list[int]]:
        return [draw(logits, each, [u] * 4) for each in settings for u in uniforms]

    whole = drawn()
    monkeypatch.setattr(module, "LIKELIEST", 20)
    assert drawn() == whole
    sizes = [nucleus(logits.softmax(-1), each.top_p)[0].shape[1] for each in settings]
    assert sizes[0] == 20 and sizes[2] == 500  # the first need no more, the last do


def test_draws_have_the_distribution() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2, 0.0]]).log()
    uniforms = ((torch.arange(1000) + 0.5) / 1000).tolist()
    for temperature, expected in ((1.0, [500, 300, 200]), (0.5, [658, 237, 105])):
        drawn = [draw(logits, Sampling(1, temperature), [u])[0] for u in uniforms]
        assert [drawn.count(token) for token in range(4)] == [*expected, 0]


def test_a_uniform_number_at_its_ends_draws_a_possible_token() -> None:
    logits = torch.tensor([[-float("inf"), 0.0, 0.0, -float("inf")]])
    assert draw(logits, Sampling(1, 1.0), [0.0]) == [1]
    assert draw(logits, Sampling(1, 1.0), [1 - 2**-53]) == [2]
    assert draw(logits, Sampling(1, 1.0, 0.4), [1 - 2**-53])[0] in (1, 2)


def test_rows_are_drawn_with_their_own_numbers() -> None:
    logits = torch.zeros(3, 10)
    assert draw(logits, Sampling(1, 1.0), [0.05, 0.55, 0.95]) == [0, 5, 9]


@pytest.mark.parametrize("temperature", [1e-30, 1e-3])
def test_a_small_temperature_is_greedy(temperature: float) -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [200.0, -200.0, 100.0]])
    for u in (0.0, 0.999999):
        assert draw(logits, Sampling(1, temperature), [u, u]) == draw(logits, Sampling(1), [u, u]) == [1, 0]


def test_nan_is_an_error() -> None:
    with pytest.raises(TrainerError, match="found NaN"):
        draw(torch.tensor([[0.0, float("nan")]]), Sampling(1), [0.0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: found 0"),
        ({"temperature": -0.1}, "temperature: found -0.1"),
        ({"temperature": float("nan")}, "temperature: found nan"),
        ({"top_p": 0.0}, "top_p: found 0.0"),
        ({"top_p": 1.1}, "top_p: found 1.1"),
        ({"stop": "\n"}, "stop: found"),
        ({"stop": ("a", "")}, "stop: found"),
    ],
)
def test_settings_out_of_their_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        Sampling(**{"max_tokens": 1, **settings})
