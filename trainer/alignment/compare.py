"""SFT, iterative DPO and ARIES on the held-out checkable tasks, over several seeds and with the same budget.

For each seed the SFT models, iterative DPO and ARIES are trained anew. DPO and ARIES start from the same SFT model,
take the same prompts in the same order, draw as many answers and take as many optimiser steps, on pairs that each
selects its own way. Each is asked every task greedily. Contenders are compared by their differences seed by seed, as
`trainer.compare` does: the planned pairs' t intervals hold together at 95% (Bonferroni), and a pair whose interval
holds zero shows no difference.
"""

import hashlib
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainer.alignment.chains import Policy, collect
from trainer.alignment.checks import correct
from trainer.alignment.collection import Judges
from trainer.alignment.config import AlignConfig
from trainer.alignment.prompts import Prompt, read_prompts
from trainer.alignment.rounds import SUMMARY, align
from trainer.chat import REFINE, ChatML
from trainer.compare import CONFIDENCE, NO_DIFFERENCE, t_interval
from trainer.config import PhaseData
from trainer.errors import TrainerError
from trainer.files import read_json, sha256, write_json
from trainer.inference import Sampling
from trainer.pretrained import WEIGHTS, load_pretrained, load_tokenizer
from trainer.shards import read_phase, verify_shards

DPO, ARIES, REFINED = "iterative DPO", "ARIES direct", "ARIES with refinement"
SCORES = "scores.json"


@dataclass(frozen=True)
class Score:
    """A contender's right answers to the tasks, of one seed."""

    contender: str
    seed: int
    right: int
    tasks: int
    answer_tokens: float  # mean over the tasks

    @property
    def share(self) -> float:
        """The share of tasks answered rightly."""
        return self.right / self.tasks


@dataclass(frozen=True)
class Difference:
    """`a`'s share of right answers less `b`'s, seed by seed, with an interval for its mean."""

    a: str
    b: str
    differences: tuple[float, ...]
    mean: float
    low: float
    high: float
    verdict: str


def same_budget(config: AlignConfig, seed: int) -> tuple[AlignConfig, AlignConfig]:
    """Return the settings of iterative DPO and of ARIES for a seed, from those of ARIES.

    Both answer each prompt of a round as often. A round's steps are as many as its epochs over as many pairs as it has
    prompts would take: the two find different numbers of pairs, and `epochs` alone would give different steps. The
    activation's pairs are the same for both.
    """
    steps = config.steps or math.ceil(config.epochs * config.prompts_per_round / config.batch_size)
    aries = replace(config, method="aries", seed=seed, steps=steps)
    select = config.select if config.select == "reward" else "check"
    return replace(aries, method="dpo", lambda_=0.0, select=select), aries


