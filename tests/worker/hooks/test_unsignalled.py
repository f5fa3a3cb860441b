"""A Celery whose internals are others: the app starts, one line says what isn't told, and all else is."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.support.processes import ROOT, environment, worker
from tests.support.valkey import Valkey
from tests.worker.support import Reader, producer, states


@pytest.fixture
def env(env: dict[str, str]) -> dict[str, str]:
    return {**env, "INSTALL": "1"}


MISSING = {
    "celery.app.task:Task.update_state": "states that tasks set themselves",
    "celery.app.trace:TraceInfo.handle_ignore": "tasks that raise Ignore",
    "celery.app.trace:TraceInfo.handle_reject": "tasks that raise Reject",
    "celery.app.trace:TraceInfo": "tasks that raise Ignore",
    "celery.app.trace:TraceInfo.handle_failure": "failures that can't be stored",
    "celery.app.task:Task.retry": "earlier results of tasks that go on after a retry",
    "celery.backends.base:Backend.mark_as_failure": "tasks that never run in a chain that failed",
    "celery.backends.base:Backend.mark_as_revoked": "revokes that can't be stored",
    "celery.backends.base:Backend.chord_error_from_stack": "tasks that never run after a chord that failed",
    "celery.concurrency.base:reraise": "",  # a worker looks for it
    "celery.backends.base:BaseKeyValueStoreBackend": "",
    "celery.signals:before_task_publish": "tags",
    "celery.signals:task_internal_error": "tasks that Celery itself fails at",
    "celery.signals:task_received": "tasks that workers receive",
    "celery.signals:task_prerun": "the starts of tasks",
    "celery.signals:task_revoked": "tasks that are revoked",
    "celery.signals:task_rejected": "messages that workers reject",
    "celery.signals:task_unknown": "tasks that workers don't know",
    "celery.signals:celeryd_after_setup": "undecodable messages",
    "celery.signals:worker_ready": "calls that are run together and lost",
    "celery.signals:worker_process_init": "",
    "celery.utils.serialization:UnpickleableExceptionWrapper": "",
}


@pytest.mark.parametrize("missing", MISSING)
def test_what_celery_lacks_is_told_once_and_the_app_sends_tasks(
    valkey: Valkey, env: dict[str, str], missing: str
) -> None:
    """Celery itself uses some of these when it sends, which is done here with nothing but the plugin's own handlers."""
    program = """
        from tests.worker.odd import app
        from celery.signals import after_task_publish
        body = ([1, 2], {}, {})
        after_task_publish.send("add", headers={"task": "add", "id": "a"}, body=body, exchange="", routing_key="celery")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment({**env, "MISSING": missing}), cwd=ROOT, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "watcher" in line]
    said = missing.replace("celery.signals:", "signal ").replace(":", ".")
    expected = [line for line in lines if MISSING[missing] in line and said in line and "are not told" in line]
    assert len(expected) == (1 if MISSING[missing] else 0), done.stderr
    assert len(lines) == (3 if missing.endswith("TraceInfo") else len(expected)), done.stderr
    reader = Reader(valkey.url())
    assert states(reader.of("a")) == ["PENDING"]
    reader.close()


@pytest.mark.parametrize("how", ["installed", "included"])
def test_a_worker_tells_what_it_can(valkey: Valkey, env: dict[str, str], how: str) -> None:
    missing = "celery.app.task:Task.update_state celery.app.trace:TraceInfo celery.signals:task_revoked"
    odd = {**env, "MISSING": missing, "INSTALL": "0" if how == "included" else "1"}
    include = ("-I", "watcher.worker") if how == "included" else ()
    reader = Reader(valkey.url())
    with worker("tests.worker.odd", *include, concurrency=1, env=odd) as running, producer(env) as sender:
        reader.wait(sender.send("add", 1, 2), "PENDING", "RECEIVED", "STARTED", "SUCCESS")
        reader.wait(sender.send("fail", "boom"), "PENDING", "RECEIVED", "STARTED", "FAILURE")
        reader.wait(sender.send("unpicklable"), "PENDING", "RECEIVED", "STARTED", "FAILURE")
        assert running.output.count("are not told") == 5
    reader.close()


def test_a_method_that_is_called_otherwise_runs_as_before(env: dict[str, str]) -> None:
    program = """
        from celery.app.task import Task
        def update_state(self, other, *, new):
            return (other, new)
        Task.update_state = update_state
        from tests.worker.app import add
        assert add.update_state(1, new=2) == (1, 2)
        assert add.update_state(1, new=2) == (1, 2)
        try:
            add.update_state()
        except TypeError as error:
            assert "other" in str(error)
        else:
            raise AssertionError
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment(env), cwd=ROOT, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
