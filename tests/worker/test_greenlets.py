"""gevent and eventlet, which replace what a publisher is made of, and often after the plugin was imported."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import urllib.request

import pytest

from tests.support.processes import ROOT, environment, free_port, program, worker
from tests.support.valkey import valkey_server
from tests.support.waiting import wait_for
from tests.worker.support import Reader, producer, states


@pytest.fixture
def env(env: dict[str, str]) -> dict[str, str]:
    return {**env, "INSTALL": "1"}


def ask(port: int) -> str:
    """Have the web app send a task; its id."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
        return str(response.read().decode())


def up(port: int) -> bool:
    try:
        ask(port)
    except OSError:
        return False
    return True


GUNICORN = ("-m", "gunicorn", "--preload", "-k", "gevent", "--no-control-socket", "tests.worker.web:application")


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (GUNICORN, {}),
        (GUNICORN, {"EARLY": "1"}),
        (GUNICORN, {"EARLY": "1", "THREADS": "1"}),
        (("-m", "gevent.monkey", *GUNICORN[1:]), {"EARLY": "1"}),
    ],
    ids=["preload", "an event before the fork", "from threads", "patched before the fork"],
)
def test_greenlet_web_server_answers_and_reports_every_task(
    env: dict[str, str], reader: Reader, command: tuple[str, ...], extra: dict[str, str]
) -> None:
    port = free_port()
    arguments = [sys.executable, *command, "-b", f"127.0.0.1:{port}"]
    if "gevent.monkey" in command:
        arguments[3] = str(ROOT / ".venv/bin/gunicorn")
    with program(*arguments, env={**env, **extra}) as server:
        wait_for(lambda: up(port), what=f"the server to answer\n{server.output}")
        sent = [ask(port) for _ in range(20)]
        wait_for(lambda: set(sent) <= set(reader.ids()), what="the tasks to be told")
        assert server.stop() == 0
    seen = reader.ids()
    assert len(seen) == len(set(seen)), "each once"
    assert ("early" in seen) == (extra.get("EARLY") == "1")


