"""What docs/operating.md shows of nginx, in a real one: in front of a relay, and beside an identity proxy."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.documents.operating import (
    ALICE,
    ANYBODY,
    GROUPS,
    REPORTING,
    USER,
    Rights,
    block,
    people,
    put,
    reports,
    rights,
)
from tests.support import nginx
from tests.support.client import client
from tests.support.nginx import Nginx
from tests.support.processes import Relay, relay
from tests.support.tokens import lasting
from tests.support.valkey import Valkey
from watcher.relay.api.schemas import LONGEST_WAIT

pytestmark = pytest.mark.anyio

_SECRET = "s" * 32
_BEARER = {"Authorization": f"Bearer {lasting(_SECRET, watch=['*'], submit=['*'])}"}
_ORDER = {"task": "tasks.add", "args": [2, 3]}
#: Where a client is that isn't taken for the proxy, which is at 127.0.0.1: Linux has all of 127.0.0.0/8.
_ELSEWHERE = "127.0.0.2"

InFront = Callable[[str], AbstractContextManager[Nginx]]


@pytest.fixture
def in_front(tmp_path: Path) -> InFront:
    """Runs an nginx with these locations."""
    try:
        path = nginx.bring()
    except FileNotFoundError as error:
        if os.environ.get("LOCKED") == "1":  # as in continuous integration, where nothing may be left out
            raise
        pytest.skip(str(error))
    folder = tmp_path / "nginx"
    folder.mkdir()
    return lambda locations: nginx.nginx(path, folder, locations)


def behind_a_proxy(serving: Relay) -> str:
    """The block, for this relay."""
    return put(block("nginx", "proxy_read_timeout"), {"http://127.0.0.1:5556": serving.url})


# ---- behind a proxy


@pytest.fixture
def trusting(tasks_env: dict[str, str]) -> Iterator[Relay]:
    with relay(env={**tasks_env, "WATCHER_SECRET": _SECRET, "WATCHER_TRUSTED_PROXIES": "127.0.0.1"}) as running:
        yield running


def test_the_page_at_the_proxys_address_is_the_relays_own(in_front: InFront, trusting: Relay) -> None:
    with in_front(behind_a_proxy(trusting)) as proxy:
        with httpx.Client(base_url=proxy.url, headers={**_BEARER, "Host": "relay.example"}) as asking:

            def submitted(origin: str, **spoofed: str) -> int:
                headers = {"Origin": origin, **{f"X-Forwarded-{which}": text for which, text in spoofed.items()}}
                return asking.post("/api/tasks", json=_ORDER, headers=headers).status_code

            assert "<title>" in asking.get("/").text
            assert submitted("http://relay.example") == 202
            assert submitted("http://relay.example:8000") == 403  # another port is another origin
            # What a client writes of it is overwritten.
            assert submitted("http://evil.example", Host="evil.example") == 403
            assert submitted("https://relay.example", Proto="https") == 403
            assert submitted("http://relay.example", Host="evil.example", Proto="https") == 202
        # The same at the relay itself, whose address is another.
        foreign = {**_BEARER, "Origin": "http://relay.example"}
        assert httpx.post(f"{trusting.url}/api/tasks", json=_ORDER, headers=foreign).status_code == 403


async def test_events_come_through_the_proxy_as_they_happen(in_front: InFront, trusting: Relay) -> None:
    with in_front(behind_a_proxy(trusting)) as proxy:
        socket = proxy.url.replace("http", "ws", 1) + "/connection/websocket"
        token = _BEARER["Authorization"].removeprefix("Bearer ")
        async with (
            client(socket, token=token, additional_headers={"Origin": proxy.url}) as opened,
            httpx.AsyncClient(base_url=proxy.url, headers=_BEARER, timeout=10) as asking,
            asking.stream("GET", "/api/events?channel=tasks") as streamed,
        ):
            await opened.subscribe("tasks")
            sent = (await asking.post("/api/tasks", json=_ORDER)).json()
            await opened.until(lambda: opened.states(sent["id"]) == ["PENDING"], "the event by WebSocket")
            async for line in streamed.aiter_lines():
                if line.startswith("data:") and json.loads(line.removeprefix("data:"))["id"] == sent["id"]:
                    break
            else:
                pytest.fail("the stream has ended")
        with pytest.raises(InvalidStatus, match="403"):
            async with client(socket, token=token, additional_headers={"Origin": "http://evil.example"}):
                pass


def test_the_clients_address_arrives_whatever_it_says_of_itself(in_front: InFront, trusting: Relay) -> None:
    with (
        in_front(behind_a_proxy(trusting)) as proxy,
        httpx.Client(transport=httpx.HTTPTransport(local_address=_ELSEWHERE)) as asking,
    ):
        spoofed = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.2"}
        assert asking.get(f"{proxy.url}/api/tasks", headers=spoofed).status_code == 401
        trusting.wait_for_output(rf"refused GET /api/tasks to {re.escape(_ELSEWHERE)}\b")
        assert "192.0.2." not in trusting.output


def test_the_proxy_waits_longer_than_a_request_may() -> None:
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", block("nginx", "proxy_read_timeout"))
    assert int(seconds) > LONGEST_WAIT


# ---- behind an identity proxy


class IdentityProxy(ThreadingHTTPServer):
    """Answers as oauth2-proxy does with --set-xauthrequest: it knows people by their cookie.

    :ivar asked: headers of the requests that were to be let in, and of those for its own pages, by path.
    """

    daemon_threads = True
    people = {  # noqa: RUF012 - of the class
        "alice": ("alice@example.com", "staff"),
        "bob": ("bob@example.com", "staff,reporting"),
        "carol": ("ALICE@example.com", ""),
        "nameless": ("", ""),
    }

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: dict[str, dict[str, str]] = {}


class _Handler(BaseHTTPRequestHandler):
    server: IdentityProxy

    def do_GET(self) -> None:
        self.server.asked[self.path] = {name.lower(): value for name, value in self.headers.items()}
        session = re.search(r"\b_oauth2_proxy=(\w+)", self.headers.get("Cookie", ""))
        if self.path != "/oauth2/auth":
            self._answer(200, b"Sign in")
        elif session is None or session[1] not in self.server.people:
            self._answer(401)
        else:
            email, groups = self.server.people[session[1]]
            told = {"X-Auth-Request-Email": email, "X-Auth-Request-Groups": groups}
            self._answer(202, headers={name: value for name, value in told.items() if value})

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def _answer(self, code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the test reads what was asked."""


