"""People log in, with a token or at an identity proxy, and other sites don't act by their browsers. A real relay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Launch, OpenPage
from tests.browser.foreign import site as open_site
from tests.browser.identity import HEADER
from tests.browser.identity import proxy as open_proxy
from tests.browser.pages import choose, rows, submit
from tests.support.processes import Relay, relay
from tests.support.tokens import lasting
from tests.support.waiting import wait_for
from watcher.core.permissions import issue

_SECRET = "s" * 32
_TOKEN = lasting(_SECRET, sub="me", watch=["*"], submit=["*"])
_CLAIMS = """
[users.alice]
watch = ["*"]
submit = ["*"]
revoke = true

[users.bob]
watch = ["tag:bob"]
submit = ["*"]
"""


@pytest.fixture(scope="module")
def browser(whole_browser: Browser) -> Browser:
    """The whole of it."""
    return whole_browser


@pytest.fixture
def guarded(tasks_env: dict[str, str]) -> Iterator[Relay]:
    with relay(env={**tasks_env, "WATCHER_SECRET": _SECRET}) as running:
        yield running


@pytest.fixture
def behind(tasks_env: dict[str, str], tmp_path: Path) -> Iterator[Relay]:
    """A relay that believes a proxy on this machine."""
    claims = tmp_path / "claims.toml"
    claims.write_text(_CLAIMS)
    env = {"WATCHER_AUTH_HEADER": HEADER, "WATCHER_TRUSTED_PROXIES": "127.0.0.1", "WATCHER_CLAIMS": str(claims)}
    with relay(env={**tasks_env, **env}) as running:
        yield running


def asked(page: Page) -> list[str]:
    """Every address that the page asks for, from now on."""
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.on("websocket", lambda socket: addresses.append(socket.url))
    return addresses


def enter(page: Page, token: str) -> None:
    page.get_by_role("textbox", name="Token").fill(token)
    page.get_by_role("button", name="Connect").click()


def connected(page: Page) -> None:
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()


def test_login_token_stays_in_its_tab_and_out_of_urls(open_page: OpenPage, guarded: Relay) -> None:
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    body = {"task": "tasks.add", "args": [1, 2], "options": {"task_id": "first"}}
    assert httpx.post(f"{guarded.url}/api/tasks", json=body, headers=headers).status_code == 202
    page = open_page("about:blank")
    addresses = asked(page)
    page.goto(guarded.url)
    dialog = page.get_by_role("dialog", name="This relay requires a token")
    expect(dialog).to_be_visible()
    expect(dialog).not_to_contain_text("rejected")
    enter(page, issue("x" * 32, watch=["*"]))
    expect(dialog).to_contain_text("The relay rejected the token: invalid token.")
    expect(dialog.get_by_role("textbox", name="Token")).to_have_value("")
    enter(page, _TOKEN)
    connected(page)
    expect(rows(page)).to_have_count(1)  # by a request, which has it in a header
    rows(page).first.click()
    page.reload()
    connected(page)
    expect(dialog).to_be_hidden()
    assert any("/api/tasks" in address for address in addresses)
    assert any(address.startswith("ws") for address in addresses)
    assert not any(_TOKEN in address or "token" in address for address in addresses)
    stores: dict[str, Any] = page.evaluate(
        "({local: JSON.stringify(localStorage), cookie: document.cookie, state: JSON.stringify(history.state), "
        "address: location.href, tab: Object.values(sessionStorage)})"
    )
    assert stores.pop("tab") == [_TOKEN]
    assert not any(_TOKEN in str(text) for text in stores.values())
    other = page.context.new_page()
    other.goto(guarded.url)
    expect(other.get_by_role("dialog", name="This relay requires a token")).to_be_visible()
    assert _TOKEN not in guarded.output


def test_behind_an_identity_proxy_nobody_is_asked(open_page: OpenPage, behind: Relay) -> None:
    with open_proxy(behind.url) as proxy:
        page = open_page(f"{proxy.url}/login/alice")
        connected(page)
        form = choose(page, "tasks.add")
        form.get_by_label("x", exact=True).fill("40")
        form.get_by_label("y", exact=True).fill("2")
        submit(form)
        expect(rows(page).first).to_contain_text("tasks.add(40, 2)")
        page.reload()
        expect(rows(page)).to_have_count(1)
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert page.evaluate("sessionStorage.length") == 0
        assert "GET /connection/websocket HTTP/1.1" in proxy.named


def test_behind_an_identity_proxy_one_sees_what_one_may_see(open_page: OpenPage, behind: Relay) -> None:
    with open_proxy(behind.url) as proxy:
        page = open_page(f"{proxy.url}/login/bob")
        expect(page.get_by_text("No tasks that you may watch yet")).to_be_visible()
        form = choose(page, "tasks.add")
        form.get_by_label("x", exact=True).fill("40")
        form.get_by_label("y", exact=True).fill("2")
        form.get_by_text("Options").click()
        form.get_by_label("tags").fill("bob")
        submit(form)
        expect(rows(page).first).to_contain_text("tasks.add(40, 2)")
        expect(page.locator("#notice")).to_be_hidden()


def test_whom_the_claims_don_t_name_sees_nothing(open_page: OpenPage, behind: Relay) -> None:
    with open_proxy(behind.url) as proxy:
        page = open_page(f"{proxy.url}/login/mallory")
        connected(page)
        expect(
            page.get_by_role("main").get_by_text("Could not follow the list of tasks: permission denied")
        ).to_be_visible()
        expect(page.get_by_text("You may not watch any tasks")).to_be_visible()
        expect(page.get_by_role("list", name="Registered tasks").get_by_role("button")).to_have_count(0)


#: What a page can send without asking first; each is tried, and what a browser refuses by itself is no failure.
_ATTACK = """async (relay) => {
  const tried = [];
  const attempt = async (name, act) => tried.push([name, await Promise.resolve().then(act).catch(String)]);
  const body = JSON.stringify({task: "tasks.add", args: [1, 2]});
  const send = (more) => fetch(`${relay}/api/tasks`, {method: "POST", credentials: "include", ...more});
  await attempt("text", () => send({mode: "no-cors", body}).then((answer) => answer.type));
  await attempt("untyped", () => send({mode: "no-cors", body: new Blob([body])}).then((answer) => answer.type));
  await attempt("json", () => send({body, headers: {"Content-Type": "application/json"}}).then(() => "allowed"));
  await attempt("beacon", () => navigator.sendBeacon(`${relay}/api/tasks`, new Blob([body])));
  await attempt("read", () => fetch(`${relay}/api/tasks`, {credentials: "include"}).then((answer) => answer.text()));
  await attempt("script", () => new Promise((resolve) => {
    const script = document.createElement("script");
    script.onload = () => resolve("loaded");
    script.onerror = () => resolve("failed");
    script.src = `${relay}/api/tasks`;
    document.head.append(script);
  }));
  await attempt("socket", () => new Promise((resolve) => {
    const socket = new WebSocket(`${relay.replace("http", "ws")}/connection/websocket`);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("failed");
  }));
  await attempt("events", () => new Promise((resolve) => {
    const source = new EventSource(`${relay}/api/events?channel=tasks`, {withCredentials: true});
    source.onopen = () => resolve("open");
    source.onerror = () => resolve("failed");
  }));
  const form = Object.assign(document.createElement("form"), {method: "POST", action: `${relay}/api/tasks/t/revoke`});
  const frame = Object.assign(document.createElement("iframe"), {name: "frame"});
  form.target = "frame";
  document.body.append(frame, form);
  form.submit();
  return Object.fromEntries(tried);
}"""


def test_cross_origin_page_gains_nothing_from_the_session_cookie(browser: Browser, behind: Relay) -> None:
    """A port more or less is the same site to a browser, so it sends the cookie along."""
    context = browser.new_context()
    with open_proxy(behind.url) as proxy, open_site() as site:
        site.policy = ""
        site.paths["/"] = "<!doctype html><link rel=icon href='data:,'><body>"
        page = context.new_page()
        page.goto(f"{proxy.url}/login/alice")
        connected(page)
        before = len(proxy.named)
        page.goto(site.origin)
        outcomes = page.evaluate(_ATTACK, proxy.url)
        wait_for(
            lambda: any("/revoke" in line for line in proxy.named[before:]), what="the form to be sent, with the cookie"
        )
        sent = [line for line in proxy.named[before:] if line.startswith("POST /api/tasks HTTP")]
        assert len(sent) >= 3, proxy.named  # the cookie came along: the relay alone is in the way
        for name in ("text", "untyped", "json", "read"):
            assert "Failed to fetch" in outcomes[name]
        assert (outcomes["script"], outcomes["socket"], outcomes["events"]) == ("failed", "failed", "failed")
        listed = httpx.get(f"{proxy.url}/api/tasks", headers={"Cookie": "session=alice"})
        assert listed.json()["tasks"] == []
        behind.wait_for_output("refused POST /api/tasks/t/revoke ")
        why = (
            r"refused GET /api/tasks to \S+: X-User is not accepted in requests that another site makes a browser send"
        )
        assert re.search(why, behind.output)
    context.close()


def test_cross_site_link_to_the_api_can_be_followed(browser: Browser, behind: Relay) -> None:
    context = browser.new_context()
    with open_proxy(behind.url) as proxy, open_site() as site:
        site.policy = ""
        site.paths["/"] = f"<!doctype html><link rel=icon href='data:,'><a href='{proxy.url}/api/tasks'>tasks</a>"
        page = context.new_page()
        page.goto(f"{proxy.url}/login/alice")
        connected(page)
        page.goto(site.origin)
        page.get_by_role("link", name="tasks").click()
        expect(page.get_by_text('"tasks":[]')).to_be_visible()
    context.close()


def test_a_read_only_relay_has_no_form(open_page: OpenPage, tasks_env: dict[str, str]) -> None:
    with relay(env={**tasks_env, "WATCHER_READ_ONLY": "1"}) as serving:
        page = open_page(serving.url)
        connected(page)
        expect(page.get_by_text("The app has no registered tasks that you may submit")).to_be_visible()
        expect(page.get_by_role("list", name="Registered tasks").get_by_role("button")).to_have_count(0)
        expect(page.get_by_role("form")).to_have_count(0)
        for path, body in (("", {"task": "tasks.add", "args": [1, 2]}), ("/t/revoke", {})):
            response = httpx.post(f"{serving.url}/api/tasks{path}", json=body)
            assert (response.status_code, response.json()["detail"]) == (403, "this relay is read-only")


def test_dns_rebinding_is_refused(launch: Launch, chromium: str, tasks_env: dict[str, str]) -> None:
    """DNS rebinding: to the browser the relay is the attacker's own site, so nothing else is in the way."""
    rebound = launch(chromium, "--host-resolver-rules=MAP evil.example 127.0.0.1")
    with relay(env=tasks_env) as serving:
        page = rebound.new_page()
        address = serving.url.replace("127.0.0.1", "evil.example")
        for path in ("/", "/api/tasks"):
            answer = page.goto(address + path)
            assert answer is not None
            assert answer.status == 403
            assert "WATCHER_HOSTS=evil.example" in answer.json()["detail"]
        page.goto(f"{address}/healthz")  # whom it says nothing about
        opened = page.evaluate(
            """() => new Promise((resolve) => {
              const socket = new WebSocket(`ws://${location.host}/connection/websocket`);
              socket.onopen = () => resolve("open");
              socket.onerror = () => resolve("failed");
            })"""
        )
        assert opened == "failed"
        serving.wait_for_output(r"refused a WebSocket handshake to \S+: the Host 'evil.example")
    rebound.close()
