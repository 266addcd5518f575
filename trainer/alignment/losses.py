"""The losses of ARIES (arXiv 2502.05605, from its third version on called EVOLVE) on log-probabilities.

z is the refinement prompt, put after a question x and a first answer. With a frozen reference,

    r(y|c) = log π(y|x, c, z) − log π_ref(y|x, c, z)        Δ(c) = β·[r(y_w|c) − r(y_l|c)]
    L = L_DPO(x, y_w, y_l) + λ·L_ref                        L_ref = (½ − Δ(y_l))² + (½ − Δ(y_w))²

Published: that direct preference and refinement preference are trained together, and the activation that mixes direct
answers with refinements. The squared form is credited to ARIES by a later paper (Sherlock); that it is taken on whole
responses, and the exact form of the activation, are inferred. That the activation also refines first answers that are
right already, into the reference, is ours: see `trainer.alignment.select.select_activation`.
"""

import torch.nn.functional as F
from torch import Tensor

from trainer.alignment.config import Reduction


def activation_loss(direct: Tensor, refined: Tensor, tokens: int) -> Tensor:
    """Return L_SFT = −Σ[log π(y_w|x) + log π(y_w|x, y_l, z)] over the target tokens of both, a scalar in nats a token.

    Dividing by the tokens instead of the pairs is inferred: it is what the SFT phases before this one do.

    Args:
        direct: (pairs,) log π(y_w|x), summed over the answer.
        refined: (pairs,) log π(y_w|x, y_l, z); empty where only direct answers are trained.
        tokens: targets of the whole batch, of which these pairs may be a part.
    """
    return -(direct.sum() + refined.sum()) / tokens


def dpo_loss(ratios: Tensor, beta: float) -> Tensor:
    """Return L_DPO = −log σ(β·[r(y_w) − r(y_l)]) of each pair (arXiv 2305.18290, equation 7), (pairs,).

    Args:
        ratios: (pairs, 2) log π(y|x) − log π_ref(y|x), summed over the answer: of the chosen, then of the rejected.
        beta: how far the policy may leave its reference.
    """
    return -F.logsigmoid(beta * (ratios[:, 0] - ratios[:, 1]))


def refinement_loss(ratios: Tensor, lengths: Tensor, beta: float, reduction: Reduction) -> Tensor:
    """Return L_ref = (½ − Δ(y_l))² + (½ − Δ(y_w))² of each pair, (pairs,).

    A squared loss on sums grows with the answers' length. `mean` divides each answer's log-ratio by its tokens, as
    TRL does for IPO, whose loss this then is, times β².

    Args:
        ratios: (pairs, 2, 2) r(y|c) summed over the answer: the first answer c is the rejected, then the chosen; the
            refinement y is the chosen, then the rejected.
        lengths: (pairs, 2) tokens of the chosen and of the rejected.
        beta: as for `dpo_loss`.
        reduction: `sum` or `mean` over an answer's tokens.
    """
    if reduction == "mean":
        ratios = ratios / lengths.clamp(min=1).unsqueeze(1)
    delta = beta * (ratios[..., 0] - ratios[..., 1])
    return (0.5 - delta).square().sum(-1)
