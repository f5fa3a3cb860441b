"""What the documents show is what happens: their examples are run against a real relay and a real worker."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support.processes import ROOT, Relay, program, relay, worker
from tests.support.sse import Message, Parser
from tests.support.valkey import Valkey
from watcher.keys import Key, Keyring
from watcher.permissions import grant
from watcher.settings import SETTINGS

ADDRESS = "http://127.0.0.1:5556"
SOCKET = "ws://127.0.0.1:5556"

#: Fields whose values differ from run to run; what is in them has to be of the same kind only.
VARYING = {"client", "epoch", "id", "channel", "offset", "root_id", "runtime", "timestamp"}

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str


def blocks(name: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall((ROOT / name).read_text())]


def same(documented: Any, real: Any, field: str = "") -> bool:
    """Whether ``real`` is what the document shows, but for what differs from run to run."""
    if isinstance(documented, dict) and isinstance(real, dict):
        documented, real = {"offset": 0, **documented}, {"offset": 0, **real}  # absent numbers are 0
        within = {key: "timestamp" if field == "times" else key for key in documented}
        return documented.keys() == real.keys() and all(same(documented[key], real[key], within[key]) for key in within)
    if isinstance(documented, list) and isinstance(real, list):
        return len(documented) == len(real) and all(map(same, documented, real))
    # Ids that the document's own requests choose, such as order-7, are the same in each run.
    if field in VARYING and not (isinstance(documented, str) and re.fullmatch(r"(\w+:)?\w+-\d+", documented)):
        return type(documented) is type(real)
    return bool(documented == real)


def own_env(server: Valkey) -> dict[str, str]:
    return {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}


@pytest.fixture
def direct_env(_valkey: Valkey) -> dict[str, str]:
    """For a script that lies elsewhere and imports `tasks`."""
    return {**own_env(_valkey), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def running(_valkey: Valkey) -> Iterator[Relay]:
    env = own_env(_valkey)
    # One process, and one task at a time: then events come in the order in which the documents show them.
    with worker("tasks", "-n", "celery@worker1", pool="solo", env=env), relay("tasks", env=env) as serving:
        yield serving


# curl


@dataclass(frozen=True)
class Request:
    """What a line for curl describes."""

    method: str
    path: str
    headers: dict[str, str]
    data: str | None
    streams: bool

    @classmethod
    def read(cls, command: str) -> Request:
        """An option that it doesn't know is not passed over."""
        words = iter(shlex.split(command.replace("\\\n", " "))[1:])
        method, headers, data, path, streams = "", {}, None, None, False
        for word in words:
            if word == "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            elif word == "-d":
                data = next(words)
            elif word == "-X":
                method = next(words)
            elif word == "-N":
                streams = True
            else:
                assert word.startswith(ADDRESS), f"{word!r} is neither a known option nor the relay's address"
                path = word.removeprefix(ADDRESS)
        assert path is not None, command
        return cls(method or ("POST" if data else "GET"), path, headers, data, streams)

    def send(self, client: httpx.Client) -> httpx.Response:
        return client.request(self.method, self.path, headers=self.headers, content=self.data)

    def listen(self, client: httpx.Client, count: int) -> list[Message]:
        """The first messages of a stream."""
        parser, found = Parser(), list[Message]()
        with client.stream(self.method, self.path, headers=self.headers) as response:
            for line in response.iter_lines():
                if (message := parser.line(line)) is not None:
                    found.append(message)
                if len(found) == count:
                    break
        return found


def curl_blocks(name: str) -> Iterator[tuple[Block, Block]]:
    """What is for curl, and the block that follows."""
    shown = blocks(name)
    for block, following in zip(shown, [*shown[1:], Block("", "")], strict=True):
        if block.language == "sh" and block.text.startswith("curl "):
            yield block, following


def answered(client: httpx.Client, block: Block, following: Block) -> bool:
    """Whether what follows was compared; that the answer is another fails."""
    request = Request.read(block.text)
    if request.streams:
        expected = list(Parser().all(following.text))
        real = request.listen(client, len(expected))
        for each, message in zip(expected, real, strict=True):
            assert (each.kind, bool(each.id)) == (message.kind, bool(message.id)), f"{block.text}\n{real}"
            assert same(each.json, message.json), f"{block.text}\n{real}"
        return True
    response = request.send(client)
    if following.language == "json":
        assert same(json.loads(following.text), response.json()), f"{block.text}\n{response.text}"
        return True
    assert response.is_success, f"{block.text}\n{response.text}"
    return False


