"""The module in a page: watching a task, and keeping the right to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenPage
from tests.browser.stage import WEB, Stage
from tests.support.javascript import node
from tests.support.processes import program
from tests.support.waiting import wait_for

_CONNECT = """async (options) => {
  const { connect } = await import("/watcher.js");
  window.told = [];
  window.tokens = options.tokens ?? [""];
  window.asked = 0;
  window.relay = connect({
    getToken: () => tokens[Math.min(asked++, tokens.length - 1)],
    onStatus: ({ phase, code }) => told.push([phase, code ?? null]),
  });
  window.watch = (id, name = id) => relay.watch(
    id,
    (task, { gap }) => told.push([name, task?.state ?? null, gap]),
    ({ code }) => told.push([name, "error", code]),
  );
}"""


class Client:
    """A page that has connected, and what it was told."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def do(self, script: str) -> Any:
        return self.page.evaluate(f"() => {{ {script} }}")

    def told(self, *names: str) -> list[Any]:
        """What was told of these tasks, or of phases of the connection."""
        return [each for each in self.page.evaluate("told") if each[0] in names]

    def until(self, condition: str) -> None:
        wait_for(lambda: self.page.evaluate(f"Boolean({condition})"), what=condition)


Connect: TypeAlias = Callable[..., Client]


@pytest.fixture
def connect(open_page: OpenPage, stage: Stage) -> Connect:
    def connect(*tokens: str, clock: bool = False, until: str = "relay.status.phase === 'connected'") -> Client:
        page = open_page(f"{stage.url}/blank")
        if clock:
            page.clock.install()
        page.evaluate(_CONNECT, {"tokens": tokens} if tokens else {})
        client = Client(page)
        client.until(until)
        return client

    return connect


def test_a_task_is_told_as_it_stands_and_after_each_change(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "PENDING", name="tasks.add")
    client = connect()
    client.do("window.leave = watch('a')")
    client.until("told.some(([name]) => name === 'a')")
    stage.emit("a", "STARTED")
    stage.emit("a", "RECEIVED", timestamp=1.0, late=True)
    stage.emit("a", "SUCCESS", result=5)
    client.until("told.some(([, state]) => state === 'SUCCESS')")
    told = client.told("a")
    assert told == [["a", state, False] for state in ("PENDING", "STARTED", "STARTED", "SUCCESS")]
    client.do("leave()")
    wait_for(lambda: stage.sent("unsubscribe"), what="the task to be left")


def test_many_listeners_share_a_subscription(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "STARTED")
    client = connect()
    client.do("window.leave = watch('a', 'first'); watch('a', 'second')")
    client.until("told.filter(([, state]) => state === 'STARTED').length === 2")
    client.do("watch('a', 'third')")
    client.until("told.some(([name]) => name === 'third')")
    client.do("leave(); leave()")
    stage.emit("a", "SUCCESS")
    client.until("told.filter(([, state]) => state === 'SUCCESS').length === 2")
    assert client.told("first") == [["first", "STARTED", False]]
    assert client.told("third") == [["third", "STARTED", False], ["third", "SUCCESS", False]]
    assert len(stage.sent("subscribe")) == 1
    assert not stage.sent("unsubscribe")


def test_a_listener_that_throws_harms_no_other(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "STARTED")
    client = connect()
    client.do("""
      window.reportError = ({ message }) => told.push(["reported", message]);
      relay.watch("a", () => { throw new Error("mine"); });
      watch("a");
    """)
    client.until("told.some(([name]) => name === 'a')")
    assert client.told("reported") == [["reported", "mine"]]


def test_a_task_that_nobody_knows_and_then_somebody_does(connect: Connect, stage: Stage) -> None:
    client = connect()
    client.do("watch('a')")
    client.until("told.some(([name]) => name === 'a')")
    stage.emit("a", "PENDING")
    client.until("told.some(([, state]) => state === 'PENDING')")
    assert client.told("a") == [["a", None, False], ["a", "PENDING", False]]


