"""The bundled app, and tasks that are seen in the middle for as long as a test wants; see gate.py."""

from __future__ import annotations

from typing import Any

from celery import Task

from tasks import app
from tests.support.gate import pass_through

__all__ = ["app"]


@app.task(bind=True, name="tasks.count_slowly")
def count_slowly(self: Task[..., int], limit: int, gate: str = "") -> int:
    """Return how many even numbers there are up to the limit; at a gate, say that a half is done, and wait."""
    if gate:
        self.update_state(state="PROGRESS", meta={"current": limit // 2, "total": limit})
        wait(gate)
    return limit // 2


@app.task(name="tasks.wait")
def wait(gate: str) -> None:
    """Say nothing, and wait for the gate."""
    backend: Any = app.backend
    pass_through(backend.client, gate)
