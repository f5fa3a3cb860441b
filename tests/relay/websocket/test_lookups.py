"""Tasks that are looked up before a subscription is answered, and what is said of their channels meanwhile."""

from __future__ import annotations

import json
import time

import pytest

from tests.relay.conversation import Client, publish, relay
from tests.support.events import line
from tests.support.waiting import wait_for
from watcher.core.errors import NotPermitted, Unavailable
from watcher.core.permissions import OPEN, Grant
from watcher.relay.websocket.records import SessionConfig


def test_unknown_task_is_looked_up_before_the_subscribe_reply() -> None:
    client = Client(relay()).connected()
    outcome = client.say(subscribe={"channel": "task:a"})
    (call,) = outcome.calls
    assert outcome.replies == []
    assert client.subscribe("task:a")["error"]["code"] == 105
    publish(client.hub, line("a"))  # it came while we looked
    (reply,) = client.answers(call)
    assert reply["subscribe"]["data"]["task"]["state"] == "PENDING"
    assert reply["id"] == call.id
    publish(client.hub, line("a", "STARTED"))
    assert client.pushed == [("task:a", 2)]


def test_a_task_that_nobody_knows_is_null_and_watched_all_the_same() -> None:
    client = Client(relay()).connected()
    (call,) = client.say(subscribe={"channel": "task:a"}).calls
    assert client.answers(call)[0]["subscribe"]["data"] == {"task": None}
    publish(client.hub, line("a"))
    assert client.pushed == [("task:a", 1)]


def test_unsubscribing_during_the_lookup_is_final() -> None:
    client = Client(relay()).connected()
    (call,) = client.say(subscribe={"channel": "task:a"}).calls
    assert client.say(unsubscribe={"channel": "task:a"}).replies == []
    told = client.answers(call)
    assert [reply["id"] for reply in told] == [call.id, call.id + 1]
    assert told[0]["subscribe"]["data"] == {"task": None}
    assert told[1]["unsubscribe"] == {}
    publish(client.hub, line("a"))
    assert client.pushed == []


@pytest.mark.parametrize("times", [1, 2, 5])
def test_resubscribing_during_the_lookup_leaves_it_subscribed(times: int) -> None:
    client = Client(relay()).connected()
    outcome = client.say(subscribe={"channel": "task:a"})
    for _ in range(times):
        for command in ("unsubscribe", "subscribe"):
            later = client.say(**{command: {"channel": "task:a"}})
            assert (later.replies, later.calls) == ([], [])
    assert client.subscribe("task:a")["error"]["code"] == 105
    publish(client.hub, line("a"))
    told = client.answers(*outcome.calls)
    kinds = [next(iter(reply.keys() - {"id"})) for reply in told]
    assert kinds == ["subscribe", *["unsubscribe", "subscribe"] * times]
    assert [reply["id"] for reply in told] == list(range(2, 3 + 2 * times))
    # An SDK takes the first of them for the reply to its newest subscription: all say the same.
    said = [reply["subscribe"] for reply in told if "subscribe" in reply]
    assert all(each == said[0] for each in said)
    assert said[0]["data"]["task"]["state"] == "PENDING"
    publish(client.hub, line("a", "STARTED"))
    assert client.pushed == [("task:a", 2)]
    assert client.ask(unsubscribe={"channel": "task:a"})["unsubscribe"] == {}
    assert client.subscribe("task:a")["data"]["task"]["state"] == "STARTED"


def test_one_frame_may_leave_and_come_back() -> None:
    client = Client(relay()).connected()
    said = [{"subscribe": {"channel": "task:a"}}, {"unsubscribe": {"channel": "task:a"}}]
    frame = b"\n".join(json.dumps({"id": n, **said[n % 2]}).encode() for n in (2, 3, 4))
    outcome = client.session.receive(frame)
    assert outcome.replies == []
    assert [reply["id"] for reply in client.answers(*outcome.calls)] == [2, 3, 4]
    assert "task:a" in client.session.subscriptions


