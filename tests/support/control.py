"""Celery's remote control, which a worker hears a while after it has said that it is ready, and not before.

On Redis it is publish and subscribe, and a worker subscribes in the first turn of its event loop; one of greenlets in
a greenlet of its own. What is sent before that is lost for good. A worker whose task has been seen to run hears it.
"""

from __future__ import annotations

from celery import Celery

from tests.support.waiting import wait_for


def wait_until_heard(app: Celery, *, workers: int = 1) -> None:
    """Wait until so many workers answer."""

    def answered() -> bool:
        return len(app.control.ping(timeout=1, limit=workers) or ()) >= workers

    wait_for(answered, timeout=30, what=f"{workers} to answer")


def revoke(app: Celery, identity: str, *, workers: int = 1, terminate: bool = False) -> None:
    """Revoke a task, once so many workers hear of it."""
    wait_until_heard(app, workers=workers)
    app.control.revoke(identity, terminate=terminate)
