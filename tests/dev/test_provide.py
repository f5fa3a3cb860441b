"""`watcher up` and `watcher serve` with an app whose Redis is said in Celery's own settings, or said wrongly."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT, free_port, program

TLS = {"ssl_cert_reqs": "required"}


def app(folder: Path, **conf: Any) -> dict[str, str]:
    """The environment in which `-A proj` is an app with these settings."""
    (folder / "proj.py").write_text(
        f"from celery import Celery\n\napp = Celery('proj')\napp.conf.update(**{conf!r})\n\n\n"
        "@app.task\ndef double(x):\n    return 2 * x\n"
    )
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def test_embedded_server_replaces_redis_with_a_password_in_conf(tmp_path: Path) -> None:
    away = "redis://redis.example:6379"
    conf = {"redis_username": "me", "redis_password": "hunter2", "broker_user": "me", "broker_password": "hunter2"}
    env = app(tmp_path, broker_url=f"{away}/5", result_backend=f"{away}/6", **conf)
    with program(sys.executable, "-m", "watcher", "up", "-A", "proj", "--port", "0", "-P", "solo", env=env) as up:
        url = up.wait_for_output(r"(?m)^http://\S+", timeout=60).group().rstrip("/")
        body = json.dumps({"task": "proj.double", "args": [21]}).encode()
        asked = urllib.request.Request(
            f"{url}/api/tasks", body, {"Content-Type": "application/json", "Prefer": "wait=20"}
        )
        with urllib.request.urlopen(asked, timeout=30) as response:
            assert json.load(response)["result"] == 42, up.output
        assert "hunter2" not in up.output


_NOWHERE = f"127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("command", "conf", "said"),
    [
        ("up", {"broker_url": f"rediss://{_NOWHERE}", "broker_use_ssl": TLS}, "broker_use_ssl='…' is not accepted"),
        (
            "up",
            {"broker_url": "memory://", "result_backend": f"rediss://{_NOWHERE}", "redis_backend_use_ssl": TLS},
            "redis_backend_use_ssl='…' is not accepted",
        ),
        ("up", {"broker_url": "redis://:hunter2@localhost/x"}, "broker_url='redis://:***@localhost/x' is not accepted"),
        ("up", {"broker_url": "redis://a:b;redis://c"}, "broker_url='redis://a:b' is not accepted: a port"),
        ("serve", {"result_backend": "rediss://:hunter2@h"}, "result_backend='rediss://:***@h' is not accepted"),
        ("serve", {"result_backend": "redis://:hunter2@h/one"}, "result_backend='redis://:***@h/one' is not accepted"),
        ("serve", {"watcher_redis_url": "sentinel://h"}, "watcher_redis_url='sentinel://h' is not accepted: a redis://"),
        (
            "serve",
            {"result_backend": "redis://:hunter2@h", "result_serializer": "none"},
            "result_backend='redis://:***@h' is not accepted: KeyError: 'none'",
        ),
        ("up", {"result_backend": ["redis://h"], "broker_url": "redis://h/x"}, "broker_url='redis://h/x' is not"),
        ("serve", {"broker_url": "memory://"}, "WATCHER_REDIS_URL is not set: neither"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_ends_it_with_one_line(
    tmp_path: Path, command: str, conf: dict[str, Any], said: str
) -> None:
    env = app(tmp_path, **conf)
    with program(sys.executable, "-m", "watcher", command, "-A", "proj", "--port", "0", env=env) as ended:
        assert ended.wait(60) == 2, ended.output
        assert ended.stdout == ""
        assert f"watcher: {said}" in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
        assert "hunter2" not in ended.stderr


@pytest.mark.parametrize(
    "url", ["redis://:hunter2@h/one", "redis://:hunt/er2@h", "redis://a;redis://b", "redis://[::1"]
)
@pytest.mark.parametrize("option", [False, True])
def test_a_url_that_cannot_be_read_is_named_with_what_is_accepted(url: str, option: bool) -> None:
    given = ["--redis-url", url] if option else []
    env = {} if option else {"WATCHER_REDIS_URL": url}
    with program(sys.executable, "-m", "watcher", "serve", "--port", "0", *given, env=env) as ended:
        assert ended.wait(60) == 2, ended.output
        assert "is not accepted: " in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
        assert "er2" not in ended.stderr


@pytest.mark.parametrize("command", ["serve", "up"])
def test_an_app_that_ends_the_program_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "proj.py").write_text("raise SystemExit('set DATABASE_URL')\n")
    with program(sys.executable, "-m", "watcher", command, "-A", "proj", env={"PYTHONPATH": str(tmp_path)}) as ended:
        assert ended.wait(60) == 2, ended.output
        said = "watcher: the Celery app 'proj' can't be imported: it exits the program (set DATABASE_URL)"
        assert ended.stderr.splitlines()[-1] == said


def test_a_relay_without_an_app_is_told_to_name_a_redis() -> None:
    with program(sys.executable, "-m", "watcher", "serve", "--port", "0") as ended:
        assert ended.wait(60) == 2, ended.output
        said = "name the Celery app: watcher serve -A proj; a relay without one is read-only"
        assert ended.stderr.splitlines()[-1].startswith(f"watcher: {said}")
