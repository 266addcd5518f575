"""A page that hangs, fills the memory or ends the process: told with its reason, and the next page is read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from plm_data.errors import SourceError
from plm_data.sources import guarded
from plm_data.sources.guarded import Failed, Guarded

HOSTILE = "tests.plm_data.sources.hostile:act"
MEMORY = 600_000_000


@pytest.fixture
def call() -> Iterator[Guarded]:
    made = Guarded(HOSTILE, 0.5, MEMORY)
    yield made
    made.close()


def works(call: Guarded) -> int:
    """That a call works; the number of its process."""
    word, body, process = call(["a"], b"b")
    assert (word, body) == ("a", "b")
    return process


def test_calls_go_to_one_process_that_is_another(call: Guarded) -> None:
    first = works(call)
    assert works(call) == first != os.getpid()


def test_a_page_that_hangs_is_ended_and_one_that_is_slow_is_not(call: Guarded) -> None:
    first = works(call)
    assert call(["a"], b"slow") == ["a", "slow", first]
    # The time of one call is not another's.
    assert call(["a"], b"slow") == ["a", "slow", first] == ["a", "slow", call(["a"], b"slow")[2]]
    assert call(["a"], b"hang") == Failed("too-slow", "more than 0.5 seconds of the processor")
    assert works(call) != first


def test_a_page_that_waits_is_ended_by_the_clock(call: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "_PATIENCE", 3.0)
    works(call)
    assert call(["a"], b"wait") == Failed("too-slow", "waited for more than 1.5 seconds")
    works(call)


def test_a_page_that_fills_the_memory_is_told(call: Guarded) -> None:
    assert call(["a"], b"fill") == Failed("too-large", f"more than {MEMORY:,} bytes of memory")
    works(call)


def test_what_others_have_used_is_not_held_against_a_page(call: Guarded) -> None:
    """In a process worn by other pages each call runs out of memory; in a new one it does not."""
    processes = [call(["a"], b"wear")[2] for _ in range(9)]
    assert len(set(processes)) > 1


def test_a_page_that_ends_the_process_is_told(call: Guarded) -> None:
    works(call)
    assert call(["a"], b"abort") == Failed("extractor-crashed", "SIGABRT")
    works(call)


def test_an_exception_is_told_and_the_process_stays(call: Guarded) -> None:
    first = works(call)
    found = call(["a"], b"raise")
    assert found == Failed("extractor-failed", r"ValueError: the page says \x1b[31m no")
    assert works(call) == first


def test_a_result_that_is_no_json_is_a_failure() -> None:
    made = Guarded("tests.plm_data.sources.hostile:no_json", 5, MEMORY)
    found = made(["a"], b"b")
    made.close()
    assert isinstance(found, Failed) and found.reason == "extractor-failed"


def test_what_a_library_prints_is_not_taken_for_an_answer(call: Guarded) -> None:
    first = works(call)
    assert call(["a"], b"print") == ["a", "print", first]
    assert works(call) == first


def test_the_process_has_no_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch, call: Guarded) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    names = call(["a"], b"environment")
    assert "PATH" in names and "HF_TOKEN" not in names


def test_a_process_that_cannot_start_is_one_clear_error() -> None:
    with pytest.raises(SourceError, match="does not start: ModuleNotFoundError: No module named 'tests.missing'"):
        Guarded("tests.missing:act", 1, MEMORY)(["a"], b"b")


def test_the_time_between_two_pages_is_neithers(call: Guarded) -> None:
    """What a library does in its own threads when the answer is given, for longer than a page may take."""
    first = works(call)
    assert {call(["a"], b"later")[2] for _ in range(4)} == {first}
    time.sleep(1.0)
    assert works(call) == first


def test_a_large_page_goes_through_whole(call: Guarded) -> None:
    body = b"x" * 5_000_000
    assert call(["a"], body)[1] == body.decode()
