"""What the benchmarks share: the text, the clock, and the line that is printed."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from typing import Any

import polars as pl

from plm_data.recipe_sources import PythonSource
from plm_data.sources.base import Raw
from plm_data.sources.python_files import PythonFilesReader
from plm_data.text.normalise import normalise


def texts(max_bytes: int) -> pl.Series:
    """Documents of every machine: source files and documentation of the standard library, normalised."""
    found = []
    for reader in ("python-code", "python-docs"):
        spec = PythonSource.model_validate(
            {"reader": reader, "domain": "code", "language": "en", "license": "PSF-2.0", "priority": 1,
             "packages": ["stdlib"], "max_bytes": max_bytes}
        )  # fmt: skip
        found += [item.text for item in PythonFilesReader(reader, spec).read(0, 1) if isinstance(item, Raw)]
    return normalise(pl.Series("text", found, dtype=pl.String))


def best(work: Callable[[], Any], times: int) -> tuple[float, Any]:
    """The least seconds of some runs, and what the last one returned."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def report(measure: str, ours: float, peer: float, peer_name: str, megabytes: float, n: int) -> None:
    """Print a throughput beside a peer's; ``ours`` and ``peer`` in seconds. ``peak_mb`` is of the whole process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = {
        "measure": measure, "unit": "MB/s on one core", "ours": round(megabytes / ours, 2),
        "peer": round(megabytes / peer, 2), "peer_name": peer_name, "ratio": round(peer / ours, 2),
        "peak_mb": round(peak), "n": n,
    }  # fmt: skip
    print(json.dumps(line), flush=True)


def line(
    measure: str, unit: str, ours: float, peer: float | None = None, peer_name: str | None = None,
    peak_mb: int | None = None, n: int | None = None, **extra: Any,
) -> None:  # fmt: skip
    """Print a measure, more being better: ``ours`` and ``peer`` in its unit, ``peak_mb`` of our largest process."""
    found = {
        "measure": measure, "unit": unit, "ours": round(ours, 4), "peer": peer and round(peer, 4),
        "peer_name": peer_name, "ratio": peer and round(ours / peer, 2), "peak_mb": peak_mb, "n": n, **extra,
    }  # fmt: skip
    print(json.dumps({name: value for name, value in found.items() if value is not None}), flush=True)
