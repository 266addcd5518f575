"""A step's gradients are those of the whole loss, written down from the formula; the order of pairs resumes by count."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from trainer.inference import Sampling

from trainer.alignment.chains import Answer, Policy
from trainer.alignment.config import AlignConfig
from trainer.alignment.pairs import Pair, direct_rows, longest, refinement_rows, row_log_probs
from trainer.alignment.prompts import Prompt
from trainer.alignment.training import (
    Reference,
    _activation_gradients,
    _preference_gradients,
    batch_numbers,
    reference_log_probs,
    stage_items,
    train_steps,
)
from trainer.chat import ChatML, Turn
from trainer.config import ModelConfig
from trainer.errors import TrainerError
from trainer.model import PLM

CONFIG = AlignConfig(
    rounds=1, prompts_per_round=10, learning_rate=1e-3, batch_size=3, beta=0.3, lambda_=0.5, warmup_steps=4
)
TEXTS = [("1", "22", "3"), ("45", "4", "567"), ("8?", "90", "1")]


@pytest.fixture
def policy(tiny: Callable[..., ModelConfig], chat: ChatML) -> Policy:
    torch.manual_seed(0)
    return Policy(PLM(tiny(initializer_range=0.2)), chat, Sampling(8), "z")


@pytest.fixture
def pairs(make_prompt: Callable[..., Prompt], make_answer: Callable[..., Answer]) -> list[Pair]:
    """Three pairs; the first one's rejected answer was cut off."""
    return [
        Pair(q, make_prompt(q).tokens, make_answer(good), make_answer(bad, number > 0))
        for number, (q, good, bad) in enumerate(TEXTS)
    ]


def log_prob(model: PLM, context: Sequence[int], target: Sequence[int]) -> Tensor:
    """log π(target|context), alone and unpadded, from all the logits."""
    logits = model(torch.tensor([[*context, *target]]))[0].double().log_softmax(-1)
    return torch.stack([logits[len(context) - 1 + n, token] for n, token in enumerate(target)]).sum()


def test_rows_hold_the_formulas_contexts(policy: Policy, pairs: list[Pair], chat: ChatML) -> None:
    direct, refined = direct_rows(policy, pairs[0]), refinement_rows(policy, pairs[0])
    x = [Turn("user", "1")]
    w, l = [*chat.encode("22"), chat.end], chat.encode("3")  # noqa: E741 - cut off, so its turn does not end
    assert [list(target) for _, target in direct] == [w, l]
    assert [list(context) for context, _ in direct] == [chat.prompt(x)] * 2
    assert [list(target) for _, target in refined] == [w, l, w, l]
    after = {text: chat.prompt([*x, Turn("assistant", text), Turn("user", "z")]) for text in ("3", "22")}
    assert [list(context) for context, _ in refined] == [after["3"]] * 2 + [after["22"]] * 2
    assert longest(refined) == len(after["22"]) + 2  # the last of "22" and its end is a label alone


def test_padding_changes_nothing(policy: Policy, pairs: list[Pair]) -> None:
    rows = [row for pair in pairs for row in direct_rows(policy, pair) + refinement_rows(policy, pair)]
    sums, lengths = row_log_probs(policy.model, rows)
    assert lengths.tolist() == [len(target) for _, target in rows]
    for (context, target), found in zip(rows, sums, strict=True):
        assert found.item() == pytest.approx(log_prob(policy.model, context, target).item(), abs=1e-4)


def gradients(model: PLM) -> list[Tensor]:
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return found


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("micro", [None, 1, 2])
def test_gradients_of_a_round(policy: Policy, pairs: list[Pair], reduction: Any, micro: int | None) -> None:
    config = replace(CONFIG, reduction=reduction, micro_batch_size=micro)
    torch.manual_seed(1)
    reference = Reference(-8 * torch.rand(3, 2), -8 * torch.rand(3, 2, 2))
    order = np.array([2, 0, 1])
    measures, tokens = _preference_gradients(policy, pairs, order, reference, config)
    ours = gradients(policy.model)

    total, model = torch.zeros((), dtype=torch.float64), policy.model
    for number, pair in enumerate(pairs):
        (x, w), (_, l) = direct_rows(policy, pair)  # noqa: E741 - the formula's names
        r = [log_prob(model, x, y) - reference.direct[number, n].double() for n, y in enumerate((w, l))]
        loss = -torch.log(torch.sigmoid(config.beta * (r[0] - r[1])))
        for c, first in enumerate((pair.rejected, pair.chosen)):
            context = policy.refine(pair.prompt, first.tokens)
            r = [log_prob(model, context, y) - reference.refined[number, c, n].double() for n, y in enumerate((w, l))]
            if reduction == "mean":
                r = [r[0] / len(w), r[1] / len(l)]
            loss = loss + config.lambda_ * (0.5 - config.beta * (r[0] - r[1])) ** 2
        total = total + loss / 3
    total.backward()
    assert measures["loss"] == pytest.approx(total.item(), rel=1e-4)
    assert measures["loss"] == pytest.approx(measures["dpo"] + config.lambda_ * measures["refinement"], rel=1e-6)
    assert_same(ours, gradients(policy.model))
    every = [row for pair in pairs for row in direct_rows(policy, pair) + refinement_rows(policy, pair)]
    assert tokens == sum(len(context) + len(target) - 1 for context, target in every)