def test_curl_is_answered_as_shown(running: Relay) -> None:
    with httpx.Client(base_url=running.url, timeout=30) as client:
        examples = [each for name in ("README.md", "docs/protocol.md") for each in curl_blocks(name)]
        assert sum(answered(client, *each) for each in examples) >= 5


# WebSocket


async def hear(socket: ClientConnection, expected: list[Any]) -> list[Any]:
    """Take messages until all that are expected have come, in whatever order, and return them."""
    missing, heard = list(expected), []
    try:
        with anyio.fail_after(10):
            while missing:
                for message in map(json.loads, str(await socket.recv()).split("\n")):
                    found = next((each for each in missing if same(each, message)), None)
                    if found is not None:
                        missing.remove(found)
                    heard.append(message)
    except TimeoutError:
        raise AssertionError(f"never heard {json.dumps(missing)}\nbut {json.dumps(heard)}") from None
    return heard


@pytest.mark.anyio
async def test_the_websocket_says_what_is_shown(running: Relay) -> None:
    lines = [
        line for block in blocks("docs/protocol.md") for line in block.text.splitlines() if line.startswith(("→", "←"))
    ]
    assert len(lines) > 20
    epoch, before = "", 0
    async with connect(running.ws_url) as socket:
        while lines:
            said = lines.pop(0).removeprefix("→ ")
            expected = []
            while lines and lines[0].startswith("←"):
                expected.append(json.loads(lines.pop(0).removeprefix("← ")))
            await socket.send(as_of(said, epoch, before))
            for message in await hear(socket, expected):
                if "connect" in message:
                    epoch, before = message["connect"]["data"]["epoch"], message["connect"]["data"]["offset"]


def as_of(command: str, epoch: str, before: int) -> str:
    """A command of the document, which starts with an empty journal, for one that has ``before`` events."""
    command = re.sub(r'"epoch":"\d+"', f'"epoch":"{epoch}"', command)
    return re.sub(r'"offset":(\d+)', lambda found: f'"offset":{int(found[1]) + before}', command)


# Python


def test_the_python_client_in_the_readme_works(running: Relay, tmp_path: Path) -> None:
    texts = [block.text for block in blocks("README.md") if block.language == "python" and SOCKET in block.text]
    assert len(texts) == 1
    script = tmp_path / "client.py"
    script.write_text(texts[0].replace(SOCKET, running.url.replace("http", "ws")).replace("500_000_000", "9_000_000"))
    with program(sys.executable, str(script)) as client:
        assert client.wait(30) == 0, client.output
        assert [line.split()[0] for line in client.stdout.splitlines()][:2] == ["RECEIVED", "STARTED"]
        assert client.stdout.splitlines()[-1] == "SUCCESS 602489", client.output


@pytest.mark.parametrize("name", ["README.md", "docs/tasks.md", "docs/protocol.md"])
def test_python_runs_as_shown(name: str, direct_env: dict[str, str], tmp_path: Path) -> None:
    """What defines tasks is run up to their definition: they need a worker, and pictures."""
    texts = [block.text for block in blocks(name) if block.language == "python" and SOCKET not in block.text]
    assert texts
    script = tmp_path / "shown.py"
    script.write_text("\n\n".join(["from celery import Celery", "app = Celery()", *texts]))
    secret = "0123456789abcdef" * 2
    with program(sys.executable, str(script), env={**direct_env, "WATCHER_SECRET": secret}) as run:
        assert run.wait(30) == 0, run.output
        if name == "docs/protocol.md":
            assert grant(run.stdout.strip(), Keyring((Key("HS256", secret),))).watch == ("tag:user:42",)


def test_make_knows_what_is_shown() -> None:
    """Whether they do it is seen where they are run: `make test` is what runs this."""
    shown = [
        line.partition("#")[0].strip()
        for path in documents()
        for block in blocks(str(path.relative_to(ROOT)))
        for line in block.text.splitlines()
        if block.language == "sh" and line.startswith("make ")
    ]
    assert len(shown) >= 6
    for command in shown:
        with program("sh", "-c", command.replace("make ", "make -n ", 1)) as run:
            assert run.wait(30) == 0, run.output


