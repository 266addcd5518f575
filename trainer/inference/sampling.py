"""How the next token is drawn from the logits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from trainer.errors import TrainerError

# The likeliest tokens that top-p looks at first. They mostly hold its probability, and to sort all takes ten times as
# long as to find them.
LIKELIEST: Final = 1024


@dataclass(frozen=True)
class Sampling:
    """Settings of a draw.

    Attributes:
        max_tokens: tokens to draw at most.
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: draw from the smallest set of likeliest tokens that holds this probability (arXiv 1904.09751).
        stop: texts before the first of which the completion ends.

    Raises:
        TrainerError: a setting is out of its range.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise TrainerError(f"max_tokens: found {self.max_tokens}, expected one or more")
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise TrainerError(f"temperature: found {self.temperature}, expected a number, zero or more")
        if not 0 < self.top_p <= 1:
            raise TrainerError(f"top_p: found {self.top_p}, expected a number above 0 up to 1")
        if isinstance(self.stop, str) or not all(self.stop):
            raise TrainerError(f"stop: found {self.stop!r}, expected a tuple of texts, none of them empty")
        object.__setattr__(self, "stop", tuple(self.stop))


def draw(logits: Tensor, sampling: Sampling, uniforms: Sequence[float]) -> list[int]:
    """Draw a token from each row of `logits` (rows, vocabulary), in any dtype.

    A row's number, from 0 to below 1, decides by the inverse of the distribution's cumulative sum. So logits that
    differ in their last bits, as those of another batch may, give another token only where the number falls into the
    sliver between them.

    Raises:
        TrainerError: a logit is NaN.
    """
    if logits.isnan().any():
        raise TrainerError("logits: found NaN, expected numbers; the model's weights are not usable")
    if sampling.temperature == 0:
        return logits.argmax(-1).tolist()
    logits = logits.float()
    # the largest becomes 0, so that no temperature, however small, overflows
    probabilities = ((logits - logits.amax(-1, keepdim=True)) / sampling.temperature).softmax(-1)
    order = None
    if sampling.top_p < 1:
        probabilities, order = nucleus(probabilities, sampling.top_p)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    target = torch.tensor(uniforms, dtype=torch.float64, device=logits.device).unsqueeze(1) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, target, right=True).clamp(max=cumulative.shape[1] - 1)
    return (drawn if order is None else order.gather(-1, drawn)).flatten().tolist()


def nucleus(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the likeliest tokens' probabilities in descending order, and their ids, both (rows, tokens looked at).

    Those that the set does not need to hold `top_p` have a probability of zero; the likeliest always stays.
    """
    size = probabilities.shape[-1]
    for looked_at in sorted({min(LIKELIEST, size), size}):
        likeliest, order = probabilities.topk(looked_at)
        cumulative = likeliest.cumsum(-1, dtype=torch.float64)
        if bool((cumulative[:, -1] >= top_p).all()):
            break
    # a token stays if the likelier ones together hold less than top_p
    return likeliest.masked_fill(cumulative - likeliest >= top_p, 0.0), order
