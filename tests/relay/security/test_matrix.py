"""Every door of a real relay, for every kind of token: what no claim grants is denied, at each door alike."""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from starlette.routing import Match
from websockets.exceptions import InvalidStatus

from tests.relay.doors import (
    ALL,
    ANYBODY,
    AUDIENCE,
    CLAIMED,
    CLAIMS,
    DENIED,
    DOORS,
    EVERYTHING,
    HIDDEN,
    KEYLESS,
    NAMED,
    NOBODY,
    PUBLIC,
    QUESTIONS,
    TOKENS,
    TWICE,
    UNAUTHORIZED,
    Command,
    Door,
    Http,
    Lent,
    Token,
    method,
    signed,
)  # fmt: skip
from tests.relay.serving import append, serving
from tests.relay.support import SECRET
from tests.support.client import client
from tests.support.events import event
from tests.support.processes import Relay, relay
from tests.support.valkey import Valkey, valkey_server
from tests.support.waiting import wait_for
from watcher.centrifuge.messages import _NAMESPACES
from watcher.core.permissions import issue

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """For a relay with two tasks to see, of which most tokens may see one at most."""
    claims = tmp_path_factory.mktemp("claims") / "claims.toml"
    claims.write_text(CLAIMS, encoding="utf-8")
    with valkey_server() as server:
        env = {
            "CELERY_BROKER_URL": server.url(15),
            "CELERY_RESULT_BACKEND": server.url(14),
            "WATCHER_REDIS_URL": server.url(0),
            "WATCHER_SECRET": SECRET,
            "WATCHER_PUBLIC_KEY": PUBLIC,
            "WATCHER_AUDIENCE": AUDIENCE,
            "WATCHER_SUBMIT": "tasks.add tasks.sleep celery.* nothing",
            "WATCHER_AUTH_HEADER": "x-user",
            "WATCHER_AUTH_GROUPS_HEADER": "X-GROUPS",
            "WATCHER_CLAIMS": str(claims),
            "WATCHER_TRUSTED_PROXIES": "127.0.0.1",
        }
        mine = event("mine", "SUCCESS", 1.0, name="tasks.add", root_id="mine", tags=("t",))
        theirs = event("theirs", "SUCCESS", 2.0, name="n", group_id="g", tags=("u",))
        append(server, mine, theirs)
        with server.client(14) as redis:
            for name in ("mine", "theirs"):
                redis.set(f"celery-task-meta-{name}", b'{"status":"SUCCESS","result":5}')
        yield env


@pytest.fixture(scope="module")
def running(env: dict[str, str]) -> Iterator[Relay]:
    """It, where whoever asks is a trusted proxy."""
    with relay("tasks", env=env) as serving:
        yield serving


@pytest.fixture(scope="module")
def distant(env: dict[str, str]) -> Iterator[Relay]:
    """It, where its proxies are others than those who ask."""
    with relay("tasks", env={**env, "WATCHER_TRUSTED_PROXIES": "10.0.0.0/8"}) as serving:
        yield serving


@pytest.fixture(scope="module")
def keyless(env: dict[str, str]) -> Iterator[Relay]:
    """It, where only a proxy says who somebody is: it has no key to hold a token against."""
    keys = {"WATCHER_SECRET", "WATCHER_PUBLIC_KEY", "WATCHER_AUDIENCE"}
    with relay("tasks", env={name: value for name, value in env.items() if name not in keys}) as serving:
        yield serving


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_each_door_opens_to_whom_it_should(running: Relay, door: Door, token: Token) -> None:
    outcome, answer = await door.knock(running.url, token.text)
    assert outcome == door.expected(token), answer


