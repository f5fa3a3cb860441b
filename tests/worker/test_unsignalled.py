"""Celery may change what it doesn't promise to keep: nothing of the app's fails then, and the log says what is late."""

from __future__ import annotations

import subprocess
import sys

from tests.support.processes import ROOT, environment, free_port

MISSING = """
import logging
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from celery import Celery
from celery.app.task import Task
from celery.app.trace import TraceInfo
from celery.backends import base as backends
from celery.concurrency import base as pools

for name in ("handle_failure", "handle_ignore", "handle_reject"):
    delattr(TraceInfo, name)
for name in ("mark_as_failure", "mark_as_revoked", "chord_error_from_stack"):
    delattr(backends.Backend, name)
del pools.reraise, backends.BaseKeyValueStoreBackend, Task.retry

import watcher

app = Celery(broker="memory://", backend="cache+memory://")
watcher.install(app)

@app.task(name="add")
def add(x, y):
    return x + y

add.delay(1, 2)
from watcher.worker.unsignalled import running
del type(add.request_stack).push
add.request_stack._local = None
assert running(add, "none") is None
"""


def test_what_a_version_of_celery_lacks_is_left_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MISSING], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT,
        env=environment({"WATCHER_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "this version of Celery has no" in line]
    assert len(told) == 8, done.stderr
    assert "Traceback" not in done.stderr
