"""One client's conversation: what is said to what is asked, by the Centrifuge protocol."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.relay.conversation import Client, offsets, publish, relay
from tests.support.events import line
from watcher.centrifuge import messages
from watcher.core.errors import NotPermitted, TokenExpired, Unauthorized
from watcher.core.permissions import OPEN, Grant, grant, issue, keyring_of
from watcher.core.settings import Settings
from watcher.relay.stream.history import ALL
from watcher.relay.websocket.records import SessionConfig


def test_connect_says_who_one_is_and_where_the_journal_stands() -> None:
    reply = Client(relay(line("a"))).ask(connect={"name": "js", "data": {"x": 1}})["connect"]
    assert len(reply["client"]) == 36
    assert (reply["version"], reply["ping"], reply["pong"]) == ("1", 25, True)
    assert reply["data"] == {"namespace": "watcher", "epoch": "e", "offset": 1}
    assert "expires" not in reply


def test_connect_says_where_events_may_be_late() -> None:
    terms = SessionConfig("watcher", "1", 25, lambda token: OPEN, lambda: "Redis: no answer")
    assert Client(relay(), terms).ask(connect={})["connect"]["data"]["trouble"] == "Redis: no answer"


@pytest.mark.parametrize(
    ("watch", "told"),
    [
        (("*",), None), (("tag:a", "tasks"), None), (("t*",), None),
        (("tag:user:42", "task:*"), ["tag:user:42", "task:*"]), ((), []),
    ],
)  # fmt: skip
def test_connect_reply_lists_watch_rights_unless_unrestricted(watch: tuple[str, ...], told: list[str] | None) -> None:
    terms = SessionConfig("w", "1", 25, lambda token: Grant("me", watch=watch))
    assert Client(relay(), terms).ask(connect={})["connect"]["data"].get("watch") == told


def test_a_token_that_ends_is_announced_refreshed_and_enforced() -> None:
    now = time.time()
    terms = SessionConfig(
        "w", "1", 25, lambda token: Grant("me", watch=("*",), expires=now + {"": 60.0}.get(token, 600.0))
    )
    client = Client(relay(), terms)
    reply = client.ask(connect={})["connect"]
    assert reply["expires"]
    assert 55 <= reply["ttl"] <= 60
    assert client.session.expired(now + 66)  # 5 s of grace, as at the door
    assert not client.session.expired(now + 64)
    assert client.ask(refresh={"token": "longer"})["refresh"]["ttl"] > 500
    assert not client.session.expired(now + 66)


def test_a_refresh_does_not_change_who_one_is() -> None:
    client = Client(relay(), SessionConfig("w", "1", 25, lambda token: Grant(token, watch=("*",))))
    client.ask(connect={"token": "me"})
    assert client.ask(refresh={"token": "somebody else"})["error"]["code"] == 101


def named(*globs: str, may: list[str] | None = None) -> Client:
    """A client that a proxy names, at a relay where tokens are what they may watch."""
    may = list(globs) if may is None else may
    terms = SessionConfig("w", "1", 25, lambda token: Grant("me", watch=(token,), expires=9e9))
    return Client(relay(line("a")), terms, lambda: Grant("me", watch=tuple(may), expires=5e9))


def test_whom_a_proxy_names_needs_no_token_and_is_told_of_no_end() -> None:
    client = named("tasks")
    assert "expires" not in client.ask(connect={})["connect"]  # there is nothing to refresh
    assert client.session.grant == Grant("me", watch=("tasks",), expires=5e9)
    assert client.session.next_end == 5e9 + 5


def test_a_token_counts_more_than_what_a_proxy_says() -> None:
    for token in ({"connect": {"token": "task:a"}}, None):
        may = ["tasks"]
        client = named(may=may)
        if token is None:
            client.ask(connect={})
            assert client.ask(refresh={"token": "task:a"})["refresh"]["expires"]
        else:
            assert client.ask(**token)["connect"]["expires"]
        may[:] = ["*"]
        assert client.session.reconsider() == []
        assert client.ask(subscribe={"channel": "tasks"})["error"]["code"] == 103


def test_what_a_proxy_says_is_looked_at_again() -> None:
    may = ["tasks", "tag:*"]
    client = named(may=may)
    assert client.session.reconsider() == []  # it has not said connect
    client.ask(connect={})
    for channel in ("tasks", "tag:x"):
        client.ask(subscribe={"channel": channel})
    outcome = client.say(subscribe={"channel": "task:unknown"})
    assert len(outcome.calls) == 1  # it is looked up elsewhere
    may.remove("tasks")
    (push,) = map(json.loads, client.session.reconsider())
    assert push["push"] == {"channel": "tasks", "unsubscribe": {"code": 2501, "reason": "expired"}}
    assert list(client.session.subscriptions) == ["tag:x"]
    (reply,) = client.answers(outcome.calls[0])
    assert reply["error"]["code"] == 103, "its right to watch ended while the task was looked up"
    assert client.session.next_end == 5e9 + 5  # what was granted less doesn't last longer


@pytest.mark.parametrize(
    ("error", "expected"), [(Unauthorized("no"), messages.INVALID_TOKEN), (TokenExpired("over"), None)]
)
def test_connect_ends_on_an_invalid_token_but_not_an_expired_one(error: Any, expected: Any) -> None:
    def refuse(token: str) -> Grant:
        raise error

    outcome = Client(relay(), SessionConfig("w", "1", 25, refuse)).say(connect={"token": "x"})
    assert outcome.disconnect == expected
    if expected is None:
        assert json.loads(outcome.replies[0])["error"]["code"] == 109


def test_connect_without_a_token_may_be_repeated_with_one() -> None:
    keyring = keyring_of(Settings(secret="s" * 32))
    client = Client(relay(), SessionConfig("w", "1", 25, lambda token: grant(token, keyring)))
    assert client.ask(connect={}) == {"error": {"code": 101, "message": "a token is required"}}
    assert client.say(connect={"token": "x"}).disconnect == messages.INVALID_TOKEN
    assert "connect" in client.ask(connect={"token": issue("s" * 32, watch=["*"])})


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense",
        b"[]",
        b'{"id":1,"subscribe":{"channel":5}}',
        b'{"id":-1,"rpc":{}}',
        b"\xff",
        b"[" * 5000,
        b'{"id":1e400}',
    ],
)
def test_what_is_not_the_protocol_ends_the_connection(text: bytes) -> None:
    assert Client(relay()).connected().session.receive(text).disconnect == messages.BAD_PROTOCOL


def test_connect_comes_first_and_once() -> None:
    assert Client(relay()).say(subscribe={"channel": ALL}).disconnect == messages.BAD_PROTOCOL
    assert Client(relay()).connected().say(connect={}).disconnect == messages.BAD_PROTOCOL


def test_a_pong_says_nothing_and_a_ping_is_answered() -> None:
    client = Client(relay()).connected()
    assert client.session.receive(b"{}").replies == []
    assert client.session.receive(b"{}\n\n{}\n").disconnect is None
    assert client.ask(ping={}) == {"ping": {}}


def test_several_commands_in_one_frame_are_answered_in_order() -> None:
    client = Client(relay()).connected()
    text = b'{"id":7,"ping":{}}\n{"id":8,"subscribe":{"channel":"tasks"}}\n{"id":9,"ping":{}}'
    assert [json.loads(reply)["id"] for reply in client.session.receive(text).replies] == [7, 8, 9]


@pytest.mark.parametrize("command", ["publish", "presence", "presence_stats"])
def test_what_is_not_served_is_not_available(command: str) -> None:
    client = Client(relay()).connected()
    assert client.ask(**{command: {}})["error"]["code"] == 108
    assert client.ask(**{command: {"channel": "tasks"}})["error"]["code"] == 108


@pytest.mark.parametrize(
    ("channel", "code"),
    [("", 107), ("task:" + "x" * 251, 107), ("task:", 107), ("news", 102), ("job:1", 102), ("name:secret", 103)],
)
def test_subscribe_to_an_unavailable_channel_gives_the_reason(channel: str, code: int) -> None:
    terms = SessionConfig("w", "1", 25, lambda token: Grant(watch=("tag:*",)))
    assert Client(relay(), terms).connected().subscribe(channel)["error"]["code"] == code


def test_a_subscription_token_opens_its_channel() -> None:
    terms = SessionConfig("w", "1", 25, lambda token: Grant(watch=(token,)))
    client = Client(relay(line("a")), terms).connected()
    assert client.subscribe("task:a")["error"]["code"] == 103
    assert client.subscribe("task:a", token="task:a")["data"]["task"]["id"] == "a"


def test_a_subscription_comes_once_and_ends() -> None:
    client = Client(relay()).connected()
    assert client.subscribe()["recoverable"]
    assert client.subscribe()["error"]["code"] == 105
    assert client.ask(unsubscribe={"channel": ALL}) == {"unsubscribe": {}}
    publish(client.hub, line("a"))
    assert client.pushed == []
    assert client.subscribe()["offset"] == 1


def test_subscriptions_are_bounded() -> None:
    client = Client(relay()).connected()
    for number in range(1000):
        client.subscribe(f"name:{number}")
    assert client.subscribe("name:one more")["error"]["code"] == 106


def test_a_task_comes_with_its_subscription_and_its_events_follow() -> None:
    client = Client(relay(line("a", name="n"), line("b"))).connected()
    reply = client.subscribe("task:a")
    assert (reply["recoverable"], reply["positioned"], reply["epoch"], reply["offset"]) == (True, True, "e", 2)
    assert reply["data"]["task"]["state"] == "PENDING"
    assert "publications" not in reply
    publish(client.hub, line("b", "STARTED"), line("a", "STARTED"))
    assert client.pushed == [("task:a", 4)]


def test_subscribe_to_a_workflow_or_group_returns_its_tasks() -> None:
    client = Client(relay(line("a", root_id="a"), line("b", root_id="a", group_id="g"))).connected()
    assert [task["id"] for task in client.subscribe("root:a")["data"]["tasks"]] == ["b", "a"]
    assert [task["id"] for task in client.subscribe("group:g")["data"]["tasks"]] == ["b"]
    assert client.subscribe("group:none")["data"] == {"tasks": []}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"tf": {"key": "state", "cmp": "eq", "val": "SUCCESS"}}, 107), ({"tf": {}}, 107),
        ({"type": 1}, 108), ({"type": 2, "limit": 10}, 108), ({"type": 3}, 108), ({"type": 4}, 108),
        ({"type": 5}, 107), ({"type": -1}, 107), ({"cursor": "x"}, 107), ({"phase": 1}, 107), ({"asc": True}, 107),
    ],
)  # fmt: skip
def test_what_is_asked_for_and_not_served_is_refused(asked: dict[str, Any], code: int) -> None:
    client = Client(relay()).connected()
    error = client.subscribe("task:a", **asked)["error"]
    assert error["code"] == code
    assert error["message"].startswith((*asked, "phase"))
    assert list(client.session.subscriptions) == []


@pytest.mark.parametrize(
    "offered",
    [
        {"delta": "fossil"}, {"join_leave": True}, {"positioned": True}, {"recoverable": True}, {"flag": 1},
        {"data": {"x": 1}}, {"tf": None, "type": 0, "cursor": "", "phase": 0, "limit": 0, "asc": False},
        {"unheard of": 1},
    ],
)  # fmt: skip
def test_what_is_offered_need_not_be_taken(offered: dict[str, Any]) -> None:
    """These are negotiated: the reply says what came of them, by what it has."""
    reply = Client(relay()).connected().subscribe(ALL, **offered)
    assert reply == {"recoverable": True, "epoch": "e", "positioned": True}


def test_send_command_is_refused_in_favour_of_rpc() -> None:
    disconnect = Client(relay()).connected().session.receive(b'{"send":{"data":{"x":1}}}').disconnect
    assert disconnect is not None
    assert disconnect.code == 3508
    assert "rpc" in disconnect.reason
    assert Client(relay()).session.receive(b'{"send":{"data":1}}').disconnect == messages.BAD_PROTOCOL


def test_no_subscription_has_a_token_to_refresh() -> None:
    client = Client(relay()).connected()
    assert client.ask(sub_refresh={"channel": ALL, "token": "x"})["error"]["code"] == 103
    client.subscribe(ALL)
    assert client.ask(sub_refresh={"channel": ALL, "token": "x"})["error"]["code"] == 108


def test_what_was_missed_comes_with_the_recovery_and_nothing_twice() -> None:
    client = Client(relay(*[line("a"), line("b"), line("c")])).connected()
    reply = client.subscribe(ALL, recover=True, epoch="e", offset=1)
    assert (reply["was_recovering"], reply["recovered"], reply["offset"]) == (True, True, 3)
    assert offsets(reply) == [2, 3]
    publish(client.hub, line("d"))
    assert client.pushed == [(ALL, 4)]


def test_everything_that_is_kept_can_be_asked_for() -> None:
    assert Client(relay(line("a"))).connected().subscribe(ALL, recover=True, epoch="", offset=0)["recovered"]
    trimmed = relay(*[line(f"t{n}", "SUCCESS") for n in range(30)], events=10)
    reply = Client(trimmed).connected().subscribe(ALL, recover=True, epoch="", offset=0)
    assert "recovered" not in reply
    assert offsets(reply) == list(range(21, 31))


def test_another_epoch_or_a_gap_is_not_recovered() -> None:
    hub = relay(*[line(f"t{n}", "SUCCESS") for n in range(30)], events=10)
    assert "recovered" not in Client(hub).connected().subscribe(ALL, recover=True, epoch="old", offset=25)
    assert "recovered" not in Client(hub).connected().subscribe(ALL, recover=True, epoch="e", offset=19)
    assert Client(hub).connected().subscribe(ALL, recover=True, epoch="e", offset=20)["recovered"]


def test_a_client_that_would_rather_not_is_told_112() -> None:
    client = Client(relay(line("a"))).connected()
    assert client.subscribe(ALL, recover=True, epoch="old", offset=1, flag=2)["error"]["code"] == 112
    assert client.subscribe(ALL)["recoverable"], "it is not subscribed yet"


def test_a_quiet_channel_is_recovered_however_much_else_happened() -> None:
    hub = relay(line("a", "SUCCESS", name="quiet"), *[line(f"t{n}", "SUCCESS") for n in range(50)], events=10)
    assert Client(hub).connected().subscribe("name:quiet", recover=True, epoch="e", offset=1)["recovered"]
    assert "recovered" not in Client(hub).connected().subscribe("name:quiet", recover=True, epoch="e", offset=0)


def test_client_ahead_of_the_relay_resumes_when_it_catches_up() -> None:
    client = Client(relay(line("a"))).connected()
    (call,) = client.say(subscribe={"channel": ALL, "recover": True, "epoch": "e", "offset": 3}).calls
    publish(client.hub, line("b"), line("c"))
    reply = client.answers(call)[0]["subscribe"]
    assert reply["recovered"]
    assert "publications" not in reply
    publish(client.hub, line("d"))
    assert client.pushed == [(ALL, 4)]


def test_history_is_given_forward_backward_and_in_part() -> None:
    client = Client(relay(*[line(f"t{n}", name="n" if n % 2 else "m") for n in range(10)])).connected()

    def history(**request: Any) -> list[int]:
        return offsets(client.ask(history={"channel": "name:n", **request})["history"])

    assert history(limit=-1) == history(limit=2**64) == [2, 4, 6, 8, 10]
    assert history(limit=2) == [2, 4]
    assert history(limit=2, since={"offset": 4, "epoch": "e"}) == [6, 8]
    assert history(limit=2, reverse=True) == [10, 8]
    assert history(limit=9, reverse=True, since={"offset": 6, "epoch": ""}) == [4, 2]
    assert history() == []
    assert client.ask(history={"channel": "name:n"})["history"]["offset"] == 10
    assert client.ask(history={"channel": ALL, "since": {"offset": 1, "epoch": "x"}})["error"]["code"] == 112


def test_rpc_passes_its_data_on_and_answers_by_id() -> None:
    client = Client(relay()).connected()
    (call,) = client.say(rpc={"method": "get", "data": {"id": "ü"}}).calls
    assert (call.method, json.loads(call.data)) == ("get", {"id": "ü"})
    assert client.answers(call, {"task": None}) == [{"id": call.id, "rpc": {"data": {"task": None}}}]
    (call,) = client.say(rpc={"method": "submit"}).calls
    assert call.data == b""
    error = json.loads(client.session.give_up(call, NotPermitted("not this"))[0])["error"]
    assert error == {"code": 103, "message": "not this"}


def test_calls_under_way_are_bounded() -> None:
    client = Client(relay()).connected()
    calls = [call for _ in range(1000) for call in client.say(rpc={"method": "get"}).calls]
    assert client.ask(rpc={"method": "get"})["error"] == {
        "code": 111, "message": "too many requests", "temporary": True,
    }  # fmt: skip
    client.session.answer(calls[0], {})
    assert client.say(rpc={"method": "get"}).calls
