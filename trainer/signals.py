"""Signals that end a run at the end of a step instead of in the middle of one."""

import os
import signal
import threading
from types import FrameType, TracebackType


class Signals:
    """While it is entered, the first SIGTERM or SIGINT is only noted; a second one acts as it did before.

    Under torchrun later ones are noted too: it passes on what a terminal or a scheduler has sent its processes already,
    and kills what does not end in time by itself.

    Outside the main thread, where Python takes no handlers, it notes nothing.
    """

    def __init__(self) -> None:
        self.caught = 0  # its number; 0: none
        self._before: dict[int, signal.Handlers | int | None] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.caught = self.caught or number
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
