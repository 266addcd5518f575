"""Code in an answer: which part of it is the program, and whether that passes its tests."""

import re

from trainer.evaluation.sandbox import run_tests

_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def extract_code(answer: str) -> str:
    """Return the first fenced block of an answer, closed or cut off, and without any fence all of it."""
    found = _FENCE.search(answer)
    return found[1] if found else answer


def execute(tests: str, answer: str) -> bool:
    """Run an answer's code and its tests in the sandbox; for where the user has allowed generated code to run."""
    return run_tests(extract_code(answer), tests).passed
