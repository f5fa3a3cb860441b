"""Differences of Celery 5.5 and 5.6 from 5.7 that their modules don't show."""

from __future__ import annotations

from typing import Final

from celery import VERSION

__all__ = ["REJECTED_ARE_STORED", "TAKES_LINKS_OUT"]

#: The next link is taken out of a task's chain and then sent (celery/app/trace.py): where it can't be, nothing has it.
TAKES_LINKS_OUT: Final = VERSION < (5, 6, 3)

#: A task that rejects its message for good is stored as failed, and counted in its chord (celery/worker/request.py).
REJECTED_ARE_STORED: Final = VERSION >= (5, 7)
