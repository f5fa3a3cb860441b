"""Every state, in each of the worker's pools: real workers in their own processes, and what stands in the journal."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import pytest
from celery import Celery
from redis import Redis

from tests.support.control import revoke
from tests.support.processes import Program, worker
from tests.support.valkey import Valkey, valkey_server
from tests.worker.support import Producer, Reader, producer, states
from watcher.core.event import Event

POOLS = ("prefork", "threads", "solo", "gevent")


class Scene:
    """A worker of one pool, a process that sends it tasks, and the journal."""

    def __init__(self, pool: str, server: Valkey, running: Program, sender: Producer) -> None:
        self.pool = pool
        self.server = server
        self.worker = running
        self.sender = sender
        self.journal = Reader(server.url())

    def run(
        self, task: str, *args: Any, expect: tuple[str, ...] = (), tags: tuple[str, ...] = (), **options: Any
    ) -> list[Event]:
        """Send a task, and return its events when they are those expected, or it is final."""
        return self.journal.wait(self.sender.send(task, *args, tags=tags, **options), *expect)


@pytest.fixture(scope="module", params=POOLS)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with valkey_server() as server:
        env = {
            "CELERY_BROKER_URL": server.url(1),
            "CELERY_RESULT_BACKEND": server.url(2),
            "WATCHER_REDIS_URL": server.url(0),
            "INSTALL": "1",
        }
        arguments = ("-Q", "celery,aside", "-n", "box@here")
        with worker("tests.worker.app", *arguments, pool=request.param, env=env) as running, producer(env) as sender:
            yield Scene(request.param, server, running, sender)
            assert running.stop() == 0
            assert "watcher: events are missing" not in running.output


def value(raw: object) -> Any:
    assert isinstance(raw, msgspec.Raw)
    return msgspec.json.decode(raw)


def test_a_task_that_succeeds(scene: Scene) -> None:
    before = time.time()
    pending, received, started, success = events = scene.run(
        "add", 2, 3, expect=("PENDING", "RECEIVED", "STARTED", "SUCCESS")
    )
    assert value(success.result) == 5
    assert success.runtime is not None
    assert 0 < success.runtime < 5
    assert before <= pending.timestamp <= received.timestamp <= started.timestamp <= success.timestamp <= time.time()
    for event in events:
        assert (event.name, event.queue, event.retries) == ("add", "celery", 0)
        assert event.root_id == event.id
        assert (event.parent_id, event.group_id, event.tags, event.source) == (None, None, None, "signal")
    for event in (pending, received):
        assert (value(event.args), value(event.kwargs)) == ([2, 3], {})
        assert event.kwargsrepr == "{}"
        assert event.argsrepr in ("(2, 3)", "[2, 3]")
    assert pending.hostname is None
    assert {event.hostname for event in events[1:]} == {"box@here"}


def test_a_task_that_fails(scene: Scene) -> None:
    events = scene.run("fail", "boom", expect=("PENDING", "RECEIVED", "STARTED", "FAILURE"))
    error = events[-1].exception
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "boom")
    assert error.traceback is not None
    assert error.traceback.rstrip().endswith("ValueError: boom")
    assert events[-1].runtime is not None
    assert events[-1].reason is None


def test_a_task_that_retries_then_succeeds(scene: Scene) -> None:
    events = scene.run(
        "flaky", tags=("mine",), expect=("PENDING", "RECEIVED", "STARTED", "RETRY", "RECEIVED", "STARTED", "SUCCESS")
    )
    assert [(event.state, event.retries) for event in events] == [
        ("PENDING", 0),
        ("RECEIVED", 0),
        ("STARTED", 0),
        ("RETRY", 0),
        ("RECEIVED", 1),
        ("STARTED", 1),
        ("SUCCESS", 1),
    ]
    assert {event.tags for event in events} == {("mine",)}
    retry = events[3]
    assert retry.exception is not None
    assert (retry.exception.type, retry.exception.message) == ("ConnectionError", "not yet")
    assert retry.eta is not None
    assert retry.eta.endswith("+00:00")
    task = scene.journal.task(events[0].id)
    assert task is not None
    assert task.state == "SUCCESS"
    assert set(task.times) == {"RECEIVED", "STARTED", "SUCCESS"}


@pytest.mark.parametrize("state", ["PROGRESS", "DOWNLOADING"])
def test_progress_is_rate_limited_and_complete_before_the_end(scene: Scene, state: str) -> None:
    events = scene.run("report", 200, state)
    reports = [event for event in events if event.state == state]
    runtime = events[-1].runtime
    assert runtime is not None
    assert 2 <= len(reports) <= 2 + runtime / 0.1
    assert value(reports[0].meta)["current"] == 1
    assert value(reports[-1].meta) == {"current": 200, "total": 200}
    assert events[-1].state == "SUCCESS"
    arrived = [name for name in states(scene.journal.of(events[0].id)) if name in (state, "SUCCESS")]
    assert arrived[-1] == "SUCCESS", "100 % is there before SUCCESS, since the same process tells of both"


def test_a_task_that_is_ignored(scene: Scene) -> None:
    scene.run("ignore", expect=("PENDING", "RECEIVED", "STARTED", "IGNORED"))


def test_task_that_stores_failure_and_raises_ignore_has_failed(scene: Scene) -> None:
    events = scene.run("told", expect=("PENDING", "RECEIVED", "STARTED", "FAILURE"))
    assert events[-1].exception is not None
    assert (events[-1].exception.type, events[-1].exception.message) == ("ValueError", "my way")


def test_early_success_keeps_the_result_that_was_stored(scene: Scene) -> None:
    events = scene.run("early", expect=("PENDING", "RECEIVED", "STARTED", "SUCCESS"))
    assert value(events[-1].result) == {"not": "yet"}, "as get() has it"


def test_a_task_that_is_rejected(scene: Scene) -> None:
    scene.run("reject", expect=("PENDING", "RECEIVED", "STARTED", "REJECTED"))


def test_a_task_that_goes_back_to_its_queue_is_not_at_its_end(scene: Scene) -> None:
    events = scene.run("requeue", expect=("PENDING", "RECEIVED", "RECEIVED", "STARTED", "STARTED", "SUCCESS"))
    assert value(events[-1].result) == "again"


def test_a_task_that_is_replaced_ends_when_its_replacement_does(scene: Scene) -> None:
    events = scene.run("replace")
    assert set(states(events)) == {"PENDING", "RECEIVED", "STARTED", "SUCCESS"}
    assert value(events[-1].result) == 42


def test_a_task_that_nobody_knows_has_failed_as_its_result_says(scene: Scene) -> None:
    events = scene.run("no.such.task", expect=("PENDING", "FAILURE"))
    assert events[-1].exception is not None
    assert events[-1].exception.type == "NotRegistered"
    assert events[-1].hostname == "box@here"


def test_a_message_that_is_no_task_is_rejected(scene: Scene) -> None:
    task_id = str(uuid.uuid4())
    app = Celery(broker=scene.server.url(1))
    with app.connection_for_write() as connection, connection.Producer() as publish:
        headers = {"id": task_id, "task": "add", "lang": "py", "eta": "no time", "retries": 0, "root_id": task_id}
        publish.publish(((1, 2), {}, {}), headers=headers, routing_key="celery", serializer="json")
    events = scene.journal.wait(task_id, "REJECTED")
    assert (events[0].name, events[0].hostname, events[0].reason) == ("add", "box@here", "invalid")
    assert events[0].exception is not None
    assert "ETA" in events[0].exception.message


#: What a message may have that no worker can decode, or doesn't accept: properties, and the body.
UNDECODABLE: dict[str, tuple[dict[str, Any], bytes]] = {
    "garbage": ({"content_type": "application/json"}, b"[[1, 2], {"),
    "a tag": ({"content_type": "application/json"}, b'[[{"__type__": "date", "__value__": "x"}, 2], {}, {}]'),
    "pickle": ({"content_type": "application/x-python-serialize"}, b"[[1, 2], {}, {}]"),
    "a type that nobody knows": ({"content_type": "application/x-nothing"}, b"[[1, 2], {}, {}]"),
    "compressed otherwise": ({"content_type": "application/json", "headers": {"compression": "gzip"}}, b"[]"),
    "protocol 1": ({"content_type": "application/json", "headers": {}, "correlation_id": "protocol 1"}, b"{"),
}


def test_a_message_that_can_not_be_decoded_is_rejected(scene: Scene) -> None:
    app, hidden = Celery(broker=scene.server.url(1)), "hunter2"
    with app.connection_for_write() as connection, connection.Producer() as publish:
        for name, (properties, body) in UNDECODABLE.items():
            whose = {"id": name, "task": "add", "lang": "py", "root_id": name, "watcher_tags": ["mine"]}
            headers = {**({} if name == "protocol 1" else whose), **properties.get("headers", {})}
            publish.publish(body, content_encoding="utf-8", routing_key="celery", **{**properties, "headers": headers})
        secret = {"id": "no task", "args": [hidden]}
        publish.publish(secret, serializer="json", routing_key="celery", content_encoding="utf-8")
    for name in UNDECODABLE:
        [event] = scene.journal.wait(name, "REJECTED")
        assert (event.reason, event.hostname, event.queue) == ("undecodable", "box@here", "celery"), name
        assert event.exception is not None
        assert event.exception.traceback is None
        if name != "protocol 1":
            assert (event.name, event.root_id, event.tags) == ("add", name, ("mine",))
    [event] = scene.journal.wait("no task", "REJECTED")
    assert (event.reason, event.name) == ("invalid", None)
    assert hidden not in str(event)
    scene.run("add", 1, 2, expect=("PENDING", "RECEIVED", "STARTED", "SUCCESS"))


def test_a_task_that_expires_in_its_queue(scene: Scene) -> None:
    events = scene.run("add", 1, 2, countdown=0.3, expires=0.1)
    assert states(events)[0] == "PENDING"
    assert states(events)[-1] == "REVOKED"
    assert "STARTED" not in states(events)
    assert events[-1].reason == "expired"
    assert events[0].expires is not None
    assert events[-1].expires is not None


def test_a_task_that_waits_for_its_time(scene: Scene) -> None:
    events = scene.run("add", 1, 2, countdown=0.2, expect=("PENDING", "RECEIVED", "STARTED", "SUCCESS"))
    assert events[0].eta == events[1].eta is not None
    # gevent's timers fire up to some milliseconds early.
    assert events[2].timestamp >= datetime.fromisoformat(str(events[0].eta)).timestamp() - 0.01


def test_a_task_that_is_revoked_before_its_start(scene: Scene) -> None:
    task_id = scene.sender.send("add", 1, 2, countdown=2)
    scene.journal.until(task_id, lambda seen: "RECEIVED" in seen)
    with Celery(broker=scene.server.url(1)) as app:
        revoke(app, task_id)
    events = scene.journal.wait(task_id, "PENDING", "RECEIVED", "REVOKED")
    assert events[-1].reason == "revoked"


def test_tags_are_inherited_and_the_family_is_known(scene: Scene) -> None:
    parent = scene.run("spawn", tags=("user:42", "outer"), headers={"watcher_tags": ["header"]})
    assert {event.tags for event in parent} == {("header", "user:42", "outer")}
    for child in value(parent[-1].result):
        events = scene.journal.wait(child)
        assert {event.tags for event in events} == {("inner", "header", "user:42", "outer")}
        assert {event.parent_id for event in events} == {parent[0].id}
        assert {event.root_id for event in events} == {parent[0].id}


def test_the_tasks_of_a_group_know_it(scene: Scene) -> None:
    group_id, *children = value(scene.run("family")[-1].result)
    for child in children:
        events = scene.journal.wait(child, "PENDING", "RECEIVED", "STARTED", "SUCCESS")
        assert {event.group_id for event in events} == {group_id}


def test_an_exception_that_can_not_be_pickled_keeps_its_name(scene: Scene) -> None:
    events = scene.run("unpicklable")
    assert events[-1].exception is not None
    assert events[-1].exception.type == "Odd"


def test_unserializable_result_fails_only_its_own_task(scene: Scene) -> None:
    assert states(scene.run("hostile"))[-1] == "FAILURE"
    assert states(scene.run("add", 1, 1))[-1] == "SUCCESS"


def test_a_result_too_large_for_an_event_leaves_its_size(scene: Scene) -> None:
    events = scene.run("echo", "x" * 20_000)
    assert events[-1].state == "SUCCESS"
    assert events[-1].result_size == 20_002
    assert events[0].args is msgspec.UNSET
    assert events[0].argsrepr is not None
    assert len(events[0].argsrepr) <= 1024


def test_a_task_of_another_queue_names_it(scene: Scene) -> None:
    assert {event.queue for event in scene.run("add", 1, 2, queue="aside")} == {"aside"}


def test_offsets_have_no_hole_and_each_task_ends_once(scene: Scene) -> None:
    ids = [scene.sender.send("add", number, 1) for number in range(50)]
    ends = [scene.journal.wait(task_id)[-1] for task_id in ids]
    assert [value(end.result) for end in ends] == [number + 1 for number in range(50)]
    finals = [event.id for _, event in scene.journal.entries() if event.state == "SUCCESS"]
    assert len(finals) == len(set(finals))


def test_a_task_that_is_terminated(scene: Scene) -> None:
    if scene.pool in ("solo", "threads"):
        return  # the one hears of nothing while it works, the other can't end a thread
    task_id = scene.sender.send("pause", 10)
    scene.journal.until(task_id, lambda seen: "STARTED" in seen)
    with Celery(broker=scene.server.url(1)) as app:
        revoke(app, task_id, terminate=True)
    events = scene.journal.wait(task_id, "PENDING", "RECEIVED", "STARTED", "REVOKED")
    assert events[-1].reason == "terminated"


def test_time_limits_and_lost_workers(scene: Scene) -> None:
    if scene.pool != "prefork":
        return  # only processes can be ended
    soft, hard, lost, caught = (scene.sender.send(name) for name in ("soft", "hard", "vanish", "caught"))
    events = scene.journal.wait(soft, "PENDING", "RECEIVED", "STARTED", "FAILURE")
    assert events[-1].reason == "time_limit"
    events = scene.journal.wait(hard, "PENDING", "RECEIVED", "STARTED", "FAILURE")
    assert events[-1].reason == "time_limit"
    assert events[-1].hostname == "box@here"
    assert events[-1].runtime is not None
    events = scene.journal.wait(lost, "PENDING", "RECEIVED", "STARTED", "FAILURE")
    assert events[-1].reason == "worker_lost"
    assert events[-1].exception is not None
    assert events[-1].exception.traceback is None
    events = scene.journal.wait(caught)
    assert events[-1].state == "SUCCESS", f"{events[-1]}: a soft time limit reaches the task wherever it strikes"
    assert value(events[-1].result) == "in time"


def test_what_the_worker_stores_is_what_the_journal_says(scene: Scene) -> None:
    ids = {name: scene.run(name)[0].id for name in ("early", "told", "hostile")}
    with Redis.from_url(scene.server.url(2)) as backend:
        for name, task_id in ids.items():
            stored = backend.get(f"celery-task-meta-{task_id}")
            assert stored is not None
            task = scene.journal.task(task_id)
            assert task is not None
            assert msgspec.json.decode(stored)["status"] == task.state, name
