"""What is pure in the client: addresses, waits, errors, what a task's end means."""

from __future__ import annotations

import json
import pickle

import pytest

from watcher.centrifuge.client_messages import messages
from watcher.centrifuge.protocol import is_terminal, socket_url
from watcher.client import ResultUnavailable, TaskFailed, TaskRejected, TaskRevoked
from watcher.client.errors import RelayRefused, RelayUnavailable, TokenRefused, refusal
from watcher.client.models import TaskEvent, value_of


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:5556", "ws://127.0.0.1:5556/connection/websocket"),
        ("https://relay.example/watcher/", "wss://relay.example/watcher/connection/websocket"),
        ("ws://[::1]:1/connection/websocket", "ws://[::1]:1/connection/websocket"),
    ],
)
def test_socket_is_below_the_relays_address(given: str, url: str) -> None:
    assert socket_url(given) == url


@pytest.mark.parametrize("given", ["", "127.0.0.1:5556", "redis://127.0.0.1", "http://"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="not the address of a relay"):
        socket_url(given)


def test_codes_that_say_not_to_come_back() -> None:
    assert [code for code in (1006, 3001, 3499, 3500, 3999, 4000, 4499, 4500, 4999, 5000) if is_terminal(code)] == [
        3500, 3999, 4500, 4999,
    ]  # fmt: skip


def test_frame_holds_lines_and_pings() -> None:
    found = list(messages(b'{"id":3,"rpc":{"data":{"a": [1, 2]}}}\n{}\n\n{"push":{"channel":"c","pub":{"data":1}}}'))
    assert found[0] is not None
    assert found[0].rpc is not None
    assert bytes(found[0].rpc.data) == b'{"a": [1, 2]}'
    assert found[1] is None
    assert len(found) == 3


@pytest.mark.parametrize(
    "error",
    [
        TaskFailed("i", "n", "ValueError", "m", "trace", "worker_lost"),
        TaskRejected("i", None, "Rejected", "not_sent", None, "not_sent"),
        TaskRevoked("i", "n", "expired"),
        ResultUnavailable("i", "n", size=7),
        RelayRefused("no", 103),
    ],
)
def test_errors_come_out_of_a_process_pool_as_they_went_in(error: Exception) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert vars(copied) == vars(error)
    assert str(copied) == str(error)


def test_codes_become_errors() -> None:
    assert type(refusal(104, "x")) is RelayRefused
    assert type(refusal(109, "x")) is type(refusal(3500, "x")) is TokenRefused
    assert type(refusal(100, "x", temporary=True)) is RelayUnavailable


def ended(state: str, **fields: object) -> TaskEvent:
    line = json.dumps({"id": "i", "state": state, "timestamp": 1, "name": "n", **fields}).encode()
    return TaskEvent("task:i", "e", 1, line)


def test_result_is_the_value_null_included() -> None:
    assert value_of(ended("SUCCESS", result={"a": None})) == {"a": None}
    assert value_of(ended("SUCCESS", result=None)) is None
    assert value_of(ended("IGNORED")) is None


@pytest.mark.parametrize(
    ("event", "error", "words"),
    [
        (ended("SUCCESS", result_size=99999), ResultUnavailable, "99999 bytes.*GET /api/tasks/i/result"),
        (ended("SUCCESS", result="<x>", result_repr=True), ResultUnavailable, "<x>"),
        (ended("SUCCESS"), ResultUnavailable, "WATCHER_SEND_RESULTS"),
        (ended("REVOKED", reason="expired"), TaskRevoked, "revoked: expired"),
        (ended("REJECTED", reason="not_sent"), TaskRejected, "not_sent"),
        (ended("REJECTED", exception={"type": "E", "message": "m"}), TaskRejected, r"n\[i\] was rejected: m"),
        (ended("FAILURE", exception={"type": "E", "message": "m"}), TaskFailed, r"n\[i\] failed: E: m"),
        (ended("FAILURE"), TaskFailed, "failed: Exception"),
    ],
)
def test_what_is_no_value_raises(event: TaskEvent, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        value_of(event)
