"""One Redis: its URL is understood wholly or refused, and never taken for another server or database."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from tests.support.processes import ROOT
from tests.support.valkey import Valkey
from watcher.core.errors import SettingError
from watcher.journal import connect
from watcher.journal.connect import Purpose, Target
from watcher.journal.connect_async import async_client

PURPOSES = {name: found for name in connect.__all__ if isinstance(found := getattr(connect, name), Purpose)}
#: What opens connections, of redis-py's.
OPENERS = {"ConnectionPool", "Redis", "StrictRedis", "from_pool", "from_url"}


@pytest.mark.parametrize(
    ("url", "road", "server", "database"),
    [
        ("redis://h", "tcp", ("h", 6379), 0),
        ("redis://h:1/3", "tcp", ("h", 1), 3),
        ("redis://h/0?db=7", "tcp", ("h", 6379), 7),
        ("redis://[::1]:1/3", "tcp", ("::1", 1), 3),
        ("rediss://h/3?ssl_cert_reqs=CERT_NONE", "tls", ("h", 6379), 3),
        ("unix:///run/redis.sock?db=4", "unix", ("/run/redis.sock",), 4),
        ("redis+socket:///run/redis.sock?virtual_host=4", "unix", ("/run/redis.sock",), 4),
        ("socket:///run/redis.sock?virtual_host=/4", "unix", ("/run/redis.sock",), 4),
        ("redis+socket://me:pw@/run/redis.sock", "unix", ("/run/redis.sock",), 0),
    ],
)
def test_server_and_database_of_a_url(url: str, road: str, server: tuple[object, ...], database: int) -> None:
    found = Target.of(url)
    assert (found.road, found.server, found.database) == (road, server, database)
    again = Target.of(found.url)
    assert (again.road, again.server, again.database) == (road, server, database)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://h/abc", "the number of a database"),
        ("redis://h/0/1", "the number of a database"),  # redis-py makes 1 of it
        ("redis://h/0?db=x", "the number of a database"),
        ("unix:///run/redis.sock?virtual_host=x", "the number of a database"),
        ("redis://h:port/0", "a port from 0 to 65535"),
        ("redis://:hunt/er2@h/0", "a port from 0 to 65535"),
        ("redis://:hunt#er2@h/0", "a URL without '#'"),
        ("redis://[::1", "IPv6"),
        ("redis://a;redis://b", "without addresses to fail over to"),
        ("redis://a/0;redis://b/0", "without addresses to fail over to"),
        ("unix://", "the path of a socket"),
        ("sentinel://h", "no sentinel://"),
        ("localhost:6379", "a redis://"),
        ("redis://h/0?ssl_ca_certs=/ca.pem", "redis:// does not accept ssl_ca_certs"),
        ("rediss://h/0?ssl_cert_reqs=perhaps", "perhaps"),
        ("redis://h/0?nonsense=1", "redis:// does not accept nonsense"),
        ("redis://h/0?socket_timeout=soon", "socket_timeout"),
        ("redis://h/0?credential_provider=a:b", "credential_provider"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_line(url: str, why: str) -> None:
    with pytest.raises(SettingError) as error:
        Target.of(url, "WATCHER_REDIS_URL")
    told = str(error.value)
    assert told.startswith("WATCHER_REDIS_URL='")
    assert why in told.partition("is not accepted: ")[2]
    assert "\n" not in told
    assert "er2" not in told


def test_a_password_is_nowhere_to_be_read() -> None:
    target = Target.of("redis://me:hunt%40er2@h/3")
    assert target.options["password"] == "hunt@er2"
    assert str(target) == "redis://me:***@h/3"
    assert "er2" not in repr(target)


def test_how_a_client_reads_is_no_matter_of_the_url() -> None:
    options = Target.of("redis://h/3?protocol=3&decode_responses=true&max_connections=1&client_name=mine").options
    assert options == {"host": "h", "db": 3, "client_name": "mine"}


@pytest.mark.parametrize("name", PURPOSES)
def test_a_purpose_has_time_outs_one_protocol_and_no_retries(valkey: Valkey, name: str) -> None:
    with Target.of(valkey.url()).client(PURPOSES[name]) as redis:
        assert redis.client_info()["resp"] == "2"
        assert redis.client_info()["name"] == (PURPOSES[name].name or "")
        connection = redis.connection_pool.make_connection()
    assert connection.socket_timeout == connection.socket_connect_timeout == PURPOSES[name].timeout <= 2
    assert connection.retry._retries == 0


@pytest.mark.anyio
@pytest.mark.parametrize("name", PURPOSES)
async def test_so_it_is_on_an_event_loop(valkey: Valkey, name: str) -> None:
    async with async_client(valkey.url(), PURPOSES[name]) as redis:
        assert (await redis.client_info())["resp"] == "2"
        connection = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
    assert connection.socket_timeout == connection.socket_connect_timeout == PURPOSES[name].timeout
    assert connection.retry._retries == 0


def test_what_a_url_says_goes_before_the_purpose() -> None:
    purpose = replace(connect.PUBLISH, timeout=9)
    connection = Target.of("redis://h/0?socket_timeout=7&client_name=mine").connection(purpose)
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (7, 9)
    assert connection.client_name == "mine"


def test_connections_are_opened_in_one_place() -> None:
    for path in sorted((ROOT / "watcher").rglob("*.py")):
        called = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {getattr(function, "attr", getattr(function, "id", "")) for function in called}
        if not path.is_relative_to(ROOT / "watcher" / "journal"):
            assert not names & OPENERS, path
