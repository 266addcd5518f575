"""What tells why an alignment went as it did: lengths, distinct answers, right answers by step, drift, margins."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from trainer.alignment.chains import Policy
from trainer.alignment.config import AlignConfig
from trainer.alignment.ledger import answer_of, read_chains
from trainer.alignment.pairs import Pair, Row, direct_rows, row_log_probs
from trainer.alignment.training import Reference, preference_measures

MOST_MEASURED = 256  # chains and pairs that drift is measured on: a mean needs no more


def chain_facts(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what a stage's chains look like, by step of the chain where it says so.

    `distinct_answers` is the share of a chain's drawn answers that are not a repetition of another one of it, a mean
    over chains; `distinct_chains` the share of chains whose answers all differ; `right` the share of judged answers
    that pass their check; `changed` of the answers that differ from the one before; `mended` and `broken` the share of
    wrong and of right answers that the next one makes right and wrong.
    """
    drawn = [[_small(answer) for answer in row["answers"] if not answer["given"]] for row in rows]
    drawn = [answers for answers in drawn if answers]
    steps = max(map(len, drawn), default=0)
    by_step = [[answers[step] for answers in drawn if len(answers) > step] for step in range(steps)]
    moves = [(a, b) for answers in drawn for a, b in pairwise(answers)]
    judged = [(a["right"], b["right"]) for a, b in moves if a["right"] is not None and b["right"] is not None]
    distinct = [len({answer["text"] for answer in answers}) / len(answers) for answers in drawn]
    return {
        "answer_tokens": [_mean(answer["tokens"] for answer in answers) for answers in by_step],
        "finished": [_mean(answer["finished"] for answer in answers) for answers in by_step],
        "right": [_mean(a["right"] for a in answers if a["right"] is not None) for answers in by_step],
        "score": [_mean(a["score"] for a in answers if a["score"] is not None) for answers in by_step],
        "distinct_answers": _mean(distinct),
        "distinct_chains": _mean(share == 1 for share in distinct),
        "changed": _mean(a["text"] != b["text"] for a, b in moves),
        "mended": _mean(after for before, after in judged if not before),
        "broken": _mean(not after for before, after in judged if before),
    }


def pair_facts(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return how many pairs there are, and the mean tokens of each side: what selects may favour length alone."""
    return {
        "pairs": len(pairs),
        "chosen_tokens": _mean(len(pair.chosen.tokens) for pair in pairs),
        "rejected_tokens": _mean(len(pair.rejected.tokens) for pair in pairs),
    }


def first_rows(policy: Policy, folder: Path) -> list[Row]:
    """Return the first answers drawn for a stage, as rows: samples of the policy at the stage's start."""
    found: list[Row] = []
    for row in read_chains(folder):
        if row["answers"] and not row["answers"][0]["given"]:
            answer = answer_of(row, 0)
            target = [*answer.tokens, policy.chat.end] if answer.finished else list(answer.tokens)
            if target:
                found.append((tuple(row["prompt"]), target))
        if len(found) == MOST_MEASURED:
            break
    return found


@torch.no_grad()
def log_probs_of(policy: Policy, rows: Sequence[Row], config: AlignConfig) -> Tensor:
    """Return the rows' log-probabilities under the policy as it is now, (rows,) on the CPU."""
    size = 2 * (config.micro_batch_size or config.batch_size)
    parts = [row_log_probs(policy.model, rows[start : start + size])[0].cpu() for start in range(0, len(rows), size)]
    return torch.cat([torch.empty(0), *parts])


def drift(before: Tensor, after: Tensor, rows: Sequence[Row]) -> dict[str, Any]:
    """Return KL(policy at the stage's start ‖ policy at its end), in nats an answer and a token.

    It is the mean of log π_start(y|x) − log π_end(y|x) over answers drawn at the start: unbiased where these were
    drawn at temperature 1 and top-p 1, and a measure of drift in any case.
    """
    tokens = sum(len(target) for _, target in rows)
    total = (before - after).sum().item()
    return {"kl": total / len(rows) if rows else None, "kl_per_token": total / tokens if tokens else None}


def pair_drift(policy: Policy, pairs: Sequence[Pair], reference: Reference, config: AlignConfig) -> dict[str, Any]:
    """Return log-ratios, margin and accuracy of the policy as it is now on a stage's pairs."""
    some = pairs[:MOST_MEASURED]
    if not some:
        return {}
    rows = [row for pair in some for row in direct_rows(policy, pair)]
    ratios = log_probs_of(policy, rows, config).view(-1, 2) - reference.direct[: len(some)]
    return dict(preference_measures(ratios))


def _small(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer with the number of its tokens in their place, so that a round's answers fit into memory."""
    return {**answer, "text": answer["text"].strip(), "tokens": len(answer["tokens"])}


def _mean(values: Any) -> float | None:
    found = [float(value) for value in values]
    return fmean(found) if found else None
