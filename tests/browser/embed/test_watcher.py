"""watcher.js: connect, recover, call; against a peer that says what each test wants said, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenPage
from tests.browser.stage import Refusal, Silence, Stage
from tests.support.waiting import wait_for

_CONNECT = """async ([url, channels, token]) => {
  const { Relay } = await import("/watcher.js");
  const json = await import("/model/json.js");
  window.statuses = [];
  window.heard = [];
  window.token = token;
  window.connection = new Relay({
    url,
    json,
    getToken: () => window.token,
    onStatus: ({ phase, code }) => statuses.push([phase, code ?? null]),
  });
  window.watch = (channel, since) => connection.subscribe(channel, {
    onSubscribed: ({ gap, renewed, data }) => heard.push(["subscribed", gap, renewed, data?.task?.state ?? null]),
    onEvent: ({ id }, offset) => heard.push([id, offset]),
    onError: ({ code }) => heard.push(["error", code]),
  }, since);
  for (const channel of channels) watch(channel, { epoch: "", offset: 0 });
  connection.open();
}"""


class Client:
    """A connection in a page, and what it heard."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @property
    def heard(self) -> list[Any]:
        return list(self.page.evaluate("heard"))

    @property
    def phases(self) -> list[Any]:
        return list(self.page.evaluate("statuses"))

    def until(self, condition: str) -> None:
        """Wait until a JavaScript condition holds. Playwright's own way is to eval() it, which the page forbids."""
        wait_for(lambda: self.page.evaluate(f"Boolean({condition})"), what=condition)


Connect: TypeAlias = Callable[..., Client]


@pytest.fixture
def connect(open_page: OpenPage, stage: Stage) -> Connect:
    def connect(*channels: str, token: str = "", until: str = "connection.status.phase === 'connected'") -> Client:
        page = open_page(f"{stage.url}/blank")
        page.evaluate(_CONNECT, [stage.url, channels, token])
        client = Client(page)
        client.until(until)
        return client

    return connect


def test_waits_grow_and_are_jittered(blank: Page) -> None:
    waits = blank.evaluate("""async () => {
      const { backoff } = await import("/embed/connection.js");
      return [0, 3, 6, 7, 50].map((attempt) => [backoff(attempt, () => 0.999999), backoff(attempt, () => 0.5)]);
    }""")
    assert [round(longest) for longest, _ in waits] == [200, 1600, 12800, 20000, 20000]
    assert [round(half) for _, half in waits] == [100, 800, 6400, 10000, 10000]


def test_whole_numbers_stay_whole(blank: Page) -> None:
    text = '{"a":[18446744073709551617,-9007199254740993,1,0.12345678901234567,1e20],"b":"12345678901234567890"}'
    again = blank.evaluate(
        "async (text) => { const json = await import('/model/json.js'); return json.stringify(json.parse(text)); }",
        text,
    )
    assert json.loads(again) == json.loads(text)
    next_one = "async () => String((await import('/model/json.js')).parse('98765432109876543210') + 1n)"
    assert blank.evaluate(next_one) == "98765432109876543211"


def test_it_recovers_exactly_what_it_missed(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "PENDING")
    client = connect("tasks", until="heard.length === 2")
    stage.emit("b", "PENDING")
    client.until("heard.length === 3")
    stage.drop()
    for name in "cde":
        stage.emit(name, "PENDING")
    client.until("heard.length >= 7")
    stage.emit("f", "PENDING")
    client.until("heard.length >= 8")
    subscribed = ["subscribed", False, False, None]
    assert client.heard == [subscribed, ["a", 1], ["b", 2], subscribed, ["c", 3], ["d", 4], ["e", 5], ["f", 6]]
    assert stage.sent("subscribe")[-1] == {"channel": "tasks", "recover": True, "epoch": "e1", "offset": 2}


def test_what_follows_a_reply_in_the_same_frame_comes_after_it(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "PENDING")
    missed = stage.happen("b", "PENDING")
    stage.along = [stage.publication("tasks", missed, 2), stage.publication("tasks", {**missed, "id": "c"}, 3)]
    client = connect("tasks", until="heard.length >= 4")
    assert client.heard[1:] == [["a", 1], ["b", 2], ["c", 3]]


def test_it_says_what_is_gone(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "PENDING")
    client = connect("tasks", until="heard.length === 2")
    stage.drop()
    stage.emit("b", "PENDING")
    stage.emit("c", "PENDING")
    stage.trimmed = 2
    client.until("heard.length === 4")
    assert client.heard[2:] == [["subscribed", True, False, None], ["c", 3]]
    stage.lose_journal("e2")
    stage.trimmed = 0
    stage.drop()
    stage.emit("z", "PENDING")
    client.until("heard.length === 6")
    assert client.heard[4:] == [["subscribed", True, True, None], ["z", 1]]


@pytest.mark.parametrize(("code", "asked_again"), [(2500, True), (2501, True), (2000, False)])
def test_unsubscribed_by_the_relay(connect: Connect, stage: Stage, code: int, asked_again: bool) -> None:
    stage.emit("a", "PENDING")
    client = connect("tasks", until="heard.length === 2")
    stage.happen("b", "PENDING")
    stage.push({"push": {"channel": "tasks", "unsubscribe": {"code": code, "reason": "slow"}}})
    client.until("heard.length > 2")
    assert client.heard[2:] == ([["subscribed", False, False, None], ["b", 2]] if asked_again else [["error", code]])


