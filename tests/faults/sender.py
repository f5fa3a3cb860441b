"""A process that sends tasks as it is told on standard input, an order a line, until each is sent.

{"id": "…", "task": "work", "args": [0.01, 2]} → {"id": "…", "seconds": 0.001, "tries": 1}
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module

from kombu.exceptions import OperationalError

app = import_module(os.environ.get("SENDER_APP", "tests.faults.app")).app

_PAUSE = 0.1
_TRIES = 600


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        for tries in range(1, _TRIES):
            start = time.monotonic()
            try:
                app.tasks[order["task"]].apply_async(
                    order["args"], task_id=order["id"], retry=False, **order.get("options", {})
                )
            except (OperationalError, OSError):  # the broker is away: a repeat under the same id, when it is back
                time.sleep(_PAUSE)
                continue
            answer = {"id": order["id"], "seconds": time.monotonic() - start, "tries": tries}
            print(json.dumps(answer), flush=True)  # noqa: T201 - its answer
            break


if __name__ == "__main__":
    main()
