"""What clients are told of a server that fails: which one, and why in words of ours; the log is told the whole."""

from __future__ import annotations

import logging
import re
import socket
import ssl
from typing import Any

import httpx
import pytest
import redis.exceptions as away
from kombu.exceptions import OperationalError

from tests.support.client import client as websocket
from tests.support.processes import Relay, relay
from tests.support.tokens import lasting
from tests.support.valkey import valkey_server
from tests.support.waiting import eventually
from watcher.relay.common.outage import unavailable, why

pytestmark = pytest.mark.anyio

SECRET = "0123456789abcdef" * 4
USER = "keeper-of-the-journal"
#: What nobody outside is to read.
INNER = re.compile(rf"127\.0\.0\.1|localhost|{USER}|user_script|\blua\b|\bsha|@|evalsha|\bline \d", re.IGNORECASE)


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


SCRIPT = "{} script: f_9a1 on @user_script:14: user_script:14: -OOM command not allowed when used memory > 'maxmemory'."
TOLD: list[tuple[Exception, str]] = [
    (away.ConnectionError("Error 111 connecting to 10.1.2.3:6379. Connection refused."), "connection refused"),
    (away.NoPermissionError(f"User {USER} has no permissions to run the 'xadd' command"), "NOPERM (its user"),
    (away.ResponseError(SCRIPT.format("Error running")), "OOM (it has reached its maxmemory)"),
    (away.OutOfMemoryError(SCRIPT.format("command not allowed")), "OOM (it has reached its maxmemory)"),
    (away.ResponseError("ERR user_script:3: attempt to index a nil value @user_script:3"), "log says why"),
    (away.AuthenticationError("invalid username-password pair or user is disabled."), "WRONGPASS (the user or"),
    (away.TimeoutError("Timeout connecting to server 10.1.2.3"), "it timed out"),
    (
        away.ConnectionError("Error -2 connecting to redis.inner:6379. Name or service not known."),
        "its name can't be resolved",
    ),
    (away.MaxConnectionsError("Too many connections"), "all the relay's connections to it are in use"),
    (TimeoutError("no answer for 4 s"), "no answer for 4 s"),
    (ConnectionResetError(104, "Connection reset by peer"), "the connection broke"),
    (socket.gaierror(-2, "Name or service not known"), "its name can't be resolved"),
    (ssl.SSLCertVerificationError(1, "certificate verify failed: redis.inner"), "TLS failed"),
    (caused(OperationalError("amqp://user@10.1.2.3"), ConnectionRefusedError(111, "x")), "connection refused"),
    (Exception('FATAL: no pg_hba.conf entry for host "10.1.2.3", user "celery"'), "the relay's log says why"),
]


@pytest.mark.parametrize(("error", "told"), TOLD)
def test_why_is_told_in_words_of_ours(error: Exception, told: str, caplog: pytest.LogCaptureFixture) -> None:
    assert told in why(error)
    with caplog.at_level(logging.WARNING):
        answer = unavailable("Redis", error, submitted="no")
    for inner in ("10.1.2.3", "redis.inner", USER, "user_script", "celery", "amqp"):
        assert inner not in str(answer)
        assert not caplog.text or inner not in str(error) or inner in caplog.text
    full = isinstance(error, away.MaxConnectionsError)
    assert ("is unavailable" if full else "doesn't answer") in str(answer)


CALLS: dict[str, Any] = {
    "submit": {"task": "tasks.add", "args": [1, 2]},
    "get": {"id": "nothing"},
    "revoke": {"id": "nothing"},
}


async def told_by(serving: Relay, token: str) -> dict[str, str]:
    """What each door says that has to ask Redis, by its name."""
    said: dict[str, str] = {}
    async with httpx.AsyncClient(
        base_url=serving.url, headers={"Authorization": f"Bearer {token}"}, timeout=10
    ) as http:
        for name, request in {
            "readyz": http.build_request("GET", "/readyz"),
            "submit": http.build_request("POST", "/api/tasks", json=CALLS["submit"]),
            "revoke": http.build_request("POST", "/api/tasks/nothing/revoke", json={}),
            "get": http.build_request("GET", "/api/tasks/nothing"),
            "result": http.build_request("GET", "/api/tasks/nothing/result"),
            "events": http.build_request("GET", "/api/events?channel=task:nothing"),
            "metrics": http.build_request("GET", "/metrics"),
        }.items():
            answer = await http.send(request)
            assert answer.status_code in (200, 202, 503), (name, answer.text)
            if answer.status_code == 503:
                said[name] = answer.text
    async with websocket(serving.ws_url, say_connect=False) as talking:
        said["connect"] = str((await talking.ask(connect={"token": token}))["connect"]["data"])
        commands: dict[str, Any] = {
            f"rpc {name}": {"rpc": {"method": name, "data": data}} for name, data in CALLS.items()
        }
        for name, command in {**commands, "subscribe": {"subscribe": {"channel": "task:nothing"}}}.items():
            reply = await talking.ask(**command)
            if "error" in reply:
                said[name] = str(reply["error"])
    return said


#: What is refused where Redis is away, and where the relay's user may run no script there.
AWAY = {"readyz", "submit", "get", "result", "events", "connect", "rpc submit", "rpc get", "subscribe"}
FORBIDDEN = AWAY - {"readyz"}


async def test_no_door_tells_an_address_a_user_or_a_script() -> None:
    token = lasting(SECRET, watch=["*"], submit=["*"], revoke=True, sub="me")
    with valkey_server() as server, valkey_server() as broker:
        with server.client() as admin:
            admin.execute_command("ACL", "SETUSER", USER, "on", ">p", "~*", "&*", "+@all")
        url = f"redis://{USER}:p@127.0.0.1:{server.port}"
        env = {
            "CELERY_BROKER_URL": broker.url(15),
            "CELERY_RESULT_BACKEND": f"{url}/14",
            "WATCHER_REDIS_URL": f"{url}/0",
        }
        with relay("tasks", env={**env, "WATCHER_SECRET": SECRET}) as serving:
            async with websocket(serving.ws_url, token=token) as watching:
                with server.client() as admin:
                    admin.execute_command("ACL", "SETUSER", USER, "-evalsha")
                forbidden = await told_by(serving, token)
                assert "Redis refuses it: NOPERM" in forbidden["get"]
                server.kill()
                broker.kill()
                await watching.until(lambda: watching.pushes, "to be told of the trouble", timeout=10)
                gone = {"push": str(watching.pushes[0]), **await told_by(serving, token)}
            assert forbidden.keys() == FORBIDDEN
            assert gone.keys() == AWAY | {"push", "revoke", "rpc revoke"}
            for name, text in (*forbidden.items(), *gone.items()):
                assert not INNER.search(text), (name, text)
                assert str(server.port) not in text, (name, text)
                assert str(broker.port) not in text, (name, text)
            assert "Redis: " in gone["readyz"]
            await eventually(lambda: str(server.port) in serving.output, what="the log to name Redis")
            await eventually(lambda: str(broker.port) in serving.output, what="the log to name the broker")
            assert re.search(f"(?i)user {USER}|no permissions", serving.output)