def compare_alignment(
    tuned: Callable[[int], dict[str, Path]],
    prompts: PhaseData,
    tasks: PhaseData,
    config: AlignConfig,
    seeds: Sequence[int],
    out: Path,
    *,
    judges: Judges | None = None,
    max_tokens: int | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train and measure all contenders for each seed, and return the comparison; finished parts are only looked up.

    Args:
        tuned: returns for a seed the models after each SFT phase, by name in their order; alignment starts from the
            last.
        prompts: phase of prompts to align on.
        tasks: phase of held-out prompts, each with a check.
        config: of ARIES; see `same_budget`.
        seeds: two or more, each once.
        out: folder: a folder a seed and method.
        judges: a reward model or an executor.
        max_tokens: of an answer to a task; None: as in the alignment.
        progress: show progress lines.
        say: told of every part in one line.

    Raises:
        TrainerError: too few seeds, or a task without a check that can be made here.
    """
    if len(set(seeds)) < max(2, len(seeds)):
        raise TrainerError(f"seeds: found {list(seeds)}, expected two or more, each once; correct what is compared")
    judges = judges or Judges()
    phase = read_phase(tasks, "prompts")
    verify_shards(phase)
    asked = read_prompts(phase)
    scores: list[Score] = []
    told: list[dict[str, Any]] = []
    for seed in seeds:
        models = tuned(seed)
        start, folder = list(models.values())[-1], out / f"seed-{seed}"
        for method, settings in zip(("dpo", "aries"), same_budget(config, seed), strict=True):
            label = DPO if method == "dpo" else ARIES
            say(f"seed {seed}: {label}")
            align(start, prompts, settings, folder / method, judges=judges, progress=progress, say=say)
            models[label] = folder / method / "final"
            told.append({"seed": seed, **read_json(folder / method / SUMMARY, "the summary of a finished run")})
        sampling = Sampling(max_tokens or config.max_tokens)
        for name, model in models.items():
            steps = 1 + config.refinements if name == ARIES else 1
            found = _measure(folder / SCORES, name, model, phase.manifest, asked, sampling, steps, config, judges)
            labels = [name] if steps == 1 else [ARIES, *[""] * (steps - 2), REFINED]
            for label, (right, tokens) in zip(labels, found, strict=True):
                if label:
                    scores.append(Score(label, seed, right, len(asked), tokens))
                    say(f"seed {seed}: {label}: {right} of {len(asked)} right")
    return comparison(scores, config, told)


def _measure(
    path: Path,
    name: str,
    model: Path,
    manifest: bytes,
    asked: Sequence[Prompt],
    sampling: Sampling,
    steps: int,
    config: AlignConfig,
    judges: Judges,
) -> list[tuple[int, float]]:
    """Return right answers and mean tokens by step of the chain, from `path` where they were measured before."""
    identity: dict[str, Any] = {"model": sha256(model / WEIGHTS), "tasks": hashlib.sha256(manifest).hexdigest()}
    identity |= {"max_tokens": sampling.max_tokens, "steps": steps, "refinement_prompt": config.refinement_prompt}
    known = read_json(path, "measured scores") if path.exists() else {}
    if known.get(name, {}).get("of") != identity:
        chat = ChatML(load_tokenizer(model))
        policy = Policy(load_pretrained(model), chat, sampling, config.refinement_prompt or REFINE)
        found = exact_match(policy, asked, steps, judges)
        known[name] = {"of": identity, "found": found}
        write_json(path, known)
    return [(int(right), float(tokens)) for right, tokens in known[name]["found"]]


def exact_match(policy: Policy, asked: Sequence[Prompt], steps: int, judges: Judges) -> list[tuple[int, float]]:
    """Return how many tasks are answered rightly, and the answers' mean tokens, at each step of a chain.

    A chain that has no room for a refinement stands by its last answer.

    Raises:
        TrainerError: a task that cannot be judged.
    """
    chains = collect(policy, asked, steps, refine=True, seed=0, stage="tasks")
    found = []
    for step in range(steps):
        last = [chain.answers[min(step, len(chain.answers) - 1)] if chain.answers else None for chain in chains]
        right = 0
        for prompt, answer in zip(asked, last, strict=True):
            judged = correct(prompt.check, prompt.answer, answer.text if answer else "", judges.executor)
            if judged is None:
                raise TrainerError(
                    f"task {prompt.id}: found the check {prompt.check!r}, expected one that can be made here; give an "
                    "executor for code, or leave the task out"
                )
            right += judged
        found.append((right, statistics.fmean(len(answer.tokens) if answer else 0 for answer in last)))
    return found


def differences(scores: Sequence[Score]) -> list[Difference]:
    """Return the planned pairs' differences: each stage against the one before, and both kinds of ARIES against DPO."""
    names = list(dict.fromkeys(score.contender for score in scores))
    seeds = list(dict.fromkeys(score.seed for score in scores))
    shares = {(score.contender, score.seed): score.share for score in scores}
    tuned = [name for name in names if name not in (DPO, ARIES, REFINED)]
    pairs = [(later, earlier) for earlier, later in pairwise(tuned)]
    pairs += [(DPO, tuned[-1]), (ARIES, tuned[-1]), (ARIES, DPO), (REFINED, ARIES), (REFINED, DPO)]
    found = []
    for a, b in pairs:
        values = [shares[a, seed] - shares[b, seed] for seed in seeds]
        low, high = t_interval(values, len(pairs))
        verdict = f"{a} is better" if low > 0 else f"{b} is better" if high < 0 else NO_DIFFERENCE
        found.append(Difference(a, b, tuple(values), statistics.fmean(values), low, high, verdict))
    return found


def comparison(scores: Sequence[Score], config: AlignConfig, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the whole comparison as it is written to compare-alignment.json."""
    names = list(dict.fromkeys(score.contender for score in scores))
    seeds = list(dict.fromkeys(score.seed for score in scores))
    pairs = differences(scores)
    rows = []
    for name in names:
        own = [score for score in scores if score.contender == name]
        rows.append(
            {
                "name": name,
                "shares": [score.share for score in own],
                "mean": statistics.fmean(score.share for score in own),
                "spread": statistics.stdev(score.share for score in own),
                "answer_tokens": statistics.fmean(score.answer_tokens for score in own),
            }
        )
    wins = [pair for pair in pairs if {pair.a, pair.b} == {REFINED, DPO}]
    return {
        "verdict": _verdict(wins[0], len(seeds)),
        "judged_by": f"differences of the share of right answers over {len(seeds)} seeds, paired by seed; Student's t "
        f"intervals, {CONFIDENCE:.0%} for all {len(pairs)} pairs together (Bonferroni)",
        "tasks": scores[0].tasks,
        "seeds": seeds,
        "contenders": rows,
        "pairs": [asdict(pair) for pair in pairs],
        "budget": _budgets(runs),
        "runs": list(runs),
        "settings": asdict(config),
    }


def _verdict(pair: Difference, seeds: int) -> str:
    if pair.verdict == NO_DIFFERENCE:
        return (
            f"No winner: over {seeds} seeds {pair.a} differs from {pair.b} by {100 * pair.mean:+.1f} points, "
            "which is within the noise between seeds."
        )
    return f"{pair.verdict} by {abs(100 * pair.mean):.1f} points, which is more than the noise between {seeds} seeds."


def _budgets(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return by method what it drew and trained on, a mean over seeds: the same answers and steps, or it is told."""
    found = {}
    for method in dict.fromkeys(run["method"] for run in runs):
        own = [run for run in runs if run["method"] == method]
        counts = [[stage["counts"] for stage in run["stages"]] for run in own]
        found[method] = {
            "answers": statistics.fmean(sum(each["answers"] for each in stages) for stages in counts),
            "pairs": statistics.fmean(sum(each["pairs"] for each in stages) for stages in counts),
            "steps": statistics.fmean(run["steps"] for run in own),
            "tokens": statistics.fmean(run["tokens"] for run in own),
        }
    return found