def test_a_channel_can_be_left_and_joined_again(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "STARTED")
    client = connect("task:a", until="heard.length === 2")
    event = stage.happen("a", "PROGRESS")
    stage.ahead = [stage.publication("task:a", event, 2)]  # still on its way to the first subscription
    client.page.evaluate("watch('task:a', { epoch: '', offset: 0 }).channel")
    client.until("heard.length >= 6")
    stage.emit("a", "SUCCESS")
    client.until("heard.length >= 7")
    replaced = ["error", 105]
    assert client.heard[2:] == [replaced, ["subscribed", False, False, "PROGRESS"], ["a", 1], ["a", 2], ["a", 3]]


def test_a_repeatable_call_outlives_the_connection_others_fail(connect: Connect, stage: Stage) -> None:
    calls: list[str] = []

    def work(data: dict[str, Any]) -> dict[str, Any]:
        calls.append(data["n"])
        if len(calls) <= 2:
            raise Silence
        return {"done": data["n"]}

    stage.methods["work"] = work
    client = connect()
    client.page.evaluate("""() => {
      window.answers = {};
      connection.rpc("work", { n: "once" }).catch(({ code, temporary }) => (answers.once = [code, temporary]));
      connection.rpc("work", { n: "again" }, { repeatable: true }).then((data) => (answers.again = data));
    }""")
    wait_for(lambda: len(calls) == 2, what="both calls")
    stage.drop()
    client.until("answers.again && answers.once")
    assert client.page.evaluate("answers") == {"once": [0, True], "again": {"done": "again"}}
    assert calls == ["once", "again", "again"]


def test_calls_wait_for_the_connection(connect: Connect, stage: Stage) -> None:
    stage.methods["echo"] = lambda data: data

    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise Refusal(107, "argument 'x': no")

    stage.methods["refuse"] = refuse
    client = connect()
    client.page.evaluate("""() => {
      connection.close();
      window.answer = connection.rpc("echo", { x: 10n ** 20n });
      connection.open();
    }""")
    assert client.page.evaluate("answer.then(({ x }) => String(x))") == "1" + "0" * 20
    refused = "connection.rpc('refuse').catch(({ name, code, message, temporary }) => [name, code, message, temporary])"
    assert client.page.evaluate(refused) == ["RelayError", 107, "argument 'x': no", False]


def test_pings_are_answered_and_silence_is_noticed(open_page: OpenPage, stage: Stage) -> None:
    page = open_page(f"{stage.url}/blank")
    page.clock.install()
    page.evaluate(_CONNECT, [stage.url, [], ""])
    client = Client(page)
    client.until("connection.status.phase === 'connected'")
    stage.clients[0].send("{}")
    wait_for(lambda: "{}" in stage.texts, what="a pong")
    page.clock.fast_forward(20_000)
    stage.clients[0].send("{}")
    wait_for(lambda: stage.texts.count("{}") == 2, what="another pong")
    page.clock.fast_forward(34_000)
    assert page.evaluate("statuses.at(-1)[0]") == "connected"
    page.clock.fast_forward(2_000)
    client.until("statuses.some(([phase]) => phase === 'waiting')")
    page.clock.fast_forward(1_000)
    client.until("connection.status.phase === 'connected'")


@pytest.mark.parametrize(
    ("code", "phase"),
    [
        (3001, "waiting"), (3999, "refused"), (3503, "refused"),
        (4000, "waiting"), (4500, "refused"), (3500, "unauthorized"),
    ],
)  # fmt: skip
def test_close_codes(connect: Connect, stage: Stage, code: int, phase: str) -> None:
    client = connect()
    stage.drop(code, "because")
    client.until(f"statuses.some(([phase, code]) => code === {code})")
    assert [phase, code] in client.phases
    if phase == "waiting":
        client.until("connection.status.phase === 'connected'")
    else:
        assert client.page.evaluate("[connection.status.phase, connection.status.reason]") == [phase, "because"]


def test_a_token_is_asked_for_before_each_attempt(connect: Connect, stage: Stage) -> None:
    stage.token = "right"
    client = connect(token="wrong", until="connection.status.phase === 'unauthorized'")
    client.page.evaluate("() => { window.token = 'right'; connection.open(); }")
    client.until("connection.status.phase === 'connected'")
    assert [command["token"] for command in stage.sent("connect")] == ["wrong", "right"]


def test_coming_online_ends_the_wait(connect: Connect, stage: Stage) -> None:
    client = connect()
    client.page.clock.install()
    client.page.evaluate("Math.random = () => 0.999")
    stage.drop()
    client.until("connection.status.phase === 'waiting'")
    client.page.evaluate("dispatchEvent(new Event('online'))")
    client.until("connection.status.phase === 'connected'")


def test_an_unreadable_message_is_a_lost_connection(connect: Connect, stage: Stage) -> None:
    stage.emit("a", "PENDING")
    client = connect("tasks", until="heard.length === 2")
    stage.clients[0].send('{"push":{"channel":"tasks","pub":{"da')
    client.until("statuses.some(([phase]) => phase === 'waiting')")
    client.until("heard.length === 3")
    stage.emit("b", "PENDING")
    client.until("heard.length === 4")
    assert client.heard[3] == ["b", 2]
