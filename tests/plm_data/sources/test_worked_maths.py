"""The synthetic maths: disjoint splits, right answers, the same problems everywhere."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.errors import RecipeError
from plm_data.recipe_sources import MathsSource
from plm_data.sources.maths_kinds import KINDS, Kind
from plm_data.sources.worked_maths import MathsReader, Permutation, as_text, problem, problems, split_size


@given(st.integers(1, 3000), st.integers(0, 10))
def test_the_permutation_is_a_bijection(size: int, seed: int) -> None:
    permutation = Permutation(size, seed)
    assert sorted(map(permutation, range(size))) == list(range(size))


def test_the_seed_changes_the_permutation() -> None:
    assert [Permutation(1000, 1)(i) for i in range(20)] != [Permutation(1000, 2)(i) for i in range(20)]
    with pytest.raises(IndexError):
        Permutation(10, 1)(10)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_operands_are_a_bijection_too(kind: Kind) -> None:
    sample = [kind.operands(i) for i in range(0, kind.size, max(1, kind.size // 500))]
    assert len(set(sample)) == len(sample)
    assert kind.operands(0) == tuple(low for low, _ in kind.ranges)
    assert kind.operands(kind.size - 1) == tuple(high for _, high in kind.ranges)


def test_train_and_held_out_share_no_problem() -> None:
    """For the smallest kind completely, for all kinds over the first thousands."""
    smallest = min(KINDS, key=lambda kind: kind.size)
    names = {
        split: {problem(smallest, split, i, seed=3)[0] for i in range(split_size(smallest, split))}
        for split in ("train", "held-out")
    }  # fmt: skip
    assert len(names["train"]) + len(names["held-out"]) == smallest.size
    assert not names["train"] & names["held-out"]
    train = {item.question for _, item in problems("train", 8000, seed=3)}
    held_out = {item.question for _, item in problems("held-out", 4000, seed=3)}
    assert len(train) == 8000 and len(held_out) == 4000 and not train & held_out


def test_asking_for_more_than_there_is_is_refused() -> None:
    held_out = sum(split_size(kind, "held-out") for kind in KINDS)
    with pytest.raises(RecipeError, match=f"there are {held_out} different held-out problems"):
        list(problems("held-out", held_out + 1, seed=0))
    spec = MathsSource(reader="worked-maths", domain="maths", language="en", license="x", priority=1, documents=10**15)
    with pytest.raises(RecipeError, match="different train problems; ask for at most"):
        MathsReader(spec)


def solve(name: str, question: str) -> str:
    """An answer found from the question's own words, without the generator's solution."""
    numbers = [int(n) for n in re.findall(r"\d+", question)]
    a, b, *rest = [*numbers, 0]
    match name:
        case "addition":
            return str(a + b)
        case "subtraction":
            return str(a - b)
        case "multiplication":
            return str(a * b)
        case "division":
            return f"{a // b} remainder {a % b}"
        case "equation":
            return f"x = {Fraction(rest[0] - b, a)}"
        case "percentage":
            return str(Fraction(a * b, 100))
        case "shopping":
            return str(rest[0] - a * b)
        case "journey":
            return f"{a * b + rest[0] * rest[1]} km"
        case "fractions":
            return str(Fraction(a, b) + Fraction(rest[0], rest[1]))
        case "average":
            return str(Fraction(sum(numbers), len(numbers)))
        case "sharing":
            return str(a - b + rest[0])
        case "rectangle":
            return f"{2 * (a + b)} cm and {a * b} square cm"
        case "sequence":
            return str(a + (b - a) * (numbers[-1] - 1))
    raise AssertionError(name)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_answers_are_right(kind: Kind) -> None:
    for split in ("train", "held-out"):
        for i in range(200):
            _, item = problem(kind, split, i, seed=11)
            assert item.answer == solve(kind.name, item.question), item.question


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_equation_in_a_solution_holds(kind: Kind) -> None:
    for i in range(200):
        _, item = problem(kind, "train", i, seed=5)
        for chain in re.findall(r"[\d +*/()=-]*=[\d +*/()=-]*", item.solution):
            sides = [eval_arithmetic(side) for side in chain.split("=") if side.strip()]
            assert len(set(sides)) == 1, (chain, item.solution)


def eval_arithmetic(expression: str) -> Fraction:
    """Sums of products of whole numbers, with at most one pair of parentheses."""
    if "(" in expression or ")" in expression:
        return Fraction(eval_parenthesised(expression))
    total = Fraction(0)
    for term in re.split(r"(?=[+-])", expression.replace(" ", "")):
        sign = -1 if term.startswith("-") else 1
        product = Fraction(1)
        operator = "*"
        for token in re.findall(r"\d+|[*/]", term):
            if token in "*/":
                operator = token
            else:
                product = product * int(token) if operator == "*" else product / int(token)
        total += sign * product
    return total


def eval_parenthesised(expression: str) -> Fraction:
    inner = re.search(r"\(([^()]*)\)", expression)
    assert inner
    value = str(eval_arithmetic(inner[1]))
    return eval_arithmetic(expression[: inner.start()] + value + expression[inner.end() :])


def test_documents_are_the_same_for_any_partitioning() -> None:
    spec = MathsSource(reader="worked-maths", domain="maths", language="en", license="x", priority=1, documents=200)
    whole = {raw.name: raw for raw in MathsReader(spec).read(0, 1)}
    parts = [raw for p in range(4) for raw in MathsReader(spec).read(p, 4)]
    assert len(parts) == 200 and {raw.name: raw for raw in parts} == whole
    assert all(len(raw.text.encode()) <= 600 for raw in parts)


def test_a_document_is_pinned() -> None:
    """The corpus is made of them: a change of one is a change of every build."""
    name, item = problem(KINDS[0], "train", 0, seed=0)
    assert name == "addition/6046-4541"
    assert as_text(item) == (
        "Question: What is 6046 + 4541?"
        "\n\n"
        "Solution: Add column by column. The ones: 6 + 1 is 7, write 7. The tens: 4 + 4 is 8, write 8. The hundreds: 0 + 5 is 5, write 5. The thousands: 6 + 4 is 10, write 0, carry 1. The last carry gives a leading 1. So 6046 + 4541 = 10587."
        "\n\n"
        "Answer: 10587"
        "\n"
    )
