"""The page with a real relay, a real worker and a real Valkey behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request, WebSocket, expect

from tests.browser.conftest import HELD, OpenPage
from tests.browser.pages import choose, details, rows, submit
from tests.support.gate import Gate, gate
from tests.support.processes import Relay, free_port, relay
from tests.support.valkey import valkey_server

#: Notes down what timers of the page say to the relay, and to anyone else.
_SPY = """(() => {
  window.spoken = [];
  let timer = "";
  const during = (kind, call) => (...given) => {
    const [before] = [timer];
    timer = kind;
    try { return call(...given); } finally { timer = before; }
  };
  for (const name of ["setTimeout", "setInterval", "requestAnimationFrame", "requestIdleCallback"]) {
    const original = window[name].bind(window);
    window[name] = (call, ...rest) => original(during(name, call), ...rest);
  }
  const listen = (owner, name) => {
    const original = owner[name];
    owner[name] = function (...given) {
      if (timer) spoken.push([timer, name, String(given[0])]);
      return original.apply(this, given);
    };
  };
  listen(WebSocket.prototype, "send");
  listen(XMLHttpRequest.prototype, "send");
  listen(Navigator.prototype, "sendBeacon");
  listen(window, "fetch");
  window.EventSource = undefined;
})()"""


@pytest.fixture
def relayed(working: dict[str, str]) -> Iterator[Relay]:
    """A relay for that worker."""
    with relay(HELD, env=working) as running:
        yield running


@pytest.fixture
def held(working: dict[str, str]) -> Iterator[Gate]:
    """What a task waits at in the middle."""
    with gate(working["CELERY_RESULT_BACKEND"]) as made:
        yield made


def test_from_the_form_to_the_result_in_two_windows(open_page: OpenPage, relayed: Relay, held: Gate) -> None:
    page, other = open_page(relayed.url), open_page(relayed.url, color_scheme="dark")
    form = choose(page, "tasks.count_slowly")
    form.get_by_label("limit").fill("30000000")
    form.get_by_label("gate").fill(held.name)
    submit(form)
    for window in (page, other):
        expect(rows(window).first).to_contain_text("tasks.count_slowly(30000000")
    for window in (page, other):
        expect(rows(window).first.get_by_role("progressbar")).to_be_visible()
    held.open()
    for window in (page, other):
        expect(rows(window).first).to_contain_text("Success")
        expect(rows(window).first).to_contain_text("15000000")
    rows(other).first.click()
    entries = details(other).get_by_role("listitem").locator("strong")
    expect(entries).to_have_text(["Pending", "Received", "Started", "Progress", "Success"])


def test_a_task_that_fails_and_one_that_retries(open_page: OpenPage, relayed: Relay) -> None:
    page = open_page(relayed.url)
    submit(choose(page, "tasks.fail"))
    expect(rows(page).first).to_contain_text("as you wished")
    rows(page).first.click()
    expect(details(page).get_by_label("Traceback", exact=True)).to_contain_text("Traceback (most recent call last)")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Back to all tasks").click()
    form = choose(page, "tasks.flaky")
    form.get_by_label("failures").fill("1")
    submit(form)
    expect(rows(page).first).to_contain_text("try 2 at")
    expect(rows(page).first).to_contain_text("Success")
    expect(rows(page).first).to_contain_text("try 2")
    rows(page).first.click()
    expect(details(page).get_by_role("listitem").filter(has_text="Retry")).to_contain_text("ConnectionError")
    expect(details(page).get_by_text("Try 2", exact=True)).to_be_visible()


def test_run_again_and_revoke(open_page: OpenPage, relayed: Relay) -> None:
    page = open_page(relayed.url)
    form = choose(page, "tasks.add")
    form.get_by_label("x", exact=True).fill("40")
    form.get_by_label("y", exact=True).fill("2")
    submit(form)
    expect(rows(page).first).to_contain_text("Success")
    rows(page).first.click()
    details(page).get_by_role("button", name="Run again").click()
    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("42")
    page.get_by_role("button", name="Back to all tasks").click()
    form = choose(page, "tasks.sleep")
    form.get_by_text("Options").click()
    form.get_by_label("countdown").fill("300")
    submit(form)
    expect(rows(page).first).to_contain_text("Received")
    rows(page).first.click()
    details(page).get_by_role("button", name="Revoke…").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("Revoke request sent to the workers")


def test_what_the_relay_refuses_is_shown(open_page: OpenPage, relayed: Relay) -> None:
    page = open_page(relayed.url)
    form = choose(page, "tasks.word_count")
    form.get_by_text("Options").click()
    form.get_by_label("task_id").fill("same-id")
    for text in ("some words", "other words"):
        form.get_by_label("text", exact=True).fill(text)
        submit(form)
    expect(form).to_contain_text("same-id")
    wrong = form.locator(".error:not(:empty), .form-error:not(:empty)")
    expect(wrong).to_have_count(1)
    expect(rows(page)).to_have_count(1)


def test_the_page_catches_up_after_the_relay_was_killed(open_page: OpenPage, working: dict[str, str]) -> None:
    port = free_port()
    with relay(HELD, env=working, port=port) as first:
        page = open_page(first.url)
        page.evaluate("window.sameDocument = true")
        form = choose(page, "tasks.sleep")
        form.get_by_label("seconds").fill("1")
        submit(form)
        expect(rows(page).first).to_contain_text("Started")
        first.kill()
        expect(page.get_by_text("Reconnecting")).to_be_visible()
        # Submitted while nobody is there: it waits, and is sent once.
        form.get_by_label("seconds").fill("0.1")
        submit(form)
        expect(form).to_contain_text("Sending…")
    with relay(HELD, env=working, port=port):
        expect(page.get_by_text("Connected", exact=True)).to_be_visible(timeout=25_000)
        expect(rows(page)).to_have_count(2)
        for row in (rows(page).nth(0), rows(page).nth(1)):
            expect(row).to_contain_text("Success")
        assert page.evaluate("window.sameDocument")
        page.reload()
        expect(rows(page)).to_have_count(2)


class Traffic:
    """What a page sends, from the moment on that `start` is called."""

    def __init__(self, page: Page) -> None:
        self.requests: list[str] = []
        self.frames: list[str] = []
        page.on("request", self._request)
        page.on("websocket", self._websocket)

    def start(self) -> None:
        self.requests.clear()
        self.frames.clear()

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _websocket(self, socket: WebSocket) -> None:
        self.requests.append(socket.url)
        socket.on("framesent", lambda frame: self.frames.append(str(frame)))


def test_the_page_never_polls(open_page: OpenPage, relayed: Relay, held: Gate) -> None:
    page = open_page("about:blank")
    page.add_init_script(_SPY)
    traffic = Traffic(page)
    page.goto(relayed.url)
    form = choose(page, "tasks.count_slowly")
    form.get_by_label("limit").fill("2")
    form.get_by_label("gate").fill(held.name)
    page.evaluate("spoken.length = 0")
    assert any(url.startswith("ws") for url in traffic.requests)
    traffic.start()
    submit(form)
    expect(rows(page).first.get_by_role("progressbar")).to_be_visible()
    held.open()
    expect(rows(page).first).to_contain_text("Success")
    assert traffic.requests == []
    [call] = [frame for frame in traffic.frames if frame != "{}"]  # pongs are answers
    assert '"method":"submit"' in call
    assert page.evaluate("spoken") == []


def test_a_redis_that_does_not_answer_is_shown(open_page: OpenPage) -> None:
    with valkey_server() as server:
        env = {"CELERY_BROKER_URL": server.url(15), "CELERY_RESULT_BACKEND": server.url(14)}
        with relay("tasks", env=env) as serving:
            page = open_page(f"{serving.url}/")
            connection = page.locator("#connection-text")
            expect(connection).to_have_text("Connected")
            with server.frozen():
                expect(connection).to_have_text("Connected, but Redis is unavailable", timeout=15_000)
            expect(connection).to_have_text("Connected", timeout=15_000)
