"""Sends no-op tasks at a rate and waits for each with Celery's own get(); one line of JSON with the times.

    python -m bench.sender RATE SECONDS

Several of these make a rate at which one process, which waits for one task at a time, would fall behind.
"""

from __future__ import annotations

import json
import sys
import time

from bench.app import noop


def main(rate: float, seconds: float) -> None:
    noop.delay().get(timeout=10)  # connections are opened at first use
    print("ready", flush=True)
    sys.stdin.readline()
    rows, begun = [], time.monotonic()
    for count in range(int(rate * seconds)):
        time.sleep(max(0.0, begun + count / rate - time.monotonic()))
        sent = time.time()
        result = noop.delay()
        result.get(timeout=20)
        rows.append((result.id, sent, time.time()))
    print(json.dumps({"rows": rows, "seconds": time.monotonic() - begun}), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