# The command line, and Python through a relay


def test_the_commands_do_what_is_shown(running: Relay) -> None:
    shown = list(pairwise(blocks("docs/clients.md")))
    commands = [(block.text, after) for block, after in shown if block.language == "sh"]
    assert len(commands) == 5
    env = {**with_commands(), "WATCHER_URL": running.url}
    for text, after in commands:
        with program("bash", "-euc", text, env=env) as shell:
            if text.startswith("watcher watch "):
                while not shell.stdout:  # it goes on until it is left
                    httpx.post(f"{running.url}/api/tasks", json={"task": "tasks.add", "args": [2, 3]})
                shell.signal(signal.SIGINT)
                assert shell.wait(30) == 130, shell.output
            else:
                assert shell.wait(30) == 0, shell.output
                assert shell.stdout
            assert shell.stderr == ""
            if after.language == "text" and "…" not in after.text:
                assert shell.stdout == after.text


#: What each block prints, by a word that only it has; … where that differs from run to run.
THROUGH_A_RELAY = {
    "async for event in task": ["PENDING None", "RECEIVED None", "STARTED None", "SUCCESS 5", "5"],
    "relay.options(countdown": ["5", "…"],  # what is known of order-7, which other blocks submit
    "asyncio.TaskGroup": [],
    "relay.starmap": [*map(str, range(1, 1001)), "…"],  # and 3 and 7, as they come
    "relay.watch(": ["PENDING …", "RECEIVED …", "STARTED …", "SUCCESS …"],
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


def direct(word: str) -> str:
    """The block of docs/clients.md that has this in it, and is about results."""
    texts = [block.text for block in blocks("docs/clients.md") if block.language == "python" and word in block.text]
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
    (tmp_path / "web.py").write_text(direct("FastAPI(lifespan=lifespan)"))
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


# HTTP: the last one, since it leaves a task behind that is to run in an hour.


def test_http_works_as_shown(running: Relay, tmp_path: Path) -> None:
    """The page is played from its beginning, so that the places in the journal that it names are those of the run."""
    with httpx.Client(base_url=running.url, timeout=30) as client:
        where = client.get("/api/tasks?limit=1").json()

        def placed(found: re.Match[str]) -> str:
            return f"{where['epoch']}:{where['offset'] + int(found[1])}"

        compared = 0
        for block, following in curl_blocks("docs/http.md"):
            shown = Block(block.language, re.sub(r"\b1795408395638612:(\d+)", placed, block.text))
            compared += answered(client, shown, following)
        assert compared >= 7
    scripts = [(each, after) for each, after in pairwise(blocks("docs/http.md")) if each.language == "bash"]
    assert len(scripts) == 2
    for script, after in scripts:
        with program(
            "bash", "-euc", script.text.replace(ADDRESS, running.url), env=with_commands(), cwd=tmp_path
        ) as run:
            assert run.wait(30) == 0, run.output
            if after.language == "text":
                assert run.stdout.strip() == after.text.strip()


def with_commands() -> dict[str, str]:
    """An environment in which `watcher` is found."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


# What the documents list.


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "examples" / "README.md"]


def test_links_lead_somewhere() -> None:
    for document in documents():
        text = document.read_text()
        for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
            address, _, anchor = "".join(target).partition("#")
            if "://" in address:
                continue
            file = (document.parent / address) if address else document
            assert file.exists(), f"{document.name}: {address}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, f"{document.name}: #{anchor}"


def test_every_setting_is_documented() -> None:
    table = (ROOT / "docs" / "operating.md").read_text()
    for setting in SETTINGS:
        assert f"| `{setting.variable}` |" in table, setting.variable


def test_every_module_has_its_caption() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in (ROOT / "watcher").rglob("*.py"):
        package = f"`{path.parent.relative_to(ROOT)}/`"  # of some the whole has one line
        if path.name != "__init__.py":
            assert path.name in text or package in text, f"{path.relative_to(ROOT)} is not in docs/architecture.md"
