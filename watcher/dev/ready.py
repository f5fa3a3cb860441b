"""Tells the program that started a worker when it takes tasks: `-I watcher.dev.ready`, with a pipe in WATCHER_READY_FD.

Celery's own signal says it, so it holds with every broker and pool; asking the worker would take remote control, which
some brokers haven't, and a second a time.
"""

from __future__ import annotations

import os
from typing import Any

from celery.signals import worker_ready

__all__ = ["VARIABLE"]

VARIABLE = "WATCHER_READY_FD"


def _announce(**_: Any) -> None:
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is not None:
        os.write(int(descriptor), b"1")
        os.close(int(descriptor))


worker_ready.connect(_announce, weak=False)