def run(text: str, env: dict[str, str], *, first: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program of its own, which has `send(id)`; what is ``first`` runs before anything is imported."""
    prelude = """
        import sys, time
        import watcher.worker.publish.publisher
        from tests.worker.app import app
        def send(task_id):
            app.tasks["add"].apply_async((1, 2), task_id=task_id)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", first + textwrap.dedent(prelude) + textwrap.dedent(text)],
        env=environment(env), cwd=ROOT, text=True, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


GEVENT = "from gevent import monkey, spawn, sleep, joinall as join"
EVENTLET = (
    "import eventlet; from eventlet import spawn, sleep; join = lambda threads: [each.wait() for each in threads]"
)
PATCHES = {
    "gevent": f"{GEVENT}; monkey.patch_all()",
    "gevent, not queues": f"{GEVENT}; monkey.patch_all(queue=False)",
    "gevent, not threads": f"{GEVENT}; monkey.patch_all(thread=False)",
    "gevent, only sockets": f"{GEVENT}; monkey.patch_socket()",
    "eventlet": f"{EVENTLET}; eventlet.monkey_patch()",
    "eventlet, not threads": f"{EVENTLET}; eventlet.monkey_patch(thread=False)",
}
#: Many greenlets send while another one looks how long it is held up.
WORK = """
ticks = []
def tick():
    while True:
        ticks.append(time.monotonic())
        sleep(0.002)
ticking = spawn(tick)
sleep(0.01)
if together:
    join([spawn(send, str(number)) for number in range(50)])
else:  # the pools of kombu's connections hang where greenlets share them and locks are the threads'
    for number in range(50):
        send(str(number))
        sleep(0)
sleep(0.01)
gaps = [after - before for before, after in zip(ticks, ticks[1:])]
assert gaps and max(gaps) < 2, gaps
"""


@pytest.mark.parametrize("how", PATCHES)
@pytest.mark.parametrize("early", [False, True], ids=["", "after an event"])
def test_patching_after_the_import_loses_no_events(env: dict[str, str], reader: Reader, how: str, early: bool) -> None:
    # redis-py can't be used as a broker's client where eventlet takes select.poll away after its import.
    env = (
        {**env, "CELERY_BROKER_URL": "memory://", "CELERY_RESULT_BACKEND": "cache+memory://"}
        if "eventlet" in how
        else env
    )
    first = "send('first')\n" if early else ""
    done = run(f"together = {'threads' not in how and 'only' not in how}\n{first}{PATCHES[how]}\n{WORK}", env)
    assert "watcher" not in done.stderr
    assert sorted(reader.ids()) == sorted([*(["first"] if early else []), *map(str, range(50))])


@pytest.mark.parametrize("how", ["gevent", "eventlet"])
@pytest.mark.parametrize("before", [False, True], ids=["patched later", "patched first"])
def test_a_frozen_journal_holds_up_no_greenlet(env: dict[str, str], how: str, before: bool) -> None:
    text = """
        ticks = []
        def tick():
            while True:
                ticks.append(time.monotonic())
                sleep(0.002)
        send("first")
        sleep(0.2)
        os.kill(SERVER, signal.SIGSTOP)
        spawn(tick)
        try:
            for number in range(50):
                send(str(number))
                sleep(0)
            sleep(1)
        finally:
            os.kill(SERVER, signal.SIGCONT)
        gaps = [after - before for before, after in zip(ticks, ticks[1:])]
        assert gaps and max(gaps) < 0.9, gaps
    """
    with valkey_server() as server:
        env = {
            **env,
            "CELERY_BROKER_URL": "memory://",
            "CELERY_RESULT_BACKEND": "cache+memory://",
            "WATCHER_REDIS_URL": server.url(),
        }
        done = run(
            f"import os, signal\n{PATCHES[how]}\n{textwrap.dedent(text).replace('SERVER', str(server.pid))}",
            env,
            first=PATCHES[how] if before else "",
        )
        assert "unpublished" not in done.stderr
        reader = Reader(server.url())
        assert reader.ids() == ["first", *map(str, range(50))]
        reader.close()


def test_worker_patched_after_the_app_import_loses_no_events(env: dict[str, str], reader: Reader) -> None:
    """As a script does that has an app and calls its ``worker_main``."""
    text = """
        import watcher.worker.publish.publisher
        from tests.worker.app import app
        from gevent import monkey
        monkey.patch_all()
        app.worker_main(["worker", "-l", "info", "-P", "gevent", "--without-mingle", "--without-gossip"])
    """
    with program(sys.executable, "-W", "ignore", "-c", textwrap.dedent(text), env=env) as running:
        running.wait_for_output(r"\bready\.")
        with producer(env) as sender:
            for task_id in [sender.send("add", 1, number) for number in range(20)]:
                reader.wait(task_id, "PENDING", "RECEIVED", "STARTED", "SUCCESS")
        running.kill()


@pytest.mark.slow
def test_a_pool_of_eventlet_tells_everything(env: dict[str, str], reader: Reader) -> None:
    with worker("tests.worker.app", pool="eventlet", env=env) as running, producer(env) as sender:
        for task_id in [sender.send("add", 1, number) for number in range(20)]:
            reader.wait(task_id, "PENDING", "RECEIVED", "STARTED", "SUCCESS")
        failed = reader.wait(sender.send("fail", "boom"), "PENDING", "RECEIVED", "STARTED", "FAILURE")
        assert failed[-1].exception is not None
        retried = reader.wait(sender.send("flaky"))
        assert states(retried) == ["PENDING", "RECEIVED", "STARTED", "RETRY", "RECEIVED", "STARTED", "SUCCESS"]
        reports = reader.wait(sender.send("report", 20))
        assert "PROGRESS" in states(reports)
        paused = sender.send("pause", 0.5)
        assert running.stop() == 0
        reader.wait(paused, "PENDING", "RECEIVED", "STARTED", "SUCCESS")
        assert "watcher: events are missing" not in running.output
