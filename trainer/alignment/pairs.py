"""Pairs of a chosen and a rejected answer as rows of tokens, and their log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.alignment.chains import Answer, Policy
from trainer.model import IGNORE_INDEX, PLM

Row = tuple[Sequence[int], Sequence[int]]  # the context, and the answer whose log-probability is asked for


@dataclass(frozen=True)
class Pair:
    """A prompt's tokens with a chosen and a rejected answer to it."""

    id: str
    prompt: tuple[int, ...]
    chosen: Answer
    rejected: Answer


def direct_rows(policy: Policy, pair: Pair) -> list[Row]:
    """Return the rows of (y_w|x), (y_l|x)."""
    return [(pair.prompt, _target(policy, answer)) for answer in (pair.chosen, pair.rejected)]


def refinement_rows(policy: Policy, pair: Pair) -> list[Row]:
    """Return the rows of (y_w|x, y_l, z), (y_l|x, y_l, z), (y_w|x, y_w, z), (y_l|x, y_w, z)."""
    return [
        (policy.refine(pair.prompt, first.tokens), _target(policy, answer))
        for first in (pair.rejected, pair.chosen)
        for answer in (pair.chosen, pair.rejected)
    ]


def longest(rows: Sequence[Row]) -> int:
    """Return the positions that the longest row takes: its last token is a label alone."""
    return max(len(context) + len(target) - 1 for context, target in rows)


def row_log_probs(model: PLM, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Return log π(answer|context), in nats, and the answers' lengths in tokens, (rows,) each, in one forward pass.

    Rows are padded behind to the longest one; causal attention lets no token see the padding.
    """
    device = model.model.embed_tokens.weight.device
    length = longest(rows)
    input_ids = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORE_INDEX)
    for number, (context, target) in enumerate(rows):
        tokens = torch.tensor([*context, *target])
        input_ids[number, : len(tokens) - 1] = tokens[:-1]
        labels[number, len(context) - 1 : len(tokens) - 1] = tokens[len(context) :]
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        losses = model.token_losses(input_ids.to(device), labels.to(device))
    return -losses.sum(-1), torch.tensor([len(target) for _, target in rows], device=device)


def _target(policy: Policy, answer: Answer) -> list[int]:
    """Return an answer with the end of its turn, unless it was cut off: a model must not learn to end there."""
    return [*answer.tokens, policy.chat.end] if answer.finished else list(answer.tokens)
