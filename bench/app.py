"""A Celery app with a task that does nothing.

``BENCH_PLUGIN=1`` installs the plugin in worker and sender; with ``turns`` the worker hears it every other half second.
"""

from __future__ import annotations

import os

from celery import Celery

import watcher
from bench import turns

app = Celery("bench", broker=os.environ["CELERY_BROKER_URL"], backend=os.environ["CELERY_RESULT_BACKEND"])
app.conf.worker_hijack_root_logger = False
if os.environ.get("BENCH_PLUGIN"):
    watcher.install(app)
if os.environ.get("BENCH_PLUGIN") == "turns":
    turns.take_turns()


@app.task(name="bench.noop")
def noop() -> None:
    """Nothing: what is left is what the worker and its plugin cost."""
