"""Clients that come back all at once: python -m tests.faults.storm URL EPOCH OFFSET MISSED COUNT, a process of its own.

Each recovers from ``EPOCH:OFFSET``, must be given ``MISSED`` publications, and stays. Once all were served it says so.
"""

from __future__ import annotations

import json
import sys

import anyio
from websockets.asyncio.client import connect

SERVED = "all served"


async def come_back(url: str, epoch: str, offset: int, missed: int, served: anyio.Semaphore) -> None:
    """Recover, and stay until cancelled."""
    async with connect(url, max_size=None, ping_interval=None, compression=None, open_timeout=60) as socket:
        subscribe = {"channel": "tasks", "recover": True, "epoch": epoch, "offset": offset}
        await socket.send(json.dumps({"id": 1, "connect": {}}) + "\n" + json.dumps({"id": 2, "subscribe": subscribe}))
        given = 0
        while given < missed:
            for text in str(await socket.recv()).split("\n"):
                message = json.loads(text)
                if "subscribe" in message:
                    assert message["subscribe"]["recovered"]
                    given += len(message["subscribe"]["publications"])
                given += "push" in message
        assert given == missed
        served.release()
        await anyio.sleep_forever()


async def main(url: str, epoch: str, offset: int, missed: int, count: int) -> None:
    served = anyio.Semaphore(0)
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(come_back, url, epoch, offset, missed, served)
        for _ in range(count):
            await served.acquire()
        print(SERVED)  # noqa: T201 - what whoever started it waits for
        group.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
