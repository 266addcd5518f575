"""Run a benchmark by name."""

from __future__ import annotations

import importlib
import sys

NAMES = ("heuristics", "signatures")


def main() -> int:
    """Print the measures of the named benchmark, a JSON object a line."""
    if len(sys.argv) != 2 or sys.argv[1] not in NAMES:
        print(
            f"usage: python -m benchmarks {{{','.join(NAMES)}}}    e.g. python -m benchmarks heuristics",
            file=sys.stderr,
        )
        return 2
    importlib.import_module(f"benchmarks.{sys.argv[1]}").run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
