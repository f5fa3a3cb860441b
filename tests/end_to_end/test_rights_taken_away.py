"""Somebody whom a proxy names loses rights while connected: a relay of its own process, and an SDK."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from centrifuge import ClientState, SubscriptionState

from tests.end_to_end.test_sdk import Listener, connected
from tests.support.processes import relay
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio

ALICE = {"X-User": "alice"}
MAY = '[users.alice]\nwatch = ["*"]\nsubmit = ["*"]\n'


def rewrite(file: Path, text: str) -> None:
    fresh = file.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(file)


async def test_revoked_watch_right_ends_delivery_until_restored(tasks_env: dict[str, str], tmp_path: Path) -> None:
    claims = tmp_path / "claims.toml"
    claims.write_text(MAY)
    told = {"WATCHER_AUTH_HEADER": "X-User", "WATCHER_TRUSTED_PROXIES": "127.0.0.1", "WATCHER_CLAIMS": str(claims)}
    with relay(env={**tasks_env, **told}) as serving:
        async with connected(serving.ws_url, headers=ALICE) as client, httpx.AsyncClient(base_url=serving.url) as http:

            async def submit() -> int:
                task = {"task": "tasks.add", "args": [2, 3]}
                return (await http.post("/api/tasks", json=task, headers=ALICE)).status_code

            listener = Listener()
            subscription = client.new_subscription("tasks", listener)
            await subscription.subscribe()
            await subscription.ready()
            assert await submit() == 202
            await eventually(lambda: listener.events, what="an event of the task")

            rewrite(claims, '[users.bob]\nwatch = ["*"]\nsubmit = ["*"]\n')
            # The SDK is told that the subscription has ended, asks for it again, and is refused for good.
            await eventually(lambda: subscription.state == SubscriptionState.UNSUBSCRIBED, what="the end")
            assert await submit() == 403
            seen = len(listener.events)
            by_bob = await http.post(
                "/api/tasks", json={"task": "tasks.add", "args": [1, 1]}, headers={"X-User": "bob"}
            )
            assert by_bob.status_code == 202
            assert (await http.get("/api/tasks", headers=ALICE)).json()["tasks"] == []
            # Its reply comes after whatever was sent before it.
            assert (await client.rpc("registry", {})).data == {"tasks": [], "revoke": False}
            assert len(listener.events) == seen
            assert client.state == ClientState.CONNECTED

            rewrite(claims, MAY)
            await eventually(lambda: serving.stderr.count(f"reloaded {claims}:") == 2, what="the file to be read")
            await subscription.subscribe()
            await subscription.ready()
            assert await submit() == 202
        assert "Traceback" not in serving.output
