"""The embedded server is a real Valkey, listens where it is told, and forgets or keeps as it is told."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.retry import Retry

from tests.support.processes import free_port, program
from tests.support.trees import descendants, wait_until_gone
from watcher.embedded import Embedded, EmbeddedError, available


def test_is_installed() -> None:
    assert available()


def test_answers_when_it_has_started_and_is_gone_when_closed() -> None:
    with Embedded() as server, Redis.from_url(server.url(15)) as redis:
        assert redis.ping()
        assert int(str(redis.info("server")["valkey_version"]).split(".")[0]) >= 8
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((server.address, server.port), timeout=1)


def test_takes_the_port_that_it_is_given() -> None:
    port = free_port()
    with Embedded(port=port) as server, Redis(port=port) as redis:
        assert server.url(3) == f"redis://127.0.0.1:{port}/3"
        assert redis.ping()


def test_localhost_is_reached_over_ipv4() -> None:
    with Embedded("localhost") as server, Redis("localhost", server.port) as redis:
        assert redis.ping()


def test_has_as_many_databases_as_asked() -> None:
    with Embedded(databases=20) as server, Redis.from_url(server.url(19)) as redis:
        assert redis.ping()
    with Embedded() as server, Redis.from_url(server.url(16)) as redis, pytest.raises(ResponseError, match="range"):
        redis.ping()


def test_taken_port_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"127.0.0.1:{port}"):
            Embedded(port=port)


def test_another_redis_at_the_port_is_not_taken_for_ours() -> None:
    with Embedded() as other, pytest.raises(EmbeddedError, match="in use"):
        Embedded(port=other.port)


def test_forgets_without_data_and_keeps_with_it(tmp_path: Path) -> None:
    data = tmp_path / "not" / "there" / "yet"
    for kept, folder in ((None, None), (None, data), (b"1", data)):
        with Embedded(data=folder) as server, Redis.from_url(server.url()) as redis:
            assert redis.get("key") == kept
            redis.set("key", "1")


@pytest.mark.parametrize("username", [None, "somebody"])
def test_password_of_the_apps_url_is_demanded(username: str | None) -> None:
    with Embedded(username=username, password="a secret:@/") as server:
        with Redis(port=server.port, username=username, password="a secret:@/") as redis:
            redis.publish("channel", "message")
            assert redis.set("key", "1")
        with (
            Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as redis,
            pytest.raises((AuthenticationError, NoPermissionError)),
        ):
            redis.get("key")


def test_starts_and_stops_in_a_moment() -> None:
    started = time.monotonic()
    with Embedded():
        pass
    assert time.monotonic() - started < 3


def test_ends_when_the_program_that_started_it_is_killed() -> None:
    script = "import time; from watcher.embedded import Embedded; e = Embedded(); print('on', e.port); time.sleep(60)"
    with program(sys.executable, "-c", script) as parent:
        parent.wait_for_output("on")
        pids = descendants(parent.pid)
        assert len(pids) == 2, "a guard and the server"
        parent.kill()
        wait_until_gone(pids)
