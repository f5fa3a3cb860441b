"""When a task was sent, and which delivery of it a worker has."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from watcher.core.order import incarnation_of
from watcher.rendering.lives import RUN, SENT, RunNames, SentStamps, deliveries, sent_of


def test_sent_stamps_are_unique_and_increasing_in_a_process() -> None:
    stamps, before = SentStamps(), time.time()
    sent = [stamps.stamp({}, 0, None) for _ in range(100)]
    assert all(moment is not None and before - 1e-3 <= moment <= time.time() + 1e-3 for moment in sent)
    assert sent == sorted(set(sent))  # type: ignore[type-var] # none of them is None, as was just seen


def test_child_is_stamped_after_its_parent_despite_clock_skew() -> None:
    ahead = {SENT: time.time() + 90}
    headers: dict[str, Any] = {}
    sent = SentStamps().stamp(headers, 0, ahead)
    assert sent == headers[SENT] > ahead[SENT]


def test_a_retry_belongs_to_the_life_of_its_task_and_is_no_run_yet() -> None:
    headers = {SENT: 5.0, RUN: "run"}
    assert SentStamps().stamp(headers, 1, {SENT: 5.0}) == 5.0
    assert headers == {SENT: 5.0}
    assert SentStamps().stamp({}, 1, {}) is None


def test_replacement_gets_a_new_sent_stamp() -> None:
    headers = {SENT: 5.0}
    sent = SentStamps().stamp(headers, 0, {SENT: 5.0})
    assert sent == headers[SENT] != 5.0


def test_what_a_sender_without_a_task_says_itself_holds() -> None:
    headers = {SENT: 5.0}
    assert SentStamps().stamp(headers, 0, None) == 5.0


def test_each_delivery_is_a_run_of_the_process_that_received_it() -> None:
    runs = RunNames()
    requests: list[dict[str, Any]] = [{}, {SENT: 5.0}, {RUN: "another's"}]
    for request in requests:
        runs.receive(request)
    names = [request.get(RUN) for request in requests]
    assert len(set(names)) == 3
    assert {incarnation_of(str(name)) for name in names} == {runs.incarnation}
    assert requests[1][SENT] == 5.0
    assert abs(requests[0][SENT] - time.time()) < 5


@pytest.mark.parametrize("known", [{"retries": 1}, {"delivery_info": {"redelivered": True}}])
def test_sent_time_is_unknown_for_a_retry_or_redelivery(known: dict[str, Any]) -> None:
    RunNames().receive(known)
    assert sent_of(known) is None


def test_a_fork_has_an_incarnation_of_its_own() -> None:
    runs = RunNames()
    here = runs.incarnation
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, runs.incarnation.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 99).decode() != here == runs.incarnation


@pytest.mark.parametrize("sent", ["5", None, -1, 0, float("nan"), 1e300, [], {}])
def test_a_strange_moment_counts_as_none(sent: Any) -> None:
    assert sent_of({SENT: sent}) is None


@pytest.mark.parametrize(
    ("request_", "times"),
    [
        ({}, 0), ({"delivery_info": None}, 0), ({"delivery_info": {"redelivered": False}}, 0),
        ({"delivery_info": {"redelivered": True}}, 1),
        ({"delivery_info": {"redelivered": True}, "x-delivery-count": 3}, 3),
        ({"delivery_info": {"redelivered": True}, "x-delivery-count": "3"}, 1),
    ],
)  # fmt: skip
def test_deliveries_are_those_that_the_broker_tells_of(request_: dict[str, Any], times: int) -> None:
    assert deliveries(request_) == times
