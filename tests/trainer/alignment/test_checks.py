"""A completion's number is the one that it gives as its answer, compared exactly; code is never run by the check."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.alignment.checks import correct, number
from trainer.errors import TrainerError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # after a mark: the first number, of the last mark
        ("2 + 3 = 5\n#### 5", 5),
        ("#### 7 apples of 9", 7),
        ("Answer: 4\nNo. Answer: 6, not 4", 6),
        ("**answer:** 12", 12),
        ("The answer is: 8. Check: 9", 8),
        ("12 apples. Answer: none", None),  # a mark without a number gives none, whatever stands before it
        ("The answers: 3, then 4", 4),  # another word is no mark
        ("### 3 of 9", 9),
        # without a mark: the last number
        ("3 apples and 4 pears make 7.", 7),
        ("no number at all", None),
        ("", None),
        # signs
        ("x = -5", -5),
        ("x = −5", -5),  # a minus sign instead of a hyphen
        ("x = +5", 5),
        ("12-5", 5),
        ("(12)-5", 5),
        ("12 - 5", 5),
        ("-$5", -5),
        # decimals, fractions, thousands
        ("3.25", Fraction(13, 4)),
        ("0.10", Fraction(1, 10)),
        (".5", Fraction(1, 2)),
        ("It is 42.", 42),
        ("3/4", Fraction(3, 4)),
        ("-3 / 4", Fraction(-3, 4)),
        ("3/0", None),
        ("1,234,567.50", Fraction(2469135, 2)),
        ("1,23", 23),  # no thousands: a list
        ("1, 2, 345", 345),
        ("12,3456", 3456),
        # after and before a number
        ("50%", 50),
        ("$1,000", 1000),
        ("5km", 5),
        # what only looks like one
        ("x2", None),
        ("1e5", None),
        ("12e-3", None),
        ("version 3.14.15", None),
        ("on 1/2/2020", 2020),
        ("٣", None),
        ("9" * 101, None),
        ("9" * 100, int("9" * 100)),
        ("9" * 10_000, None),
    ],
)
def test_the_number_of_a_text(text: str, expected: int | Fraction | None) -> None:
    assert number(text) == expected


@given(
    value=st.fractions(max_denominator=10_000, min_value=-(10**9), max_value=10**9),
    words=st.sampled_from(["", " km", "%", ".", "\n"]),
)
def test_every_fraction_is_read_back(value: Fraction, words: str) -> None:
    assert number(f"Answer: {value}{words}") == value


@given(value=st.integers(-(10**12), 10**12), places=st.integers(0, 4))
def test_decimals_and_thousands_are_read_back(value: int, places: int) -> None:
    exact = Fraction(value, 10**places)
    assert number(f"so we get {float(value):,.0f}") == value
    digits = f"{abs(value):0{places + 1}d}"
    text = digits if places == 0 else f"{digits[:-places]}.{digits[-places:]}"
    assert number(f"7 of {'-' if value < 0 else ''}{text}") == exact


@given(text=st.text(alphabet="0123456789,.-+/ $%eE#:answer()", max_size=60))
def test_no_text_raises(text: str) -> None:
    number(text)


@pytest.mark.parametrize(
    ("answer", "completion", "right"),
    [
        ("0.5", "Answer: 1/2", True),
        ("1,000", "#### 1000", True),
        ("7", "it is 7.0", True),
        ("7", "7.01", False),
        ("7", "seven", False),
    ],
)
def test_numbers_compare_exactly(answer: str, completion: str, right: bool) -> None:
    assert correct("number", answer, completion) is right


def test_code_is_judged_by_an_executor_alone() -> None:
    code = "def f():\n    raise SystemExit('run')"
    assert correct("python", "assert f() == 1", code) is None
    seen = []

    def executor(test: str, completion: str) -> bool:
        seen.append((test, completion))
        return True

    assert correct("python", "assert f() == 1", code, executor) is True
    assert seen == [("assert f() == 1", code)]


def test_what_has_no_check_is_not_judged() -> None:
    assert correct(None, None, "7") is None
    assert correct("number", None, "7") is None
    assert correct(None, "7", "7") is None


@pytest.mark.parametrize(
    ("check", "answer", "message"),
    [("regex", "7", "check: found 'regex'"), ("number", "seven", "answer: found 'seven'")],
)
def test_a_check_that_cannot_be(check: str, answer: str, message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        correct(check, answer, "7")
