"""Calls that are run together, as celery-batches does: each has its life and its end, and there is no other task."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from msgspec import Raw

from tests.support.processes import worker
from tests.support.valkey import Valkey, valkey_server
from tests.worker.support import Reader, states
from watcher.core.event import Event

APP = "tests.worker.gathering"
Send = Callable[..., list[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey_server() as running:
        yield running


@pytest.fixture(scope="module", params=["prefork", "threads"])
def pool(request: pytest.FixtureRequest, server: Valkey) -> Iterator[str]:
    server.flush()
    env = {
        "CELERY_BROKER_URL": server.url(1),
        "CELERY_RESULT_BACKEND": server.url(2),
        "WATCHER_REDIS_URL": server.url(0),
        "GATHER": os.environ.get("GATHER", ""),
    }
    with worker(APP, pool=request.param, env=env):
        yield request.param


@pytest.fixture
def send(server: Valkey, pool: str) -> Iterator[Send]:
    """Three calls of a task, and then the events of each must be those of a life, and there be no other task."""
    app = Celery(broker=server.url(1), backend=server.url(2), set_as_current=False)
    sent: list[str] = []

    def three(name: str, *arguments: tuple[Any, ...]) -> list[str]:
        ids = [app.send_task(name, args, headers={"watcher_tags": [name]}).id for args in arguments]
        sent.extend(ids)
        return ids

    yield three
    app.close()
    reader = Reader(server.url())
    assert {event.id for _, event in reader.entries() if event.tags == (event.name,)} >= set(sent)
    assert {event.id for _, event in reader.entries() if event.name in {None, "None"} or not event.tags} == set()
    reader.close()


@pytest.fixture
def journal(server: Valkey) -> Iterator[Reader]:
    reader = Reader(server.url())
    yield reader
    reader.close()


def result(event: Event) -> bytes:
    assert isinstance(event.result, Raw)
    return bytes(event.result)


def lives(journal: Reader, ids: list[str]) -> list[Event]:
    """The ends of these, each after a life."""
    found = []
    for identity in ids:
        events = journal.wait(identity)
        assert states(events)[:2] == ["RECEIVED", "STARTED"]
        assert len(events) == 3
        assert {event.hostname for event in events} == {events[0].hostname}
        assert {(event.queue, event.retries, event.root_id) for event in events} == {("celery", 0, identity)}
        found.append(events[-1])
    return found


def test_each_call_ends_as_the_batch_says(journal: Reader, send: Send) -> None:
    one, two, three = lives(journal, send("sums", (1, 2), (3, 4), (5, 0)))
    assert (one.state, result(one), two.state, result(two)) == ("SUCCESS", b"3", "SUCCESS", b"7")
    assert three.exception is not None
    assert (three.state, three.exception.type, three.exception.message) == ("FAILURE", "ValueError", "nothing to add")
    assert one.runtime is not None


def test_where_the_batch_says_nothing_they_end_with_it(journal: Reader, send: Send) -> None:
    for event in lives(journal, send("quiet", (), (), ())):
        assert (event.state, result(event)) == ("SUCCESS", b"null")


def test_those_that_had_not_ended_fail_with_the_batch(journal: Reader, send: Send) -> None:
    first, *others = lives(journal, send("raising", (), (), ()))
    assert (first.state, result(first)) == ("SUCCESS", b'"in time"')
    for event in others:
        assert event.exception is not None
        assert (event.state, event.exception.type, event.exception.message) == ("FAILURE", "KeyError", "'oops'")
        assert "raising" in (event.exception.traceback or "")


def test_calls_that_are_lost_with_their_process_are_told(pool: str, journal: Reader, send: Send) -> None:
    if pool == "threads":
        pytest.skip("there it is the worker's own process, whose loss a relay tells")
    for event in lives(journal, send("vanishing", (), (), ())):
        assert (event.state, event.reason) == ("FAILURE", "worker_lost")
    # The broker still has these, and will hand them out again: not their end.
    for identity in send("vanishing_late", (), (), ()):
        events = journal.until(identity, lambda seen: len(seen) == 3)
        assert states(events) == ["RECEIVED", "STARTED", "STARTED"]
        assert events[-1].reason == "worker_lost"
    # Other tasks are as ever.
    (identity,) = send("add", (1, 2))
    assert states(journal.wait(identity)) == ["RECEIVED", "STARTED", "SUCCESS"]
