"""Keeps errors of a handler from the task that is watched."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

from celery.exceptions import SoftTimeLimitExceeded

__all__ = ["guarded"]

logger = logging.getLogger("watcher")

P = ParamSpec("P")


def guarded(handler: Callable[P, None]) -> Callable[P, None]:
    """Keep the errors of a handler in; the first one of each handler is logged, with its traceback."""
    failed = False

    @functools.wraps(handler)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal failed
        try:
            handler(*args, **kwargs)
        except SoftTimeLimitExceeded:
            raise  # it is the task's: it strikes wherever the interpreter happens to be
        except Exception:  # watching must never harm what is watched
            if not failed:
                failed = True
                logger.exception("watcher: events are missing, %s failed", handler.__qualname__)

    return guarded
