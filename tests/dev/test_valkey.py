"""The embedded server is a real Valkey, listens where it is told, and forgets or keeps as it is told."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.retry import Retry

from tests.support.processes import free_port, program
from tests.support.trees import descendants, wait_until_gone
from watcher.dev.valkey import EmbeddedError, EmbeddedValkey, available


def test_is_installed() -> None:
    assert available()


def test_answers_when_it_has_started_and_is_gone_when_closed() -> None:
    with EmbeddedValkey() as server, Redis.from_url(server.url(15)) as redis:
        assert redis.ping()
        assert int(str(redis.info("server")["valkey_version"]).split(".")[0]) >= 8
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((server.address, server.port), timeout=1)


def test_takes_the_port_that_it_is_given() -> None:
    port = free_port()
    with EmbeddedValkey(port=port) as server, Redis(port=port) as redis:
        assert server.url(3) == f"redis://127.0.0.1:{port}/3"
        assert redis.ping()


def test_localhost_is_reached_over_ipv4() -> None:
    with EmbeddedValkey("localhost") as server, Redis("localhost", server.port) as redis:
        assert redis.ping()


def test_has_as_many_databases_as_asked() -> None:
    with EmbeddedValkey(databases=20) as server, Redis.from_url(server.url(19)) as redis:
        assert redis.ping()
    with (
        EmbeddedValkey() as server,
        Redis.from_url(server.url(16)) as redis,
        pytest.raises(ResponseError, match="range"),
    ):
        redis.ping()


def test_taken_port_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"127.0.0.1:{port}"):
            EmbeddedValkey(port=port)


def test_another_redis_at_the_port_is_not_taken_for_ours() -> None:
    with EmbeddedValkey() as other, pytest.raises(EmbeddedError, match="in use"):
        EmbeddedValkey(port=other.port)


def test_forgets_without_data_and_keeps_with_it(tmp_path: Path) -> None:
    data = tmp_path / "not" / "there" / "yet"
    for kept, folder in ((None, None), (None, data), (b"1", data)):
        with EmbeddedValkey(data=folder) as server, Redis.from_url(server.url()) as redis:
            assert redis.get("key") == kept
            redis.set("key", "1")


def test_what_somebody_left_for_it_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody may write where temporary files are."""
    with EmbeddedValkey(data=tmp_path / "data", restricted=False) as server, Redis.from_url(server.url()) as redis:
        redis.set("planted", "1")
        redis.save()
    (saved,) = (tmp_path / "data").glob("*.rdb")
    saved.rename(tmp_path / "dump.rdb")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with EmbeddedValkey() as server, Redis.from_url(server.url()) as redis:
        assert redis.keys() == []


@pytest.mark.parametrize("username", [None, "somebody"])
def test_password_of_the_apps_url_is_demanded(username: str | None) -> None:
    with EmbeddedValkey(username=username, password="a secret:@/") as server:
        with Redis(port=server.port, username=username, password="a secret:@/") as redis:
            redis.publish("channel", "message")
            assert redis.set("key", "1")
        with (
            Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as redis,
            pytest.raises((AuthenticationError, NoPermissionError)),
        ):
            redis.get("key")


@pytest.mark.parametrize("password", [None, "a secret:@/"])
@pytest.mark.parametrize(
    "command",
    [
        "CONFIG GET dir",
        "CONFIG SET dir /tmp",
        "CONFIG REWRITE",
        "SHUTDOWN NOSAVE",
        "REPLICAOF 127.0.0.1 1",
        "SLAVEOF 127.0.0.1 1",
        "MODULE LOAD /tmp/x.so",
        "DEBUG SLEEP 0",
        "SAVE",
        "BGSAVE",
        "BGREWRITEAOF",
        "ACL LIST",
        "ACL SETUSER x",
        "MONITOR",
        "SYNC",
        "PSYNC ? -1",
        "REPLCONF listening-port 1",
        "FAILOVER",
        "CLIENT KILL TYPE normal",
        "CLIENT LIST",
        "LATENCY RESET",
        "SLOWLOG GET",
        "MIGRATE 127.0.0.1 1 key 0 10",
        "RESTORE key 0 x",
        "SWAPDB 0 1",
        "SCRIPT DEBUG YES",
    ],
)
def test_clients_have_no_say_in_the_server(
    embedded: dict[str | None, EmbeddedValkey], command: str, password: str | None
) -> None:
    server = embedded[password]
    with Redis(port=server.port, password=password, retry=Retry(NoBackoff(), 0)) as redis:
        # Of DEBUG and MODULE, Valkey looks first whether it was told to allow them at all.
        with pytest.raises(ResponseError, match=r"no permissions|not allowed"):
            redis.execute_command(*command.split())
        assert redis.ping()
        with pytest.raises(AuthenticationError):
            redis.execute_command("AUTH", "watcher-supervisor", "x")


