"""Errors of the user's making: Prefect's logs show them as one line instead of two tracebacks."""

from __future__ import annotations

import logging

from plm_data.errors import PlmError
from trainer.errors import TrainerError


def _one_line(record: logging.LogRecord) -> bool:
    """Drop the traceback of such an error: its message is in the record and in the run's final state."""
    if record.exc_info and isinstance(record.exc_info[1], (PlmError, TrainerError)):
        record.exc_info = None
    return True


def install() -> None:
    """Teach Prefect's run loggers; a second call changes nothing."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_one_line)
