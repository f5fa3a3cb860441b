"""Which processes a program has started, and whether they are gone."""

from __future__ import annotations

import subprocess

from tests.support.waiting import wait_for


def _table() -> list[tuple[int, int, str]]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [(int(pid), int(parent), state) for pid, parent, state in rows]


def descendants(pid: int) -> list[int]:
    """All processes below this one."""
    children: dict[int, list[int]] = {}
    for child, parent, _ in _table():
        children.setdefault(parent, []).append(child)
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def alive(pids: list[int]) -> list[int]:
    """Those that still run; one that only waits to be reaped has ended."""
    return [pid for pid, _, state in _table() if pid in pids and not state.startswith("Z")]


def wait_until_gone(pids: list[int], *, timeout: float = 10.0) -> None:
    """Wait until none of them runs."""
    assert pids, "there is no process to wait for"
    wait_for(lambda: not alive(pids), timeout=timeout, what=f"the processes {pids} to end")