def test_what_was_missed_is_made_good_and_what_is_gone_is_told(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "PENDING")
    client = connect()
    client.do("watch('a')")
    client.until("told.some(([name]) => name === 'a')")
    stage.happen("a", "STARTED")
    stage.drop()
    client.until("told.some(([, state]) => state === 'STARTED')")
    stage.happen("a", "RETRY")
    stage.happen("a", "STARTED", retries=1)
    stage.trimmed = stage.offset
    stage.drop()
    client.until("told.some(([, , gap]) => gap)")
    assert client.told("a") == [["a", "PENDING", False], ["a", "STARTED", False], ["a", "STARTED", True]]


def test_what_has_ended_stays_when_redis_has_forgotten_it(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "SUCCESS", result=5)
    stage.emit("b", "STARTED")
    client = connect()
    client.do("watch('a'); watch('b')")
    client.until("told.filter(([, , gap]) => gap === false).length === 2")
    stage.lose_journal("e2")
    stage.drop()
    client.until("told.some(([name, state]) => name === 'b' && state === null)")
    assert client.told("a", "b") == [["a", "SUCCESS", False], ["b", "STARTED", False], ["b", None, True]]
    stage.emit("a", "STARTED", retries=1)
    client.until("told.at(-1)[0] === 'a'")


def test_a_task_that_may_not_be_seen(connect: Connect, stage: Stage) -> None:
    stage.forbidden = {"task:a"}
    client = connect()
    client.do("watch('a')")
    client.until("told.some(([name]) => name === 'a')")
    assert client.told("a") == [["a", "error", 103]]
    stage.forbidden = set()
    client.do("watch('a')")  # asked again, not remembered
    client.until("told.length > 3")
    assert client.told("a")[1:] == [["a", None, False]]


def test_a_watch_whose_channel_is_taken_is_told(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "STARTED")
    client = connect()
    client.do("watch('a')")
    client.until("told.some(([name]) => name === 'a')")
    client.do("relay.subscribe('task:a', { onEvent: ({ state }) => told.push(['subscribed', state]) })")
    assert client.told("a") == [["a", "STARTED", False], ["a", "error", 105]]
    wait_for(lambda: len(stage.sent("subscribe")) == 2, what="the second subscription")
    stage.emit("a", "SUCCESS")
    client.until("told.some(([name]) => name === 'subscribed')")


def test_an_error_that_nobody_takes_is_reported(connect: Connect, stage: Stage) -> None:
    stage.forbidden = {"task:a"}
    client = connect()
    client.do("""
      window.reportError = ({ code }) => told.push(["reported", code]);
      relay.watch("a", () => {});
    """)
    client.until("told.some(([name]) => name === 'reported')")
    assert client.told("reported") == [["reported", 103]]


def test_a_token_is_refreshed_before_it_ends(connect: Connect, stage: Stage) -> None:
    stage.token, stage.ttl, stage.ping = "one", 60, 0
    stage.emit("a", "STARTED")
    client = connect("one", "two", clock=True)
    client.do("watch('a')")
    client.until("told.some(([name]) => name === 'a')")
    client.page.clock.fast_forward(44_000)
    assert not stage.sent("refresh")
    stage.token, stage.ttl = "two", 600
    client.page.clock.fast_forward(1_100)
    wait_for(lambda: stage.sent("refresh"), what="a refresh")
    client.page.clock.fast_forward(30_000)
    stage.emit("a", "SUCCESS")
    client.until("told.some(([, state]) => state === 'SUCCESS')")
    assert stage.sent("refresh") == [{"token": "two"}]
    assert len(stage.sent("connect")) == 1


def test_the_same_token_is_not_sent_again_but_asked_for(connect: Connect, stage: Stage) -> None:
    stage.token, stage.ttl, stage.ping = "one", 60, 0
    client = connect("one", "one", "one", "two", clock=True)
    stage.token = "two"
    client.page.clock.fast_forward(45_100)
    client.page.clock.fast_forward(11_300)
    assert client.page.evaluate("asked") == 3
    client.page.clock.fast_forward(2_900)
    wait_for(lambda: stage.sent("refresh") == [{"token": "two"}], what="the other token")


def test_a_token_that_expired_is_replaced(connect: Connect, stage: Stage) -> None:
    stage.token, stage.token_error = "new", 109
    connect("old", "new")
    assert [command["token"] for command in stage.sent("connect")] == ["old", "new"]