@pytest.mark.parametrize("micro", [None, 2])
@pytest.mark.parametrize("method", ["aries", "dpo"])
def test_gradients_of_the_activation(policy: Policy, pairs: list[Pair], method: str, micro: int | None) -> None:
    changes: dict[str, Any] = {"method": "dpo", "select": "check", "lambda_": 0.0} if method == "dpo" else {}
    config = replace(CONFIG, micro_batch_size=micro, **changes)
    measures, _ = _activation_gradients(policy, pairs, config)
    ours = gradients(policy.model)
    rows = [direct_rows(policy, pair)[0] for pair in pairs]
    if method == "aries":  # y_w after x, and after x, y_l, z
        rows += [(policy.refine(pair.prompt, pair.rejected.tokens), rows[n][1]) for n, pair in enumerate(pairs)]
    total = -sum(log_prob(policy.model, *row) for row in rows) / sum(len(target) for _, target in rows)
    total.backward()
    assert measures["loss"] == pytest.approx(total.item(), rel=1e-4)
    assert ("refinement" in measures) is (method == "aries")
    assert_same(ours, gradients(policy.model))


def test_a_round_begins_at_its_reference(policy: Policy, pairs: list[Pair]) -> None:
    reference = reference_log_probs(policy, pairs, replace(CONFIG, micro_batch_size=2), refine=True)
    assert reference.direct.shape == (3, 2)
    assert reference.refined.shape == (3, 2, 2)
    measures, _ = _preference_gradients(policy, pairs, np.arange(3), reference, CONFIG)
    assert measures["dpo"] == pytest.approx(np.log(2), abs=1e-4)
    assert measures["refinement"] == pytest.approx(0.5, abs=1e-4)
    assert measures["margin"] == pytest.approx(0, abs=1e-4)


def test_the_margin_grows_and_the_rate_warms_up(policy: Policy, pairs: list[Pair]) -> None:
    config = replace(CONFIG, steps=8)
    optimizer = torch.optim.AdamW(policy.model.parameters())
    reference = reference_log_probs(policy, pairs, config, refine=True)
    steps = list(train_steps(policy, optimizer, pairs, reference, config, 0))
    assert [step.measures["learning_rate"] for step in steps[:5]] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])
    assert steps[-1].measures["margin"] > 1
    assert steps[-1].measures["loss"] < steps[0].measures["loss"]
    assert steps[-1].consumed == 24


def test_a_loss_that_is_not_finite_stops(policy: Policy, pairs: list[Pair]) -> None:
    optimizer = torch.optim.AdamW(policy.model.parameters())
    broken = Reference(torch.full((3, 2), float("nan")), torch.zeros(3, 2, 2))
    with pytest.raises(TrainerError, match="step 1 of the stage: found loss nan"):
        list(train_steps(policy, optimizer, pairs, broken, CONFIG, 0))


@given(
    pairs=st.integers(1, 30),
    size=st.integers(1, 12),
    epochs=st.integers(1, 3),
    steps=st.none() | st.integers(1, 5),
    data=st.data(),
)
def test_the_order_resumes_and_every_pair_comes_once_an_epoch(
    pairs: int, size: int, epochs: int, steps: int | None, data: Any
) -> None:
    config = replace(CONFIG, epochs=epochs, steps=steps, batch_size=size)
    total = stage_items(config, pairs, activation=False)
    assert total == (steps * size if steps else epochs * pairs)
    batches = [batch.tolist() for batch in batch_numbers(pairs, total, size, 0, 1, 2)]
    flat = [number for batch in batches for number in batch]
    assert len(flat) == total
    for epoch in range(total // pairs):
        assert sorted(flat[epoch * pairs : (epoch + 1) * pairs]) == list(range(pairs))
    skipped = data.draw(st.integers(0, len(batches)))
    rest = [batch.tolist() for batch in batch_numbers(pairs, total, size, min(skipped * size, total), 1, 2)]
    assert rest == batches[skipped:]


def test_no_pairs_no_steps() -> None:
    assert stage_items(replace(CONFIG, steps=5), 0, activation=False) == 0
    assert stage_items(replace(CONFIG, epochs=0.5, activation_epochs=2), 5, activation=False) == 3
    assert stage_items(replace(CONFIG, epochs=0.5, activation_epochs=2), 5, activation=True) == 10
    assert list(batch_numbers(0, 0, 4, 0, 0, 0)) == []
