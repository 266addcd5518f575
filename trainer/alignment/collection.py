"""Collects a stage's chains piece by piece, judges them and writes the ledger; what is there already stays."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from trainer.alignment.chains import Answer, Chain, Policy, collect
from trainer.alignment.checks import Executor, correct
from trainer.alignment.config import AlignConfig
from trainer.alignment.ledger import Judged, piece_path, write_manifest, write_piece
from trainer.alignment.pairs import Pair, direct_rows, longest, refinement_rows
from trainer.alignment.prompts import Prompt, read_prompts
from trainer.alignment.select import PAIR, Decision, select_activation, select_pair
from trainer.chat import Turn
from trainer.shards import MANIFEST, Phase

ACTIVATION = "activation"


class Reward(Protocol):
    """What scores answers; see `trainer.alignment.rewards.RewardModel`."""

    @property
    def name(self) -> str:
        """What tells this scorer from others, for the run's fingerprint."""
        ...

    def score(self, conversations: Sequence[Sequence[Turn]]) -> list[float | None]:
        """Return a score of each conversation's last turn; None where it cannot be given."""
        ...


@dataclass(frozen=True)
class Judges:
    """What answers are judged by, beside the check of their task."""

    reward: Reward | None = None
    executor: Executor | None = None  # runs code, in a sandbox of its own


def collect_stage(
    folder: Path,
    stage: str,
    policy: Policy,
    phase: Phase,
    numbers: Sequence[int] | np.ndarray,
    config: AlignConfig,
    judges: Judges,
    progress: Callable[[int], object] | None = None,
    drawn: Callable[[int], object] | None = None,
) -> None:
    """Write a stage's ledger to `folder`; a piece that is there already is not collected again.

    The pieces' composition follows from the settings alone, so a collection that was interrupted ends with the same
    chains: on a CPU to the bit, for each piece is decoded with the same others as before.

    Args:
        folder: of the stage; its manifest.json is written last of all.
        stage: its name: `activation`, or a round's.
        policy: answers.
        phase: the prompts'.
        numbers: of the prompts to answer.
        config: of the run.
        judges: a reward model if `select` wants one; an executor if code is to be judged.
        progress: told how many prompts have been done since the last call.
        drawn: told how many answers have been drawn since the last call; what it raises ends the collection.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces = math.ceil(len(numbers) / config.collect_size)
    for piece in range(pieces):
        path, part = piece_path(folder, piece), numbers[piece * config.collect_size : (piece + 1) * config.collect_size]
        if not path.exists():
            prompts = read_prompts(phase, part)
            make = _activation if stage == ACTIVATION else _round
            write_piece(path, make(stage, policy, prompts, config, judges, drawn))
        if progress is not None:
            progress(len(part))
    facts = {"stage": stage, "method": config.method, "select": config.select, "seed": config.seed}
    if not (folder / MANIFEST).exists():
        write_manifest(folder, pieces, facts)


def _round(
    stage: str,
    policy: Policy,
    prompts: Sequence[Prompt],
    config: AlignConfig,
    judges: Judges,
    drawn: Callable[[int], object] | None,
) -> list[Judged]:
    refine, answers = config.method == "aries", config.refinements + 1
    chains = collect(policy, prompts, answers, refine=refine, seed=config.seed, stage=stage, progress=drawn)
    scored = _score(policy, chains, judges.reward) if config.select == "reward" else [_unknown(c) for c in chains]
    judged = []
    for chain, scores in zip(chains, scored, strict=True):
        right = _check(chain, judges.executor)
        decision = _fit(policy, chain, select_pair(config.select, chain, right, scores), refine)
        judged.append(Judged(chain, right, scores, decision))
    return judged


def _activation(
    stage: str,
    policy: Policy,
    prompts: Sequence[Prompt],
    config: AlignConfig,
    judges: Judges,
    drawn: Callable[[int], object] | None,
) -> list[Judged]:
    """Pair each prompt's good answer with the data's poorer one, or with the policy's own where there is none.

    Both methods make the same pairs; iterative DPO is trained on their direct answers alone.
    """
    asked = [prompt for prompt in prompts if prompt.chosen is None or prompt.rejected is None]
    own = iter(collect(policy, asked, 1, refine=False, seed=config.seed, stage=stage, progress=drawn))
    judged = []
    for prompt in prompts:
        answers: tuple[Answer, ...]
        if prompt.chosen is not None and prompt.rejected is not None:
            answers = (_given(policy, prompt.rejected), _given(policy, prompt.chosen))
        else:
            answers = next(own).answers
            answers += (_given(policy, prompt.reference),) if answers and prompt.reference is not None else ()
        chain = Chain(prompt, answers)
        right = _check(chain, judges.executor)
        decision = _fit(policy, chain, select_activation(chain), refine=True)
        judged.append(Judged(chain, right, _unknown(chain), decision))
    return judged


def _given(policy: Policy, text: str) -> Answer:
    return Answer(tuple(policy.chat.encode(text)), text, finished=True, given=True)


def _unknown(chain: Chain) -> list[float | None]:
    return [None] * len(chain.answers)


def _check(chain: Chain, executor: Executor | None) -> list[bool | None]:
    prompt = chain.prompt
    return [correct(prompt.check, prompt.answer, answer.text, executor) for answer in chain.answers]


def _score(policy: Policy, chains: Sequence[Chain], reward: Reward | None) -> list[list[float | None]]:
    if reward is None:
        raise ValueError("select is reward, but there is no reward model")
    conversations = [
        [Turn("user", chain.prompt.question or policy.chat.decode(chain.prompt.tokens)), Turn("assistant", answer.text)]
        for chain in chains
        for answer in chain.answers
    ]
    scores = iter(reward.score(conversations))
    return [[next(scores) for _ in chain.answers] for chain in chains]


def _fit(policy: Policy, chain: Chain, decision: Decision, refine: bool) -> Decision:
    """Refuse a pair whose rows are longer than the model's positions."""
    if decision.reason != PAIR or decision.chosen is None or decision.rejected is None:
        return decision
    answers = chain.answers
    pair = Pair(chain.prompt.id, chain.prompt.tokens, answers[decision.chosen], answers[decision.rejected])
    rows = direct_rows(policy, pair) + (refinement_rows(policy, pair) if refine else [])
    fits = longest(rows) <= policy.model.config.max_position_embeddings
    return decision if fits else Decision("too-long")
