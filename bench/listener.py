"""Watches all tasks over a WebSocket and notes when it hears of each one's SUCCESS; one line of JSON at the end.

python -m bench.listener URL
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time

from websockets.sync.client import connect

_SUCCESS = re.compile(r'"id":"([^"]+)","state":"SUCCESS"')


def main(url: str) -> None:
    heard: dict[str, float] = {}

    def end(*_: object) -> None:
        print(json.dumps(heard), flush=True)
        sys.exit()

    with connect(url, compression=None) as socket:
        socket.send('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"tasks"}}')
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        for message in socket:
            now = time.time()
            if message == "{}":  # the relay asks whether somebody is there
                socket.send("{}")
            for found in _SUCCESS.finditer(str(message)):
                heard[found[1]] = now


if __name__ == "__main__":
    main(sys.argv[1])
