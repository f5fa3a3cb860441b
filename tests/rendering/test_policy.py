"""Nothing secret leaves a worker, nor a relay that reads what workers have stored."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import httpx
import pytest
from celery import Celery
from msgspec import UNSET

from tests.support.processes import ROOT, environment, relay, worker
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from tests.worker.support import JOURNAL, Reader
from watcher.core.redact import Redactor
from watcher.rendering.policy import Policy
from watcher.rendering.values import Rendering

SECRET, CARD, IBAN = "hunter2", "4711-0815", "DE02120300000000202051"
APP = "tests.worker.secretive"
CALLS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "login": (["ann", SECRET], {"options": {"Authorization": f"Bearer {SECRET}"}}),
    "explode": ([f"redis://:{SECRET}@127.0.0.1:1/0"], {}),
    "bank": ([IBAN, 12.5], {}),
    "silent": ([SECRET], {}),
    "card": ([], {"text": f"card {CARD}"}),
    "large": ([20_000], {}),
    "run": ([["mysql", "--password", SECRET, "-h", "db"]], {}),
}


def named(iban: str) -> str:
    return iban


def log_in(user: str, password: str) -> None: ...


def send(env: dict[str, str]) -> dict[str, str]:
    """Send each task from a process that has the plugin; their ids by their names."""
    script = (
        f"import json; from {APP} import app; calls = {CALLS!r};"
        "print(json.dumps({name: app.tasks[name].apply_async(*call).id for name, call in calls.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(env), cwd=ROOT, text=True, capture_output=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def told(valkey: Valkey) -> str:
    """Everything that the journal holds, in all of its keys."""
    with valkey.client() as redis:
        lines = [str(entry) for entry in redis.xrange(JOURNAL.stream)]
        return "\n".join([*lines, str(redis.hgetall(JOURNAL.open)), str(redis.hgetall(f"{JOURNAL.open}:lines"))])


def test_no_secret_is_in_the_journal(valkey: Valkey, env: dict[str, str]) -> None:
    journal = Reader(valkey.url())
    with worker(APP, pool="solo", env=env):
        ids = send(env)
        # From a process without the plugin, so that Celery's own text is told, which it has cut in the secret.
        elsewhere = Celery(broker=env["CELERY_BROKER_URL"], set_as_current=False)
        ids["cut"] = str(elsewhere.send_task("silently", ["word " * 200 + f"redis://me:{SECRET * 9}@host"]).id)
        ids["run cut"] = str(elsewhere.send_task("run", [["word " * 180, f"--password={SECRET * 9}"]]).id)
        elsewhere.close()
        events = {name: journal.wait(identity) for name, identity in ids.items()}
        wait_for(lambda: len(journal.of(ids["bank"])) == 5, what="all of bank's events")
    everything = told(valkey)
    for secret in (SECRET[1:], CARD, IBAN):
        assert secret not in everything
    failed = events["run"][-1].exception
    assert failed is not None
    assert failed.message == "Command '['mysql', '--password', '***', '-h', 'db']' returned non-zero exit status 1."
    assert str(events["run cut"][0].argsrepr) == f"(['{'word ' * 180}', '--password=***'],)"
    pending = {name: next(e for e in events[name] if e.state == "PENDING") for name in CALLS}
    assert pending["login"].argsrepr == "('ann', '***')"
    assert pending["login"].kwargsrepr == "{'options': {'Authorization': '***'}}"
    assert bytes(events["login"][-1].result) == b'{"user":"ann","session":{"access_token":"***"}}'  # type: ignore[arg-type]
    assert pending["bank"].argsrepr == "('***', 12.5)"
    assert (pending["silent"].argsrepr, events["silent"][-1].state) == (None, "SUCCESS")
    assert pending["card"].kwargsrepr == "'a card in kwargs'"
    assert bytes(events["card"][-1].result) == b'"a card in result"'  # type: ignore[arg-type]
    error = events["explode"][-1].exception
    assert error is not None
    assert error.message == "redis://:***@127.0.0.1:1/0 is away, tried with password='***'"
    assert "in explode" in str(error.traceback)
    journal.close()


def test_nor_does_a_relay_tell_one_that_the_result_backend_holds(valkey: Valkey, env: dict[str, str]) -> None:
    """The plugin is silent here, so that the safety net tells of the tasks; it mostly doesn't know which task it is."""
    with worker(APP, pool="solo", env={**env, "WATCHER_ENABLED": "0"}), relay(APP, env=env) as serving:
        ids = send({**env, "WATCHER_ENABLED": "0"})

        def get(path: str) -> httpx.Response:
            return httpx.get(f"{serving.url}/api/tasks/{path}", timeout=10)

        def all_have_ended() -> bool:
            return all(get(identity).json().get("final") for identity in ids.values())

        wait_for(all_have_ended, what="the relay to know of the end of each")
        answers = {name: [get(identity), get(f"{identity}/result")] for name, identity in ids.items()}
        texts = told(valkey) + "".join(answer.text for both in answers.values() for answer in both)
        for secret in (SECRET, CARD, IBAN):
            assert secret not in texts
        assert answers["explode"][0].json()["exception"]["message"].startswith("redis://:***@127.0.0.1:1/0 is away")
        assert answers["large"][1].status_code == 410  # one of the app's tasks shows no results, and it may be this one


