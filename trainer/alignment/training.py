"""Training on a stage's pairs: the reference's log-probabilities, the order of the pairs, and the steps."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from trainer.alignment.chains import Policy
from trainer.alignment.config import AlignConfig
from trainer.alignment.losses import activation_loss, dpo_loss, refinement_loss
from trainer.alignment.pairs import Pair, Row, direct_rows, refinement_rows, row_log_probs
from trainer.errors import TrainerError
from trainer.sft import rate_at

Measures = dict[str, float]


@dataclass(frozen=True)
class Reference:
    """The frozen reference's log-probabilities of a round's pairs, in nats, fp32 on the CPU.

    `direct` (pairs, 2) and `refined` (pairs, 2, 2), in the order of the losses' arguments; `refined` is empty where no
    refinement is trained.
    """

    direct: Tensor
    refined: Tensor


@dataclass(frozen=True)
class Step:
    """One optimiser step: the stage's pairs consumed after it, the tokens that it computed, and what was measured."""

    consumed: int
    tokens: int
    measures: Measures


def trains_refinement(config: AlignConfig) -> bool:
    """Whether the rounds have a refinement loss."""
    return config.method == "aries" and config.lambda_ > 0


@torch.no_grad()
def reference_log_probs(policy: Policy, pairs: Sequence[Pair], config: AlignConfig, refine: bool) -> Reference:
    """Compute the reference's log-probabilities of all pairs; the policy is the reference until its first step."""
    direct, refined = [torch.empty(0, 2)], [torch.empty(0, 2, 2)]
    size = config.micro_batch_size or config.batch_size
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        direct.append(_sums(policy, part, direct_rows)[0].view(-1, 2).cpu())
        if refine:
            refined.append(_sums(policy, part, refinement_rows)[0].view(-1, 2, 2).cpu())
    return Reference(torch.cat(direct), torch.cat(refined))


def stage_items(config: AlignConfig, pairs: int, activation: bool) -> int:
    """Return how many pairs a stage trains on, each counted as often as it comes."""
    if config.steps is not None and not activation:
        return config.steps * config.batch_size if pairs else 0
    return math.ceil(pairs * (config.activation_epochs if activation else config.epochs))


