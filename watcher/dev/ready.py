"""Reports to `watcher up` when a worker is ready: `-I watcher.dev.ready`, with a pipe in WATCHER_READY_FD.

It uses Celery's own signal, so it works with every broker and pool. Asking the worker would take remote control, which
some brokers lack, and a second per question.
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