def test_clients_may_do_what_is_about_data(embedded: dict[str | None, EmbeddedValkey]) -> None:
    with Redis(port=embedded[None].port) as redis:
        assert redis.eval("return redis.call('SET', KEYS[1], 'x')", 1, "key")
        assert redis.keys() == [b"key"]
        assert "valkey_version" in redis.info()
        redis.flushall()
        redis.publish("channel", "message")


@pytest.fixture(scope="module")
def embedded() -> Iterator[dict[str | None, EmbeddedValkey]]:
    with EmbeddedValkey() as one, EmbeddedValkey(password="a secret:@/") as other:
        yield {None: one, "a secret:@/": other}


def modes(folder: Path) -> set[tuple[str, int]]:
    """Of all that is in a directory, and of itself: whether it is one, and its permissions."""
    return {("d" if each.is_dir() else "f", each.stat().st_mode & 0o7777) for each in (folder, *folder.rglob("*"))}


def test_its_data_is_for_nobody_else(tmp_path: Path) -> None:
    """What was there before from a time when it was open, too."""
    data = tmp_path / "above" / "data"
    before = os.umask(0o002)
    try:
        for _ in range(2):
            with EmbeddedValkey(data=data) as server, Redis.from_url(server.url()) as redis:
                redis.set("key", "x" * 1000)
            assert modes(tmp_path / "above") == {("d", 0o700), ("f", 0o600)}
            for each in (data, *data.rglob("*")):
                each.chmod(0o777 if each.is_dir() else 0o666)
        with EmbeddedValkey(data=data):
            assert modes(data) == {("d", 0o700), ("f", 0o600)}
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give something away")
def test_data_that_belongs_to_somebody_else_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    with EmbeddedValkey(data=data):
        assert caplog.messages == [f"{data} belongs to another user, who can read and change its contents"]
    target = tmp_path / "target"
    target.write_text("")
    target.chmod(0o644)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "link").symlink_to(target)
    with EmbeddedValkey(data=tmp_path / "own"):
        assert target.stat().st_mode & 0o777 == 0o644, "what a link leads to is somebody's own affair"


def test_a_place_for_data_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match=r"can't store data in .*file"):
        EmbeddedValkey(data=tmp_path / "file")


def test_starts_and_stops_in_a_moment() -> None:
    started = time.monotonic()
    with EmbeddedValkey():
        pass
    assert time.monotonic() - started < 3


def test_ends_when_the_program_that_started_it_is_killed() -> None:
    script = (
        "import time; from watcher.dev.valkey import EmbeddedValkey; server = EmbeddedValkey(); "
        "print('on', server.port); time.sleep(60)"
    )
    with program(sys.executable, "-c", script) as parent:
        parent.wait_for_output("on")
        pids = descendants(parent.pid)
        assert len(pids) == 2, "a guard and the server"
        parent.kill()
        wait_until_gone(pids)


def test_two_do_not_keep_their_data_in_one_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EmbeddedValkey(data=data) as server, Redis.from_url(server.url()) as redis:
        redis.set("x", 1)
        with pytest.raises(EmbeddedError, match="another embedded Valkey uses it"):
            EmbeddedValkey(data=data)
        with pytest.raises(EmbeddedError, match="did not start"):
            EmbeddedValkey(port=server.port, data=tmp_path / "other")
    for _ in range(2):
        with EmbeddedValkey(data=data) as server, Redis.from_url(server.url()) as redis:
            assert redis.get("x") == b"1"
    with EmbeddedValkey(data=tmp_path / "other"):  # one that could not start has let go of it
        pass