@pytest.mark.parametrize("who", NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_each_door_opens_to_whom_a_trusted_proxy_names(running: Relay, door: Door, who: Token) -> None:
    outcome, answer = await door.knock(running.url, who.text, who.headers)
    assert outcome == door.expected(who), answer


@pytest.mark.parametrize("who", CLAIMED.values(), ids=CLAIMED)
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_no_door_opens_to_whom_somebody_else_names(distant: Relay, door: Door, who: Token) -> None:
    outcome, answer = await door.knock(distant.url, who.text, who.headers)
    assert outcome == door.expected(who), answer


@pytest.mark.parametrize("who", KEYLESS.values(), ids=KEYLESS)
@pytest.mark.parametrize("door", [name for name, door in DOORS.items() if not isinstance(door, Lent)])
async def test_without_a_key_each_door_opens_to_whom_the_proxy_names(keyless: Relay, door: str, who: Token) -> None:
    outcome, answer = await DOORS[door].knock(keyless.url, who.text, who.headers)
    assert outcome == DOORS[door].expected(who), answer


@pytest.mark.parametrize("door", [name for name, door in DOORS.items() if door.opens_to != ANYBODY])
async def test_what_is_there_twice_opens_no_door(running: Relay, door: str) -> None:
    for headers in TWICE.values():
        if isinstance(DOORS[door], Http):
            outcome, answer = await DOORS[door].knock(running.url, "", headers)
            assert (outcome, answer[0]) in ((DENIED, 403), (UNAUTHORIZED, 401))
            why = answer[1]
        else:
            with pytest.raises(InvalidStatus) as refused:
                await DOORS[door].knock(running.url, "", headers)
            assert refused.value.response.status_code == 403
            why = bytes(refused.value.response.body or b"").decode()
        assert "more than one " in why


def test_the_log_says_that_a_name_was_not_believed(distant: Relay) -> None:
    assert httpx.get(f"{distant.url}/api/tasks", headers={"X-User": "one"}).status_code == 401
    distant.wait_for_output("x-user from 127.0.0.1 is not trusted: WATCHER_TRUSTED_PROXIES does not include it")


ASKED: dict[str, Callable[[str], Door]] = {
    "GET": lambda name: Http(NOBODY, HIDDEN, "GET", f"/api/tasks/{name}"),
    "GET and wait": lambda name: Http(NOBODY, HIDDEN, "GET", f"/api/tasks/{name}?wait=0"),
    "GET result": lambda name: Http(NOBODY, HIDDEN, "GET", f"/api/tasks/{name}/result"),
    "rpc get": lambda name: Command(NOBODY, HIDDEN, method("get", id=name), lambda data: data["task"]),
    "subscribe": lambda name: Command(NOBODY, DENIED, {"subscribe": {"channel": f"task:{name}"}}),
    "history": lambda name: Command(NOBODY, DENIED, {"history": {"channel": f"task:{name}"}}),
}


@pytest.mark.parametrize("token", [name for name, token in TOKENS.items() if token.valid and ALL not in token.rights])
@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
async def test_what_may_not_be_seen_looks_like_what_there_is_not(
    running: Relay, ask: Callable[[str], Door], token: str
) -> None:
    hidden, missing = [await ask(name).knock(running.url, TOKENS[token].text) for name in ("theirs", "nothing")]
    assert hidden == missing
    assert hidden[0] in (HIDDEN, DENIED)


async def test_list_is_empty_for_a_token_without_watch_rights(running: Relay) -> None:
    for query in ("?tag=u", "?group=g", "?tag=u&limit=1", "?tag=nothing", "?name=n&limit=1"):
        told = []
        for name in ("empty", "watch-one", "submit-one"):
            _, (status, text) = await Http(NOBODY, HIDDEN, "GET", f"/api/tasks{query}").knock(
                running.url, TOKENS[name].text
            )
            assert status == 200
            told.append((json.loads(text)["tasks"], json.loads(text)["next"]))
        assert told == [([], None)] * 3, query


async def test_what_may_not_be_seen_is_in_no_number(running: Relay) -> None:
    """Those of the task mine, of none, and of both."""
    expected = {"watch-one": ["tasks.add"], "empty": [], "submit-one": [], "watch-all": ["n", "tasks.add"]}
    for token, seen in expected.items():
        told: dict[str, Any] = {}
        for asked, (path, given, _) in QUESTIONS.items():
            door = Http(NOBODY, HIDDEN, "GET", f"/api/{path}?{urlencode(given)}")
            told[asked] = json.loads((await door.knock(running.url, TOKENS[token].text))[1][1])
            _, reply = await Command(NOBODY, HIDDEN, method(asked, **given)).knock(running.url, TOKENS[token].text)
            assert reply["rpc"]["data"] == told[asked]
        assert sorted(task["name"] for task in told["list"]["tasks"]) == seen
        assert sorted(row["name"] for row in told["counts"]["counts"]) == seen
        assert told["counts"]["total"] == len(seen)
        assert sorted(each["name"] for each in told["names"]["names"]) == seen
        assert sum(each["succeeded"] for each in told["series"]["buckets"]) == len(seen)
        _, (_, text) = await DOORS["GET file of tasks"].knock(running.url, TOKENS[token].text)
        assert len(text.splitlines()) == ("tasks.add" in seen)


async def test_whoever_submits_may_watch_that_task_and_nothing_else(running: Relay) -> None:
    _, (status, text) = await DOORS["POST tasks.add"].knock(running.url, TOKENS["submit-one"].text)
    assert status == 202
    own = json.loads(text)
    for door, expected in (
        (Http(NOBODY, HIDDEN, "GET", f"/api/tasks/{own['id']}"), "open"),
        (Command(NOBODY, HIDDEN, {"subscribe": {"channel": own["channel"]}}), "open"),
        (DOORS["GET mine"], "hidden"),
        (DOORS["subscribe tasks"], "denied"),
        (DOORS["POST tasks.add"], "denied"),
        (DOORS["POST revoke"], "denied"),
    ):
        assert (await door.knock(running.url, own["token"]))[0] == expected


SUBMITTED: dict[str, Callable[..., Door]] = {
    "POST": lambda **body: Http(NOBODY, DENIED, "POST", "/api/tasks", body),
    "rpc": lambda **body: Command(NOBODY, DENIED, method("submit", **body)),
}


async def submitted(running: Relay, ask: Callable[..., Door], token: str, headers: dict[str, str]) -> float:
    """When the token in a submission's answer ends, in Unix seconds; the same for a repeat."""
    ends = set[float]()
    body = {"task": "tasks.add", "args": [1, 2], "options": {"task_id": str(uuid.uuid4())}}
    for _ in range(2):
        outcome, answer = await ask(**body).knock(running.url, token, headers)
        assert outcome == "open", answer
        told = json.loads(answer[1]) if isinstance(answer, tuple) else answer["rpc"]["data"]
        ends.add(jwt.decode(told["token"], options={"verify_signature": False})["exp"])
    return max(ends)


@pytest.mark.parametrize("ask", SUBMITTED.values(), ids=SUBMITTED)
async def test_watch_token_expires_no_later_than_the_submit_right(running: Relay, ask: Callable[..., Door]) -> None:
    now = time.time()
    for end in (now + 60.5, now - 1):  # the latter is taken for the sake of clocks that differ
        token = jwt.encode(
            {"exp": end, "sub": "me", "aud": AUDIENCE, "submit": ["*"], "watch": ["task:*"]}, SECRET, algorithm="HS256"
        )
        assert await submitted(running, ask, token, {}) == math.floor(end)
    assert now + 86390 < await submitted(running, ask, signed(submit=["*"], watch=["task:*"]), {}) < now + 86500
    ends = await submitted(running, ask, "", dict(NAMED["user who may do all"].headers))
    assert now + 2990 < ends < now + 3700  # as long as the name that a proxy gave is taken


@pytest.mark.parametrize("identity", ["mine", "theirs"])
async def test_nobody_gains_sight_of_a_task_by_submitting_under_its_id(running: Relay, identity: str) -> None:
    body = {"task": "tasks.add", "args": [1, 2], "options": {"task_id": identity}}
    for door in (
        Http(NOBODY, HIDDEN, "POST", "/api/tasks", body),
        Command(NOBODY, HIDDEN, method("submit", **body)),
    ):
        outcome, answer = await door.knock(running.url, TOKENS["submit-one"].text)
        assert outcome == "denied"
        assert "in use" in str(answer)


# Every door has its line.


async def test_no_route_and_no_channel_is_without_its_doors(valkey: Valkey) -> None:
    from watcher.relay.http.routes import application

    async with serving(valkey.url()) as (_, inner):
        routes = application(inner)._app.routes  # type: ignore[attr-defined]  # the Starlette app within
    knocked: set[tuple[str, str]] = set()
    for door in DOORS.values():
        if isinstance(door, Http):
            scope = {"type": "http", "path": door.path.partition("?")[0], "method": door.method, "root_path": ""}
            route = next(each for each in routes if each.matches(scope)[0] is Match.FULL)
            knocked.add((door.method, route.path))
    served = {(verb, route.path) for route in routes for verb in route.methods - {"HEAD"}}
    pages = {(verb, path) for verb, path in served if not path.startswith(("/api", "/metrics"))}
    assert served - pages - knocked == set(), "these have no line in tests/relay/doors.py"
    for namespace in _NAMESPACES:
        for kind in ("subscribe", "lent", "history"):
            assert any(name.startswith(f"{kind} {namespace}") for name in DOORS)


# The end of a token.


def ending(seconds: float, **claims: object) -> str:
    """A token that no door takes after so many seconds: that is 5 s after its ``exp``."""
    return jwt.encode(
        {"exp": time.time() + seconds - 5, "sub": "me", "aud": AUDIENCE, **claims}, SECRET, algorithm="HS256"
    )


async def test_a_connection_ends_with_its_token_unless_that_is_refreshed(running: Relay) -> None:
    soon = time.time() + 1.5
    async with (
        client(running.ws_url, token=ending(1.5, watch=["*"])) as one,
        client(running.ws_url, token=ending(1.5, watch=["*"])) as two,
    ):
        fresh = issue(SECRET, subject="me", audience=AUDIENCE, watch=["*"])
        assert (await two.ask(refresh={"token": fresh}))["refresh"]["ttl"] > 800
        await one.until(lambda: one.closed, "the end", timeout=20)
        assert one.closed == (3005, "connection expired")
        assert 0 <= time.time() - soon < 4.5  # the ticker's second, the next whole one, and a busy machine
        assert "ping" in await two.ask(ping={})
        assert two.closed is None


async def test_a_subscription_ends_with_the_token_that_it_was_made_by(running: Relay) -> None:
    async with client(running.ws_url, token=TOKENS["watch-one"].text) as socket:
        await socket.subscribe("task:mine")
        await socket.subscribe("task:theirs", token=ending(1.0, watch=["task:theirs"]))
        assert "history" in await socket.ask(history={"channel": "task:theirs"})  # it may be seen, so all of it may
        await socket.until(lambda: socket.pushes, "the end", timeout=20)
        (push,) = socket.pushes
        assert (push["channel"], push["unsubscribe"]["code"]) == ("task:theirs", 2501)
        assert (await socket.ask(history={"channel": "task:theirs"}))["error"]["code"] == 103
        assert "history" in await socket.ask(history={"channel": "task:mine"})


async def test_a_new_token_that_grants_less_takes_away(running: Relay) -> None:
    async with client(running.ws_url, token=signed(**EVERYTHING)) as socket:
        for channel in ("task:mine", "tasks"):
            await socket.subscribe(channel)
        assert "refresh" in await socket.ask(refresh={"token": signed(watch=["task:mine"])})
        await socket.until(lambda: socket.pushes, "the end")
        assert [(push["channel"], push["unsubscribe"]["code"]) for push in socket.pushes] == [("tasks", 2501)]


async def test_a_refresh_whose_time_is_none_is_refused_and_ends_nothing(running: Relay) -> None:
    async with client(running.ws_url, token=TOKENS["admin"].text) as socket:
        for end in (10**400, float("nan"), "soon", True, None, -float("inf")):
            token = jwt.encode(
                {"exp": end, "aud": AUDIENCE, "sub": "somebody", **EVERYTHING}, SECRET, algorithm="HS256"
            )
            assert (await socket.ask(refresh={"token": token}))["error"]["code"] == 101
        assert (await socket.ask(refresh={"token": TOKENS["expired"].text}))["error"]["code"] == 109
        assert "history" in await socket.ask(history={"channel": "tasks"})


def test_the_relays_log_has_no_token_in_it(running: Relay) -> None:
    wait_for(running.ready, what="the relay to be ready")
    for token in TOKENS.values():
        assert not token.text or token.text == "nonsense" or token.text not in running.output
    assert SECRET not in running.output
    assert not re.search("Traceback", running.output)
