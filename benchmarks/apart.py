"""A piece of work in a process of its own: its seconds, and the memory and processor time of its process tree.

``python -m benchmarks.apart MODULE:FUNCTION ARGUMENTS TIMES RESULT`` is how ``run_apart`` starts it. FUNCTION prepares
(imports, compiles, loads) and returns what is timed, so that a contender never pays for its imports.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ONE_CORE = {
    "POLARS_MAX_THREADS": "1", "RAYON_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """``value``: of the last time; ``seconds, cpu``: least of all times, on the clock and of the processor in the
    process itself; ``tree_cpu``: of the processor in its whole tree, all times and the preparing together;
    ``peaks_mb``: the most resident memory of each process of the tree, largest first."""

    value: Any
    seconds: float
    cpu: float
    tree_cpu: float
    peaks_mb: list[int]

    @property
    def peak_mb(self) -> int:
        """Of the largest process."""
        return self.peaks_mb[0]


def run_apart(
    function: Callable[..., Callable[[], Any]], arguments: dict[str, Any], times: int = 1, one_core: bool = False
) -> Measured:
    """Run a module's function in a process of its own. ``arguments``: JSON-able; ``one_core``: no second thread."""
    with tempfile.TemporaryDirectory(prefix="plm-benchmark-") as folder:
        result = Path(folder) / "result.pickle"
        command = [
            sys.executable, "-m", "benchmarks.apart", f"{function.__module__}:{function.__name__}",
            json.dumps(arguments), str(times), str(result),
        ]  # fmt: skip
        # Progress of libraries goes to the log, so that the output is JSON alone.
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env={**os.environ, **(ONE_CORE if one_core else {})}, stdout=output, stderr=output,
                cwd=Path(__file__).parents[1],
            )  # fmt: skip
            peaks, processor = _watch(process)
        if process.returncode != 0:
            raise SystemExit(f"{command[3]} failed:\n{log.read_text(encoding='utf-8', errors='replace')[-4000:]}")
        value, seconds, cpu = pickle.loads(result.read_bytes())
    return Measured(value, seconds, cpu, sum(processor.values()), sorted(peaks.values(), reverse=True))


def _watch(process: subprocess.Popen[bytes]) -> tuple[dict[int, int], dict[int, float]]:
    """Wait for a process; the most resident memory (MB) and the processor seconds of it and its descendants, by pid."""
    peaks: dict[int, int] = {}
    processor: dict[int, float] = {}
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.05):
            for pid in _tree(process.pid):
                if (peak := _peak_mb(pid)) is not None:
                    peaks[pid] = max(peaks.get(pid, 0), peak)
                if (spent := _processor_seconds(pid)) is not None:
                    processor[pid] = max(processor.get(pid, 0.0), spent)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    process.wait()
    done.set()
    thread.join()
    return peaks or {process.pid: 0}, processor


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                # The name, in brackets, may hold spaces: the parent is the second field behind it.
                fields = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _processor_seconds(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) // 1024 if lines else None


def main() -> None:
    """Prepare, time, and leave the result where the parent finds it."""
    module, function = sys.argv[1].split(":")
    work = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    seconds, cpu, value = [], [], None
    for _ in range(int(sys.argv[3])):
        clock, processor = time.perf_counter(), time.process_time()
        value = work()
        seconds.append(time.perf_counter() - clock)
        cpu.append(time.process_time() - processor)
    Path(sys.argv[4]).write_bytes(pickle.dumps((value, min(seconds), min(cpu))))


if __name__ == "__main__":
    main()
