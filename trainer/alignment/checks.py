"""Whether a completion answers a task: its number against the task's, exactly; code by an executor passed in."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction

from trainer.errors import TrainerError

# Called with (test code, completion); true where the completion passes, None where that could not be told.
Executor = Callable[[str, str], bool | None]

# A sign counts where no operand stands before it: "12-5" holds 12 and 5, "x = -5" holds -5. Runs of digits are taken
# whole or not at all (++), so that no part of 1e5, 12e-3 or 3.14.15 is read as a number.
_NUMBER = re.compile(
    r"(?:(?<![\w.)\]])(?P<sign>[-+−]))?(?<![\w.])(?<![0-9][eE][-+])[$€£]?"
    r"(?P<whole>[0-9]{1,3}+(?:,[0-9]{3})++(?![0-9])|[0-9]++|(?=\.[0-9]))"
    r"(?P<decimals>\.[0-9]++)?+(?!\.?[0-9]|[eE][-+]?[0-9])"
    r"(?:\s?/\s?(?P<divisor>[0-9]++)(?!\.[0-9]))?"
)
CHECKS = ("number", "python")

_MARKER = re.compile(r"####|\banswer\s*(?:is\s*)?:", re.IGNORECASE)
_LONGEST = 100  # digits; a completion is free to hold a million, which are no answer


def correct(check: str | None, answer: str | None, completion: str, executor: Executor | None = None) -> bool | None:
    """Return whether a completion is right, or None where that cannot be told: no check, or code and no executor.

    Args:
        check: `number` compares as fractions, exactly; `python` runs the test code through the executor and never by
            itself; None: the task has no check.
        answer: the number, or the test code.
        completion: the text of the answer, untrusted.
        executor: runs test code on a completion, in a sandbox of its own.

    Raises:
        TrainerError: a check of another name, or a task whose own answer holds no number.
    """
    if check is None or answer is None:
        return None
    if check == "number":
        expected = number(answer)
        if expected is None:
            raise TrainerError(f"answer: found {answer!r}, expected a number to check by; build the tasks again")
        return number(completion) == expected
    if check == "python":
        return None if executor is None else executor(answer, completion)
    raise TrainerError(f"check: found {check!r}, expected number, python or none; build the tasks again")


def number(text: str) -> Fraction | None:
    """Return the number that a text gives as its answer, exactly, or None where it gives none.

    That is the first number after the last `####` (GSM8K's mark) or `Answer:`, and without either mark the last
    number. Signs, decimals, fractions (3/4) and thousands' commas are read; a currency before it and words or `%`
    after it are passed over. Exponents are not: `1e5` is no form that a task asks for.
    """
    mark = _last(_MARKER.finditer(text))
    found = _NUMBER.search(text, mark.end()) if mark else _last(_NUMBER.finditer(text))
    return None if found is None else _value(found)


def _last(matches: Iterator[re.Match[str]]) -> re.Match[str] | None:
    return next(iter(deque(matches, maxlen=1)), None)


def _value(found: re.Match[str]) -> Fraction | None:
    whole, decimals, divisor = (found[name] or "" for name in ("whole", "decimals", "divisor"))
    if len(whole) + len(decimals) > _LONGEST or len(divisor) > _LONGEST:
        return None
    value = Fraction(f"{whole.replace(',', '') or '0'}{decimals}")
    if divisor:
        if int(divisor) == 0:
            return None
        value /= int(divisor)
    return -value if found["sign"] in ("-", "−") else value