def test_a_token_that_stays_expired_is_told_to_every_watch(connect: Connect, stage: Stage) -> None:
    stage.token = "old"
    client = connect("old")
    stage.emit("a", "STARTED")
    client.do("watch('a')")
    client.until("told.some(([name]) => name === 'a')")
    stage.token, stage.token_error = "new", 109
    stage.drop(3005, "connection expired")
    client.until("relay.status.phase === 'unauthorized'")
    assert client.told("a", "unauthorized")[1:] == [["unauthorized", 109], ["a", "error", 109]]
    client.do("watch('a', 'late')")
    client.until("told.some(([name, state]) => name === 'late' && state === 'error')")
    stage.emit("a", "SUCCESS")
    client.do("tokens = ['new']; relay.open()")  # it goes on where it was
    client.until("told.filter(([, state]) => state === 'SUCCESS').length === 2")


def test_a_token_that_can_not_be_had_is_asked_for_again(open_page: OpenPage, stage: Stage) -> None:
    page = open_page(f"{stage.url}/blank")
    page.evaluate("""async () => {
      const { connect } = await import("/watcher.js");
      window.reasons = [];
      let asked = 0;
      window.relay = connect({
        getToken: async () => { if (asked++ < 2) throw new Error("away"); return ""; },
        onStatus: ({ reason }) => reason && reasons.push(reason),
      });
    }""")
    wait_for(lambda: page.evaluate("relay.status.phase === 'connected'"), what="the connection")
    assert page.evaluate("reasons") == ["could not get a token: Error: away"] * 2


def test_submit_revoke_and_get(connect: Connect, stage: Stage) -> None:
    calls: list[dict[str, Any]] = []

    def submit(data: dict[str, Any]) -> dict[str, Any]:
        calls.append(data)
        return {"id": data["options"]["task_id"], "channel": "task:x", "epoch": "e1", "offset": 1}

    def revoke(data: dict[str, Any]) -> dict[str, Any]:
        calls.append(data)
        return {}

    stage.methods |= {"submit": submit, "revoke": revoke, "get": lambda _: {"task": {"state": "STARTED"}}}
    client = connect()
    identity = client.page.evaluate("""async () => {
      const { id } = await relay.submit("tasks.add", [2], { y: 3 }, { queue: "q" });
      await relay.revoke(id, { terminate: true });
      await relay.submit("tasks.add", [], {}, { task_id: "mine" });
      return id;
    }""")
    assert len(identity) == 36
    assert calls == [
        {"task": "tasks.add", "args": [2], "kwargs": {"y": 3}, "options": {"queue": "q", "task_id": identity}},
        {"id": identity, "terminate": True},
        {"task": "tasks.add", "args": [], "kwargs": {}, "options": {"task_id": "mine"}},
    ]
    assert client.page.evaluate("relay.get('x').then(({ state }) => state)") == "STARTED"


def test_it_can_be_imported_where_there_is_no_document(stage: Stage) -> None:
    script = f"""
      import {{ connect }} from "{WEB}/watcher.js";
      const relay = connect({{ url: "{stage.url}" }});
      relay.watch("a", (task) => {{ console.log(task?.state); relay.close(); }});
    """
    stage.emit("a", "SUCCESS")
    with program(node(), "--input-type=module", "--eval", script) as rendering:
        assert rendering.wait() == 0, rendering.output
        assert rendering.stdout == "SUCCESS\n"


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("https://relay.example", "wss://relay.example/connection/websocket"),
        ("http://relay.example:8000/", "ws://relay.example:8000/connection/websocket"),
        ("https://example.org/tools/relay/", "wss://example.org/tools/relay/connection/websocket"),
        ("/relay", "ws://STAGE/relay/connection/websocket"),
        (None, "ws://STAGE/connection/websocket"),
    ],
)
def test_where_it_connects_to(blank: Page, given: str | None, asked: str) -> None:
    address = blank.evaluate(
        """async (url) => {
          const { connect } = await import("/watcher.js");
          const { WebSocket } = window;
          try {
            return await new Promise((seen) => {
              window.WebSocket = class { constructor(address) { seen(String(address)); } close() {} };
              window.relay = connect(url ? { url } : {});
            });
          } finally {
            window.WebSocket = WebSocket;
            relay.close();
          }
        }""",
        given,
    )
    assert address == asked.replace("STAGE", blank.evaluate("location.host"))
