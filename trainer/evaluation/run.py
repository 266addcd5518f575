"""One evaluation of a model: its parts, made or found, and the facts and the page that come of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from trainer.alignment.chains import Policy
from trainer.alignment.prompts import Prompt, read_prompts
from trainer.chat import ChatML
from trainer.config import HELD_OUT, PhaseData
from trainer.errors import TrainerError
from trainer.evaluation.asked import Asked, command, progress_line
from trainer.evaluation.bits import bits_per_byte
from trainer.evaluation.exact_match import Answered, answer, read_answers, summarise, write_answers
from trainer.evaluation.page import write_page
from trainer.evaluation.paper import average, suite_rows
from trainer.evaluation.parts import Parts, weights_digest
from trainer.evaluation.sandbox import PROTECTIONS, run_tests
from trainer.files import read_json, sha256, write_json
from trainer.generate import load
from trainer.inference import Sampling
from trainer.model import PLM
from trainer.pretrained import END_OF_TEXT, TOKENIZER, trained_length
from trainer.shards import MANIFEST, Kind, Phase, read_phase, verify_shards

FACTS, PAGE, FOLDER = "evaluation.json", "evaluation.html", "evaluation"  # the last holds the parts
EXAMPLES = 12  # answers that the page shows
_LONGEST_ANSWER = 256  # tokens, where nothing else is asked for
_LONGEST_EXAMPLE = 2000  # characters of each


def evaluate(asked: Asked) -> dict[str, Any]:
    """Measure a model and write evaluation.json and evaluation.html into `asked.out`; parts that are there are reused.

    Returns:
        The facts. Suite tasks that could not be run are among them, with the reason.

    Raises:
        TrainerError: the checkpoint, the held-out documents or the tasks are missing or wrong.
    """
    model, tokenizer = load(asked.checkpoint)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    identity = {
        "weights": weights_digest(model),
        "tokenizer": hashlib.sha256(tokenizer.to_str().encode()).hexdigest(),
    }
    parts = Parts(asked.out / FOLDER, identity)
    window, sandbox = _window(asked, model), _sandbox(asked)
    bits = _bits(asked, parts, model, tokenizer, window)
    tasks = _tasks(asked, parts, model, tokenizer)
    rows = suite_rows(asked, parts, model, tokenizer, window)
    facts = {
        "format": 1,
        "model": {
            "checkpoint": str(asked.checkpoint),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "dtype": str(model.model.embed_tokens.weight.dtype).removeprefix("torch."),
            **identity,
        },
        "window": window,
        "limit": asked.limit,
        "sandbox": sandbox,
        "bits": bits,
        "tasks": tasks,
        "suite": rows,
        "average": average(rows),
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    write_json(asked.out / FACTS, facts)
    write_page(asked.out / PAGE, facts)
    return facts


def _sandbox(asked: Asked) -> dict[str, Any] | None:
    """Return what generated code is confined by here, and what this system lacks; None where none may run."""
    if not asked.run_code:
        return None
    held = run_tests("", "").held
    missing = [name for name in PROTECTIONS if name not in held]
    if missing:
        asked.say(f"! generated code runs less confined than it could: this system lacks {', '.join(missing)}")
    return {"held": list(held), "missing": missing}


def _window(asked: Asked, model: PLM) -> int:
    """Return the tokens seen at once: a model knows nothing of positions that it was not trained at."""
    most = model.config.max_position_embeddings
    if asked.window is not None:
        if not 2 <= asked.window <= most:
            raise TrainerError(f"window: found {asked.window}, expected 2 to {most}, the model's positions")
        return asked.window
    return min(most, trained_length(asked.checkpoint) or most)


def _phase(asked: Asked, folder: Path, kind: Kind) -> Phase:
    """Read a held-out phase, whose manifest says its name; its tokens have to be those of the model's tokenizer."""
    manifest = read_json(folder / MANIFEST, f"the manifest of a folder of held-out {kind}")
    phase = read_phase(PhaseData(str(manifest.get("phase")), HELD_OUT, folder), kind)
    for place in (asked.checkpoint, asked.checkpoint / "final", asked.checkpoint / "tokenizer"):  # as `load` looks
        if (place / TOKENIZER).is_file():
            if sha256(place / TOKENIZER) != phase.tokenizer_sha256:
                raise TrainerError(
                    f"{phase.path}: tokenizer.sha256: found {phase.tokenizer_sha256}, expected that of "
                    f"{place / TOKENIZER}: its tokens are another tokenizer's; give the folder of the model's own build"
                )
            break
    return phase


