"""Tasks on their way: a process that sends them, over some time, whatever happens to the broker."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.support.processes import ROOT, environment

Order = Mapping[str, Any]
_LINE = 4096


async def send(orders: Sequence[Order], seconds: float, env: Mapping[str, str]) -> list[dict[str, Any]]:
    """Send each order in a process of its own, spread over some seconds; returns what sending each was like."""
    command = [sys.executable, "-m", "tests.faults.sender"]
    async with await anyio.open_process(command, env=environment(env), cwd=ROOT, stderr=None) as process:
        assert process.stdout is not None
        answers: list[dict[str, Any]] = []
        lines = BufferedByteReceiveStream(process.stdout)
        async with anyio.create_task_group() as group:
            group.start_soon(_dictate, process, orders, seconds)
            while len(answers) < len(orders):
                answers += [json.loads(await lines.receive_until(b"\n", _LINE))]
        assert process.stdin is not None
        await process.stdin.aclose()
        assert await process.wait() == 0
    return answers


async def _dictate(process: Process, orders: Sequence[Order], seconds: float) -> None:
    assert process.stdin is not None
    start = anyio.current_time()
    for index, order in enumerate(orders):
        await anyio.sleep_until(start + seconds * index / len(orders))
        await process.stdin.send(json.dumps(order).encode() + b"\n")
