"""Ends that no signal tells in time: each is told at once, as the result backend has it, on all of its channels."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import VERSION

from tests.support.control import revoke
from tests.support.gate import gate
from tests.support.valkey import valkey_server
from tests.worker.ends import HEADERS, TAGS, WORKER, Scene, scene, value
from tests.worker.support import states
from watcher.core.event import Event


@pytest.fixture(scope="module", params=["prefork", "threads", "solo", "gevent"])
def stage(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with scene(request.param) as running:
        yield running


def channels(event: Event) -> set[str]:
    return set(event.channels())


def test_link_with_a_missing_argument_fails_the_preceding_task(stage: Scene) -> None:
    workflow = stage.app.signature("add", (1, 2)) | stage.app.signature("add")
    result: Any = workflow.apply_async(headers=HEADERS)
    head = str(result.parent.id)
    end = stage.journal.wait(head)[-1]
    assert (end.state, end.queue, end.hostname, end.retries) == ("FAILURE", "celery", WORKER, 0)
    assert channels(end) == {f"task:{head}", f"root:{head}", "name:add", "tag:mine"}
    assert end.exception is not None
    assert end.exception.type == "TypeError"
    assert end.runtime is not None
    assert end.reason is None


@pytest.mark.parametrize("kind", ["Odd", "OddValue"])
def test_exception_with_extra_arguments_is_reported_as_written(stage: Scene, kind: str) -> None:
    error = stage.run("odd", kind)[-1].exception
    assert error is not None
    assert (error.type, error.message) == (kind, "7: as written")
    assert error.traceback is not None
    assert error.traceback.rstrip().endswith(f"{kind}: 7: as written")


@pytest.mark.parametrize("how", ["sys", "key", "generator", "base", "os"])
def test_a_task_that_ends_its_thread_or_process_has_an_end(stage: Scene, how: str) -> None:
    if stage.pool == "solo" or (how == "os" and stage.pool != "prefork"):
        return  # that ends the worker
    end = stage.run("exits", how)[-1]
    stored = stage.stored(end.id)  # by prefork alone, which tells that the process goes on after some of them
    lost = stored is None or stored["result"]["exc_type"] == "WorkerLostError"
    reason = "worker_lost" if lost else None
    if how in ("generator", "base") and stage.pool == "prefork" and VERSION < (5, 7):
        reason = "backend_lost"  # Celery tries to store it, and can't encode what is no Exception
    assert (end.state, end.hostname, end.tags) == ("FAILURE", WORKER, TAGS)
    assert end.reason == reason
    assert states(stage.run("add", 1, 1))[-1] == "SUCCESS", "the worker goes on"


def test_a_task_that_ends_the_only_thread_has_an_end() -> None:
    with scene("solo") as running:
        end = running.run("exits", "sys")[-1]
        assert (end.state, end.reason) == ("FAILURE", "worker_lost")


@pytest.mark.parametrize("how", ["sys", "key"])
def test_what_follows_a_task_that_ends_its_thread_has_an_end(stage: Scene, how: str) -> None:
    if stage.pool == "solo":
        return  # that ends the worker
    workflow = stage.app.signature("exits", (how,)) | stage.app.signature("n")
    result: Any = workflow.apply_async(headers=HEADERS)
    end = stage.journal.wait(result.id)[-1]
    assert (end.state, end.tags, end.root_id) == ("FAILURE", TAGS, result.parent.id)


@pytest.mark.parametrize("where", ["on_failure", "once", "on_retry"])
def test_a_hook_that_fails_ends_its_task_with_its_own_error(stage: Scene, where: str) -> None:
    task = stage.task(stage.send("hooked", where))
    stored = stage.stored(task.id)
    assert stored is not None
    assert task.exception is not None
    assert (task.state, task.source) == (stored["status"], "signal")
    assert task.exception.type == stored["result"]["exc_type"] == "OSError"
    assert (task.tags, task.hostname, task.run is not None) == (TAGS, WORKER, True)


def test_a_retry_that_can_not_be_sent_says_why(stage: Scene) -> None:
    end = stage.run("unsendable")[-1]
    assert end.state == "FAILURE"
    assert end.exception is not None
    assert end.exception.type == "EncodeError"
    assert "function" in end.exception.message


@pytest.mark.parametrize("ending", ["returns", "raises"])
def test_task_that_goes_on_after_its_retry_keeps_its_own_result(stage: Scene, ending: str) -> None:
    task_id = stage.send("goes_on", ending)
    end = stage.journal.until(task_id, lambda seen: seen[-1:] == ["SUCCESS"] and seen.count("STARTED") == 2)[-1]
    assert end.retries == 1
    assert end.result_size == 25_002
    stored = stage.stored(task_id)
    assert stored is not None
    assert stored["result"] == "first" * 5_000


@pytest.mark.parametrize("ending", ["returns", "raises"])
def test_a_task_that_reports_success_early_ends_as_its_result_says(stage: Scene, ending: str) -> None:
    end = stage.run("early", ending)[-1]
    assert end.state == "SUCCESS"
    stored = stage.stored(end.id)
    assert stored is not None
    assert value(end.result) == stored["result"] == {"told": "first"}


@pytest.mark.parametrize("retried", [False, True])
def test_a_thread_reports_for_its_task(stage: Scene, retried: bool) -> None:
    events = stage.run("from_thread", retried)
    reports = [event for event in events if event.state == "PROGRESS"]
    assert value(reports[-1].meta) == {"current": 2}
    for report in reports:
        assert channels(report) == {f"task:{report.id}", f"root:{report.id}", "name:from_thread", "tag:mine"}
        assert (report.retries, report.queue, report.hostname) == (int(retried), "celery", WORKER)


def test_a_report_that_calls_itself_pending_is_a_report(stage: Scene) -> None:
    with gate(stage.server.url()) as door:
        task_id = stage.send("reports", door.name, "PROGRESS", "PENDING", "RECEIVED", "STARTED")

        def newest(seen: list[str]) -> bool:
            task = stage.journal.task(task_id)
            return task is not None and bool(task.meta) and value(task.meta) == {"current": 3}

        stage.journal.until(task_id, newest)
        task = stage.journal.task(task_id)
        assert task is not None
        assert (task.state, task.final) == ("PROGRESS", False)
    assert states(stage.journal.wait(task_id))[-1] == "SUCCESS"


def test_the_eta_of_a_task_has_a_zone_in_each_event(stage: Scene) -> None:
    soon = datetime.now(UTC).replace(tzinfo=None)  # naive, as people write it
    events = stage.run("n", eta=soon)
    told = {event.eta for event in events if event.state in ("PENDING", "RECEIVED")}  # which may come after the end
    assert told == {f"{soon.isoformat()}+00:00"}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("ending", ["through", "bad"])
def test_a_task_whose_result_can_not_be_stored_has_failed(pool: str, ending: str) -> None:
    with valkey_server() as backend, scene(pool, env={"CELERY_RESULT_BACKEND": backend.url()}) as running:
        with gate(running.server.url()) as door:
            task_id = running.send("gated", door.name, ending)
            running.journal.until(task_id, lambda seen: "STARTED" in seen)
            backend.kill()
        end = running.journal.wait(task_id)[-1]
        assert (end.state, end.reason, end.tags, end.hostname) == ("FAILURE", "backend_lost", TAGS, WORKER)
        assert end.exception is not None
        assert end.exception.type == ("ValueError" if ending == "bad" else "ConnectionError")


@pytest.mark.parametrize("how", ["revoked", "expired", "lost", "unknown"])
def test_an_end_that_the_main_process_can_not_store_is_told(how: str) -> None:
    with valkey_server() as backend, scene("prefork", env={"CELERY_RESULT_BACKEND": backend.url()}) as running:
        with gate(running.server.url()) as door:
            if how == "lost":
                task_id = running.send("gated", door.name, "vanish")
                running.journal.until(task_id, lambda seen: "STARTED" in seen)
            elif how == "unknown":
                task_id = str(uuid.uuid4())
            else:
                task_id = running.send("n", countdown=3, **({"expires": 2} if how == "expired" else {}))
                running.journal.until(task_id, lambda seen: "RECEIVED" in seen)
            backend.kill()
            if how == "unknown":
                running.send("no.such.task", task_id=task_id)
            elif how == "revoked":
                revoke(running.app, task_id)
        end = running.journal.wait(task_id)[-1]
        reasons = {"revoked": "revoked", "expired": "expired", "lost": "worker_lost", "unknown": "backend_lost"}
        assert end.reason == reasons[how]
        assert end.state == ("REVOKED" if how in ("revoked", "expired") else "FAILURE")
        assert (end.tags, end.name) == ((None, "no.such.task") if how == "unknown" else (TAGS, end.name))