def test_failed_lookup_is_reported_to_each_subscribe() -> None:
    client = Client(relay()).connected()
    (call,) = client.say(subscribe={"channel": "task:a"}).calls
    client.say(unsubscribe={"channel": "task:a"})
    client.say(subscribe={"channel": "task:a"})
    told = [json.loads(reply) for reply in client.session.give_up(call, Unavailable("the backend is away"))]
    assert [reply.get("error", {}).get("code") for reply in told] == [100, None, 100]
    assert told[2]["error"]["temporary"]
    assert told[1]["unsubscribe"] == {}
    assert client.say(subscribe={"channel": "task:a"}).calls, "it can be repeated"


def test_other_commands_are_answered_during_a_lookup() -> None:
    client = Client(relay(line("b", root_id="a"))).connected()
    (call,) = client.say(subscribe={"channel": "task:a"}).calls
    assert client.ask(history={"channel": "task:a", "limit": -1})["history"]["publications"] == []
    assert client.ask(ping={}) == {"ping": {}}
    assert client.ask(unsubscribe={"channel": "task:b"})["unsubscribe"] == {}
    assert client.say(rpc={"method": "get", "data": {"id": "a"}}).calls
    client.say(unsubscribe={"channel": "task:a"})
    assert client.ask(history={"channel": "task:a"})["history"]["offset"] == 1
    assert len(client.answers(call)) == 2


def test_what_waits_for_a_look_up_is_bounded_as_calls_are() -> None:
    client = Client(relay(), SessionConfig("w", "1", 25, lambda token: OPEN, calls=3)).connected()
    (call,) = client.say(subscribe={"channel": "task:a"}).calls
    client.say(unsubscribe={"channel": "task:a"})
    client.say(subscribe={"channel": "task:a"})
    assert client.ask(unsubscribe={"channel": "task:a"})["error"]["code"] == 111
    assert client.ask(rpc={"method": "get"})["error"]["code"] == 111
    assert len(client.answers(call)) == 3
    assert len([call for _ in range(3) for call in client.say(rpc={"method": "get"}).calls]) == 3


def test_token_expiring_during_a_lookup_must_be_renewed() -> None:
    ends = {"short": time.time() - 4.9, "long": 9e9}
    terms = SessionConfig(
        "w", "1", 25, lambda token: Grant("me", watch=("task:a",) if token else (), expires=ends.get(token))
    )
    client = Client(relay(), terms).connected()
    (call,) = client.say(subscribe={"channel": "task:a", "token": "short"}).calls
    client.say(unsubscribe={"channel": "task:a"})
    client.say(subscribe={"channel": "task:a", "token": "long"})
    wait_for(lambda: time.time() > ends["short"] + 5, what="the end of the token")
    told = client.answers(call)
    assert [reply.get("error", {}).get("code") for reply in told] == [109, None, None]
    assert told[2]["subscribe"]["data"] == {"task": None}
    assert client.session.next_end == 9e9 + 5
    client.session.end_subscriptions(1e10)
    assert list(client.session.subscriptions) == []


def test_lookup_is_refused_after_a_refresh_to_fewer_rights() -> None:
    terms = SessionConfig("w", "1", 25, lambda token: Grant("me", watch=(token,), expires=9e9))
    client = Client(relay(), terms)
    client.ask(connect={"token": "task:*"})
    (call,) = client.say(subscribe={"channel": "task:a"}).calls
    client.ask(refresh={"token": "task:b"})
    (reply,) = client.answers(call)
    assert reply["error"]["code"] == 103
    assert list(client.session.subscriptions) == []


def test_a_client_that_has_gone_leaves_nothing_behind() -> None:
    client = Client(relay()).connected()
    (call,) = client.say(subscribe={"channel": "task:a"}).calls
    client.say(unsubscribe={"channel": "task:a"})
    client.session.close()
    assert client.answers(call) == []
    assert client.hub.subscribers() == set()


def test_a_lookup_that_fails_says_why_and_can_be_repeated() -> None:
    client = Client(relay()).connected()
    (call,) = client.say(subscribe={"channel": "task:a"}).calls
    (reply,) = map(json.loads, client.session.give_up(call, NotPermitted("no")))
    assert reply["error"]["code"] == 103
    assert client.say(subscribe={"channel": "task:a"}).calls
