"""The examples do what they say, with real workers and relays; those that are pages are in tests/browser/."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

import watcher
from tests.support.processes import ROOT, Program, Relay, program, relay, worker
from tests.support.sse import Parser
from tests.support.valkey import Valkey, valkey_server
from watcher.journal.layout import Journal

EXAMPLES = ROOT / "examples"
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def own_env() -> Iterator[dict[str, str]]:
    """Broker and result backend of `running`, on a server of its own: the others have the same queue."""
    with valkey_server() as server:
        yield {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}


@pytest.fixture(scope="module")
def running(own_env: dict[str, str]) -> Iterator[Relay]:
    """What `make run` starts."""
    with worker("tasks", pool="threads", env=own_env), relay("tasks", env=own_env) as serving:
        yield serving


@contextmanager
def site(folder: Path, application: str, env: dict[str, str]) -> Iterator[tuple[Program, httpx.Client]]:
    """A web application under uvicorn, and a client for it."""
    command = [sys.executable, "-m", "uvicorn", application, "--port", "0"]
    with program(*command, env=env, cwd=folder) as web:
        url = web.wait_for_output(r"http://[^\s/]+(?= \()").group()
        with httpx.Client(base_url=url, timeout=30) as client:
            yield web, client


def test_fastapi(tasks_env: dict[str, str]) -> None:
    folder = EXAMPLES / "fastapi"
    with (
        worker("reports", pool="threads", env=tasks_env, cwd=folder),
        site(folder, "reports:web", tasks_env) as (web, client),
    ):
        assert client.get("/words", params={"text": "three words here"}).json() == {"words": 3}
        assert client.post("/reports?pages=x").status_code == 422
        identity = client.post("/reports?pages=8").json()["id"]
        told = list(Parser().all(client.get(f"/reports/{identity}/events").text))
        states = [message.json["state"] for message in told[:-1]]
        assert states[-1] == "SUCCESS"
        assert "PROGRESS" in states
        assert told[-1].kind == "end"
        assert told[-2].json["result"] == {"pages": 8}
        # A browser that comes back has what it missed, and nothing else.
        rest = client.get(f"/reports/{identity}/events", headers={"Last-Event-ID": told[-3].id or ""}).text
        assert next(Parser().all(rest)).id == told[-2].id
        assert web.stop() == -signal.SIGTERM, web.output  # uvicorn's way to end
        assert "Application shutdown complete" in web.stderr


def test_django(valkey: Valkey, tasks_env: dict[str, str], tmp_path: Path) -> None:
    folder = EXAMPLES / "django"
    env = {**tasks_env, "JOURNAL_URL": valkey.url(13), "WATCHER_SECRET": SECRET}
    beat = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "shop",
        "beat",
        "-s",
        str(tmp_path / "schedule"),
        "--max-interval",
        "1",
    ]
    with (
        worker("shop", pool="threads", env=env, cwd=folder) as working,
        relay("shop", env=env, cwd=folder) as serving,
        site(folder, "shop.asgi:application", {**env, "RELAY": serving.url}) as (web, client),
        program(*beat, env=env, cwd=folder),
    ):
        assert "reports.tasks.write_report" in working.output, "autodiscovered"
        assert client.get("/words", params={"text": "three words here"}).json() == {"words": 3}
        shown = client.get("/").text
        assert f'src="{serving.url}/watcher.js"' in shown
        assert "<watcher-task" not in shown
        form = re.findall(r'name="(csrfmiddlewaretoken)" value="(\w+)"', shown)
        ((identity, token),) = re.findall(
            r'<watcher-task task="([\w-]+)" token="([\w.-]+)">', client.post("/", data=dict(form)).text
        )
        # The token is what the page has: it may follow this task, and no other one.
        asking = {"Authorization": f"Bearer {token}"}
        task = httpx.get(f"{serving.url}/api/tasks/{identity}?wait=20", headers=asking, timeout=30).json()
        assert (task["name"], task["state"]) == ("reports.tasks.write_report", "SUCCESS")
        assert httpx.get(f"{serving.url}/api/tasks/other", headers=asking).status_code == 404
        # CELERY_WATCHER_REDIS_URL says where the journal is, to all of them.
        with Redis.from_url(valkey.url(13)) as redis:
            assert redis.exists(Journal("watcher", 13).stream)
        # What beat sends is watched like everything else, from the moment when it is sent.
        everything = {"Authorization": f"Bearer {watcher.token('x', watch=['tasks'], secret=SECRET)}"}
        channel = f"{serving.url}/api/events?channel=name:reports.tasks.tidy_up"
        told = set[str]()
        with httpx.stream("GET", channel, headers=everything, timeout=30) as response:
            parser, lines = Parser(), response.iter_lines()
            while not {"PENDING", "SUCCESS"} <= told:  # beat and worker tell independently, in any order
                if (message := parser.line(next(lines))) is not None:
                    told.add(message.json["state"])
        assert web.stop() == -signal.SIGTERM, web.output
        assert "Traceback" not in web.output


def test_bash(running: Relay) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with program(str(EXAMPLES / "script.sh"), env={"PATH": path, "WATCHER_URL": running.url}) as script:
        assert script.wait(30) == 0, script.output
        assert script.stdout == "sum: 42\nfailed, as expected\nwords: 1 2 3\nended: 3\ncurl: 3\n"
        assert script.stderr == ""


def test_bash_with_a_relay_that_wants_a_token(running: Relay, own_env: dict[str, str]) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    token = watcher.token("x", ttl=60, watch=["task:*", "tag:*"], submit=["tasks.*"], secret=SECRET)
    with relay("tasks", env={**own_env, "WATCHER_SECRET": SECRET}) as guarded:
        env = {"PATH": path, "WATCHER_URL": guarded.url, "WATCHER_TOKEN": token}
        with program(str(EXAMPLES / "script.sh"), env=env) as script:
            assert script.wait(30) == 0, script.output
            assert script.stdout.splitlines()[-1] == "curl: 3"


NOTEBOOK = [
    "tasks.add (x: float, y: float) -> float",
    "42",
    "SUCCESS",
    str([2 * number for number in range(20)]),
    "RuntimeError no such customer",
]


def test_notebook_as_a_script(running: Relay) -> None:
    with program(sys.executable, str(EXAMPLES / "notebook.py"), env={"WATCHER_URL": running.url}) as script:
        assert script.wait(30) == 0, script.output
        lines = script.stdout.splitlines()
        assert any(line.startswith("PROGRESS {'current'") for line in lines)
        assert [line.strip() for line in lines if line.strip() in NOTEBOOK] == NOTEBOOK, script.output
        assert script.stderr == ""


@pytest.mark.anyio
async def test_notebook_cell_by_cell_where_an_event_loop_runs(
    running: Relay, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Jupyter does it: one namespace, and a loop that runs in the very thread."""
    monkeypatch.setenv("WATCHER_URL", running.url)
    cells = re.split(r"^(?=# %%)", (EXAMPLES / "notebook.py").read_text(), flags=re.MULTILINE)
    assert len(cells) > 5
    namespace: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, "cell", "exec"), namespace)
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines if line.strip() in NOTEBOOK] == NOTEBOOK
