"""Who may use the HTTP API, from where, and below which path."""

from __future__ import annotations

import logging
import re
from ipaddress import ip_network
from itertools import product
from typing import Any

import pytest
from celery import Celery
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.relay.serving import BASE, append, is_problem, known, listening, serving
from tests.relay.support import SECRET
from tests.support.events import event
from tests.support.valkey import Valkey
from watcher.core.permissions import issue
from watcher.core.settings import Settings
from watcher.relay.http.routes import application

pytestmark = pytest.mark.anyio


async def test_tokens_open_what_they_grant(valkey: Valkey, app: Celery) -> None:
    def bearer(**claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {issue(SECRET, **claims)}"}

    submit = {"task": "tasks.add", "args": [1, 2], "options": {"task_id": "mine"}}
    async with serving(valkey.url(), app, Settings(secret=SECRET)) as (client, relay):
        for method, path in (
            ("GET", "/api/tasks"),
            ("GET", "/api/registry"),
            ("GET", "/api/tasks/x"),
            ("POST", "/api/tasks"),
        ):
            response = await client.request(method, path)
            is_problem(response, 401, "a token is required")
            assert response.headers["www-authenticate"] == 'Bearer realm="celery-watcher"'  # it is no invalid one
        for token in ("x", "", issue("t" * 32), issue(SECRET, ttl=-60)):
            response = await client.get("/api/tasks", headers={"Authorization": f"bearer {token}"})
            is_problem(response, 401, "token")
            assert ("invalid_token" in response.headers["www-authenticate"]) == bool(token)
        is_problem(
            await client.post("/api/tasks", json=submit, headers=bearer(watch=["tasks"])), 403, "may not be submitted"
        )
        made = await client.post("/api/tasks", json=submit, headers=bearer(submit=["tasks.*"]))
        assert made.status_code == 202
        own = {"Authorization": f"Bearer {made.json()['token']}"}
        assert (await client.get("/api/tasks/mine", headers=own)).status_code == 200
        append(valkey, event("theirs", "STARTED", 1.0, name="other"))
        await known(relay, "theirs", "STARTED")
        # What one may not see looks like what there is not.
        hidden = await client.get("/api/tasks/theirs", headers=own)
        missing = await client.get("/api/tasks/nothing", headers=own)
        assert (hidden.status_code, hidden.json()) == (missing.status_code, missing.json()) == (404, missing.json())

        async def listed(**claims: Any) -> list[str]:
            response = await client.get("/api/tasks", headers=bearer(**claims))
            return [task["id"] for task in response.json()["tasks"]]

        assert await listed(watch=["name:other"]) == ["theirs"]
        assert await listed(watch=["tasks"]) == ["theirs", "mine"]
        assert await listed() == []
        is_problem(await client.post("/api/tasks/mine/revoke", headers=own), 403, "revoke")
        assert (await client.post("/api/tasks/mine/revoke", headers=bearer(revoke=True))).status_code == 202
        assert (await client.get("/api/registry", headers=bearer())).json() == {"tasks": [], "revoke": False}
        for path in ("/", "/watcher.js", "/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200


async def test_a_foreign_host_is_refused_at_an_open_relay(valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(valkey.url()) as (client, _):
        with caplog.at_level(logging.WARNING, "watcher.relay.http.middleware"):
            for path in ("/", "/api/tasks", "/watcher.js"):
                is_problem(await client.get(path, headers={"Host": "evil.example"}), 403, "WATCHER_HOSTS=evil.example")
        assert "refused GET /api/tasks to 127.0.0.1: " in caplog.text
        assert "WATCHER_HOSTS=evil.example" in caplog.text
    async with serving(valkey.url(), settings=Settings(hosts=("relay.example",))) as (client, _):
        assert (await client.get("/api/tasks", headers={"Host": "relay.example"})).status_code == 200


async def test_a_foreign_page_may_not_use_the_api(
    valkey: Valkey, app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = {"Origin": "https://evil.example"}
    body = {"task": "tasks.add", "args": [1, 2]}
    async with serving(valkey.url(), app) as (client, relay):
        with caplog.at_level(logging.WARNING, "watcher.relay.http.middleware"):
            is_problem(await client.post("/api/tasks", json=body, headers=foreign), 403, "WATCHER_ORIGINS")
        assert "WATCHER_ORIGINS=https://evil.example allows it" in caplog.text
        is_problem(await client.post("/api/tasks", json=body, headers={"Origin": "null"}), 403, "'null'")
        is_problem(await client.get("/api/tasks", headers=foreign), 403, "evil.example")
        is_problem(
            await client.options("/api/tasks", headers={**foreign, "Access-Control-Request-Method": "POST"}), 403, ""
        )
        assert relay.hub.history.last == 0
        page = await client.get("/", headers=foreign)
        assert page.status_code == 200
        assert "access-control-allow-origin" not in page.headers
        module = await client.get("/watcher.js", headers=foreign)
        assert module.headers["access-control-allow-origin"] == "*"
        assert module.headers["cross-origin-resource-policy"] == "cross-origin"
        assert (await client.post("/api/tasks", json=body, headers={"Origin": BASE})).status_code == 202


async def test_own_origin_is_the_forwarded_host_of_a_trusted_proxy(valkey: Valkey, app: Celery) -> None:
    body = {"task": "tasks.add", "args": [1, 2]}
    page = {"Origin": "https://relay.example"}
    told = {**page, "X-Forwarded-Host": "relay.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "1.2.3.4"}
    trusting = Settings(secret=SECRET, trusted_proxies=(ip_network("127.0.0.0/8"),))
    bearer = {"Authorization": f"Bearer {issue(SECRET, submit=['*'])}"}
    async with listening(valkey.url(), app, trusting) as (client, relay):
        assert (await client.post("/api/tasks", json=body, headers=told | bearer)).status_code == 202
        for wrong in (page, told | {"Origin": "http://relay.example"}, told | {"X-Forwarded-Host": "other.example"}):
            is_problem(await client.post("/api/tasks", json=body, headers=wrong | bearer), 403, "WATCHER_ORIGINS")
        address = str(client.base_url).replace("http", "ws", 1) + "/connection/websocket"
        async with connect(address, additional_headers=told):
            pass
        for wrong in (page, told | {"X-Forwarded-Host": "other.example"}):
            with pytest.raises(InvalidStatus, match="403"):
                await connect(address, additional_headers=wrong)
        assert relay.counts.refused["handshake"] == 2
    async with listening(valkey.url(), app, Settings(secret=SECRET)) as (client, _):  # it trusts none
        is_problem(await client.post("/api/tasks", json=body, headers=told | bearer), 403, "WATCHER_ORIGINS")


async def test_forwarded_host_is_checked_on_an_open_relay(valkey: Valkey) -> None:
    settings = Settings(trusted_proxies=(ip_network("127.0.0.1"),), hosts=("relay.example",))
    async with serving(valkey.url(), settings=settings) as (client, _):
        assert (await client.get("/api/tasks", headers={"X-Forwarded-Host": "relay.example"})).status_code == 200
        rebound = await client.get("/api/tasks", headers={"X-Forwarded-Host": "evil.example"})
        is_problem(rebound, 403, "WATCHER_HOSTS=evil.example")


async def test_several_origins_are_none(valkey: Valkey) -> None:
    async with listening(valkey.url()) as (client, _):
        both = [("Origin", str(client.base_url)), ("Origin", "https://evil.example")]
        is_problem(await client.get("/api/tasks", headers=both), 403, "WATCHER_ORIGINS")
        address = str(client.base_url).replace("http", "ws", 1) + "/connection/websocket"
        with pytest.raises(InvalidStatus, match="403"):
            await connect(address, additional_headers=both)


async def test_allowed_origins_get_cors(valkey: Valkey, app: Celery) -> None:
    origin = {"Origin": "https://app.example"}
    async with serving(valkey.url(), app, Settings(origins=("https://app.example",))) as (client, _):
        preflight = await client.options(
            "/api/tasks",
            headers={**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x"},
        )
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        assert "POST" in preflight.headers["access-control-allow-methods"]
        for name in ("authorization", "content-type", "idempotency-key", "last-event-id", "prefer"):
            assert name in preflight.headers["access-control-allow-headers"].lower()
        response = await client.post("/api/tasks", json={"task": "tasks.add", "args": [1, 2]}, headers=origin)
        assert response.status_code == 202
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"Location", "Preference-Applied", "Retry-After", "Watcher-Epoch", "Watcher-Offset"} <= set(exposed)
        assert "origin" in response.headers["vary"].lower()
        wrong = await client.post("/api/tasks", json={}, headers=origin)
        assert wrong.headers["access-control-allow-origin"] == "https://app.example"
        plain = await client.get("/api/tasks")
        assert "access-control-allow-origin" not in plain.headers
        assert "origin" in plain.headers["vary"].lower()


async def test_below_a_root_path(valkey: Valkey, app: Celery) -> None:
    async with serving(valkey.url(), app, Settings(root_path="/watch")) as (client, _):
        for path in ("/watch/api/tasks", "/api/tasks", "/watch/watch/api/tasks", "/watch/", "/watch/watcher.js"):
            assert (await client.get(path)).status_code == 200, path
        bare = await client.get("/watch")
        assert (bare.status_code, bare.headers["location"]) == (307, "/watch/")
        is_problem(await client.get("/watcher/"), 404, "")
        made = await client.post("/watch/api/tasks", json={"task": "tasks.add", "args": [1, 2]})
        assert made.headers["location"] == f"/watch/api/tasks/{made.json()['id']}"


async def test_each_answer_tells_browsers_what_may_be_done_with_it(valkey: Valkey, app: Celery) -> None:
    """The page, its files, the API, whatever goes wrong: the same strict policy."""
    async with serving(valkey.url(), app) as (client, relay):
        door: Any = application(relay)
        paths = [route.path.replace("{id:path}", "nobody") for route in door._app.routes]
        asked: list[tuple[str, str, dict[str, Any]]] = [("GET", path, {}) for path in paths if path != "/api/events"]
        asked += [("HEAD", "/api/events", {"params": {"channel": "tasks"}}), ("GET", "/api/events", {})]
        asked += [
            ("DELETE", "/api/tasks", {}),
            ("GET", "/nothing", {}),
            ("GET", "/", {"headers": {"Host": "evil.example"}}),
        ]
        asked += [
            ("POST", "/api/tasks", {"content": body}) for body in (b"x", b"x" * 2**20 + b"x", b'{"task": "none"}')
        ]
        asked += [("OPTIONS", "/api/tasks", {}), ("GET", "/%00", {}), ("GET", "/api/tasks?limit=x", {})]
        statuses = set()
        for method, path, options in asked:
            response = await client.request(method, path, **options)
            statuses.add(response.status_code)
            policy = response.headers["content-security-policy"].split("; ")
            assert {"default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(
                policy
            ), path
            assert not re.search(r"unsafe|\*|http", "; ".join(policy)), path
            assert response.headers["x-content-type-options"] == "nosniff", path
            assert response.headers["referrer-policy"] == "no-referrer", path
        assert statuses >= {200, 400, 403, 404, 405, 413, 422}


async def test_no_route_may_be_used_by_a_foreign_page(valkey: Valkey, app: Celery) -> None:
    """Each one that changes something, and each of the API; with or without a preflight."""
    async with serving(valkey.url(), app) as (client, relay):
        door: Any = application(relay)
        for route in door._app.routes:
            path = route.path.replace("{id:path}", "nobody")
            methods = {"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} | (
                {"GET", "HEAD"} if path.startswith("/api/") else set()
            )
            for method, origin in product(
                methods, ("https://evil.example", "null", "http://localhost.evil.example", "file://")
            ):
                headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
                response = await client.request(method, path, headers=headers)
                assert response.status_code == 403, (method, path, origin)
                assert "access-control-allow-origin" not in response.headers
        assert relay.hub.history.last == 0
