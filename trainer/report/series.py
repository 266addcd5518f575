"""Series of a run made light enough for a page: few points, none of them made up, no extreme lost."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
MOST_POINTS = 2000  # of a series; a chart is about as many pixels wide
MOST_COLUMNS = 120  # of a heat map


def spaced(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` of the indices 0 … `count` - 1, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64)) if count else np.arange(0)


def extremes(values: Numbers, most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Return the indices of at most `most` values, ascending: each stretch's least and greatest, the first, the last.

    Stretches are equally long, so the choice depends on the values alone. Those that are not finite have no index.
    """
    finite = np.flatnonzero(np.isfinite(values))
    if len(finite) <= most:
        return finite
    kept = {finite[0], finite[-1]}
    for stretch in np.array_split(finite, (most - 2) // 2):
        kept.add(stretch[np.argmin(values[stretch])])
        kept.add(stretch[np.argmax(values[stretch])])
    return np.array(sorted(kept))


def smoothed(values: Numbers, groups: Sequence[str], width: int) -> Numbers:
    """Return the mean of each value and its neighbours in its own group, at most `width` values in all.

    The window is centred, so that the mean does not lag. It grows from a group's start, where a loss falls fast, and is
    cut off at its end. Values that are not finite are left out; where a window holds no other, the mean is not a
    number.
    """
    result = np.full(len(values), np.nan)
    names = np.asarray(groups)
    for name in dict.fromkeys(groups):
        indices = np.flatnonzero(names == name)
        own = values[indices]
        finite = np.isfinite(own)
        total = np.concatenate([[0.0], np.cumsum(np.where(finite, own, 0.0))])
        count = np.concatenate([[0], np.cumsum(finite)])
        at = np.arange(len(own))
        reach = np.minimum(width // 2, at)
        start, end = at - reach, np.minimum(at + reach + 1, len(own))
        with np.errstate(invalid="ignore", divide="ignore"):
            result[indices] = (total[end] - total[start]) / (count[end] - count[start])
    return result


def spikes(values: Numbers, groups: Sequence[str], window: int = 64, least: int = 16) -> list[tuple[int, float]]:
    """Return (index, median before it) of each value that stands far above those before it.

    Far: more than 0.5, and more than 8 standard deviations of the noise, above the median of the `window` values before
    it in its own group, of which there must be `least`. The noise is told by the values' differences one to the next,
    which a falling loss hardly touches: 1.4826 times their median size over the square root of 2. Values that are not
    finite are passed over.
    """
    found: list[tuple[int, float]] = []
    names = np.asarray(groups)
    for name in dict.fromkeys(groups):
        indices = np.flatnonzero((names == name) & np.isfinite(values))
        own = values[indices]
        padded = np.concatenate([np.full(window, np.nan), own])
        changes = np.concatenate([np.full(window + 1, np.nan), np.abs(np.diff(own))])
        for begin in range(least, len(own), 10_000):  # bounded memory, however long the run
            end = min(begin + 10_000, len(own))
            before = np.lib.stride_tricks.sliding_window_view(padded, window)[begin:end]
            median = np.nanmedian(before, axis=1)
            noise = np.nanmedian(np.lib.stride_tricks.sliding_window_view(changes, window)[begin:end], axis=1)
            deviation = 1.4826 * noise / np.sqrt(2)
            far = np.flatnonzero(own[begin:end] > median + np.maximum(0.5, 8 * deviation))
            found += [(int(indices[begin + at]), float(median[at])) for at in far]
    return sorted(found)


def columns(rows: Sequence[Sequence[float]], most: int = MOST_COLUMNS) -> list[tuple[int, int, list[float]]]:
    """Return (first, last, mean by column) of at most `most` stretches of equally wide rows."""
    table = np.asarray(rows, dtype=np.float64)
    if not len(table):
        return []
    stretches = np.array_split(np.arange(len(table)), min(most, len(table)))
    return [(int(at[0]), int(at[-1]), table[at].mean(axis=0).tolist()) for at in stretches]
