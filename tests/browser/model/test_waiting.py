"""offered.js and waiting.js: what waits, for what, and how long."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.model.node import run

_NOW = 1_700_049_600.0  # 15 November 2023, 12:00 UTC
_SAID = """
  const [{ waitText }, { waitingKind }, { isOf }] = [
    await use("model/waiting.js"), await use("model/kinds.js"), await use("model/offered.js"),
  ];
  const [task, now] = argument;
  return [waitingKind(task, now) ?? null, waitText(task, now), isOf(task, "waiting", now)];
"""


def task(state: str, age: float, **fields: Any) -> dict[str, Any]:
    at = _NOW - age
    return {"id": "a", "state": state, "timestamp": at, "times": {"PENDING": at, state: at}, **fields}


@pytest.mark.parametrize(
    ("waiting", "kind", "text"),
    [
        (task("PENDING", 5.7), "queued", "waiting for 5 s"),
        (task("RECEIVED", 185), "queued", "waiting for 3 min"),
        (task("PENDING", 3600), "queued", "waiting for 1 h"),
        (task("PENDING", 3 * 86_400 + 7200), "queued", "waiting for 3 d 2 h"),
        (task("PENDING", 5, eta="2023-11-15T19:55:00Z"), "scheduled", "in 7 h 55 min, not before 19:55:00"),
        (task("RECEIVED", 5, eta="2023-11-18T09:30:00+01:00"), "scheduled", "in 2 d 20 h, not before 18 Nov, 08:30"),
        (task("RECEIVED", 9000, eta="2023-11-15T11:59:20Z"), "queued", "waiting for 40 s"),
        (task("RETRY", 5, retries=1, eta="2023-11-15T16:42:06Z"), "retrying", "try 3 at 16:42:06"),
        (task("RETRY", 65, retries=0, eta="2023-11-15T11:59:00Z"), "retrying", "try 2 waiting for 1 min"),
        (task("PENDING", 5, eta="soon"), "queued", "waiting for 5 s"),
        (task("PENDING", -5), "queued", "waiting for 0 s"),
    ],
)
def test_what_a_task_waits_for(waiting: dict[str, Any], kind: str, text: str) -> None:
    assert run(_SAID, [waiting, _NOW]) == [kind, text, True]


def test_what_does_not_wait_says_nothing() -> None:
    assert run(_SAID, [task("STARTED", 5), _NOW]) == [None, "", False]
    assert run(_SAID, [task("RECEIVED", 5, reason="worker_lost"), _NOW]) == [None, "", False]
