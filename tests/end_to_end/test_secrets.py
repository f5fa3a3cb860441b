"""Secrets stay where they belong: not in logs, command lines, metrics or answers, whatever goes wrong."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.processes import environment, free_port, program, relay, worker
from tests.support.tokens import lasting
from tests.support.trees import descendants
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for
from watcher.relay.common.audit_log import AuditLog

SECRET, OTHER, PASSWORD = (secrets.token_hex(20) for _ in range(3))
TOKEN = lasting(SECRET, watch=["name:nothing"], sub="alice")
FORGED = lasting("f" * 40, watch=["*"])
ALL_TOKEN = lasting(SECRET, watch=["*"], submit=["*"])
HIDDEN = (SECRET, OTHER, PASSWORD, TOKEN, FORGED, ALL_TOKEN)


def found(text: str) -> list[int]:
    """Which of the secrets occur."""
    return [number for number, secret in enumerate(HIDDEN) if secret in text]


def command_lines(pid: int) -> str:
    """Those of a process and of all below it."""
    return "\n".join(Path(f"/proc/{each}/cmdline").read_text(errors="replace") for each in [pid, *descendants(pid)])


def said(url: str, path: str, token: str = "", **options: Any) -> tuple[int, str]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    asked = urllib.request.Request(url + path, headers={**headers, **options.pop("headers", {})}, **options)
    try:
        with urllib.request.urlopen(asked, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, f"{error.read().decode()} {error.headers}"


def guard(server: Valkey) -> None:
    with server.client() as redis:
        redis.config_set("requirepass", PASSWORD)


def with_password(server: Valkey, database: int) -> str:
    return f"redis://:{PASSWORD}@127.0.0.1:{server.port}/{database}"


def knock(url: str, token: str, *, ask: bool = False) -> None:
    """Connect over a WebSocket, and ask for what the token does not allow."""
    orders = [{"connect": {"token": token}}, {"subscribe": {"channel": "tasks"}}, {"history": {"channel": "tasks"}}]
    with connect(url) as socket, suppress(ConnectionClosed):
        for number, order in enumerate(orders if ask else orders[:1], start=1):
            socket.send(json.dumps({"id": number, **order}))
            _ = socket.recv(timeout=10)


def test_no_secret_is_told_whatever_is_refused_and_whatever_breaks() -> None:
    with valkey_server() as server:
        guard(server)
        env = {"CELERY_BROKER_URL": with_password(server, 15), "CELERY_RESULT_BACKEND": with_password(server, 14)}
        options = ("--secret", SECRET, "--more-secrets", OTHER, f"--redis-url={with_password(server, 14)}")
        with worker("tasks", env=env) as working, relay("tasks", *options, env=env) as serving:
            told = [
                said(serving.url, "/api/tasks"),
                said(serving.url, "/api/tasks", FORGED),
                said(serving.url, "/api/tasks/x/result", TOKEN),
                said(serving.url, "/api/tasks", TOKEN, data=b'{"task":"tasks.add"}', method="POST"),
                said(serving.url, "/api/tasks", TOKEN, headers={"Origin": "http://elsewhere.example"}),
                said(serving.url, f"/api/events?channel=tasks&token={FORGED}"),
                said(serving.url, f"/api/events?channel=tasks&nonsense={TOKEN[:10]}", TOKEN),
                said(serving.url, f"/nowhere?token={TOKEN}"),
                said(serving.url, "/api/tasks", ALL_TOKEN, data=b"{", method="POST"),
                said(serving.url, "/metrics", TOKEN),
                said(serving.url, "/metrics", ALL_TOKEN),
            ]
            assert [status for status, _ in told] == [401, 401, 404, 403, 403, 401, 400, 404, 400, 403, 200], told
            knock(serving.ws_url, FORGED)
            knock(serving.ws_url, TOKEN, ask=True)
            lines = [line for line in serving.stderr.splitlines() if "refused " in line]
            for words in (
                ("refused GET /api/tasks to 127.0.0.1: ",),
                ("POST /api/tasks to 127.0.0.1", "alice"),
                ("WATCHER_ORIGINS=http://elsewhere.example",),
                ("GET /metrics", "alice"),
                ("refused connect to 127.0.0.1: ",),
                ("refused subscribe tasks to 127.0.0.1 as alice: the token does not allow",),
                ("refused history tasks to 127.0.0.1 as alice: the token does not allow",),
            ):
                assert any(all(word in line for word in words) for line in lines), (words, serving.stderr)
            assert not found(command_lines(serving.pid) + command_lines(working.pid))
            server.kill()
            wait_for(lambda: not serving.ready(), what="the relay to notice")
            told.append(said(serving.url, "/readyz"))
            told.append(
                said(serving.url, "/api/tasks", ALL_TOKEN, data=b'{"task":"tasks.add","args":[1,2]}', method="POST")
            )
            assert [status for status, _ in told[-2:]] == [503, 503]
            for text in (json.dumps(told), serving.stdout, serving.stderr, working.output):
                assert not found(text), text


def ended(*arguments: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "watcher", *arguments], env=environment(env), capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode in (2, 3, 4), done
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (("serve",), {"WATCHER_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0"}),
        (("serve",), {"WATCHER_REDIS_URL": f"redis://127.0.0.1:1/0?password={PASSWORD}"}),
        (("serve",), {"WATCHER_REDIS_URL": f"sentinel://:{PASSWORD}@127.0.0.1:1/0"}),
        (("serve", "--more-secrets", f"{SECRET} short"), {"WATCHER_REDIS_URL": "redis://127.0.0.1:1/0"}),
        (("serve", "--secret", SECRET, "--secret-file", "/etc/hostname"), {"WATCHER_REDIS_URL": "redis://127.0.0.1:1"}),
        (("serve", "--tls-key", "x"), {"WATCHER_SECRET": SECRET, "WATCHER_REDIS_URL": f"redis://:{PASSWORD}@[::1]:1"}),
        (("submit", "tasks.add", "--url", "http://127.0.0.1:1", "--token", TOKEN), {}),
    ],
)
def test_no_secret_is_told_by_a_start_that_fails(arguments: tuple[str, ...], env: dict[str, str]) -> None:
    assert not found(ended(*arguments, **env))


def test_up_and_its_children_show_no_secret(tmp_path: Path) -> None:
    url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}"
    env = {"CELERY_BROKER_URL": f"{url}/15", "CELERY_RESULT_BACKEND": f"{url}/14"}
    command = (sys.executable, "-m", "watcher", "up", "-A", "tasks", "--port", "0", "--secret", SECRET)
    with program(*command, env=env) as running:
        running.wait_for_output(r"(?m)^http://\S+", timeout=30)
        lines = command_lines(running.pid)
        assert "valkey" in lines
        assert "celery" in lines
        assert not found(lines), lines
        assert not found(running.stdout + running.stderr), running.stderr
        assert running.stop() == 0


@pytest.mark.parametrize("address", ["redis://localhost:{port}", "redis://192.0.2.1:{port}"])
def test_with_a_secret_the_embedded_server_has_one_too(tmp_path: Path, address: str) -> None:
    """Whether it stands where the app's URL leads, without a password there, or elsewhere."""
    address = address.format(port=free_port())
    env = {"CELERY_BROKER_URL": f"{address}/15", "CELERY_RESULT_BACKEND": f"{address}/14", "WATCHER_SECRET": SECRET}
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    command = (sys.executable, "-m", "watcher", "up", "-A", "tasks", "--port", "0", "--data", str(data))
    with program(*command, env=env) as running:
        url = running.wait_for_output(r"(?m)^http://\S+", timeout=30).group().rstrip("/")
        body = {"data": b'{"task":"tasks.add","args":[2,3]}', "method": "POST", "headers": {"Prefer": "wait=20"}}
        status, answer = said(url, "/api/tasks", ALL_TOKEN, **body)
        assert (status, json.loads(answer)["result"]) == (200, 5), running.stderr
        assert said(url, f"/api/tasks/{json.loads(answer)['id']}/result", ALL_TOKEN) == (200, "5")

        broker, backend = urls_of_children(running.pid)
        assert (broker.port, broker.password) == (backend.port, backend.password)
        port, password = broker.port or 0, broker.password or ""
        with Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(AuthenticationError):
            stranger.get("x")
        with Redis(port=port, db=14, password=password) as redis:
            assert redis.exists("{watcher}:journal")
        shown = command_lines(running.pid) + running.stdout + running.stderr
        assert len(password) >= 32
        assert password not in shown
        assert "requires a password" in running.stderr
        modes = {(each.is_dir(), each.stat().st_mode & 0o777) for each in (data, *data.rglob("*"))}
        assert modes == {(True, 0o700), (False, 0o600)}
        assert running.stop() == 0


