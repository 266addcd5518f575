"""Intervals that 95% of repetitions would cover: what a figure of so many examples can say."""

import math

import numpy as np

Z = 1.959963984540054  # the normal distribution's 97.5% point


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the interval of a share (Wilson 1927): unlike the usual one, it holds near 0 and 1 and in small samples.

    Raises:
        ValueError: no trials, or successes outside 0 … trials.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"found {successes} successes of {trials} trials, expected 0 to the trials, and one or more")
    share, square = successes / trials, Z * Z / trials
    middle = share + square / 2
    half = Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    # at the ends the bound is the share itself, which rounding may miss
    low = 0.0 if successes == 0 else (middle - half) / (1 + square)
    high = 1.0 if successes == trials else (middle + half) / (1 + square)
    return low, high


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float] | None:
    """Return the interval of sum(numerators) / sum(denominators) over pairs drawn at random; None for a single pair.

    The linearised variance of a ratio of means (Cochran, Sampling Techniques, section 2.11).
    """
    count = len(numerators)
    if count < 2:
        return None
    value = numerators.sum() / denominators.sum()
    residuals = numerators - value * denominators
    half = Z * math.sqrt(float(residuals @ residuals) * count / (count - 1)) / float(denominators.sum())
    return float(value - half), float(value + half)
