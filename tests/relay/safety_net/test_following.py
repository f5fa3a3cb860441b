"""What is stored of a task, as its next event."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw, structs

from tests.support.events import event
from watcher.core.event import Event, ExceptionInfo, Reserved, Task, task_of
from watcher.relay.safety_net.following import following, is_settled
from watcher.relay.safety_net.orphans import Workers

NOW = 1_700_000_000.0
THERE = Workers({b"w aaaaaaaa": f"{NOW - 999} {NOW - 1:.0f}".encode()}, NOW)
GONE = Workers({b"w aaaaaaaa": f"{NOW - 999} {NOW - 60:.0f}".encode()}, NOW)


def task(state: str = "STARTED", timestamp: float = NOW - 50, **fields: Any) -> Task:
    told = event("a", state, timestamp, hostname="w", run="aaaaaaaa1", sent=NOW - 60, name="n", **fields)
    made = task_of([(1, told)])
    assert made is not None
    return made


def stored(state: str, timestamp: float = NOW, **fields: Any) -> Event:
    return structs.replace(event("a", state, timestamp), source="backend", **fields)


def test_an_end_that_nobody_told_is_of_the_run_that_is_known() -> None:
    found = following(stored("FAILURE"), task(), [], THERE)
    assert found is not None
    assert (found.state, found.run, found.retries, found.name, found.hostname) == ("FAILURE", "aaaaaaaa1", 0, "n", "w")


@pytest.mark.parametrize("state", ["STARTED", "PROGRESS", "RENDERING"])
def test_another_worker_can_not_revoke_what_a_worker_runs(state: str) -> None:
    revoked = stored("REVOKED", reason="revoked")
    assert following(revoked, task(state), [], THERE) is None
    assert following(revoked, task(state), [], GONE) is not None
    assert following(revoked, task("PENDING"), [], THERE) is not None
    assert following(stored("REVOKED", reason="terminated"), task(state), [], THERE) is not None


@pytest.mark.parametrize("state", ["STARTED", "PROGRESS", "RENDERING"])
def test_the_retry_of_the_run_before_is_over_while_this_one_runs(state: str) -> None:
    retry = stored("RETRY", exception=ExceptionInfo(type="OSError", message="try 0"))
    for workers in (THERE, GONE):
        assert following(retry, task(state, retries=1), [], workers) is None
        assert following(retry, task(state, redelivered=1), [], workers) is None
        assert following(stored("RETRY"), task(state), [], workers) is None, "it calls itself so"
        found = following(retry, task(state), [], workers)
        assert found is not None
        assert found.retries == 0
        found = following(structs.replace(retry, retries=1), task(state, retries=1), [], workers)
        assert found is not None
        assert found.retries == 1


@pytest.mark.parametrize("state", ["PENDING", "RECEIVED"])
def test_stored_start_is_ignored_if_its_worker_has_the_plugin(state: str) -> None:
    for workers in (THERE, GONE):
        assert following(stored("STARTED", hostname="w"), task(state), [], workers) is None, "of an earlier life or run"
        assert following(stored("STARTED", hostname="v"), task(state), [], workers) is not None
        assert following(stored("STARTED"), task(state), [], workers) is not None


@pytest.mark.parametrize("state", ["PENDING", "RECEIVED"])
def test_earlier_start_is_ignored_before_its_worker_is_known(state: str) -> None:
    """A worker gives its first sign of life after it has begun its first task."""
    before, nobody = event("a", "STARTED", NOW - 99, hostname="w", run="aaaaaaaa1", sent=NOW - 120), Workers({}, NOW)
    assert following(stored("STARTED", hostname="w"), task(state), [before], nobody) is None
    assert following(stored("STARTED"), task(state), [before], nobody) is None
    assert following(stored("STARTED", hostname="v"), task(state), [before], nobody) is not None, "has no plugin"
    assert following(stored("STARTED", hostname="w"), task(state), [], nobody) is not None


@pytest.mark.parametrize("state", ["PENDING", "RECEIVED", "STARTED"])
def test_a_report_of_the_run_before_is_over(state: str) -> None:
    report, lost = stored("PROGRESS", meta=Raw(b"1")), event("a", "PROGRESS", NOW - 99, meta=Raw(b"1"))
    before = [
        structs.replace(lost, run="bbbbbbbb1", sent=NOW - 60),
        structs.replace(lost, sent=NOW - 120, run="cccccccc1"),
    ]
    for earlier in before:
        assert following(report, task(state), [earlier], THERE) is None
        lost_since = structs.replace(task(state), source="backend", reason="worker_lost")
        assert following(report, lost_since, [earlier], GONE) is None
        assert following(report, task("PROGRESS", meta=Raw(b"2")), [earlier], THERE) is not None
    assert (
        following(report, task(state), [event("a", state, NOW - 50, run="aaaaaaaa1", sent=NOW - 60)], THERE) is not None
    )


def test_what_was_revoked_and_is_not_known_is_no_task() -> None:
    assert following(stored("REVOKED", reason="revoked"), None, [], THERE) is None
    assert following(stored("REVOKED", reason="expired"), None, [], THERE) is not None
    assert following(stored("SUCCESS"), None, [], THERE) is not None


def test_an_end_of_the_run_before_is_over() -> None:
    earlier = event("a", "FAILURE", NOW - 70.0, sent=NOW - 80)
    for waiting in (task("PENDING"), task("RECEIVED"), task("STARTED")):
        assert following(stored("FAILURE", NOW - 70.01), waiting, [earlier], THERE) is None
        assert following(stored("FAILURE", NOW - 1), waiting, [earlier], THERE) is not None
    assert following(stored("FAILURE", NOW - 51), task("STARTED"), [], THERE) is None, "before its start, by one clock"


@pytest.mark.parametrize(
    ("told", "kept", "more"),
    [
        ("FAILURE", "SUCCESS", True), ("REVOKED", "SUCCESS", True), ("REVOKED", "FAILURE", True),
        ("FAILURE", "FAILURE", False), ("FAILURE", "STARTED", False), ("FAILURE", "RETRY", False),
        ("RECEIVED", "STARTED", True), ("STARTED", "STARTED", False), ("PENDING", "RETRY", False),
        ("PROGRESS", "STARTED", False),
    ],
)  # fmt: skip
def test_what_is_stored_is_held_against_what_was_told(told: str, kept: str, more: bool) -> None:
    known = task(told)
    found = following(
        stored(kept, NOW), known, [event("a", told, known.timestamp, run="aaaaaaaa1", sent=NOW - 60)], THERE
    )
    assert (found is not None) is more


@pytest.mark.parametrize("state", ["SUCCESS", "REJECTED", "IGNORED"])
def test_some_ends_are_settled(state: str) -> None:
    assert is_settled(event("a", state))
    assert not is_settled(event("a", "FAILURE"))
    assert not is_settled(None)


def test_a_report_is_news_where_it_says_something_else() -> None:
    known = task("PROGRESS", meta=Raw(b"1"))
    assert following(stored("PROGRESS", meta=Raw(b"1")), known, [], THERE) is None
    assert following(stored("PROGRESS", meta=Raw(b"2")), known, [], THERE) is not None


def test_after_a_retry_an_end_is_of_the_next_try_and_of_who_has_it() -> None:
    known = structs.replace(task("RETRY"), reserved=Reserved(timestamp=NOW, hostname="v", retries=1, run="bbbbbbbb1"))
    found = following(stored("SUCCESS"), known, [], THERE)
    assert found is not None
    assert (found.retries, found.run, found.hostname) == (1, "bbbbbbbb1", "v")
    assert following(stored("STARTED", retries=0), structs.replace(known, retries=2), [], THERE) is None
