"""The Python of the documents does what they say, as a program of its own."""

from __future__ import annotations

import ast
import json
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.documents.shown import SOCKET, blocks
from tests.support.processes import Relay, program
from watcher.core.keyring import Key, Keyring
from watcher.core.permissions import grant


def test_the_python_sdk_follows_a_task_as_shown(running: Relay, tmp_path: Path) -> None:
    texts = [block.text for block in blocks("docs/clients.md") if "StreamPosition" in block.text]
    assert len(texts) == 1
    script = tmp_path / "client.py"
    script.write_text(texts[0].replace(SOCKET, running.url.replace("http", "ws")).replace("500_000_000", "9_000_000"))
    with program(sys.executable, str(script)) as client:
        assert client.wait(30) == 0, client.output
        (shown,) = (block.text.splitlines() for block in blocks("docs/clients.md") if block.text.startswith("RECEIVED"))
        lines = client.stdout.splitlines()
        assert [line.strip() for line in lines[:2]] == shown[:2]
        told = shown[2].removeprefix("PROGRESS ").replace("500000000", "9000000")
        assert any(line.startswith("PROGRESS {'current': ") for line in lines), client.output
        assert ast.literal_eval(told).keys() == ast.literal_eval(lines[2].removeprefix("PROGRESS ")).keys()
        assert client.stdout.splitlines()[-1] == "SUCCESS 602489", client.output


@pytest.mark.parametrize("name", ["README.md", "docs/tasks.md", "docs/protocol.md"])
def test_python_runs_as_shown(name: str, direct_env: dict[str, str], tmp_path: Path) -> None:
    """What defines tasks is run up to their definition: they need a worker, and pictures."""
    texts = [block.text for block in blocks(name) if block.language == "python" and "connect_sync" not in block.text]
    assert texts
    script = tmp_path / "shown.py"
    script.write_text("\n\n".join(["from celery import Celery", "app = Celery()", *texts]))
    secret = "0123456789abcdef" * 2
    with program(sys.executable, str(script), env={**direct_env, "WATCHER_SECRET": secret}) as run:
        assert run.wait(30) == 0, run.output
        if name == "docs/protocol.md":
            assert grant(run.stdout.strip(), Keyring((Key("HS256", secret),))).watch == ("tag:user:42",)


def test_the_readme_follows_a_task_in_python(running: Relay, tmp_path: Path) -> None:
    (text,) = (block.text for block in blocks("README.md") if "connect_sync" in block.text)
    script = tmp_path / "script.py"
    script.write_text(text)
    with program(sys.executable, str(script), env={"WATCHER_URL": running.url}) as client:
        assert client.wait(60) == 0, client.output
        assert [line.partition(" ")[0] for line in client.stdout.splitlines()[:3]] == ["PENDING", "RECEIVED", "STARTED"]
        assert client.stdout.splitlines()[-1] == "SUCCESS 216816", client.output


#: What each block prints, by a word that only it has; … where that differs from run to run.
THROUGH_A_RELAY = {
    "async for event in task": ["PENDING None", "RECEIVED None", "STARTED None", "SUCCESS 5", "5"],
    "relay.options(countdown": ["5", "…"],  # what is known of order-7, which other blocks submit
    "asyncio.TaskGroup": [],
    "relay.starmap": [*map(str, range(1, 1001)), "…"],  # and 3 and 7, as they come
    "relay.watch(": ["PENDING …", "RECEIVED …", "STARTED …", "SUCCESS …"],
    "relay.list(": [
        "SUCCESS 3",
        "SUCCESS 2",
        "3 {'SUCCESS': 3}",
        "[('tasks.add', 3)]",
        "600.0 3",
    ],
    "watcher.connect_sync()": ["5", "[1, 2, 3, 4, 5]", "PENDING None", "RECEIVED None", "STARTED None", "…"],
}


@pytest.mark.parametrize("word", THROUGH_A_RELAY)
def test_python_through_a_relay_does_what_is_shown(running: Relay, tmp_path: Path, word: str) -> None:
    texts = [block.text for block in blocks("docs/clients.md") if block.language == "python"]
    through = [text for text in texts if "watcher.connect" in text]
    assert len(through) == len(THROUGH_A_RELAY)
    (text,) = (text for text in through if word in text)
    script = tmp_path / "script.py"
    script.write_text(text)
    with program(sys.executable, str(script), env={"WATCHER_URL": running.url}) as client:
        assert client.wait(60) == 0, client.output
        lines = client.stdout.splitlines()
        expected = THROUGH_A_RELAY[word]
        if expected[-1:] == ["…"]:
            lines = lines[: len(expected)]
        for line, shown in zip(lines, expected, strict=True):
            start, more, _ = shown.partition("…")
            assert line.startswith(start) if more else line == shown, client.output


# Straight from Redis


def direct(word: str, document: str = "docs/clients.md") -> str:
    """The block of a document that has this in it, and is about results."""
    texts = [block.text for block in blocks(document) if block.language == "python" and word in block.text]
    assert len(texts) == 1, word
    return texts[0]


def test_results_are_awaited_as_shown(running: Relay, direct_env: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "direct.py"
    script.write_text(direct("results.as_completed"))
    with program(sys.executable, str(script), env=direct_env) as client:
        assert client.wait(30) == 0, client.output
        lines = client.stdout.splitlines()
        assert lines[0] == "5"
        assert sorted(line.partition(" ")[2] for line in lines[1:3]) == ["SUCCESS 0.2", "SUCCESS 2"]
        assert lines[-1].startswith("SUCCESS "), client.output
        assert lines[-1].endswith(" 216816"), client.output


def test_the_fastapi_app_works_as_it_is(running: Relay, direct_env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(direct("FastAPI(lifespan=lifespan)", "docs/fastapi.md"))
    command = [sys.executable, "-m", "uvicorn", "web:web", "--port", "0", "--app-dir", str(tmp_path)]
    with program(*command, env=direct_env) as web:
        url = web.wait_for_output(r"http://[^\s/]+(?= \()").group()
        assert httpx.get(f"{url}/sum?x=2&y=3", timeout=30).json() == 5
        identity = httpx.post(f"{url}/primes?limit=3000000", timeout=30).json()["id"]
        with httpx.stream("GET", f"{url}/primes/{identity}/events", timeout=30) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            messages = response.read().decode().split("\n\n")
        events = [json.loads(text.partition("data: ")[2]) for text in messages if text.startswith("id: ")]
        assert {event["id"] for event in events} == {identity}
        assert [events[-1]["state"], events[-1]["result"]] == ["SUCCESS", 216816]
        assert messages[-2:] == ["event: end\ndata: {}", ""]
        assert web.stop() == -signal.SIGTERM, web.output  # uvicorn's way to end
        assert "Application shutdown complete" in web.output


def test_a_token_is_printed_as_shown(tmp_path: Path) -> None:
    script = tmp_path / "printing.py"
    script.write_text(direct("watcher.token("))
    secret = "0123456789abcdef" * 2
    with program(sys.executable, str(script), env={"WATCHER_SECRET": secret}) as printing:
        assert printing.wait(30) == 0, printing.output
        assert grant(printing.stdout.strip(), Keyring((Key("HS256", secret),))).watch == ("task:order-7",)
