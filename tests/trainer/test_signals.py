"""A signal is noted once; the next one ends the process, unless torchrun sent it."""

import os
import signal

import pytest

from trainer.signals import Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_acts_as_it_did_before(number: int) -> None:
    def ends(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(number, ends)
    try:
        with Signals() as signals:
            os.kill(os.getpid(), number)
            assert signals.caught == number
            with pytest.raises(InterruptedError):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is ends
    finally:
        signal.signal(number, before)


def test_torchrun_passes_on_what_the_terminal_has_sent_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    before = signal.getsignal(signal.SIGINT)
    with Signals() as signals:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert signals.caught == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
