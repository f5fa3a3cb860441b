"""Which unfinished tasks are not going to end by themselves."""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.support.events import event
from tests.support.order import Referee
from watcher.core.event import ExceptionInfo, Reserved, Task, task_of
from watcher.relay.safety_net.orphans import Workers, stranded

NOW = 1_700_000_000.0


def task(state: str = "STARTED", timestamp: float = NOW - 60, **fields: object) -> Task:
    made = task_of([(1, structs.replace(event("a", state, timestamp, hostname="w"), **fields))])
    assert made is not None
    return made


def workers(started: float = NOW - 3600, last: float = NOW - 1) -> Workers:
    return Workers({b"w": f"{started} {last:.0f}".encode(), b"strange": b"?"}, NOW)


@pytest.mark.parametrize("state", ["RECEIVED", "STARTED", "PROGRESS", "RENDERING"])
def test_task_of_a_dead_worker_is_lost_but_may_resume(state: str) -> None:
    lost = stranded(task(state), workers(last=NOW - 11), NOW)
    assert lost is not None
    assert (lost.state, lost.reason, lost.source) == (state, "worker_lost", "backend")
    held = task(state, sent=1.0, run="r", retries=1)
    lost = stranded(held, workers(last=NOW - 11), NOW)
    assert lost is not None
    told = event("a", state, held.timestamp, sent=1.0, run="r", retries=1)
    assert [each.late for each in Referee().marked([told, lost])] == [False, False], "it must not come late"


def test_what_was_running_before_the_worker_started_anew_is_lost() -> None:
    assert stranded(task(timestamp=NOW - 60), workers(started=NOW - 30), NOW) is not None
    assert stranded(task(timestamp=NOW - 20), workers(started=NOW - 30), NOW) is None


def test_task_of_a_live_or_unknown_worker_is_not_lost() -> None:
    assert stranded(task(), workers(), NOW) is None
    assert stranded(task(hostname="other"), workers(last=0), NOW) is None
    assert stranded(task(hostname=None), workers(last=0), NOW) is None


@pytest.mark.parametrize("state", ["PENDING", "SUCCESS", "FAILURE"])
def test_what_no_worker_has_is_not_lost_with_one(state: str) -> None:
    assert stranded(task(state), workers(last=0), NOW) is None


def test_it_is_said_once() -> None:
    assert stranded(task(reason="worker_lost"), workers(last=0), NOW) is None


@pytest.mark.parametrize(
    ("expires", "gone"),
    [
        ("2023-11-14T22:00:00+00:00", True),
        ("2023-11-14T22:00:00", True),
        ("2023-11-14T22:13:10+00:00", False),
        ("2033-01-01T00:00:00+00:00", False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_what_nobody_took_in_time_has_expired(expires: str | None, gone: bool) -> None:
    ended = stranded(task("PENDING", expires=expires), workers(), NOW)
    assert (ended is not None) == gone
    if ended is not None:
        assert (ended.state, ended.reason) == ("REVOKED", "expired")


@pytest.mark.parametrize("state", ["RECEIVED", "RETRY"])
def test_task_held_by_a_live_worker_does_not_expire(state: str) -> None:
    """Celery looks at ``expires`` on receipt: a thread may take it much later, and runs it."""
    held = task(state, expires="2023-11-14T22:00:00+00:00", exception=ExceptionInfo("E", "m"))
    if state == "RETRY":
        assert stranded(held, workers(), NOW) is not None, "nobody has its next try"
        held = structs.replace(held, reserved=Reserved(timestamp=NOW, hostname="w", retries=1))
    assert stranded(held, workers(), NOW) is None
    gone = stranded(held, workers(last=0), NOW)
    assert gone is not None
    assert (gone.state, gone.reason) == ("REVOKED", "expired")


def test_retry_without_eta_or_error_is_lost_only_with_its_worker() -> None:
    assert stranded(task("RETRY", eta="2033-01-01T00:00:00+00:00"), workers(last=0), NOW) is None
    assert stranded(task("RETRY", exception=ExceptionInfo("E", "m")), workers(last=0), NOW) is None
    assert stranded(task("RETRY"), workers(), NOW) is None
    lost = stranded(task("RETRY"), workers(last=0), NOW)
    assert lost is not None
    assert (lost.state, lost.reason) == ("RETRY", "worker_lost")


def test_workers_with_the_same_hostname_are_distinguished() -> None:
    both = Workers({b"w aaaaaaaa": b"1999999999 1700000000", b"w bbbbbbbb": b"1 1699999000"}, NOW)
    assert stranded(task(run="aaaaaaaa1"), both, NOW) is None
    lost = stranded(task(run="bbbbbbbb1"), both, NOW)
    assert lost is not None
    assert lost.reason == "worker_lost"


def test_workers_of_long_ago_are_forgotten() -> None:
    assert list(workers(last=NOW - 8 * 86400).forgotten()) == ["w"]
    assert list(workers().forgotten()) == []
