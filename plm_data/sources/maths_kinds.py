"""The kinds of worked problem: for each, the range of its operands and how it is asked and solved.

The wording (names, things) follows from the operands, so a problem has one wording only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

_NAMES = ("Amina", "Bo", "Chloe", "Daniel", "Elif", "Farid", "Grace", "Hiro", "Ines", "Jonas", "Kofi", "Leila", "Mateo",
          "Nora", "Omar", "Priya", "Quinn", "Rosa", "Sven", "Tara", "Uma", "Viktor", "Wei", "Yara", "Zoe")  # fmt: skip
_THINGS = ("apples", "books", "cards", "coins", "cups", "flowers", "marbles", "pencils", "stamps", "tickets")


@dataclass(frozen=True)
class Problem:
    """A question, its solution in steps, and the answer alone as it must be given."""

    question: str
    solution: str
    answer: str


@dataclass(frozen=True)
class Kind:
    """A kind of problem: ``make`` takes one operand of each of ``ranges`` (lowest and highest, inclusive)."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    make: Callable[..., Problem]

    @property
    def size(self) -> int:
        """How many different problems there are."""
        return math.prod(high - low + 1 for low, high in self.ranges)

    def operands(self, index: int) -> tuple[int, ...]:
        """The operands of problem ``index``: ``index`` written in the mixed radix of the ranges."""
        found = []
        for low, high in self.ranges:
            index, digit = divmod(index, high - low + 1)
            found.append(low + digit)
        return tuple(found)

    def index(self, operands: tuple[int, ...]) -> int:
        """The number of the problem with these operands."""
        found = 0
        for (low, high), operand in zip(reversed(self.ranges), reversed(operands), strict=True):
            found = found * (high - low + 1) + operand - low
        return found


def _pick(options: tuple[str, ...], *operands: int) -> str:
    return options[sum(operand * (31 * i + 7) for i, operand in enumerate(operands)) % len(options)]


def _addition(a: int, b: int) -> Problem:
    steps, carry, place = [], 0, 1
    for name in ("ones", "tens", "hundreds", "thousands"):
        x, y = a // place % 10, b // place % 10
        if place > max(a, b):
            break
        total = x + y + carry
        carried = f" and {carry} carried" if carry else ""
        carry = total // 10
        keep = f", write {total % 10}, carry {carry}" if carry else f", write {total % 10}"
        steps.append(f"The {name}: {x} + {y}{carried} is {total}{keep}.")
        place *= 10
    if carry:
        steps.append(f"The last carry gives a leading {carry}.")
    return Problem(
        f"What is {a} + {b}?", f"Add column by column. {' '.join(steps)} So {a} + {b} = {a + b}.", str(a + b)
    )


def _subtraction(b: int, difference: int) -> Problem:
    a = b + difference
    hundreds, rest = b // 100 * 100, b % 100
    middle = a - hundreds
    return Problem(
        f"What is {a} - {b}?",
        f"Take {b} away in two parts, {hundreds} and {rest}. First {a} - {hundreds} = {middle}. "
        f"Then {middle} - {rest} = {difference}. Check: {difference} + {b} = {a}.",
        str(difference),
    )


def _multiplication(a: int, b: int) -> Problem:
    tens, ones = b // 10 * 10, b % 10
    return Problem(
        f"What is {a} * {b}?",
        f"Split {b} into {tens} and {ones}. {a} * {tens} = {a * tens}. {a} * {ones} = {a * ones}. "
        f"Together {a * tens} + {a * ones} = {a * b}.",
        str(a * b),
    )


def _division(divisor: int, quotient: int, remainder: int) -> Problem:
    whole = divisor * quotient + remainder
    left = f"and {remainder} is left over" if remainder else "and nothing is left over"
    return Problem(
        f"Divide {whole} by {divisor}. Give the quotient and the remainder.",
        f"How often does {divisor} fit into {whole}? {divisor} * {quotient} = {divisor * quotient}, "
        f"and {whole} - {divisor * quotient} = {remainder}, which is less than {divisor}. "
        f"So it fits {quotient} times {left}.",
        f"{quotient} remainder {remainder}",
    )


def _equation(a: int, x: int, b: int) -> Problem:
    c = a * x + b
    return Problem(
        f"Solve for x: {a}x + {b} = {c}.",
        f"Subtract {b} from both sides: {a}x = {c} - {b} = {c - b}. Divide both sides by {a}: x = {c - b} / {a} = {x}. "
        f"Check: {a} * {x} + {b} = {a * x} + {b} = {c}.",
        f"x = {x}",
    )


def _percentage(tenths: int, units: int) -> Problem:
    percent, base = tenths * 5, units * 20
    tenth = Fraction(base, 10)
    part = Fraction(base * percent, 100)
    return Problem(
        f"What is {percent}% of {base}?",
        f"10% of {base} is {base} / 10 = {tenth}, so 5% is half of it, {tenth / 2}. "
        f"{percent}% is {percent // 5} times 5%: {percent // 5} * {tenth / 2} = {part}.",
        str(part),
    )