def batch_numbers(
    pairs: int, total: int, batch_size: int, consumed: int, seed: int, stage: int
) -> Iterator[np.ndarray]:
    """Yield the numbers of each batch's pairs, from `consumed` to `total`; each epoch draws its order anew.

    The order follows from the seed, the stage and the epoch's number, so the count alone resumes it.
    """

    @lru_cache(maxsize=2)  # a batch may reach into the next epoch
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((seed, stage, epoch)).permutation(pairs)

    for start in range(consumed, total, batch_size):
        items = range(start, min(start + batch_size, total))
        yield np.array([order(item // pairs)[item % pairs] for item in items])


def train_steps(
    policy: Policy,
    optimizer: AdamW,
    pairs: Sequence[Pair],
    reference: Reference | None,
    config: AlignConfig,
    stage: int,
    consumed: int = 0,
) -> Iterator[Step]:
    """Take a stage's steps, from `consumed` pairs on: the activation where there is no reference, else a round.

    Raises:
        TrainerError: a loss or gradient is not finite.
    """
    total = stage_items(config, len(pairs), reference is None)
    for numbers in batch_numbers(len(pairs), total, config.batch_size, consumed, config.seed, stage):
        in_stage = consumed // config.batch_size + 1
        rate = _rate(config, in_stage, consumed / total, reference is None)
        consumed += len(numbers)
        if reference is None:
            measures, tokens = _activation_gradients(policy, [pairs[n] for n in numbers], config)
        else:
            measures, tokens = _preference_gradients(policy, pairs, numbers, reference, config)
        norm = clip_grad_norm_(policy.model.parameters(), config.gradient_clip).item()
        if not (math.isfinite(measures["loss"]) and math.isfinite(norm)):
            raise TrainerError(
                f"step {in_stage} of the stage: found loss {measures['loss']} and gradient norm {norm}, expected "
                "finite numbers; lower preferences.learning_rate or beta, and train in an empty folder"
            )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        yield Step(consumed, tokens, {**measures, "learning_rate": rate, "gradient_norm": norm})


def _rate(config: AlignConfig, step: int, done: float, activation: bool) -> float:
    """Return the rate of a stage's step: constant after a warm-up, and in the activation as fine-tuning has it.

    Args:
        config: of the run.
        step: in the stage, from 1.
        done: share of the stage's pairs before the step.
        activation: whether it is one.
    """
    if activation:
        peak = config.activation_learning_rate or config.learning_rate
        return rate_at(done, peak, peak / max(1, config.warmup_steps))
    return config.learning_rate * min(1.0, step / max(1, config.warmup_steps))


def _activation_gradients(policy: Policy, batch: Sequence[Pair], config: AlignConfig) -> tuple[Measures, int]:
    """Accumulate L_SFT's gradients. Iterative DPO learns the direct answers alone, of the same pairs."""
    makers = [_good_answer, _good_refinement] if config.method == "aries" else [_good_answer]
    rows = [[row for pair in batch for row in make(policy, pair)] for make in makers]
    targets = [sum(len(target) for _, target in each) for each in rows]
    sums = []
    for make in makers:
        found = 0.0
        for part in _parts(batch, config):
            log_probs = _sums(policy, part, make)[0]
            activation_loss(log_probs, log_probs[:0], sum(targets)).backward()
            found += log_probs.sum().item()
        sums.append(found)
    measures = {"loss": -sum(sums) / sum(targets), "direct": -sums[0] / targets[0]}
    if len(makers) > 1:
        measures["refinement"] = -sums[1] / targets[1]
    return measures, sum(map(_tokens, rows))


def _preference_gradients(
    policy: Policy, pairs: Sequence[Pair], numbers: np.ndarray, reference: Reference, config: AlignConfig
) -> tuple[Measures, int]:
    """Accumulate the gradients of L_DPO + λ·L_ref, the mean over the batch; each term frees its graph by itself."""
    device = policy.model.model.embed_tokens.weight.device
    dpo, refinement, direct, refined, tokens = [], [], [], [], 0
    for part in _parts(numbers, config):
        chosen_pairs = [pairs[number] for number in part]
        sums, lengths = _sums(policy, chosen_pairs, direct_rows)
        ratios = sums.view(-1, 2) - reference.direct[part].to(device)
        loss = dpo_loss(ratios, config.beta)
        (loss.sum() / len(numbers)).backward()
        dpo.append(loss.detach())
        direct.append(ratios.detach())
        tokens += sum(_tokens(direct_rows(policy, pair)) for pair in chosen_pairs)
        if trains_refinement(config):
            sums, _ = _sums(policy, chosen_pairs, refinement_rows)
            ratios = sums.view(-1, 2, 2) - reference.refined[part].to(device)
            loss = refinement_loss(ratios, lengths.view(-1, 2), config.beta, config.reduction)
            (config.lambda_ * loss.sum() / len(numbers)).backward()
            refinement.append(loss.detach())
            refined.append(ratios.detach())
            tokens += sum(_tokens(refinement_rows(policy, pair)) for pair in chosen_pairs)
    ratios = torch.cat(direct)
    measures = {
        "loss": torch.cat(dpo).mean().item(),
        "dpo": torch.cat(dpo).mean().item(),
        **preference_measures(ratios),
    }
    if refinement:
        term = torch.cat(refinement).mean().item()
        margins = torch.cat(refined)[..., 0] - torch.cat(refined)[..., 1]
        measures |= {
            "loss": measures["loss"] + config.lambda_ * term,
            "refinement": term,
            "refinement_accuracy": (margins > 0).float().mean().item(),
        }
    return measures, tokens


def preference_measures(ratios: Tensor) -> Measures:
    """Return what (pairs, 2) log-ratios to the reference say: in nats an answer, and the share in the right order."""
    chosen, rejected = ratios.unbind(1)
    return {
        "chosen_log_ratio": chosen.mean().item(),
        "rejected_log_ratio": rejected.mean().item(),
        "margin": (chosen - rejected).mean().item(),
        "accuracy": (chosen > rejected).float().mean().item(),
    }


def _good_answer(policy: Policy, pair: Pair) -> list[Row]:
    return direct_rows(policy, pair)[:1]  # (y_w|x)


def _good_refinement(policy: Policy, pair: Pair) -> list[Row]:
    return refinement_rows(policy, pair)[:1]  # (y_w|x, y_l, z)


def _parts(batch: Any, config: AlignConfig) -> Iterator[Any]:
    size = config.micro_batch_size or len(batch)
    for start in range(0, len(batch), size):
        yield batch[start : start + size]


def _sums(policy: Policy, pairs: Sequence[Pair], rows_of: Callable[[Policy, Pair], list[Row]]) -> tuple[Tensor, Tensor]:
    return row_log_probs(policy.model, [row for pair in pairs for row in rows_of(policy, pair)])


def _tokens(rows: Sequence[Row]) -> int:
    return sum(len(context) + len(target) - 1 for context, target in rows)
