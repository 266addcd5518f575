"""The processes that torchrun started: the first one shows, writes and holds locks; none of them builds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from plm_data.errors import PlmError
from plm_data.pending import pending_steps
from plm_data.recipe import Recipe
from plm_data.store import locked


def several() -> bool:
    """Whether this is one of several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def first() -> bool:
    """Whether this process is the only one, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def first_here() -> bool:
    """Whether this process is the only one on its machine, or the first of several."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def check_built(recipe: Recipe, home: Path) -> None:
    """Raise ``PlmError`` if several processes would have to build: each would do it, in the others' way."""
    pending = pending_steps(recipe, home) if several() else []
    if pending:
        raise PlmError(
            f"recipe {recipe.name}: {len(pending)} steps of its data are not made ({pending[0].stage} of "
            f"{pending[0].of} first), and torchrun's processes build nothing; run `plm build {recipe.name}` before."
        )


@contextmanager
def run_lock(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a run's folder, once for all of its processes.

    One process waits for another that holds it, and says so; several, which would wait for each other no longer than
    some minutes, raise ``PlmError``.
    """
    if not first():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    if _is_held(folder / ".lock"):
        if several():
            raise PlmError(f"{folder}: another run is training in it; wait for its end, and start this one again.")
        say(f"{folder}: another run is training in it; waiting for its end")
    with locked(folder / ".lock"):
        yield


def _is_held(lock: Path) -> bool:
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
