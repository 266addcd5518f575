"""Functions that a guarded process is called with, told by their body what harm to do."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

kept: list[bytes] = []


def act(word: str, body: bytes) -> Any:
    if body == b"hang":
        while True:
            pass
    elif body == b"wait":
        time.sleep(1000)
    elif body == b"slow":
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass
    elif body == b"fill":
        kept.append(bytes(1 << 33))
    elif body == b"wear":
        kept.append(bytes(100 << 20))
    elif body == b"abort":
        os.abort()
    elif body == b"raise":
        raise ValueError("the page says \x1b[31m no")
    elif body == b"print":
        os.write(1, b"noise on standard output")
        print("noise", flush=True)
    elif body == b"later":
        threading.Thread(target=act, args=(word, b"slow"), daemon=True).start()
    elif body == b"environment":
        return sorted(os.environ)
    return [word, body.decode(), os.getpid()]


def no_json(word: str, body: bytes) -> Any:
    return object()