@pytest.fixture
def identity() -> Iterator[IdentityProxy]:
    with IdentityProxy() as serving:
        thread = Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def named(in_front: InFront, identity: IdentityProxy, valkey: Valkey, tmp_path: Path) -> Iterator[Nginx]:
    """The nginx of the document, a relay with what the document sets, and somebody who knows people."""
    with relay("reports", env={**reports(tmp_path, valkey), **people(tmp_path)}) as serving:
        (lines,) = re.findall(r"location / \{\n(.*?)^\}", behind_a_proxy(serving), flags=re.DOTALL | re.MULTILINE)
        own = {'    # … and the lines of "Behind a proxy"\n': lines, "http://127.0.0.1:4180": identity.url}
        with in_front(put(block("nginx", "auth_request"), own)) as proxy:
            yield proxy


@pytest.mark.parametrize(
    ("session", "granted"),
    [pytest.param("alice", ALICE), pytest.param("bob", REPORTING), pytest.param("carol", ANYBODY)],
)
def test_whoever_is_logged_in_may_what_the_claims_say(named: Nginx, session: str, granted: Rights) -> None:
    """Whatever they say of themselves, and in how many lines."""
    claimed = [(USER, "alice@example.com"), (USER.lower(), "alice@example.com"), (GROUPS, "reporting")]
    for headers in ([], claimed):
        cookie = ("Cookie", f"_oauth2_proxy={session}")
        with httpx.Client(base_url=named.url, headers=[cookie, *headers]) as asking:
            assert rights(asking) == granted


def test_whoever_is_not_logged_in_is_shown_where_to(named: Nginx, identity: IdentityProxy) -> None:
    claimed = {USER: "alice@example.com", GROUPS: "reporting", "Cookie": "_oauth2_proxy=mallory"}
    for path in ("/", "/api/tasks?limit=1", "/metrics", "/connection/websocket"):
        refused = httpx.get(f"{named.url}{path}", headers=claimed)
        assert (refused.status_code, refused.text) == (403, "Sign in"), path
        # Back to what was asked for, when that is done.
        assert identity.asked["/oauth2/sign_in"]["x-auth-request-redirect"] == path
    assert httpx.post(f"{named.url}/api/tasks", json=_ORDER, headers=claimed).status_code == 403
    own = httpx.get(f"{named.url}/oauth2/callback?code=1", headers={"X-Real-IP": "192.0.2.1"})
    assert (own.status_code, own.text) == (200, "Sign in")
    assert identity.asked["/oauth2/callback?code=1"]["x-real-ip"] == "127.0.0.1"
    assert httpx.get(f"{named.url}/oauth2/auth").status_code == 404  # only nginx itself asks there


def test_whoever_has_no_name_gets_none_from_a_header_of_theirs(named: Nginx) -> None:
    claimed = {USER: "alice@example.com", GROUPS: "reporting", "Cookie": "_oauth2_proxy=nameless"}
    assert httpx.get(f"{named.url}/api/tasks", headers=claimed).status_code == 401


async def test_a_websocket_is_that_of_whoever_is_logged_in(named: Nginx) -> None:
    socket = named.url.replace("http", "ws", 1) + "/connection/websocket"
    bob = {"Origin": named.url, "Cookie": "_oauth2_proxy=bob", USER: "alice@example.com"}
    async with client(socket, additional_headers=bob) as opened:
        await opened.subscribe("name:reports.daily")
        refused = await opened.ask(subscribe={"channel": "tasks"})
        assert refused["error"]["code"] == 103
    for wrong in (
        {"Cookie": "_oauth2_proxy=mallory"},
        {"Cookie": "_oauth2_proxy=bob", "Origin": "http://evil.example"},
    ):
        with pytest.raises(InvalidStatus, match="403"):
            async with client(socket, additional_headers=wrong):
                pass
