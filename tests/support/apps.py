"""Celery apps in the tests' own process."""

from __future__ import annotations

import gc
from typing import Any

from celery import Celery


def let_go(app: Celery) -> None:
    """Let go of the app's server while that is there.

    A result unsubscribes when it is collected: where its server is gone by then, whatever test is running just then is
    held up for 20 s, as Celery tries again once a second. Some are held longer than this, by a test that failed.
    """
    gc.collect()
    backend: Any = app.backend
    backend.result_consumer.stop()
    backend.result_consumer._pubsub = None  # up to Celery 5.6 it is used after it was stopped
    backend.client.connection_pool.disconnect()
