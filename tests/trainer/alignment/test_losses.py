"""Each loss against its formula in float64 and against TRL's on the same log-probabilities."""

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from trl.trainer.dpo_trainer import DPOTrainer

from trainer.alignment.losses import activation_loss, dpo_loss, refinement_loss

log_ratio = st.floats(-30, 30, allow_nan=False)
beta = st.floats(0.01, 2)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@given(chosen=log_ratio, rejected=log_ratio, beta=beta)
def test_dpo_by_its_formula(chosen: float, rejected: float, beta: float) -> None:
    ratios = torch.tensor([[chosen, rejected]], dtype=torch.float64, requires_grad=True)
    loss = dpo_loss(ratios, beta)
    loss.sum().backward()
    margin = beta * (chosen - rejected)
    assert loss.item() == pytest.approx(-math.log(sigmoid(margin)), rel=1e-9, abs=1e-12)
    slope = -beta * sigmoid(-margin)  # equation 7's gradient
    assert ratios.grad is not None
    assert ratios.grad.flatten().tolist() == pytest.approx([slope, -slope], rel=1e-9, abs=1e-12)


@given(
    values=st.lists(log_ratio, min_size=4, max_size=4),
    lengths=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    beta=beta,
    mean=st.booleans(),
)
def test_refinement_by_its_formula(values: list[float], lengths: tuple[int, int], beta: float, mean: bool) -> None:
    ratios = torch.tensor(values, dtype=torch.float64).view(1, 2, 2).requires_grad_()
    loss = refinement_loss(ratios, torch.tensor([lengths]), beta, "mean" if mean else "sum")
    loss.sum().backward()

    w, l = lengths if mean else (1, 1)  # noqa: E741 - the formula's names
    r_w_after_l, r_l_after_l, r_w_after_w, r_l_after_w = values
    delta_l = beta * (r_w_after_l / w - r_l_after_l / l)
    delta_w = beta * (r_w_after_w / w - r_l_after_w / l)
    assert loss.item() == pytest.approx((0.5 - delta_l) ** 2 + (0.5 - delta_w) ** 2, rel=1e-9, abs=1e-9)
    slopes = [-2 * (0.5 - delta) * beta for delta in (delta_l, delta_w)]
    expected = [slopes[0] / w, -slopes[0] / l, slopes[1] / w, -slopes[1] / l]
    assert ratios.grad is not None
    assert ratios.grad.flatten().tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_activation_by_its_formula() -> None:
    direct = torch.tensor([-3.0, -5.0], dtype=torch.float64, requires_grad=True)
    refined = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    loss = activation_loss(direct, refined, 22)
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    for sums in (direct, refined):
        assert sums.grad is not None
        assert sums.grad.tolist() == pytest.approx([-1 / 22, -1 / 22])
    assert activation_loss(direct, refined[:0], 10).item() == pytest.approx(0.8)  # direct answers alone


class Accelerator:
    """As much of accelerate as TRL's loss asks of it: one process."""

    device = torch.device("cpu")

    def gather(self, value: Any) -> Any:
        return value

    gather_for_metrics = gather


def trl_loss(policy: Tensor, reference: Tensor, lengths: Tensor, beta: float, kind: str) -> Tensor:
    """TRL's own `DPOTrainer._compute_loss` on given log-probabilities, of chosen and then of rejected (2, pairs).

    The method wants a trainer with a model; a stand-in holds its settings, and its model returns each answer's
    log-probability, spread evenly over so many tokens.
    """
    counts = lengths.flatten()
    mask = torch.arange(int(counts.max()) + 1) <= counts[:, None]  # a token before the answer, as a prompt has
    mask[:, 0] = False
    spread = mask[:, 1:].double() / counts[:, None]

    def outputs(values: Tensor) -> SimpleNamespace:
        rows = spread * values.flatten()[:, None]
        zeros = torch.zeros_like(rows)
        return SimpleNamespace(log_probs=rows, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())

    class Model:
        training = True

        def __call__(self, **_: Any) -> SimpleNamespace:
            return outputs(policy)

    standing = SimpleNamespace(
        model=Model(), accelerator=Accelerator(), aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True,
        f_divergence_type="reverse_kl", loss_types=[kind], loss_weights=[1.0], beta=beta, use_weighting=False,
        _metrics={"train": defaultdict(list)}, _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    inputs = {
        "input_ids": torch.zeros(mask.shape, dtype=torch.long),
        "attention_mask": torch.ones(mask.shape, dtype=torch.long),
        "completion_mask": mask.long(),
        "ref_chosen_logps": reference[0],
        "ref_rejected_logps": reference[1],
    }
    return DPOTrainer._compute_loss(standing, standing.model, inputs, return_outputs=False)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), pairs=st.integers(1, 5), beta=beta)
def test_against_trl(seed: int, pairs: int, beta: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    policy, reference = -30 * torch.rand(2, 2, pairs, dtype=torch.float64, generator=generator)
    lengths = torch.randint(1, 20, (2, pairs), generator=generator)
    ratios = (policy - reference).T

    ours, theirs = (policy.clone().requires_grad_() for _ in range(2))
    loss, expected = dpo_loss((ours - reference).T, beta).mean(), trl_loss(theirs, reference, lengths, beta, "sigmoid")
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, ours), torch.autograd.grad(expected, theirs))

    # both terms on the same ratios: twice TRL's squared loss, whose target is 1/2β instead of our ½
    both = refinement_loss(ratios.unsqueeze(1).expand(-1, 2, -1), lengths.T, beta, "mean").mean()
    torch.testing.assert_close(both, 2 * beta**2 * trl_loss(policy, reference, lengths, beta, "ipo"))
