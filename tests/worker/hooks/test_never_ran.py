"""What of a workflow never runs because a task before it failed is told, at once, with all that is known of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import VERSION, Celery, chain, chord, group

from tests.support.control import revoke
from tests.support.waiting import wait_for
from tests.worker.ends import HEADERS, TAGS, Scene, ids_of, scene

#: Celery 5.6.2 and 5.6.3 fail and revoke each task of a group that won't run: which is stored last is chance.
REVOKES_TOO = (5, 6, 2) <= VERSION < (5, 7)


@pytest.fixture(scope="module", params=["prefork", "threads"])
def stage(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with scene(request.param) as running:
        yield running


def workflow(app: Celery, kind: str) -> Any:
    """A workflow of which something never runs."""

    def s(name: str, *args: Any) -> Any:
        return app.signature(name, args, app=app)

    def bad() -> Any:
        return s("bad")

    def n() -> Any:
        return s("n")

    kinds: dict[str, Callable[[], Any]] = {
        "chain": lambda: chain(bad(), n(), n()),
        "chain whose link lacks an argument": lambda: chain(s("add", 1, 2), s("add"), n()),
        "chord, the last link lacks an argument": lambda: chord([chain(s("add", 1, 2), s("add")), n()], n()),
        "chord": lambda: chord([bad(), bad()], n()),
        "chord, the last succeeds": lambda: chord([bad(), chain(n(), n())], n()),
        "chain in a chord": lambda: chord([chain(bad(), n()), n()], n()),
        "chord, then a chain": lambda: chord([bad(), n()], chain(n(), n())),
        "chord, the last fails, then a chain": lambda: chord([n(), chain(n(), bad())], chain(n(), n())),
        "chord, then a group": lambda: chord([bad(), n()], group(n(), n())),
        "chord in a chain": lambda: chain(n(), group(bad(), n()), n(), n()),
        "chain, then a group": lambda: chain(bad(), group(n(), n())),
        "chain, then a chord": lambda: chain(bad(), group(n(), n()), n(), n()),
        "chain in a chain": lambda: chain(n(), chain(bad(), chain(n(), n())), n()),
        "chord of chords": lambda: chord([chord([bad(), n()], n()), n()], n()),
        "chord, then a chord": lambda: chord([bad(), n()], chord([n(), n()], n())),
        "chord, then a group of a chord": lambda: chord([bad(), n()], group(chord([n()], n()), n())),
        "chord, then a group of a chain": lambda: chord([bad(), n()], group(chain(n(), n()), n())),
        "chord in a group, then a group": lambda: group(chord([n(), bad()], group(n(), n())), n()),
        "chord of what is replaced": lambda: chord([chain(n(), s("replaced"), n()), n()], group(n(), n()), app=app),
        "chain of 42, then chords": lambda: chain(*[bad() for _ in range(42)], group(n(), n()), n(), group(n(), n())),
        "a lost worker": lambda: chain(s("exits", "os"), s("add", 1)),
        "nobody knows it": lambda: chain(s("no.such.task"), n()),
    }
    return kinds[kind]()


def unknown(stage: Scene) -> set[str]:
    """The ids that the backend has something of, and that are told to be neither a task's nor a group's."""
    stored = stage.all_stored()
    told = [event for _, event in stage.journal.entries()]
    return stored - {event.id for event in told} - {str(event.group_id) for event in told}


KINDS = [
    "chain", "chain whose link lacks an argument", "chord, the last link lacks an argument", "chord",
    "chord, the last succeeds", "chain in a chord", "chord, then a chain", "chord, the last fails, then a chain",
    "chord, then a group", "chord in a chain", "chain, then a group", "chain, then a chord", "chain in a chain",
    "chord of chords", "chord, then a chord", "chord, then a group of a chord",
    "chord, then a group of a chain", "chord in a group, then a group", "chord of what is replaced",
    "chain of 42, then chords", "a lost worker", "nobody knows it",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_task_of_a_workflow_has_an_end(stage: Scene, kind: str) -> None:
    if kind == "a lost worker" and stage.pool != "prefork":
        return  # there is only one process
    result = workflow(stage.app, kind).apply_async(headers=HEADERS)
    ids = ids_of(result)
    assert len(ids) > 1
    tasks = {task_id: stage.task(task_id) for task_id in ids}
    for task_id, task in tasks.items():
        stored = stage.stored(task_id)
        if REVOKES_TOO and stored is not None and stored["status"] == "REVOKED":
            stored = None
        assert task.name in ("n", "bad", "add", "exits", "no.such.task", "replaced"), task
        assert task.root_id is not None
        if stored is not None:
            assert task.state == stored["status"]
        if task.state == "FAILURE":
            assert task.exception is not None
            assert task.source == "signal"
            assert task.reason in (None, "worker_lost")
            assert stored is None or task.exception.type == stored["result"]["exc_type"]
        assert task.tags == TAGS, task
        if "chord" not in kind:
            assert task.root_id == ids[-1], task
    assert "FAILURE" in [task.state for task in tasks.values()]
    wait_for(lambda: not unknown(stage), what="what the backend has, of which the safety net would make tasks")


def test_the_rest_of_a_chain_whose_task_was_revoked_is_revoked(stage: Scene) -> None:
    first = stage.app.signature("n", countdown=2)
    result: Any = chain(first, stage.app.signature("n")).apply_async(headers=HEADERS)
    head = result.parent.id
    stage.journal.until(head, lambda seen: "RECEIVED" in seen)
    revoke(stage.app, head)
    tasks = [stage.task(task_id) for task_id in (head, result.id)]
    assert [(task.state, task.reason, task.tags, task.root_id) for task in tasks] == [
        ("REVOKED", "revoked", TAGS, head),
        ("REVOKED", "revoked", TAGS, head),
    ]


def test_the_body_of_a_chord_whose_task_was_revoked_has_failed(stage: Scene) -> None:
    header = [stage.app.signature("n", countdown=2), stage.app.signature("n")]
    result: Any = chord(header, stage.app.signature("n")).apply_async(headers=HEADERS)
    first = result.parent.results[0].id
    stage.journal.until(first, lambda seen: "RECEIVED" in seen)
    revoke(stage.app, first)
    body = stage.task(result.id)
    assert (body.state, body.tags, body.name) == ("FAILURE", TAGS, "n")
    assert body.exception is not None
    assert body.exception.type == "ChordError"


@pytest.mark.parametrize(
    ("head", "state", "error"), [("rejects", "REJECTED", "Reject"), ("tells", "FAILURE", "ValueError")]
)
def test_the_rest_of_a_chain_whose_task_gave_up_has_failed(stage: Scene, head: str, state: str, error: str) -> None:
    result: Any = chain(stage.app.signature(head), stage.app.signature("n")).apply_async(headers=HEADERS)
    tail = stage.task(result.id)
    assert (tail.state, tail.tags, tail.root_id) == ("FAILURE", TAGS, result.parent.id)
    assert tail.exception is not None
    assert tail.exception.type == error
    assert stage.task(result.parent.id).state == state


@pytest.mark.parametrize(
    ("header", "state"),
    [
        (["expired", "n"], "REVOKED"), (["rejects", "n"], "FAILURE"), (["rejects"], "FAILURE"),
        (["requeues", "n"], "FAILURE"),
        (["tells", "n"], "FAILURE"), (["tells"], "FAILURE"),
        (["no.such.task", "n"], "FAILURE"), (["bad", "group"], "FAILURE"),
    ],
)  # fmt: skip
def test_the_body_of_a_chord_that_never_ends_has_an_end(stage: Scene, header: list[str], state: str) -> None:
    """Celery doesn't count such a part of the header, or fewer parts than it waits for."""
    signatures: dict[str, Any] = {name: stage.app.signature(name) for name in ("n", "rejects", "tells", "bad")}
    signatures["no.such.task"] = stage.app.signature("no.such.task")
    signatures["requeues"] = stage.app.signature("rejects", (True,))  # whose message has been acknowledged
    signatures["expired"] = stage.app.signature("n", expires=-1)
    signatures["group"] = group(stage.app.signature("n"), stage.app.signature("n"))
    part = chain(*[signatures[name] for name in header]) if len(header) > 1 else signatures[header[0]]
    inner = chord([part, signatures["n"]], signatures["n"])
    result: Any = chord([inner, signatures["n"]], signatures["n"]).apply_async(headers=HEADERS)
    for body in (result.parent.results[0].id, result.id):
        task = stage.task(body)
        assert (task.state, task.name, task.tags) == (state, "n", TAGS)


