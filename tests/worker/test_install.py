"""How it gets into a process, and how it stays out of one."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from tests.support.processes import ROOT, environment, free_port, worker
from tests.support.valkey import Valkey
from tests.worker.support import Reader, producer, states
from watcher.core.event import encode


def run(text: str, env: dict[str, str], *, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program of its own."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        env=environment(env), cwd=ROOT, text=True, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_that_includes_it_needs_no_code(valkey: Valkey, env: dict[str, str], pool: str) -> None:
    journal = Reader(valkey.url())
    with worker("tests.worker.app", "-I", "watcher.worker", pool=pool, env=env) as running, producer(env) as sender:
        journal.wait(sender.send("add", 1, 2), "RECEIVED", "STARTED", "SUCCESS")
        assert running.stderr.count(f"watcher: publishing to {valkey.url(0)}, namespace watcher") == 1
    journal.close()


@pytest.mark.parametrize("setting", ["include", "imports"])
def test_so_does_one_whose_app_is_configured_to(valkey: Valkey, env: dict[str, str], setting: str) -> None:
    journal = Reader(valkey.url())
    with worker("tests.worker.app", env={**env, "CONFIGURED": setting}), producer(env) as sender:
        journal.wait(sender.send("add", 1, 2), "RECEIVED", "STARTED", "SUCCESS")
    journal.close()


def test_both_ways_together_give_one_set_of_events(valkey: Valkey, env: dict[str, str]) -> None:
    journal = Reader(valkey.url())
    both = {**env, "INSTALL": "1"}
    with worker("tests.worker.app", "-I", "watcher.worker", env=both), producer(both) as sender:
        ids = [sender.send("add", 1, 2) for _ in range(5)]
        for task_id in ids:
            journal.wait(task_id, "PENDING", "RECEIVED", "STARTED", "SUCCESS")
    journal.close()


def test_importing_it_installs_nothing_and_connects_to_nothing(valkey: Valkey, env: dict[str, str]) -> None:
    run(
        """
        import watcher.worker
        from tests.worker.app import app
        from celery.app.task import Task
        assert not hasattr(Task.update_state, "__wrapped__")
        app.tasks["add"].delay(1, 2)
        """,
        env,
    )
    journal = Reader(valkey.url())
    assert journal.entries() == []
    journal.close()


def test_installing_connects_to_nothing_before_the_first_event(env: dict[str, str]) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    done = run(
        """
        import threading, logging
        logging.basicConfig(level=logging.INFO)
        from tests.worker.app import app
        assert threading.active_count() == 1
        """,
        {**env, "INSTALL": "1", "WATCHER_REDIS_URL": nowhere},
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"WATCHER_SEND_ARGS": "0", "WATCHER_SEND_RESULTS": "0"}, {}),
        ({"WATCHER_MAX_ARGS": "4", "WATCHER_MAX_RESULT": "0"}, {"argsrepr": "[1, 2]", "result_size": 1}),
    ],
    ids=["nothing", "little"],
)
def test_settings_say_what_is_sent(
    valkey: Valkey, env: dict[str, str], settings: dict[str, str], seen: dict[str, object]
) -> None:
    env = {**env, **settings, "INSTALL": "1"}
    journal = Reader(valkey.url())
    with worker("tests.worker.app", pool="solo", env=env), producer(env) as sender:
        events = journal.wait(sender.send("add", 1, 2), "PENDING", "RECEIVED", "STARTED", "SUCCESS")
    found = {**json.loads(encode(events[0])), **json.loads(encode(events[-1]))}
    assert {name: found[name] for name in ("args", "argsrepr", "result", "result_size") if name in found} == seen
    journal.close()


def test_of_a_task_that_its_own_code_does_not_send_nothing_is_told(valkey: Valkey, env: dict[str, str]) -> None:
    done = run(
        """
        import watcher
        from tests.relay.unsent import app
        watcher.install(app)
        for name in ("singleton", "singleton", "graceful", "nothing", "eager", "silent"):
            app.tasks[f"own.{name}"].apply_async(task_id=f"{name}-1")
        app.tasks["own.singleton"].apply_async(task_id="singleton-2")
        print(app.tasks["own.singleton"].delay().id)
        """,
        env,
    )
    assert done.stdout.split() == ["singleton-1"]
    journal = Reader(valkey.url())
    told = [(event.id, event.state) for _, event in journal.entries()]
    assert told == [("singleton-1", "PENDING"), ("own-silent-1", "PENDING")]
    journal.close()


def test_it_can_be_switched_off(valkey: Valkey, env: dict[str, str]) -> None:
    run(
        """
        from celery.app.task import Task
        from tests.worker.app import app
        assert not hasattr(Task.update_state, "__wrapped__")
        app.tasks["add"].delay(1, 2)
        """,
        {**env, "INSTALL": "1", "WATCHER_ENABLED": "0"},
    )
    journal = Reader(valkey.url())
    assert journal.entries() == []
    journal.close()


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_relay_silences_it_but_tags_go_on(valkey: Valkey, env: dict[str, str], order: str) -> None:
    run(
        f"""
        import watcher, watcher.worker
        {"watcher.worker.silence()" if order == "before" else ""}
        from tests.worker.app import app
        {"watcher.worker.silence()" if order == "after" else ""}
        with watcher.tags("a"):
            app.tasks["add"].delay(1, 2)
        """,
        {**env, "INSTALL": "1"},
    )
    journal = Reader(valkey.url())
    assert journal.entries() == []
    journal.close()
    with valkey.client(1) as broker:
        [message] = broker.lrange("celery", 0, -1)
    assert json.loads(message)["headers"]["watcher_tags"] == ["a"]


def test_eager_tasks_publish_nothing(valkey: Valkey, env: dict[str, str]) -> None:
    run(
        """
        from tests.worker.app import app
        app.conf.task_always_eager = True
        for name, args in [("add", (1, 2)), ("fail", ("x",)), ("report", (3,)), ("ignore", ()), ("early", ())]:
            app.tasks[name].delay(*args)
        app.tasks["flaky"].apply(throw=False)
        app.tasks["add"](1, 2)
        """,
        {**env, "INSTALL": "1"},
    )
    journal = Reader(valkey.url())
    assert journal.entries() == []
    journal.close()


@pytest.mark.parametrize(
    ("conf", "published"),
    [
        ("watcher_redis_url=JOURNAL, result_backend=BACKEND, broker_url=BROKER", 0),
        ("result_backend=BACKEND, broker_url=BROKER", 2),
        ("result_backend='rpc://', broker_url=BROKER", 1),
    ],
)
def test_the_apps_own_configuration_says_where_to(valkey: Valkey, conf: str, published: int) -> None:
    conf = conf.replace("JOURNAL", repr(valkey.url(0))).replace("BACKEND", repr(valkey.url(2)))
    run(
        f"""
        import watcher
        from celery import Celery
        app = Celery("mine")
        watcher.install(app)
        app.conf.update({conf.replace("BROKER", repr(valkey.url(1)))})  # after install: it is read when it is needed
        app.send_task("add", (1, 2))
        """,
        {},
    )
    journal = Reader(valkey.url(published))
    assert states([event for _, event in journal.entries()]) == ["PENDING"]
    journal.close()


@pytest.mark.parametrize(
    ("setup", "text"),
    [
        (
            "app = Celery('mine', broker='memory://')",
            "neither the app's result backend nor its broker is a usable Redis",
        ),
        (
            "os.environ['WATCHER_MAX_ARGS'] = 'many'; app = Celery('mine', broker='memory://')",
            "WATCHER_MAX_ARGS='many'",
        ),
    ],
)
def test_what_is_set_up_wrong_is_told_once_and_harms_nothing(setup: str, text: str) -> None:
    done = run(
        f"""
        import os
        import watcher
        from celery import Celery
        app = Celery("mine", broker="memory://")
        {setup}
        watcher.install(app)
        for _ in range(3):
            app.send_task("add", (1, 2))
        """,
        {},
    )
    assert done.stderr.count("watcher: no events are published") == 1
    assert text in done.stderr


def test_passwords_are_not_in_the_log(valkey: Valkey) -> None:
    done = run(
        """
        import logging
        import watcher
        from celery import Celery
        logging.basicConfig(level=logging.INFO)
        app = Celery("mine", broker="memory://")
        app.conf.watcher_redis_url = "redis://user:hunter2@127.0.0.1:1/0"
        watcher.install(app)
        app.send_task("add", (1, 2))
        """,
        {},
    )
    assert "watcher: publishing to redis://user:***@127.0.0.1:1/0" in done.stderr
    assert "hunter2" not in done.stderr


def test_importing_watcher_brings_neither_celery_nor_redis() -> None:
    run("import sys, watcher; assert not {'celery', 'redis', 'kombu'} & set(sys.modules)", {})
