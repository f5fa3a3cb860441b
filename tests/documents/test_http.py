"""What the documents show of curl is answered as they show it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import httpx

from tests.documents.shown import ADDRESS, Block, blocks, same, with_commands
from tests.support.processes import Relay, program
from tests.support.sse import Message, Parser


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
        method, headers, data, path, streams, query = "", {}, None, None, False, list[str]()
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
            elif word == "--data-urlencode":
                name, _, value = next(words).partition("=")
                query.append(f"{name}={quote(value)}")
            elif word == "--get":
                method = "GET"
            else:
                assert word.startswith(ADDRESS), f"{word!r} is neither a known option nor the relay's address"
                path = word.removeprefix(ADDRESS)
        assert path is not None, command
        path = "?".join([path, *(["&".join(query)] if query else [])])
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
    if following.language == "text":  # cut short by …: what is left of it are fields and values
        for field, value in re.findall(r'"(\w+)":("[^"…]*"|[^",…}]+)', following.text):
            assert same(json.loads(value), response.json()[field], field), f"{block.text}\n{response.text}"
        return True
    return False


def test_curl_is_answered_as_shown(running: Relay) -> None:
    with httpx.Client(base_url=running.url, timeout=30) as client:
        examples = [each for name in ("README.md", "docs/protocol.md") for each in curl_blocks(name)]
        assert sum(answered(client, *each) for each in examples) >= 5


def test_the_stream_is_as_shown(running: Relay) -> None:
    """Line for line by what each is, and as much of the event as is not cut short."""
    (shown,) = (block.text for block in blocks("docs/protocol.md") if block.text.startswith("retry:"))
    with httpx.Client(base_url=running.url, timeout=30) as client:
        order = {"task": "tasks.add", "args": [2, 3], "options": {"task_id": "order-7"}}
        client.post("/api/tasks", json=order, headers={"Prefer": "wait=20"})
        with client.stream("GET", "/api/events?channel=task:order-7") as response:
            lines = response.iter_lines()
            for line in shown.splitlines():
                kind, _, value = line.partition(": ")
                told, _, real = next(lines).partition(": ")
                assert told == kind
                assert real.startswith(value.partition(" … ")[0]) if "…" in value else bool(real) == bool(value)


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