def test_what_never_ran_is_told_to_its_group(stage: Scene) -> None:
    result: Any = workflow(stage.app, "chain, then a group").apply_async(headers=HEADERS)
    for member in result.results:
        [end] = stage.journal.wait(member.id)
        assert set(end.channels()) == {
            f"task:{member.id}", f"root:{result.parent.id}", f"group:{result.id}", "name:n", "tag:mine"
        }  # fmt: skip


def test_group_id_of_a_task_that_never_ran_is_that_of_its_own_id(stage: Scene) -> None:
    """Celery freezes a chord's body as one of the header's group, and stores FAILURE under the body's own id."""
    result: Any = workflow(stage.app, "chord, then a group").apply_async(headers=HEADERS)
    assert {stage.task(member.id).group_id for member in result.results} == {result.id}
    result = chain(group(stage.app.signature("bad")), group(chain(n, n) for n in [stage.app.signature("n")] * 2))()
    for member in result.results:
        assert stage.task(member.id).group_id == result.id
        assert stage.task(member.parent.id).group_id is None, "as where it is sent: only what ends last is in the group"


def test_the_rest_of_a_chain_whose_message_is_no_task_has_failed(stage: Scene) -> None:
    head, tail = str(uuid.uuid4()), str(uuid.uuid4())
    link: dict[str, Any] = {"task": "n", "args": [], "kwargs": {}, "options": {"task_id": tail}, "subtask_type": None}
    with stage.app.connection_for_write() as connection, connection.Producer() as publish:
        headers = {"id": head, "task": "n", "lang": "py", "eta": "no time", "root_id": head}
        publish.publish(((), {}, {"chain": [link]}), headers=headers, routing_key="celery", serializer="json")
    assert stage.task(head).state == "REJECTED"
    assert (stage.task(tail).state, stage.task(tail).parent_id) == ("FAILURE", head)


def test_keyword_arguments_that_are_none_fail_the_task(stage: Scene) -> None:
    task_id = str(uuid.uuid4())
    with stage.app.connection_for_write() as connection, connection.Producer() as publish:
        headers = {"id": task_id, "task": "n", "lang": "py", "root_id": task_id}
        publish.publish(((), [], {}), headers=headers, routing_key="celery", serializer="json")
    error = stage.task(task_id).exception
    assert error is not None
    assert error.type == "InvalidTaskError"
