"""A journal that is dead, slow or frozen: no task fails, none waits for it longer than 250 ms in all."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
import pytest
from redis import Redis

from tests.support.processes import worker
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for
from tests.worker.support import Reader, producer, states


class SlowProxy:
    """Passes bytes on to a server, each piece `delay` seconds late."""

    def __init__(self, target: int, delay: float) -> None:
        self._target = target
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source, sink:
            while data := source.recv(65536):
                time.sleep(self._delay)  # it is what this proxy is for
                sink.sendall(data)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def journal(how: str) -> Iterator[str]:
    """URL of a journal's server that is in the state named."""
    with valkey_server() as server:
        if how == "dead":
            server.kill()
            yield server.url()
        elif how == "frozen":
            os.kill(server.pid, signal.SIGSTOP)
            yield server.url()
            os.kill(server.pid, signal.SIGCONT)
        elif how == "slow":
            proxy = SlowProxy(server.port, 1.0)
            yield f"redis://127.0.0.1:{proxy.port}/0"
            proxy.close()
        else:
            yield server.url()


def _not_blocked(seconds: list[float]) -> None:
    # Whoever waited for such a journal even once would wait for a second at least; a busy machine costs less than that.
    assert statistics.median(seconds) < 0.25
    assert max(seconds) < 0.9


@pytest.mark.parametrize(
    ("how", "pool"), [("dead", "prefork"), ("frozen", "prefork"), ("slow", "prefork"), ("frozen", "gevent")]
)
def test_tasks_go_on_without_a_journal(valkey: Valkey, how: str, pool: str) -> None:
    """Sending, and the time from a task's start to its end as Celery measures it, are as if nobody watched."""
    count = 25
    with journal(how) as url:
        env = {
            "CELERY_BROKER_URL": valkey.url(1),
            "CELERY_RESULT_BACKEND": valkey.url(2),
            "WATCHER_REDIS_URL": url,
            "INSTALL": "1",
        }
        with worker("tests.worker.app", pool=pool, env=env) as running, producer(env) as sender:
            start = time.monotonic()
            orders = [sender.order("report", 20) for _ in range(count)]
            with Redis.from_url(valkey.url(2)) as backend:
                keys = [f"celery-task-meta-{order['id']}" for order in orders]

                def stored() -> list[str] | None:
                    found = [msgspec.json.decode(value)["status"] if value else "" for value in backend.mget(keys)]
                    return found if all(state in ("SUCCESS", "FAILURE") for state in found) else None

                assert wait_for(stored, what="all tasks to end") == ["SUCCESS"] * count
            _not_blocked([order["seconds"] for order in orders[1:]])
            assert time.monotonic() - start < 10
            # A result is stored a moment before the worker says so.
            wait_for(lambda: running.stderr.count("succeeded in ") == count, what="the worker to tell of all")
            runtimes = [float(text.split("s:")[0]) for text in running.stderr.split("succeeded in ")[1:]]
            _not_blocked(runtimes)
            assert "Traceback" not in running.stderr
            begun = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - begun < 8


def test_events_during_a_journal_freeze_arrive_afterwards(valkey: Valkey) -> None:
    with valkey_server() as server:
        env = {
            "CELERY_BROKER_URL": valkey.url(1),
            "CELERY_RESULT_BACKEND": valkey.url(2),
            "WATCHER_REDIS_URL": server.url(),
            "INSTALL": "1",
        }
        reader = Reader(server.url())
        with worker("tests.worker.app", env=env), producer(env) as sender, Redis.from_url(valkey.url(2)) as backend:
            reader.wait(sender.send("add", 1, 2))
            with server.frozen():
                ids = [sender.send("add", 1, number) for number in range(30)]
                wait_for(
                    lambda: backend.exists(*[f"celery-task-meta-{task_id}" for task_id in ids]) == 30,
                    what="the tasks to end",
                )
            for task_id in ids:
                events = reader.wait(task_id, "PENDING", "RECEIVED", "STARTED", "SUCCESS")
                assert len(states(events)) == 4
        reader.close()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGQUIT])
def test_processes_that_end_leave_nothing_unsaid(valkey: Valkey, ending: signal.Signals) -> None:
    """Each child ends right after its task, while what it has to say is still on its way through a slow network."""
    proxy = SlowProxy(valkey.port, 0.01)
    env = {
        "CELERY_BROKER_URL": valkey.url(1),
        "CELERY_RESULT_BACKEND": valkey.url(2),
        "WATCHER_REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0",
        "INSTALL": "1",
    }
    reader = Reader(valkey.url())
    with worker("tests.worker.app", "--max-tasks-per-child", "1", env=env) as running, producer(env) as sender:
        ids = [sender.send("add", 1, number) for number in range(6)]
        for task_id in ids:
            reader.wait(task_id, "PENDING", "RECEIVED", "STARTED", "SUCCESS")
        last = sender.send("pause", 0.5)
        reader.until(last, lambda seen: "STARTED" in seen)
        running.signal(ending)
        if ending is signal.SIGTERM:
            reader.wait(last, "PENDING", "RECEIVED", "STARTED", "SUCCESS")
        running.wait()
        after = sender.send("add", 1, 1)
        assert sender.finish() == 0
        assert states(reader.of(after)) == ["PENDING"]
    reader.close()
    proxy.close()
