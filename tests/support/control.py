"""Celery's remote control, which a worker hears a while after it has said that it is ready, and not before.

On Redis it is publish and subscribe, and a worker subscribes in the first turn of its event loop; one of greenlets in
a greenlet of its own. What is sent before that is lost for good. A worker whose task has been seen to run hears it.
"""

from __future__ import annotations

from celery import Celery

from tests.support.waiting import wait_for


def wait_until_heard(app: Celery, *workers: str) -> None:
    """Wait until these workers answer; without names, any worker."""

    def answered() -> bool:
        answers = app.control.ping(destination=list(workers) or None, timeout=1, limit=len(workers) or 1)
        return len(answers or ()) >= max(1, len(workers))

    wait_for(answered, timeout=30, what=f"{', '.join(workers) or 'a worker'} to answer")


def revoke(app: Celery, identity: str, *workers: str, terminate: bool = False) -> None:
    """Revoke a task, once these workers hear of it; without names, any worker."""
    wait_until_heard(app, *workers)
    app.control.revoke(identity, terminate=terminate)