def _shopping(price: int, quantity: int, change: int) -> Problem:
    name, thing = _pick(_NAMES, price, quantity, change), _pick(_THINGS, change, price, quantity)
    cost = price * quantity
    return Problem(
        f"{name} buys {quantity} {thing} at {price} coins each and pays with {cost + change} coins. "
        f"How many coins does {name} get back?",
        f"The {thing} cost {quantity} * {price} = {cost} coins in all. {name} paid {cost + change} coins, "
        f"so {cost + change} - {cost} = {change} coins come back.",
        str(change),
    )


def _journey(speed: int, hours: int, second_speed: int, second_hours: int) -> Problem:
    name = _pick(_NAMES, speed, hours, second_speed, second_hours)
    first, second = speed * hours, second_speed * second_hours
    return Problem(
        f"{name} drives for {hours} hours at {speed} km/h and then for {second_hours} hours at {second_speed} km/h. "
        f"How far does {name} drive in all?",
        f"The first part is {speed} * {hours} = {first} km. The second part is {second_speed} * {second_hours} = "
        f"{second} km. In all {first} + {second} = {first + second} km.",
        f"{first + second} km",
    )


def _fractions(a: int, b: int, c: int, d: int) -> Problem:
    common = math.lcm(b, d)
    x, y = a * common // b, c * common // d
    total = Fraction(a, b) + Fraction(c, d)
    reduced = f" In lowest terms that is {total}." if str(total) != f"{x + y}/{common}" else ""
    return Problem(
        f"What is {a}/{b} + {c}/{d}? Give it in lowest terms.",
        f"The least common multiple of {b} and {d} is {common}. {a}/{b} = {x}/{common} and {c}/{d} = {y}/{common}. "
        f"The sum is {x + y}/{common}.{reduced}",
        str(total),
    )


def _average(a: int, b: int, c: int, above: int) -> Problem:
    mean = -(-(a + b + c) // 4) + above
    d = 4 * mean - a - b - c
    total = a + b + c + d
    return Problem(
        f"Find the mean of {a}, {b}, {c} and {d}.",
        f"Their sum is {a} + {b} + {c} + {d} = {total}. There are 4 numbers, so the mean is {total} / 4 = {mean}.",
        str(mean),
    )


def _sharing(left: int, given: int, received: int) -> Problem:
    name, other = _pick(_NAMES, left, given), _pick(_NAMES, received + 3, left)
    thing = _pick(_THINGS, given, received)
    start, final = left + given, left + received
    return Problem(
        f"{name} has {start} {thing}, gives away {given} of them and then gets {received} more from {other}'s shop. "
        f"How many {thing} does {name} have now?",
        f"After giving away there are {start} - {given} = {left} {thing}. With the new ones there are "
        f"{left} + {received} = {final} {thing}.",
        str(final),
    )


def _rectangle(width: int, height: int) -> Problem:
    return Problem(
        f"A rectangle is {width} cm wide and {height} cm high. Find its perimeter and its area.",
        f"The perimeter is 2 * ({width} + {height}) = 2 * {width + height} = {2 * (width + height)} cm. "
        f"The area is {width} * {height} = {width * height} square cm.",
        f"{2 * (width + height)} cm and {width * height} square cm",
    )


def _sequence(first: int, step: int, n: int) -> Problem:
    shown = ", ".join(str(first + i * step) for i in range(4))
    return Problem(
        f"A sequence begins {shown} and goes on in the same way. What is its term number {n}?",
        f"Each term is {step} more than the one before. Term number {n} comes after {n - 1} steps, "
        f"so it is {first} + {n - 1} * {step} = {first} + {(n - 1) * step} = {first + (n - 1) * step}.",
        str(first + (n - 1) * step),
    )


KINDS: tuple[Kind, ...] = (
    Kind("addition", ((10, 9999), (10, 9999)), _addition),
    Kind("subtraction", ((101, 4999), (1, 4999)), _subtraction),
    Kind("multiplication", ((12, 999), (11, 99)), _multiplication),
    Kind("division", ((3, 25), (3, 400), (0, 2)), _division),
    Kind("equation", ((2, 12), (1, 60), (1, 99)), _equation),
    Kind("percentage", ((1, 19), (1, 600)), _percentage),
    Kind("shopping", ((2, 40), (2, 12), (1, 60)), _shopping),
    Kind("journey", ((20, 110), (2, 9), (20, 110), (2, 9)), _journey),
    Kind("fractions", ((1, 11), (2, 12), (1, 11), (2, 12)), _fractions),
    Kind("average", ((1, 60), (1, 60), (1, 60), (1, 20)), _average),
    Kind("sharing", ((1, 90), (1, 60), (1, 40)), _sharing),
    Kind("rectangle", ((2, 99), (2, 120)), _rectangle),
    Kind("sequence", ((1, 50), (2, 19), (5, 25)), _sequence),
)
