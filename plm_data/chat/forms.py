"""The usual forms of conversations and prompts: a row of a set as a conversation, or why it is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plm_data.chat.conversation import ASSISTANT, SYSTEM, USER, Conversation, conversation
from plm_data.recipe_conversations import COLUMNS, Form
from plm_data.sources.file_formats import Reason

Row = Mapping[str, Any]

# GSM8K's solutions end so; within them, <<48/2=24>> are a calculator's.
_FINAL_ANSWER = re.compile(r"\n?#### *([^\n]+?)\s*\Z")
_CALCULATION = re.compile(r"<<[^<>\n]*>>")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def convert(row: Row, form: Form | None, names: Mapping[str, str]) -> Conversation | Reason:
    """A row of a set. ``form``: null to tell it by the row's columns; ``names``: column of the form → the set's."""
    form = form or form_of(row)
    if form is None:
        columns = ", ".join(sorted(row)[:12])
        return "unknown-form", f"nothing says which form the columns {columns} are of; name it in the recipe as form"
    required, optional = COLUMNS[form]
    given = {name: row.get(names.get(name, name)) for name in (*required, *optional)}
    if missing := [names.get(name, name) for name in required if given[name] is None]:
        return "missing-column", f"the row has no {missing[0]!r}, which the form {form} needs"
    return _FORMS[form](given)


def form_of(row: Row) -> Form | None:
    """The one form whose columns a row has; None if none fits, or more than one."""
    fits = [form for form, test in _TELLING.items() if test(row)]
    return fits[0] if len(fits) == 1 else None


_TELLING: dict[Form, Callable[[Row], bool]] = {
    "messages": lambda row: "messages" in row,
    "sharegpt": lambda row: "conversations" in row,
    "alpaca": lambda row: "instruction" in row and ("output" in row or "instances" in row),
    "prompt-response": lambda row: "prompt" in row and "response" in row,
    "gsm8k": lambda row: "question" in row and "####" in str(row.get("answer")),
    "preference-pair": lambda row: "chosen" in row and "rejected" in row,
    "code-task": lambda row: ("text" in row or "prompt" in row) and ("code" in row or "canonical_solution" in row),
}


def _messages(row: Row) -> Conversation | Reason:
    return _listed(row["messages"], "messages", "role", "content")


def _sharegpt(row: Row) -> Conversation | Reason:
    return _listed(row["conversations"], "conversations", "from", "value", _system(row))


def _alpaca(row: Row) -> Conversation | Reason:
    # Self-instruct's seed tasks have their input and output in a list, of which the first counts.
    instances = row["instances"]
    first = instances[0] if isinstance(instances, Sequence) and instances else None
    inner = first if isinstance(first, Mapping) else row
    asked, given = row["instruction"], inner.get("input")
    if isinstance(given, str) and given.strip() and isinstance(asked, str):
        asked = f"{asked}\n\n{given}"
    return conversation([*_system(row), (USER, asked), (ASSISTANT, inner.get("output"))])


def _prompt_response(row: Row) -> Conversation | Reason:
    turns = [*_system(row), (USER, row["prompt"])]
    return conversation(turns if row["response"] is None else [*turns, (ASSISTANT, row["response"])])


def _gsm8k(row: Row) -> Conversation | Reason:
    solution = row["answer"]
    if not isinstance(solution, str):
        return conversation([(USER, row["question"]), (ASSISTANT, solution)])
    solution = _CALCULATION.sub("", solution)
    found = _FINAL_ANSWER.search(solution)
    number = found[1].replace(",", "").lstrip("$").strip() if found else ""
    if not found or not _NUMBER.fullmatch(number):
        return "no-final-answer", "the solution does not end with #### and a number"
    text = f"{solution[: found.start()].rstrip()}\n#### {number}"
    return conversation([(USER, row["question"]), (ASSISTANT, text)], answer=number, check="number")


def _preference_pair(row: Row) -> Conversation | Reason:
    asked, answers = row["prompt"], []
    for name in ("chosen", "rejected"):
        said = row[name]
        if isinstance(said, str):
            answers.append((_as_turns(asked), said))
            continue
        found = _listed(said, name, "role", "content")
        if not isinstance(found, Conversation):
            return found
        if found.turns[-1][0] != ASSISTANT:
            return "no-assistant-turn", f"{name} does not end with an answer"
        *before, (_, answer) = found.turns
        answers.append((before or _as_turns(asked), answer))
    (prompt, chosen), (other, rejected) = answers
    if list(prompt) != list(other):
        return "different-prompts", "chosen and rejected answer other turns"
    if chosen == rejected:
        return "no-preference", "chosen and rejected are the same"
    if not (chosen.strip() and rejected.strip()):
        return "empty-turn", "an answer of the pair says nothing"
    found = conversation(prompt)
    if not isinstance(found, Conversation):
        return found
    return conversation([*found.turns, (ASSISTANT, chosen)], chosen=chosen, rejected=rejected)


def _as_turns(prompt: Any) -> Sequence[tuple[Any, Any]]:
    if isinstance(prompt, list):
        found = _listed(prompt, "prompt", "role", "content")
        return found.turns if isinstance(found, Conversation) else [(USER, None)]
    return [(USER, prompt)]


def _code_task(row: Row) -> Conversation | Reason:
    asked, code = _first(row, "text", "prompt"), _first(row, "code", "canonical_solution")
    if not isinstance(asked, str) or not isinstance(code, str):
        return conversation([(USER, asked), (ASSISTANT, code)])
    if row["entry_point"] is not None:  # HumanEval: the prompt is the function's head, and the code goes on from it
        if not str(row["entry_point"]).isidentifier() or not isinstance(row["test"], str):
            return "not-text", "entry_point is no name of a function, or test no code"
        question = f"Complete this Python function.\n\n{fenced(asked)}"
        code, tests = asked + code, f"{row['test']}\n\ncheck({row['entry_point']})\n"
    else:
        lines = [*_lines(row["test_imports"]), *_lines(row["test_setup_code"])]
        checks = [*_lines(row["test_list"]), *_lines(row["test"])]
        tests = "\n".join([*lines, *checks, ""]) if checks else ""
        # The tests alone say what the function is called.
        question = (
            f"{asked}\n\nYour code should pass these tests:\n\n{fenced(chr(10).join(checks))}" if checks else asked
        )
    known = {"answer": tests, "check": "python"} if tests else {}
    return conversation([(USER, question), (ASSISTANT, fenced(code))], **known)


def fenced(code: str) -> str:
    """Python code as an answer shows it."""
    return f"```python\n{code.strip(chr(10))}\n```"


def _lines(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str) and each.strip()]


def _first(row: Row, *names: str) -> Any:
    return next((row[name] for name in names if row[name] is not None), None)


def _system(row: Row) -> list[tuple[str, Any]]:
    return [] if row["system"] is None else [(SYSTEM, row["system"])]


def _listed(
    turns: Any, column: str, role: str, text: str, before: Sequence[tuple[str, Any]] = ()
) -> Conversation | Reason:
    """A list of objects, each a turn."""
    if not isinstance(turns, list) or not turns:
        return "no-turns", f"{column!r} is no list of turns"
    if not all(isinstance(turn, dict) for turn in turns):
        return "no-turns", f"{column!r} is no list of objects with {role!r} and {text!r}"
    return conversation([*before, *((turn.get(role), _joined(turn.get(text))) for turn in turns)])


def _joined(content: Any) -> Any:
    """OpenAI's content may be a list of parts; one that is not of text is no text."""
    if not isinstance(content, list):
        return content
    texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "".join(texts) if len(texts) == len(content) else content


_FORMS: dict[Form, Callable[[Row], Conversation | Reason]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt-response": _prompt_response,
    "gsm8k": _gsm8k,
    "preference-pair": _preference_pair,
    "code-task": _code_task,
}
