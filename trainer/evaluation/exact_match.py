"""Exact match on tasks whose answers can be checked: answered directly, and refined a number of times."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.alignment.chains import Policy
from trainer.alignment.checks import correct, number
from trainer.alignment.prompts import Prompt
from trainer.evaluation.code import extract_code
from trainer.evaluation.intervals import wilson
from trainer.evaluation.sandbox import Outcome, run_all

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("check", pa.string()),
        ("turn", pa.int32()),
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("extracted", pa.string()),
        ("expected", pa.string()),
        ("correct", pa.bool_()),
        ("reason", pa.string()),
        ("state", pa.string()),
        ("tokens", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True)
class Answered:
    """A task, one answer to it and the verdict; the texts are a model's, so they are to be escaped."""

    id: str
    source: str
    check: str | None
    turn: int  # 0: the direct answer; k: after k refinements
    prompt: str  # the question, or the whole prompt where the data names none
    completion: str
    extracted: str | None  # what the check compared: the number, or the code
    expected: str | None
    correct: bool | None  # None: not judged, for want of a check or of leave to run code
    reason: str | None  # of code that was run: why it did not pass
    state: str  # "ended", "cut" at the longest answer, or "no room" for one: then the answer before it stands
    tokens: list[int]  # of the completion


def answer(
    policy: Policy,
    prompts: Sequence[Prompt],
    before: Sequence[Answered] | None = None,
    *,
    run_code: bool = False,
    progress: Callable[[int], object] | None = None,
) -> list[Answered]:
    """Answer every task, or refine the answers before, and judge the result.

    Args:
        policy: the model, and how it draws.
        prompts: the tasks.
        before: answers to refine, one a task; None: answer directly.
        run_code: the user allows generated code to run, in the sandbox; without it, code is not judged.
        progress: told of how many more are answered.
    """
    turn = 0 if before is None else before[0].turn + 1 if before else 1
    contexts: list[Sequence[int]] = [prompt.tokens for prompt in prompts]
    if before is not None:
        contexts = [policy.refine(context, last.tokens) for context, last in zip(contexts, before, strict=True)]
    drawn = policy.answer(contexts, [0] * len(contexts), progress)
    answers = []
    for index, (prompt, found) in enumerate(zip(prompts, drawn, strict=True)):
        if found is None:
            kept = before[index] if before is not None else None
            text, tokens, state = (kept.completion, kept.tokens, "no room") if kept else ("", [], "no room")
        else:
            text, tokens, state = found.text, list(found.tokens), "ended" if found.finished else "cut"
        answers.append((prompt, text, tokens, state))
    ran = _run([(prompt, text) for prompt, text, *_ in answers]) if run_code else {}
    return [
        Answered(
            id=prompt.id,
            source=prompt.source,
            check=prompt.check,
            turn=turn,
            prompt=prompt.question if prompt.question is not None else policy.chat.decode(prompt.tokens),
            completion=text,
            extracted=_extracted(prompt.check, text),
            expected=prompt.answer,
            correct=ran[index].passed if index in ran else correct(prompt.check, prompt.answer, text),
            reason=ran[index].reason if index in ran else None,
            state=state,
            tokens=tokens,
        )
        for index, (prompt, text, tokens, state) in enumerate(answers)
    ]


def _run(answers: Sequence[tuple[Prompt, str]]) -> dict[int, Outcome]:
    """Run the code of those answers that are checked so, several at a time; by their place."""
    wanted = [index for index, (prompt, _) in enumerate(answers) if prompt.check == "python"]
    pairs = [(extract_code(answers[index][1]), answers[index][0].answer or "") for index in wanted]
    return dict(zip(wanted, run_all(pairs), strict=True))


def _extracted(check: str | None, text: str) -> str | None:
    if check == "number":
        value = number(text)
        return None if value is None else str(value)
    return extract_code(text) if check == "python" else None


def summarise(answers: Sequence[Answered]) -> list[dict[str, Any]]:
    """Return exact match by source and check, in the order of their names, and over all at the end.

    Each entry has source, check, questions (judged), correct, unjudged, cut (off at their longest), no_room, share, and
    the share's 95% Wilson `interval`; the last two are None where nothing was judged. A question that left the model no
    room for any answer counts as wrong.
    """
    groups: dict[tuple[str, str], list[Answered]] = {}
    for each in answers:
        groups.setdefault((each.source, each.check or "none"), []).append(each)
    entries = [_entry(source, check, groups[source, check]) for source, check in sorted(groups)]
    return [*entries, _entry("all", "any", answers)]


def _entry(source: str, check: str, answers: Sequence[Answered]) -> dict[str, Any]:
    judged = [each.correct for each in answers if each.correct is not None]
    right = sum(judged)
    return {
        "source": source,
        "check": check,
        "questions": len(judged),
        "correct": right,
        "unjudged": len(answers) - len(judged),
        "cut": sum(each.state == "cut" for each in answers),
        "no_room": sum(each.state == "no room" for each in answers),
        "share": right / len(judged) if judged else None,
        "interval": wilson(right, len(judged)) if judged else None,
    }


def write_answers(path: Path, answers: Sequence[Answered]) -> None:
    """Write every answer as a row of Parquet."""
    pq.write_table(pa.Table.from_pylist([asdict(each) for each in answers], SCHEMA), path, compression="zstd")


def read_answers(path: Path) -> list[Answered]:
    """Read what `write_answers` wrote."""
    return [Answered(**row) for row in pq.read_table(path, schema=SCHEMA).to_pylist()]
