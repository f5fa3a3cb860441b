"""A WSGI app that sends a task with each request and answers with its id. It imports the plugin before all else.

The environment says what else it does: ``EARLY=1`` sends one when it is imported, and so before a server forks;
``THREADS=1`` sends it from a thread of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from tests.worker.app import add

if os.environ.get("EARLY") == "1":
    add.apply_async((0, 0), task_id="early")


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    sent: list[str] = []

    def send() -> None:
        sent.append(str(add.delay(1, 2).id))

    if os.environ.get("THREADS") == "1":
        thread = threading.Thread(target=send)
        thread.start()
        thread.join()
    else:
        send()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [sent[0].encode()]
