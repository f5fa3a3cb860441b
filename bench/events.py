"""What is published: the same events for every peer, of 300 bytes, each numbered and with the time at which it left."""

from __future__ import annotations

import time
from typing import NamedTuple

#: Bytes of one event.
SIZE = 300
#: The numbers start here, so that all have the same width.
FIRST = 1_000_000_000

_STATES = (("RECEIVED", 1), ("STARTED", 2), ("PROGRESS", 3), ("PROGRESS", 3), ("SUCCESS", 6))


class Message(NamedTuple):
    """One event on its way: whom it is for, its task, its standing (as ``core.order.standing`` makes it), its line."""

    channel: str
    id: str
    standing: str
    line: bytes


def task_id(number: int) -> str:
    """The task that client ``number`` watches in the unicast workloads."""
    return f"task-{number}"


def message(count: int, clients: int, *, unicast: bool) -> Message:
    """Event ``count`` (0, 1, 2, …) of a workload.

    Fanned out, each task goes through five events, its end the last one. Unicast, the clients' tasks report progress
    in turn, and each client's events have numbers of their own.
    """
    if unicast:
        turn, client = divmod(count, clients)
        identity, number, (state, rank) = task_id(client), FIRST + turn, ("PROGRESS", 3)
    else:
        task, step = divmod(count, len(_STATES))
        identity, number, (state, rank) = f"run-{task:09d}", FIRST + count, _STATES[step]
    now = time.time_ns()
    line = (
        f'{{"id":"{identity}","state":"{state}","timestamp":{now / 1e9:.6f},"source":"signal","name":"shop.import",'
        f'"hostname":"celery@worker1","retries":0,"root_id":"{identity}","meta":{{"n":{number},"t":{now},"text":"'
    )
    line += "x" * (SIZE - len(line) - 3) + '"}}'
    return Message(identity if unicast else "all", identity, f"000000{rank}{now / 1e9:017.6f} {state}", line.encode())
