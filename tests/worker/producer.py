"""A process that sends tasks as it is told on standard input, a JSON object a line, and answers with their ids.

{"task": "add", "args": [1, 2], "kwargs": {}, "options": {"countdown": 1}, "tags": ["user:1"]}
→ {"id": "…", "seconds": 0.001}
"""

from __future__ import annotations

import json
import logging
import sys
import time

import watcher
from tests.worker.app import app


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    for line in sys.stdin:
        order = json.loads(line)
        start = time.monotonic()
        with watcher.tags(*order.get("tags", ())):
            if order["task"] in app.tasks:
                send = app.tasks[order["task"]].apply_async
                sent = send(order.get("args", ()), order.get("kwargs", {}), **order.get("options", {}))
            else:
                sent = app.send_task(order["task"], order.get("args", ()))
        print(json.dumps({"id": sent.id, "seconds": time.monotonic() - start}), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