def test_a_whole_result_is_masked_too(valkey: Valkey, env: dict[str, str]) -> None:
    with worker(APP, pool="solo", env=env), relay(APP, env=env) as serving:
        ids = send(env)
        url = f"{serving.url}/api/tasks/"
        large = httpx.get(f"{url}{ids['large']}?wait=10", timeout=20).json()
        assert large["result_size"] > 20_000
        found = httpx.get(f"{url}{ids['large']}/result", timeout=10)
        assert found.json() == {"password": "***", "filler": "x" * 20_000}
        assert httpx.get(f"{url}{ids['silent']}?wait=10", timeout=20).json()["state"] == "SUCCESS"
        assert httpx.get(f"{url}{ids['silent']}/result", timeout=10).status_code == 410
        # What is submitted by way of a relay is announced by the relay.
        body = {"task": "login", "args": CALLS["login"][0], "kwargs": CALLS["login"][1]}
        sent = httpx.post(url.rstrip("/"), json=body, headers={"Prefer": "wait=10"}, timeout=20)
        assert sent.json()["state"] == "SUCCESS"
        assert sent.json()["argsrepr"] == "('ann', '***')"
        assert SECRET not in sent.text
        assert SECRET not in told(valkey)
        registry = httpx.get(f"{serving.url}/api/registry", timeout=10)
        assert "api_key: str = '***'" in registry.text
        assert SECRET not in registry.text + serving.output


@pytest.mark.parametrize(
    "options", [{"args": 0}, {"redact": "iban"}, {"redact": [1]}, {"arguments": False}, "no", ["redact"]], ids=str
)
def test_options_that_can_not_be_understood_hide_everything(options: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = Celery(set_as_current=False)
    app.task(name="odd", shared=False, watcher=options)(named)
    app.finalize()
    with caplog.at_level(logging.ERROR, "watcher"):
        rendering = Policy(app, Rendering()).of("odd")
    assert (rendering.send_args, rendering.send_results) == (False, False)
    assert "task odd: watcher=" in caplog.text
    assert "is not accepted" in caplog.text


def test_nameless_task_is_shown_by_the_strictest_policy() -> None:
    app = Celery(set_as_current=False)
    app.task(name="one", shared=False, watcher={"redact": ["iban"]})(named)
    app.task(name="two", shared=False, watcher={"args": False})(named)
    app.finalize()
    policy = Policy(app, Rendering(redactor=Redactor(["card"])))
    assert policy.of("one").positions == ((0, "iban"),)
    assert policy.of("one").redactor.is_secret("card")
    assert policy.of("two").redactor is policy.of("elsewhere").redactor
    nameless = policy.of(None)
    assert (nameless.send_args, nameless.send_results) == (False, True)
    assert nameless.redactor.is_secret("iban")
    assert policy.of("elsewhere").send_args


def test_policy_applies_before_the_app_is_finalized() -> None:
    """An app is finalized late, and never in a program that only sends: the task that is sent is known all the same."""
    app: Any = Celery(set_as_current=False)

    login = app.task(name="login", shared=False)(log_in)
    silent = app.task(name="silent", shared=False, watcher={"args": False})(named)
    policy = Policy(app, Rendering())
    assert (login.name, silent.name) == ("login", "silent")  # so does whoever calls its `delay`
    assert not app.finalized
    shown = policy.of("login").arguments(("ann", SECRET), {}, None, None)
    assert (shown.argsrepr, shown.args) == ("('ann', '***')", UNSET)
    assert policy.of("silent").arguments((IBAN,), {}, None, None) == (None, None, UNSET, UNSET)
    assert policy.of("login") is policy.of("login")  # found once
