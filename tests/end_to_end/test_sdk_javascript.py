"""The official JavaScript SDK, as it comes from npm, in Node."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.javascript import modules, node
from tests.support.processes import ROOT, Program, Relay, free_port, relay
from tests.support.processes import program as program_of
from tests.support.waiting import wait_for
from watcher.core.permissions import issue

_PROGRAM = str(Path(__file__).with_name("sdk.mjs"))
_SECRET = "s" * 32


class Client(Program):
    """The SDK in its own process, and what it has said."""

    @property
    def said(self) -> list[list[Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    def until(self, *beginning: Any, times: int = 1) -> list[list[Any]]:
        """Wait until it has said that so often, and return what it said then."""

        def found() -> list[list[Any]]:
            assert self.process.poll() is None, self.output
            matching = [line for line in self.said if line[: len(beginning)] == list(beginning)]
            return matching if len(matching) >= times else []

        return wait_for(found, timeout=20, what=f"the SDK to say {beginning}")


@contextmanager
def connected(url: str, **told: Any) -> Iterator[Client]:
    client = Client([node(), _PROGRAM, str(modules()), url, json.dumps(told)])
    try:
        client.until("connected")
        yield client
    finally:
        client.close()


def submit(serving: Relay, *numbers: int) -> str:
    answer = httpx.post(f"{serving.url}/api/tasks", json={"task": "tasks.add", "args": numbers}, timeout=10)
    identity: str = answer.json()["id"]
    return identity


def ended(client: Client, identity: str) -> bool:
    return any(line[0] == "publication" and line[2:] == [identity, "SUCCESS"] for line in client.said)


def test_it_connects_subscribes_and_calls(running: Relay) -> None:
    calls = [
        ["submit", {"task": "tasks.add", "args": [2, 2], "options": {"task_id": "javascript-1"}}],
        ["get", {"id": "nobody"}],
        ["nonsense", {}],
        ["submit", {"task": "tasks.add", "args": ["two", 2]}],
    ]
    with connected(running.ws_url, channel="tasks", calls=calls) as client:
        assert client.until("refused", "submit")[0][2:] == [107, "argument 'x': expected a number, not a string"]
        assert client.until("refused", "nonsense")[0][2] == 104
        assert client.until("answer", "get")[0][2] == {"task": None}
        assert client.until("answer", "submit")[0][2]["channel"] == "task:javascript-1"
        wait_for(lambda: ended(client, "javascript-1"), what="the task's end on the SDK's subscription")


def test_cut_off_it_comes_back_and_has_missed_nothing(env: dict[str, str], running: Relay) -> None:
    port = free_port()
    with relay("tasks", port=port, env=env) as first, connected(first.ws_url, channel="tasks") as client:
        client.until("subscribed")
        before = submit(first, 1, 2)
        wait_for(lambda: ended(client, before), what="the first task's end")
        first.kill()
        missed = [submit(running, number, 1) for number in range(9)]
        with relay("tasks", port=port, env=env):
            for identity in missed:
                wait_for(functools.partial(ended, client, identity), timeout=20, what=f"the end of {identity}")
        assert client.until("subscribed", times=2)[-1] == ["subscribed", True, True]
        offsets = [line[1] for line in client.said if line[0] == "publication"]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))


def test_it_refreshes_its_token(env: dict[str, str]) -> None:
    tokens = [issue(_SECRET, ttl=2, watch=["*"]), issue(_SECRET, watch=["*"], submit=["*"])]
    with (
        relay("tasks", env={**env, "WATCHER_SECRET": _SECRET}) as guarded,
        connected(guarded.ws_url, channel="tasks", tokens=tokens) as client,
    ):
        client.until("the second token is in use")
        assert len(client.until("asked for a token")) == 2
        assert len(client.until("connected")) == 1


def test_a_stopping_relay_asks_it_to_come_back(env: dict[str, str]) -> None:
    port = free_port()
    with relay("tasks", port=port, env=env) as first, connected(first.ws_url) as client:
        assert first.stop() == 0
        client.until("connecting", 3001, "shutdown")
        with relay("tasks", port=port, env=env):
            client.until("connected", times=2)


def test_without_a_token_it_is_told_that_one_is_needed(env: dict[str, str]) -> None:
    with relay("tasks", env={**env, "WATCHER_SECRET": _SECRET}) as guarded:
        client = Client([node(), _PROGRAM, str(modules()), guarded.ws_url, "{}"])
        try:
            assert wait_for(
                lambda: [line for line in client.said if line[0] == "disconnected"], what="the SDK to give up"
            ) == [["disconnected", 101, "a token is required"]]
        finally:
            client.close()


@pytest.mark.parametrize("returns", [1, 4])
def test_resubscribing_during_the_lookup_keeps_the_subscription(slow: Relay, returns: int) -> None:
    channel = f"task:javascript-returns-{returns}"
    with connected(slow.ws_url, channel=channel, returns=returns) as client:
        client.until("subscribed", False, False)
        options = {"task_id": channel.partition(":")[2]}
        sent = httpx.post(f"{slow.url}/api/tasks", json={"task": "tasks.add", "args": [1, 2], "options": options})
        assert sent.status_code == 202
        wait_for(lambda: ended(client, options["task_id"]), what="the task's end on the SDK's subscription")
        assert all(line[1] == 0 for line in client.said if line[0] == "unsubscribed"), "nobody but the client left"
        assert not [line for line in client.said if line[0] == "disconnected"]


@pytest.mark.parametrize(("word", "last"), [("since: sent", "SUCCESS 602489"), ("recoverable: true", "SUCCESS 5")])
def test_the_documents_show_what_works(running: Relay, tmp_path: Path, word: str, last: str) -> None:
    blocks = re.findall(r"(?ms)^```js\n(.*?)^```$", (ROOT / "docs" / "clients.md").read_text())
    [script] = [block for block in blocks if word in block]
    program = tmp_path / "shown.mjs"
    program.write_text(script.replace("ws://127.0.0.1:5556/connection/websocket", running.ws_url).replace("500_", "9_"))
    (tmp_path / "node_modules").symlink_to(modules())
    with program_of(node(), str(program)) as shown:
        assert shown.wait(30) == 0, shown.output
        assert shown.stdout.splitlines()[-1] == last, shown.output


def test_the_document_shows_what_works_in_python(running: Relay, tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", (ROOT / "docs" / "clients.md").read_text())
    [script] = [block for block in blocks if "recoverable=True" in block]
    program = tmp_path / "shown.py"
    program.write_text(script.replace("ws://127.0.0.1:5556/connection/websocket", running.ws_url))
    with program_of(sys.executable, str(program)) as shown:
        assert shown.wait(30) == 0, shown.output
        assert shown.stdout.splitlines()[-1] == "SUCCESS 5", shown.output
