"""Whatever legal life a task leads, a relay shows it rightly, with real workers."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from celery import VERSION

from tests.lives.conftest import APP, VISIBILITY, Shown
from tests.support.control import revoke
from tests.support.gate import gate
from tests.support.processes import program, worker
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for


@pytest.mark.parametrize(("name", "result"), [("chameleon", 42), ("replaced_by_chain", 42)])
def test_a_task_that_is_replaced_ends_with_what_replaced_it(
    shown: Shown, extended: str, name: str, result: int
) -> None:
    task = shown.state(shown.send(name, queue=extended), "SUCCESS", timeout=10)
    assert (task["result"], task["source"], task["name"]) == (result, "signal", "add")


@pytest.mark.parametrize("how", ["chain", "chord", "group"])
def test_task_replaced_by_a_workflow_is_pending_on_no_worker(shown: Shown, env: dict[str, str], how: str) -> None:
    with gate(env["CELERY_RESULT_BACKEND"]) as closed, worker(APP, env={**env, "TRACK": "1"}) as first:
        identity = shown.send("replaced_by_waiting", how, closed.name)
        waiting = shown.state(identity, "PENDING", timeout=20)
        assert (waiting.get("hostname"), waiting.get("run"), waiting["final"]) == (None, None, False)
        shown.after_the_net()
        assert shown.of(identity)["state"] == "PENDING", "what is stored is of the run before"
        with worker(APP, "-n", "w2@here", "-Q", "celery,elsewhere", env=env):
            first.kill()
            closed.open()
            assert shown.state(identity, "SUCCESS")["hostname"] == "w2@here"


def test_a_failed_task_that_is_sent_again_runs_and_has_its_own_end(
    shown: Shown, env: dict[str, str], shared: str
) -> None:
    url = env["CELERY_RESULT_BACKEND"]
    with gate(url) as first, gate(url) as second:
        identity = shown.send("gated", first.name, "the first", queue=shared)
        first.open()
        failed = shown.state(identity, "FAILURE", source="signal")
        assert failed["final"]
        shown.send("gated", second.name, task_id=identity, queue=shared)
        running = shown.state(identity, "STARTED")
        assert (running["final"], running.get("exception")) == (False, None)
        assert running["sent"] > failed["sent"]
        shown.after_the_net()
        assert shown.of(identity)["state"] == "STARTED", "what is stored is of the run before"
        second.open()
        assert shown.state(identity, "SUCCESS")["source"] == "signal"


def test_progress_of_a_killed_worker_is_not_shown_after_a_resend(shown: Shown, env: dict[str, str]) -> None:
    url, never = env["CELERY_RESULT_BACKEND"], {**env, "VISIBILITY": "3600"}
    with gate(url) as first, gate(url) as second:
        with worker(APP, env=never) as killed:
            identity = shown.send("ticks", [first.name])
            shown.state(identity, "PROGRESS", meta={"tick": 0})
            os.killpg(killed.pid, signal.SIGKILL)
        with worker(APP, "-n", "w2@here", "-Q", "again", env=never):
            shown.send("gated", second.name, task_id=identity, queue="again")
            shown.state(identity, "STARTED", name="gated")
            shown.after_the_net()
            running = shown.of(identity)
            assert (running["state"], running.get("meta")) == ("STARTED", None)
            second.open()
            shown.state(identity, "SUCCESS")


def test_task_of_a_killed_worker_moves_when_another_starts_it(shown: Shown, env: dict[str, str]) -> None:
    env = {**env, "VISIBILITY": str(VISIBILITY)}
    with gate(env["CELERY_RESULT_BACKEND"]) as closed:
        with worker(APP, "-n", "w1@here", env=env) as first:
            identity = shown.send("late", closed.name)
            shown.state(identity, "PROGRESS", hostname="w1@here")
            os.killpg(first.pid, signal.SIGKILL)
            shown.can_be_redelivered()
        with worker(APP, "-n", "w2@here", env=env):
            task = shown.state(identity, "PROGRESS", hostname="w2@here", timeout=30)
            assert (task["meta"], task.get("reason"), task["final"]) == ({"delivery": "again"}, None, False)
            closed.open()
            assert shown.state(identity, "SUCCESS")["result"] == "again"


def test_a_task_that_lost_its_broker_runs_again(shown: Shown, env: dict[str, str], server: Valkey) -> None:
    env = {**env, "VISIBILITY": str(VISIBILITY)}
    with gate(env["CELERY_RESULT_BACKEND"]) as closed, worker(APP, env=env) as running:
        identity = shown.send("late", closed.name)
        shown.state(identity, "PROGRESS")
        with server.client() as redis:
            for client in redis.client_list():
                if client["db"] == "15":
                    redis.client_kill_filter(_id=client["id"])
        shown.state(identity, "RETRY")
        task = shown.state(identity, "PROGRESS", timeout=40)
        assert task["meta"] == {"delivery": "again"}, running.output
        closed.open()
        assert shown.state(identity, "SUCCESS")["result"] == "again"


def test_a_retry_is_shown_until_the_next_try_starts(shown: Shown, env: dict[str, str], shared: str) -> None:
    with gate(env["CELERY_RESULT_BACKEND"]) as closed:
        identity = shown.send("patient", closed.name, kwargs={"countdown": 600}, queue=shared)
        task = shown.until(identity, lambda told: told.get("reserved"))
        assert (task["state"], task["retries"], task["exception"]["message"]) == ("RETRY", 0, "come back later")
        assert task["eta"]
        assert (task["reserved"]["retries"], task["reserved"]["hostname"]) == (1, task["hostname"])
        assert identity in {each["id"] for each in shown.listed("state=RETRY")}
        again = shown.send("patient", closed.name, kwargs={"countdown": 0.5}, queue=shared)
        started = shown.state(again, "STARTED", retries=1)
        assert started["times"].keys() == {"RECEIVED", "STARTED"}
        assert (started.get("exception"), started.get("reserved")) == (None, None)
        closed.open()
        shown.state(again, "SUCCESS")


def test_later_try_is_started_despite_a_stored_retry(shown: Shown, env: dict[str, str], shared: str) -> None:
    with gate(env["CELERY_RESULT_BACKEND"]) as closed:
        identity = shown.send("patient", closed.name, kwargs={"countdown": 0}, queue=shared)
        shown.state(identity, "STARTED", retries=1)
        assert shown.app.backend.get_status(identity) == "RETRY"
        shown.after_the_net()
        running = shown.of(identity)
        assert (running["state"], running.get("exception")) == ("STARTED", None)
        closed.open()
        assert shown.state(identity, "SUCCESS")["source"] == "signal"


@pytest.mark.parametrize("which", ["shared", "extended"])
@pytest.mark.parametrize("how", ["chain", "chord"])
def test_a_later_try_that_is_replaced_by_what_fails_has_failed(
    shown: Shown, request: pytest.FixtureRequest, how: str, which: str
) -> None:
    """What never ran has its id, and is no try of it."""
    queue: str = request.getfixturevalue(which)
    task = shown.state(shown.send("replaced_by_failing", how, queue=queue), "FAILURE", timeout=10)
    assert (task["name"], task["source"], task["retries"]) == ("add", "signal", 0)
    assert "boom" in task["exception"]["message"]


def test_a_later_try_has_its_own_expiry(shown: Shown, env: dict[str, str], shared: str) -> None:
    with gate(env["CELERY_RESULT_BACKEND"]) as closed:
        options = {"countdown": 1, "expires": None}
        identity = shown.send("patient", closed.name, kwargs=options, expires=5, queue=shared)
        assert shown.until(identity, lambda told: told.get("reserved")).get("expires") is None
        assert shown.state(identity, "STARTED").get("expires") is None
        closed.open()
        shown.state(identity, "SUCCESS")


@pytest.mark.skipif(VERSION < (5, 6, 2), reason="since Celery 5.6.2 workers store it")
def test_a_running_task_that_is_revoked_runs_on(shown: Shown, env: dict[str, str]) -> None:
    """Another worker stores REVOKED for it."""
    url, idle, busy = env["CELERY_RESULT_BACKEND"], ("-n", "idle@here", "-Q", "idle"), ("-n", "busy@here")
    with gate(url) as closed, worker(APP, *idle, env=env), worker(APP, *busy, env=env):
        identity = shown.send("gated", closed.name)
        shown.state(identity, "STARTED")
        revoke(shown.app, identity, "idle@here", "busy@here")
        wait_for(lambda: shown.app.backend.get_status(identity) == "REVOKED", what="a worker to store REVOKED")
        shown.after_the_net()
        assert shown.of(identity)["state"] == "STARTED"
        closed.open()
        assert shown.state(identity, "SUCCESS")["result"] == "done"


@pytest.mark.skipif(VERSION < (5, 6, 2), reason="since Celery 5.6.2 workers store it")
@pytest.mark.usefixtures("shared")
def test_revoking_what_nobody_sent_makes_no_task(shown: Shown) -> None:
    revoke(shown.app, "nobody")
    wait_for(lambda: shown.app.backend.get_status("nobody") == "REVOKED", what="the worker to store REVOKED")
    shown.after_the_net()
    assert "nobody" not in {each["id"] for each in shown.listed()}


@pytest.mark.slow
def test_what_succeeded_before_its_time_limit_is_told_so(shown: Shown, shared: str) -> None:
    """The limit strikes in ``on_success``: Celery keeps SUCCESS, and its signals say FAILURE."""
    identity = shown.send("lingering", queue=shared)
    assert shown.state(identity, "SUCCESS")["result"] == 7
    shown.after_the_net()
    assert shown.of(identity)["state"] == "SUCCESS"


@pytest.mark.slow
def test_a_cold_shutdown_loses_what_was_acknowledged(shown: Shown, env: dict[str, str]) -> None:
    """Celery stores RETRY, but nothing is queued."""
    with gate(env["CELERY_RESULT_BACKEND"]) as closed, worker(APP, env=env) as running:
        identity = shown.send("gated", closed.name)
        shown.state(identity, "STARTED")
        running.signal(signal.SIGQUIT)
        running.wait()
        task = shown.state(identity, "RETRY", timeout=25, reason="worker_lost")
        assert not task["final"]


def test_a_clock_that_is_put_right_hides_no_report(shown: Shown, env: dict[str, str], tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("90")
    url, ahead = env["CELERY_RESULT_BACKEND"], {**env, "CLOCK": str(clock)}
    with gate(url) as first, gate(url) as second, worker(APP, "-n", "ahead@here", env=ahead):
        identity = shown.send("ticks", [first.name, second.name])
        before = shown.until(identity, lambda told: told.get("meta") == {"tick": 0})
        clock.write_text("0")
        first.open()
        behind = shown.until(identity, lambda told: told.get("meta") == {"tick": 1})
        assert behind["timestamp"] < before["timestamp"]
        shown.after_the_net()
        assert shown.of(identity).get("reason") is None
        second.open()
        assert shown.state(identity, "SUCCESS")["source"] == "signal"


@pytest.mark.skipif(os.environ.get("FAULTS") != "long", reason="a relay takes a task for expired half a minute after")
def test_expiry_revokes_unserved_tasks_but_not_received_ones(shown: Shown, env: dict[str, str]) -> None:
    """Celery looks at ``expires`` on receipt, and no more while the task waits for a thread."""
    url = env["CELERY_RESULT_BACKEND"]
    with gate(url) as first, gate(url) as second, worker(APP, "-Ofair", pool="threads", concurrency=1, env=env):
        unserved = shown.send("patient", second.name, kwargs={"countdown": 0, "queue": "nobody-serves"}, expires=2)
        retried = shown.state(unserved, "RETRY")
        assert retried["expires"]
        blocking = shown.send("gated", first.name)
        shown.state(blocking, "STARTED")
        waiting = shown.send("gated", second.name, expires=2)
        shown.state(waiting, "RECEIVED")
        assert shown.state(unserved, "REVOKED", timeout=60)["reason"] == "expired"
        shown.after_the_net()
        shown.after_the_net()
        assert shown.of(waiting)["state"] == "RECEIVED"
        first.open()
        assert not shown.state(waiting, "STARTED")["final"]
        second.open()
        shown.state(waiting, "SUCCESS")


def test_a_message_of_protocol_1_is_one_life(shown: Shown, env: dict[str, str], shared: str) -> None:
    """A worker keeps none of its headers."""
    program_env = {**env, "PROTOCOL": "1", "QUEUE": shared}
    with gate(env["CELERY_RESULT_BACKEND"]) as closed:
        code = f"from tests.lives.app import gated; print(gated.delay({closed.name!r}).id)"
        with program(sys.executable, "-c", code, env=program_env) as sender:
            assert sender.wait() == 0, sender.output
            identity = sender.stdout.strip()
        running = shown.until(identity, lambda told: told.get("times", {}).keys() >= {"PENDING", "RECEIVED", "STARTED"})
        assert running["state"] == "STARTED"
        assert running["args"] == [closed.name]
        closed.open()
        shown.state(identity, "SUCCESS")
