"""A Celery app that has never heard of watcher."""

from __future__ import annotations

import os

from celery import Celery

app = Celery(
    "plain",
    broker=os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/15"),
    backend=os.environ.get("CELERY_RESULT_BACKEND", "redis://127.0.0.1:6379/14"),
)


@app.task(name="plain.double")
def double(number: int) -> int:
    """Twice the number."""
    return number * 2
