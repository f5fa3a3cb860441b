"""What docs/protocol.md shows of the WebSocket is what is said there."""

from __future__ import annotations

import json
import re
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.documents.shown import blocks, same
from tests.support.client import client
from tests.support.processes import Relay, relay
from tests.support.valkey import valkey_server


async def hear(socket: ClientConnection, expected: list[Any]) -> list[Any]:
    """Take messages until all that are expected have come, in whatever order, and return them."""
    missing, heard = list(expected), []
    try:
        with anyio.fail_after(30):
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
    epoch, before, heard = "", 0, list[Any]()
    async with connect(running.ws_url) as socket:
        while lines:
            said = lines.pop(0).removeprefix("→ ")
            expected = []
            while lines and lines[0].startswith("←"):
                expected.append(json.loads(lines.pop(0).removeprefix("← ")))
            await socket.send(as_of(said, epoch, before))
            for message in await hear(socket, expected):
                heard.append(message.get("push", {}).get("pub", {}).get("data"))
                if "connect" in message:
                    epoch, before = message["connect"]["data"]["epoch"], message["connect"]["data"]["offset"]

    (event,) = (
        json.loads(block.text) for block in blocks("docs/protocol.md") if block.text.startswith('{"id":"order-7"')
    )
    assert any(same(event, each) for each in heard), "the event that the page begins with is one of them"


@pytest.mark.anyio
async def test_trouble_is_told_as_shown() -> None:
    (told,) = (json.loads(block.text) for block in blocks("docs/protocol.md") if '"trouble"' in block.text[:60])
    with valkey_server() as server:
        env = {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}
        with relay("tasks", env=env) as serving:
            async with connect(serving.ws_url) as socket:
                await socket.send('{"id":1,"connect":{}}')
                with server.frozen():
                    await hear(socket, [told])


def kinds(told: Any) -> Any:
    """The names in what was told, and of which kind each value is."""
    if isinstance(told, dict):
        return {name: kinds(value) for name, value in told.items() if name != "states"}
    return type(told)


@pytest.mark.anyio
async def test_numbers_are_told_as_shown(running: Relay) -> None:
    (shown,) = (json.loads(block.text) for block in blocks("docs/protocol.md") if '"overview"' in block.text[:40])
    async with client(running.ws_url) as socket:
        begun = await socket.subscribe("overview")
        assert begun.keys() == {"data"}
        await socket.rpc("submit", task="tasks.add", args=[2, 3])
        await socket.until(lambda: socket.pushes, what="numbers")
        assert kinds({"push": socket.pushes[0]}) == kinds(shown)
        assert kinds(begun["data"]) == kinds(shown["push"]["pub"]["data"])
        assert socket.pushes[-1]["pub"]["data"]["total"] == begun["data"]["total"] + 1


def as_of(command: str, epoch: str, before: int) -> str:
    """A command of the document, which starts with an empty journal, for one that has ``before`` events."""
    command = re.sub(r'"epoch":"\d+"', f'"epoch":"{epoch}"', command)
    return re.sub(r'"offset":(\d+)', lambda found: f'"offset":{int(found[1]) + before}', command)
