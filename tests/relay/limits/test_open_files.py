"""However few files a relay may have open: its clients' connections leave enough of them for all else."""

from __future__ import annotations

import resource
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.processes import Relay, relay
from tests.support.valkey import Valkey
from tests.support.waiting import wait_for
from watcher.relay.limits import open_files
from watcher.relay.limits.open_files import connections_for, lingering, make_room

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a process's files as Linux does")

FEW = 256


def test_there_is_always_room_for_what_a_relay_needs_itself() -> None:
    beside = open_files._OWN + open_files.ARRIVING
    for files in range(8192):
        taken = connections_for(files)
        assert taken >= 1
        assert taken == 1 or taken + lingering(taken) + beside <= files
    assert connections_for(FEW) > FEW / 2


@pytest.mark.parametrize(
    ("limits", "wanted", "taken"),
    [
        ((256, 256), 10_000, 147),
        ((256, 1024), 10_000, 819),
        ((256, 1_000_000), 10_000, 10_000),
        ((1024, 4096), 100, 100),
        ((256, resource.RLIM_INFINITY), 10_000, 10_000),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 1_000_000, 1_000_000),
        ((1 << 30, 1 << 30), 10_000, 10_000),
        ((20, 20), 10_000, 1),
    ],
)
def test_as_many_files_are_asked_for_as_there_may_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limits: tuple[int, int], wanted: int, taken: int
) -> None:
    now = list(limits)  # the operating system's
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda _, asked: now.__setitem__(slice(None), asked))
    assert make_room(wanted) == taken
    assert now[0] == resource.RLIM_INFINITY or now[0] >= limits[0], "never fewer than there were"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (taken < wanted)
    assert all(f"accepts {taken} connections, not WATCHER_MAX_CONNECTIONS={wanted}" in line for line in said)


def files(serving: Relay) -> int:
    return len(list(Path(f"/proc/{serving.pid}/fd").iterdir()))


@contextmanager
def crowd(serving: Relay, count: int) -> Iterator[list[socket.socket]]:
    """Connections that say nothing."""
    host, _, port = serving.url.removeprefix("http://").rpartition(":")
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(count)]


def refused(connections: list[socket.socket]) -> int:
    """How many of them were told something, or cut, without having asked."""
    ready, _, _ = select.select(connections, [], [], 0)
    return len(ready)


def test_a_crowd_at_the_door_leaves_the_relay_its_files(valkey: Valkey, tasks_env: dict[str, str]) -> None:
    """They come all at once and stay: the page is served, tasks are submitted and looked up."""
    taken = connections_for(FEW)
    with relay(env=tasks_env, files=FEW) as serving, httpx.Client(base_url=serving.url) as early:
        assert f"accepts {taken} connections" in serving.stderr
        assert early.get("/readyz").status_code == 200
        with crowd(serving, taken + 40) as connections:
            wait_for(lambda: refused(connections) >= 40, what="those to be refused for whom there is no room")
            assert refused(connections) <= 42, "the test's own, and one that asked whether it is ready"
            assert files(serving) <= FEW - open_files._OWN + 40
            for path in ("/index.html", "/main.js", "/readyz", "/metrics"):
                assert early.get(path).status_code == 200, path
            assert early.post("/api/tasks", json={"task": "tasks.add", "args": [1, 2]}).status_code == 202
            assert early.get("/api/tasks/nobody-knows-it").status_code == 404
        wait_for(lambda: httpx.get(f"{serving.url}/readyz").status_code == 200, what="room for another")
        assert "Traceback" not in serving.stderr
        assert "Too many open files" not in serving.stderr


def test_a_relay_that_can_accept_nobody_goes_on(valkey: Valkey) -> None:
    """As where something else of the process has taken its files: who is there is served, and later the others too."""
    env = {"WATCHER_REDIS_URL": valkey.url()}
    with relay(None, env=env) as serving, httpx.Client(base_url=serving.url) as early:
        assert early.get("/readyz").status_code == 200
        before = resource.prlimit(serving.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(serving.pid, resource.RLIMIT_NOFILE, (files(serving) + 2, before[1]))
        with crowd(serving, 20):
            for _ in range(20):
                assert early.get("/healthz").status_code == 200
        resource.prlimit(serving.pid, resource.RLIMIT_NOFILE, before)
        wait_for(serving.ready, what="it to accept somebody again")