def urls_of_children(pid: int) -> list[SplitResult]:
    """What the worker of an `up` was given for broker and result backend."""
    for child in descendants(pid):
        given = dict(each.partition("=")[::2] for each in Path(f"/proc/{child}/environ").read_text().split("\0"))
        if "celery" in Path(f"/proc/{child}/cmdline").read_text():
            return [urlsplit(given[name]) for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")]
    raise AssertionError("no worker")


def test_a_secret_may_be_in_a_file(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o644)
    with relay(None, env={"WATCHER_REDIS_URL": redis_url, "WATCHER_SECRET_FILE": str(file)}) as serving:
        assert said(serving.url, "/api/tasks", ALL_TOKEN)[0] == 200
        assert said(serving.url, "/api/tasks", FORGED)[0] == 401
        assert serving.stderr.count(f"WATCHER_SECRET_FILE: {file} can be read by every user of this machine") == 1
    file.chmod(0o600)
    with relay(None, env={"WATCHER_REDIS_URL": redis_url, "WATCHER_SECRET_FILE": str(file)}) as serving:
        assert "every user" not in serving.stderr
    file.write_text("short")
    assert "WATCHER_SECRET_FILE" in ended("serve", WATCHER_SECRET_FILE=str(file), WATCHER_REDIS_URL=redis_url)
    assert "No such file" in ended("serve", "--secret-file", f"{file}x", WATCHER_REDIS_URL=redis_url)


def test_refusals_are_one_line_each_and_a_flood_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refusals = AuditLog(lambda: now)
    for _ in range(1000):
        refusals.tell("192.0.2.1", "GET /a\n2026 forged\x1b[2J\u202e", "because\r\nof this", subject="bob\n")
    assert len(caplog.messages) == 20
    assert caplog.messages[0] == (r"refused GET /a\n2026 forged\x1b[2J\u202e to 192.0.2.1 as bob\n: because\r\nof this")
    now = 1.0
    refusals.tell(None, "x" * 10_000, "y" * 10_000)
    assert caplog.messages[-1].endswith("(980 more not shown)")
    assert len(caplog.messages[-1]) < 1000
    assert not re.search(r"[\x00-\x1f]", "".join(caplog.messages))
