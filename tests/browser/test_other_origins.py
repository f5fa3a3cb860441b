"""A page of another origin uses the relay over HTTP: what a browser asks before, and what it lets the page see."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.relay.support import SECRET
from tests.support.processes import Relay, free_port, relay
from tests.support.tokens import lasting
from tests.support.valkey import Valkey

#: With this secret, pages of other origins on loopback are as foreign as any.
TOKEN = lasting(SECRET, watch=["tasks"], submit=["*"], revoke=True)


@pytest.fixture(scope="module")
def browser(whole_browser: Browser) -> Browser:
    """The whole of it."""
    return whole_browser


class _Blank(http.server.BaseHTTPRequestHandler):
    """A site of one empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def site() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Blank) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def elsewhere(browser: Browser) -> Iterator[Page]:
    with site() as origin:
        context = browser.new_context()
        page = context.new_page()
        page.goto(origin)
        yield page
        context.close()


def origin_of(page: Page) -> str:
    return str(page.evaluate("location.origin"))


def env(valkey: Valkey, origins: str) -> dict[str, str]:
    return {
        "CELERY_BROKER_URL": valkey.url(15), "CELERY_RESULT_BACKEND": valkey.url(14),
        "WATCHER_SECRET": SECRET, "WATCHER_ORIGINS": origins,
    }  # fmt: skip


SUBMIT = """async ({url, token}) => {
    const answer = await fetch(`${url}/api/tasks`, {
        method: "POST",
        headers: {
            "Authorization": `Bearer ${token}`, "Content-Type": "application/json",
            "Idempotency-Key": "once", "Prefer": "wait=0", "Last-Event-ID": "e:1",
        },
        body: JSON.stringify({task: "tasks.add", args: [2, 3], options: {task_id: "t"}}),
    });
    const names = ["Location", "Preference-Applied"];
    return {status: answer.status, headers: names.map((name) => answer.headers.get(name)), body: await answer.json()};
}"""
LOOK = """async ({url, token}) => {
    const answer = await fetch(`${url}/api/tasks/t`, {headers: {"Authorization": `Bearer ${token}`}});
    return {state: (await answer.json()).state, offset: answer.headers.get("Watcher-Offset"),
            epoch: answer.headers.get("Watcher-Epoch")};
}"""
PROBLEM = """async ({url}) => {
    const answer = await fetch(`${url}/api/tasks/t`);
    return {status: answer.status, title: (await answer.json()).title};
}"""
LISTEN = """({url, token}) => new Promise((resolve, reject) => {
    const source = new EventSource(`${url}/api/events?channel=task:t&token=${token}`);
    source.onmessage = ({data, lastEventId}) => { source.close(); resolve([JSON.parse(data).state, lastEventId]); };
    source.onerror = () => reject(new Error(`EventSource ${source.readyState}`));
})"""


def asked(running: Relay) -> dict[str, str]:
    return {"url": running.url, "token": TOKEN}


def test_an_allowed_page_submits_looks_and_listens(elsewhere: Page, valkey: Valkey) -> None:
    with relay("tasks", env=env(valkey, origin_of(elsewhere))) as running:
        submitted = elsewhere.evaluate(SUBMIT, asked(running))
        assert (submitted["status"], submitted["headers"]) == (202, ["/api/tasks/t", "wait=0"])
        looked = elsewhere.evaluate(LOOK, asked(running))
        assert looked == {"state": "PENDING", "offset": "1", "epoch": submitted["body"]["epoch"]}
        assert elsewhere.evaluate(PROBLEM, asked(running)) == {"status": 401, "title": "unauthorized"}
        state, last = elsewhere.evaluate(LISTEN, asked(running))
        assert (state, last) == ("PENDING", f"{looked['epoch']}:1")


def test_a_page_that_is_not_allowed_can_do_nothing(elsewhere: Page, valkey: Valkey) -> None:
    with relay("tasks", env=env(valkey, "https://app.example")) as running:
        for script in (SUBMIT, LOOK, PROBLEM):
            with pytest.raises(Exception, match="Failed to fetch"):
                elsewhere.evaluate(script, asked(running))
        with pytest.raises(Exception, match="EventSource 2"):  # closed for good
            elsewhere.evaluate(LISTEN, asked(running))
        running.wait_for_output(f"WATCHER_ORIGINS={origin_of(elsewhere)} allows it")
        with valkey.client() as redis:
            assert not redis.keys("*journal*")


FOLLOW = """({url, token}) => {
    window.seen = [];
    window.source = new EventSource(`${url}/api/events?channel=tasks&token=${token}`);
    source.onmessage = ({data, lastEventId}) => seen.push([JSON.parse(data).id, lastEventId.split(":")[1]]);
    return new Promise((resolve) => { source.onopen = resolve; });
}"""


def test_a_browser_comes_back_by_itself_and_misses_nothing(elsewhere: Page, valkey: Valkey) -> None:
    settings, port = env(valkey, origin_of(elsewhere)), free_port()

    def submit(running: Relay, identity: str) -> None:
        body = {"task": "tasks.add", "args": [2, 3], "options": {"task_id": identity}}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.post(f"{running.url}/api/tasks", json=body, headers=headers).status_code == 202

    with relay("tasks", port=port, env=settings) as running:
        elsewhere.evaluate(FOLLOW, asked(running))
        submit(running, "before")
        elsewhere.wait_for_function("seen.length == 1")
        running.kill()
    with relay("tasks", env=settings) as another:
        submit(another, "meanwhile")
    with relay("tasks", port=port, env=settings) as running:
        submit(running, "after")
        elsewhere.wait_for_function("seen.length == 3")
        assert elsewhere.evaluate("seen") == [["before", "1"], ["meanwhile", "2"], ["after", "3"]]
        assert running.stop() == 0
    elsewhere.wait_for_function("source.readyState == EventSource.CONNECTING")  # not closed for good
