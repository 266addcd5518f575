"""Selects the pair of a chain that is trained on, chosen over rejected, or says why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from trainer.alignment.chains import Answer, Chain
from trainer.alignment.config import Select

Reason = Literal[
    "pair",
    "no-answer",
    "single-answer",
    "empty-answer",
    "identical-answers",
    "chosen-unfinished",
    "chosen-wrong",
    "rejected-right",
    "no-check",
    "unjudged",
    "all-right",
    "none-right",
    "unscored",
    "tie",
    "too-long",
    "no-reference",
]

PAIR: Final = "pair"
# Every reason for which a chain gives no pair; the ledger counts them.
REASONS: dict[Reason, str] = {
    "no-answer": "the prompt leaves the model no room to answer",
    "single-answer": "the chain has one answer, so nothing to compare",
    "empty-answer": "the chosen or the rejected answer is empty",
    "identical-answers": "the chosen answer says the same as the rejected one",
    "chosen-unfinished": "the chosen answer was cut off at its longest",
    "chosen-wrong": "the chosen answer fails the task's check",
    "rejected-right": "the rejected answer passes the task's check",
    "no-check": "the task has no check to go by",
    "unjudged": "the task has a check that could not be made here, as code without an executor",
    "all-right": "every answer passes the task's check",
    "none-right": "no finished answer passes the task's check",
    "unscored": "fewer than two answers have a score",
    "tie": "the best and the worst score are the same",
    "too-long": "the pair with its refinement contexts is longer than the model's positions",
    "no-reference": "the activation has no better answer to teach",
}


@dataclass(frozen=True)
class Decision:
    """The numbers of the chosen and the rejected answer in the chain, or the reason for which there are none."""

    reason: Reason
    chosen: int | None = None
    rejected: int | None = None


def select_pair(
    select: Select, chain: Chain, right: Sequence[bool | None], scores: Sequence[float | None] = ()
) -> Decision:
    """Decide on a chain.

    `rule`: the last refinement is chosen and the first answer rejected; where the task has a check, the chosen must
    pass and the rejected fail it. `check`: the first right answer is chosen and the first wrong one rejected. `reward`:
    the best score is chosen, the worst rejected, the earlier of equals each time.

    Args:
        select: one of these.
        chain: its answers.
        right: whether each answer passes the task's check; None: not known.
        scores: of each answer by a reward model; None: it could not be scored.
    """
    if len(chain.answers) < 2:
        return Decision("single-answer" if chain.answers else "no-answer")
    if select == "rule":
        return _by_rule(chain, right)
    if select == "check":
        return _by_check(chain, right)
    return _by_reward(chain, scores)


def select_activation(chain: Chain) -> Decision:
    """Decide on an activation's chain, of a first answer and then a better one.

    The better one is the data's, and so is the first where the data has a pair; else that is the policy's own. One that
    is as good already, or the very same, stays in: its refinement is to keep it. A model that only ever sees poor
    answers refined learns to change every answer, the right ones too.
    """
    if len(chain.answers) < 2:
        return Decision("no-reference" if chain.prompt.reference is None else "no-answer")
    return Decision(PAIR, 1, 0) if _said(chain.answers[1]) else Decision("empty-answer")


def _by_rule(chain: Chain, right: Sequence[bool | None]) -> Decision:
    decision = _worth_it(chain, len(chain.answers) - 1, 0)
    if decision.chosen is None or decision.rejected is None or chain.prompt.check is None:
        return decision
    if right[decision.chosen] is None or right[decision.rejected] is None:
        return Decision("unjudged")
    if not right[decision.chosen]:
        return Decision("chosen-wrong")
    return Decision("rejected-right") if right[decision.rejected] else decision


def _by_check(chain: Chain, right: Sequence[bool | None]) -> Decision:
    if chain.prompt.check is None:
        return Decision("no-check")
    if all(each is None for each in right):
        return Decision("unjudged")
    numbered = list(zip(right, chain.answers, strict=True))
    chosen = next((n for n, (good, answer) in enumerate(numbered) if good and answer.finished), None)
    rejected = next((n for n, (good, answer) in enumerate(numbered) if good is False and _said(answer)), None)
    if chosen is None:
        return Decision("none-right")
    return Decision("all-right") if rejected is None else _worth_it(chain, chosen, rejected)


def _by_reward(chain: Chain, scores: Sequence[float | None]) -> Decision:
    scored = {number: score for number, score in enumerate(scores) if score is not None}
    if len(scored) < 2:
        return Decision("unscored")
    best, worst = max(scored, key=scored.__getitem__), min(scored, key=scored.__getitem__)
    return Decision("tie") if scored[best] == scored[worst] else _worth_it(chain, best, worst)


def _worth_it(chain: Chain, chosen: int, rejected: int) -> Decision:
    """Refuse a pair that teaches nothing, or something wrong, whatever chose it."""
    better, worse = chain.answers[chosen], chain.answers[rejected]
    if not (_said(better) and _said(worse)):
        return Decision("empty-answer")
    if _said(better) == _said(worse):
        return Decision("identical-answers")
    return Decision(PAIR, chosen, rejected) if better.finished else Decision("chosen-unfinished")


def _said(answer: Answer) -> str:
    return answer.text.strip()