def _bits(asked: Asked, parts: Parts, model: PLM, tokenizer: Tokenizer, window: int) -> dict[str, Any]:
    made = command(asked, *(["--held-out", str(asked.held_out)] if asked.held_out else []))
    if asked.held_out is None:
        made = command(asked, "--held-out", "DIR")
        reason = "no folder of held-out documents was found"
        return {"command": made, "reason": reason, "total": None, "sources": [], "domains": []}
    phase = _phase(asked, asked.held_out, "documents")
    key = {"manifest": sha256(phase.path), "window": window, "limit": asked.limit}
    rows = sum(shard.rows for shard in phase.shards)

    def measure() -> dict[str, Any]:
        with progress_line(asked, "bits per byte", min(rows, asked.limit or rows)) as advance:
            end_of_text = tokenizer.token_to_id(END_OF_TEXT)
            assert end_of_text is not None  # as every tokenizer that was loaded has it
            return bits_per_byte(model, phase, end_of_text, window, limit=asked.limit, progress=advance)

    result, reused = parts.make("bits", key, measure)
    asked.say(f"bits per byte: {result['total']['bits_per_byte']:.4f}{', reused' if reused else ''}")
    return {"command": made, "reason": None, **result}


def answer_tokens(asked: int | None, model: PLM) -> int:
    """Return the tokens of the longest answer: by default so many that a question and two answers have room."""
    return asked or max(1, min(_LONGEST_ANSWER, model.config.max_position_embeddings // 4))


def _tasks(asked: Asked, parts: Parts, model: PLM, tokenizer: Tokenizer) -> dict[str, Any]:
    longest = answer_tokens(asked.max_tokens, model)
    options = ["--tasks", str(asked.tasks or "DIR"), "--max-tokens", str(longest)]
    options += ["--refine", str(asked.refine)] if asked.refine else []
    options += ["--run-generated-code"] if asked.run_code else []
    made = command(asked, *options)
    if asked.tasks is None:
        return {"command": made, "reason": "no folder of tasks was found", "turns": [], "examples": []}
    phase = _phase(asked, asked.tasks, "prompts")
    verify_shards(phase)
    rows = sum(shard.rows for shard in phase.shards)
    prompts = read_prompts(phase, range(min(rows, asked.limit or rows)))
    if not prompts:
        raise TrainerError(f"{phase.path}: found no task, expected one or more; build the tasks again")
    policy = Policy(model, ChatML(tokenizer), Sampling(longest))
    key = {
        "manifest": sha256(phase.path),
        "limit": asked.limit,
        "max_tokens": longest,
        "run_code": asked.run_code,
        "refinement_prompt": policy.refinement_prompt,
    }
    turns: list[dict[str, Any]] = []
    answers: list[Answered] | None = None
    for turn in range(asked.refine + 1):
        name = f"tasks-{turn}"
        path = parts.folder / f"{name}.parquet"
        if not path.is_file():
            parts.path(name).unlink(missing_ok=True)
        work = partial(_turn, asked, policy, prompts, answers, path)
        groups, reused = parts.make(name, {**key, "turn": turn}, work)
        answers = read_answers(path)
        turns.append({"turn": turn, "groups": groups, "answers": f"{FOLDER}/{path.name}"})
        share = groups[-1]["share"]
        shown = "not judged" if share is None else f"{100 * share:.1f}% of {groups[-1]['questions']}"
        title = "direct" if turn == 0 else f"refined {turn} ×"
        asked.say(f"exact match, {title}: {shown}{', reused' if reused else ''}")
    return {"command": made, "reason": None, "turns": turns, "examples": _examples(answers or [])}


def _turn(
    asked: Asked, policy: Policy, prompts: Sequence[Prompt], before: Sequence[Answered] | None, path: Path
) -> list[dict[str, Any]]:
    """Answer all tasks once, or refine the answers before; keep each answer and return the summary."""
    with progress_line(asked, "answers" if before is None else "refinements", len(prompts)) as advance:
        answers = answer(policy, prompts, before, run_code=asked.run_code, progress=advance)
    write_answers(path, answers)
    return summarise(answers)


def _examples(answers: Sequence[Answered]) -> list[dict[str, Any]]:
    """Return some last answers to look at, right and wrong in turn."""
    right = [each for each in answers if each.correct]
    wrong = [each for each in answers if not each.correct]
    half = EXAMPLES // 2
    chosen = right[: max(half, EXAMPLES - len(wrong))] + wrong[: max(half, EXAMPLES - len(right))]
    shown = [{k: v for k, v in asdict(each).items() if k != "tokens"} for each in chosen]
    return [{k: v[:_LONGEST_EXAMPLE] if isinstance(v, str) else v for k, v in each.items()} for each in shown]
