"""A Redis behind TLS that wants a certificate and lets each program do what docs/operating.md lists, and no more."""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.documents.operating import put, variables
from tests.support.certificates import Authority
from tests.support.processes import ROOT, program, relay, worker
from tests.support.redises import VERSIONS, Server, running
from tests.support.tls_proxy import tls_in_front_of
from tests.support.waiting import wait_for

PASSWORD = secrets.token_hex(16)


#: A program of somebody's: it awaits a task and a chord.
AWAITING = """
import anyio
import watcher
from celery import chord
from tasks import add, app, total

async def main():
    async with watcher.results(app) as results:
        sent = add.delay(3, 4), chord([add.s(1, 2), add.s(3, 4)], total.s())()
        print([await results.wait(each, timeout=10) for each in sent])

anyio.run(main)
"""


def rules() -> list[tuple[str, str]]:
    """The users that the document makes, each line by itself: name, and what it may."""
    text = (ROOT / "docs" / "operating.md").read_text()
    block = text.partition("## A Redis of its own rights")[2].partition("\n## ")[0]
    lines = re.findall(r"^ACL SETUSER (\S+) (.*)$", block, flags=re.MULTILINE)
    return [(name, rest.replace(">PASSWORD", f">{PASSWORD}")) for name, rest in lines]


class Guarded:
    """The server behind TLS, as each user reaches it."""

    def __init__(self, server: Server, port: int, authority: Authority) -> None:
        self.server = server
        self.port = port
        self._authority = authority

    def url(self, user: str, database: int) -> str:
        """The URL in the document, for what is here."""
        return put(
            variables("CELERY_BROKER_URL")["CELERY_BROKER_URL"],
            {
                "watcher-worker": user,
                "PASSWORD": PASSWORD,
                "redis.example:6379/15": f"127.0.0.1:{self.port}/{database}",
                "/tls/ca.pem": str(self._authority.ca),
                "/tls/worker.pem": str(self._authority.client_cert),
                "/tls/worker.key": str(self._authority.client_key),
            },
        )

    def environment(self, user: str) -> dict[str, str]:
        return {"CELERY_BROKER_URL": self.url(user, 15), "CELERY_RESULT_BACKEND": self.url(user, 14)}

    def refused(self) -> list[Any]:
        """What somebody wanted and had no right to, without what redis-py asks of its own accord of Redis 6.2."""
        with self.server.client() as redis:
            return [each for each in redis.acl_log() if each["object"] != "client"]  # others name the subcommand


@pytest.fixture(params=VERSIONS)
def guarded(authority: Authority, request: pytest.FixtureRequest) -> Iterator[Guarded]:
    with running(request.param) as server, tls_in_front_of(server.port, authority) as port:
        with server.client() as redis:
            for name, rest in rules():
                if (rest, request.param) == ("+client|setinfo", "redis-7.0"):
                    continue  # as the document says
                redis.execute_command("ACL", "SETUSER", name, *rest.split())
        yield Guarded(server, port, authority)


def answer(url: str, wait: int = 15, **body: Any) -> Any:
    headers = {"Content-Type": "application/json", "Prefer": f"wait={wait}"}
    asked = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    with urllib.request.urlopen(asked, timeout=20) as response:
        return json.load(response)


def test_a_task_runs_through_with_the_rights_that_are_documented(guarded: Guarded) -> None:
    assert [name for name, _ in rules()] == 2 * ["watcher-worker", "watcher-relay"]
    with (
        worker("tasks", "-n", "other@%h", alone=False, env=guarded.environment("watcher-worker")) as working,
        relay("tasks", env=guarded.environment("watcher-relay")) as serving,
    ):
        done = answer(f"{serving.url}/api/tasks", task="tasks.add", args=[2, 3])
        assert (done["state"], done["result"]) == ("SUCCESS", 5)
        failed = answer(f"{serving.url}/api/tasks", task="tasks.fail")
        assert failed["state"] == "FAILURE"
        # A task that the history doesn't know is looked up in the result backend.
        with pytest.raises(urllib.error.HTTPError, match="404"):
            answer(f"{serving.url}/api/tasks/nothing")
        slow = answer(f"{serving.url}/api/tasks", wait=0, task="tasks.sleep", options={"countdown": 600})
        answer(f"{serving.url}/api/tasks/{slow['id']}/revoke", terminate=False)
        wait_for(lambda: "revoked" in working.output, what=f"the worker to hear of it\n{working.output}")

        with urllib.request.urlopen(f"{serving.url}/metrics") as metrics:
            assert "watcher_journal_bytes" in metrics.read().decode()
        inspect = [sys.executable, "-m", "celery", "-A", "tasks", "inspect", "ping"]
        with program(*inspect, env=guarded.environment("watcher-worker")) as inspecting:
            assert inspecting.wait(30) == 0, inspecting.output
            assert "other@" in inspecting.stdout
        with program(sys.executable, "-c", AWAITING, env=guarded.environment("watcher-worker")) as awaiting:
            assert awaiting.wait(30) == 0, awaiting.output
            assert awaiting.stdout.strip() == "[7, 10]"
        assert guarded.refused() == [], guarded.refused()
        with pytest.raises(urllib.error.HTTPError, match="422"):  # it may not ask the workers
            answer(f"{serving.url}/api/tasks", task="tasks.add", args=[2, 3], options={"queue": "nowhere"})
        assert answer(f"{serving.url}/api/tasks", task="tasks.add", args=[2, 3])["state"] == "SUCCESS"
        assert PASSWORD not in working.output + serving.output


@contextmanager
def _end(**env: str) -> Iterator[str]:
    with program(sys.executable, "-m", "watcher", "serve", "--port", "0", env=env) as starting:
        # It gives up after 2 s; Python's start alone can take ten times that where other tests keep the machine busy.
        assert starting.wait(60) == 3, starting.output
        yield starting.stderr


def test_without_certificate_authority_or_password_nobody_gets_in(guarded: Guarded, authority: Authority) -> None:
    whole = guarded.url("watcher-relay", 0)
    stranger = Authority(authority.folder.parent)
    for url in (
        re.sub(r"&ssl_certfile=.*", "", whole),
        whole.replace(f"ssl_ca_certs={authority.ca}", f"ssl_ca_certs={stranger.ca}"),
        whole.replace(PASSWORD, "x" * 20),
    ):
        with _end(WATCHER_REDIS_URL=url) as said:
            assert "can't be reached" in said.splitlines()[-1]
            assert PASSWORD not in said
            assert "x" * 20 not in said
            assert "Traceback" not in said


def test_a_handshake_that_nobody_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rediss://127.0.0.1:{silent.getsockname()[1]}/0"
        with _end(WATCHER_REDIS_URL=url) as said:
            assert "can't be reached: Timeout connecting" in said.splitlines()[-1]
