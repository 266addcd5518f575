"""Run a benchmark by name."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Final

from plm_data.recipe_keys import parse_count

# The size where none is given, so that a run takes minutes on two cores.
NAMES: Final = {
    "filters": "20MB", "minhash": "200MB", "exact": "1GB", "whatif": "100MB", "end_to_end": "200MB",
    "signatures": "3MB", "mixing": "200MB", "web": "6MB", "loader": "400MB", "decode_cpu": "2048",
}  # fmt: skip


def _size(text: str) -> int:
    value = parse_count(text)
    if not isinstance(value, int) or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected for example 200MB or 4GB")
    return value


def main() -> int:
    """Print the measures of the named benchmark, a JSON object a line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Our work beside a peer's in one run, a JSON object a measure; equal results are asserted first.",
        epilog="example: python -m benchmarks minhash --size 200MB",
    )
    parser.add_argument("name", choices=NAMES)
    sizes = ", ".join(f"{name} {size}" for name, size in NAMES.items())
    parser.add_argument(
        "--size",
        type=_size,
        help=f"bytes of the corpus, or tokens of context (where not given: {sizes})",
    )
    arguments = parser.parse_args()
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5 * cores:
        print(f"benchmarks: the load is {load:.1f} on {cores} cores; others' work lengthens the times", file=sys.stderr)
    module = importlib.import_module(f"benchmarks.{arguments.name}")
    module.run(arguments.size or _size(NAMES[arguments.name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
