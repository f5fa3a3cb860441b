"""What one change of a task's state is, and how many of them make a task."""

from __future__ import annotations

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from tests.support.events import event, events
from tests.support.order import Referee
from watcher.core.event import (
    FINAL_STATES,
    Event,
    ExceptionInfo,
    InvalidEvent,
    decode,
    encode,
    task_of,
    weight,
)
from watcher.core.order import parse, rank, standing

STATES = ("PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "FAILURE", "REVOKED", "REJECTED", "IGNORED", "SUCCESS")


@given(events())
def test_an_event_survives_its_json(told: Event) -> None:
    line = encode(told)
    assert b"\n" not in line
    assert encode(decode(line)) == line
    assert json.loads(line)["id"] == told.id


def test_absent_fields_are_not_written() -> None:
    assert json.loads(encode(event("a"))) == {"id": "a", "state": "PENDING", "timestamp": 1.0, "source": "signal"}


def test_null_is_a_result_and_absence_is_none() -> None:
    assert json.loads(encode(event("a", "SUCCESS", result=Raw(b"null"))))["result"] is None
    assert decode(encode(event("a", "SUCCESS"))).result is UNSET


def test_values_with_newlines_stay_on_one_line() -> None:
    line = encode(event("a", "SUCCESS", result=Raw(b'{\n "a": 1\n}')))
    assert b"\n" not in line
    assert json.loads(line)["result"] == {"a": 1}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"nonsense",
        b'{"id":1,"state":"PENDING","timestamp":1,"source":"signal"}',
        b'{"id":"a","state":"PENDING","timestamp":"1","source":"signal"}',
        b'{"id":"a","state":"PENDING","timestamp":1,"source":"elsewhere"}',
        b'{"id":"a","state":"PENDING","timestamp":1,"source":"signal"}\n{}',
        b'{"id":"a","state":"PENDING",\r"timestamp":1,"source":"signal"}',
        b'{"id":"a","state":"SUCCESS","timestamp":1,"source":"signal","result":"\xff"}',
        b'{"id":"a","state":"SUCCESS","timestamp":1,"source":"signal","result":'
        + b"[" * 100_000
        + b"]" * 100_000
        + b"}",
        b'{"id":"a","state":"PENDING","timestamp":1e300,"source":"signal"}',
        b'{"id":"a","state":"PENDING","timestamp":-1,"source":"signal"}',
        b'{"id":"a","state":"PENDING","timestamp":1,"source":"signal","retries":1000000000000000000000}',
        b'{"id":"a","state":"SUCCESS","timestamp":1,"source":"signal","result_size":18446744073709551615}',
    ],
)
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidEvent):
        decode(line)


def test_fields_that_nobody_knows_are_passed_over() -> None:
    assert decode(b'{"id":"a","state":"PENDING","timestamp":1,"source":"signal","tomorrow":[1]}').id == "a"


def test_the_ranks_are_those_of_the_protocol() -> None:
    assert [rank(state) for state in STATES] == [0, 1, 2, 3, 4, 5, 5, 5, 5, 6]
    assert rank("RENDERING") == rank("PROGRESS")
    assert set(STATES[5:]) == FINAL_STATES


@given(events(), events())
def test_a_standing_sorts_like_retries_rank_and_time(one: Event, other: Event) -> None:
    def order(told: Event) -> tuple[int, int, float]:
        return (told.retries or 0, rank(told.state), round(told.timestamp, 6))

    assert (standing(one)[:24] < standing(other)[:24]) == (order(one) < order(other))


@given(events())
def test_a_standing_tells_what_it_was_made_of(told: Event) -> None:
    found = parse(standing(told))
    assert found == (told.retries or 0, round(told.timestamp, 6), told.state, told.sent, told.run)


def test_a_standing_of_before_lives_were_told_is_read() -> None:
    assert parse("00000251795000000.500000 FAILURE") == (2, 1795000000.5, "FAILURE", None, None)


def test_an_event_is_carried_by_its_task_workflow_name_and_tags() -> None:
    told = event("a", root_id="r", group_id="g", name="tasks.add", tags=("x", "y", "x"))
    assert told.channels() == ["task:a", "root:r", "group:g", "name:tasks.add", "tag:x", "tag:y"]


def test_the_order_of_arrival_does_not_change_the_task() -> None:
    told = [
        event("a", "PENDING", 1, name="n", args=Raw(b"[1]")),
        event("a", "RECEIVED", 2, hostname="w"),
        event("a", "STARTED", 3, hostname="w"),
        event("a", "SUCCESS", 4, result=Raw(b"2"), runtime=1.0),
    ]
    for order in permutations(told):
        task = task_of(enumerate(Referee().marked(order), start=1))
        assert task is not None
        assert (task.state, task.final, task.offset, task.name, task.hostname) == ("SUCCESS", True, 4, "n", "w")
        assert task.times == {"PENDING": 1, "RECEIVED": 2, "STARTED": 3, "SUCCESS": 4}
        assert isinstance(task.args, Raw)
        assert bytes(task.args) == b"[1]"


def test_new_try_resets_times_exception_and_meta() -> None:
    from watcher.core.event import ExceptionInfo

    task = task_of(
        enumerate(
            [
                event("a", "STARTED", 1, retries=0),
                event("a", "PROGRESS", 2, retries=0, meta=Raw(b"{}")),
                event("a", "RETRY", 3, retries=0, exception=ExceptionInfo("E", "m")),
                event("a", "STARTED", 4, retries=1),
            ],
            start=1,
        )
    )
    assert task is not None
    assert (task.state, task.retries, task.times) == ("STARTED", 1, {"STARTED": 4})
    assert task.exception is None
    assert task.meta is UNSET


def test_what_is_of_one_run_is_not_told_of_another() -> None:
    first = event("a", "STARTED", 1, hostname="w1", run="one")
    again = event("a", "RECEIVED", 2, hostname="w2", run="two", redelivered=1, late=True)
    told = [(1, first), (2, again)]
    assert (task := task_of(told)) is not None
    assert (task.hostname, task.run, task.redelivered) == ("w1", "one", None)
    assert task.reserved is not None
    assert (task.reserved.hostname, task.reserved.run) == ("w2", "two")
    succeeded = event("a", "SUCCESS", 3, hostname="w1", run="one")
    began = event("a", "STARTED", 4, hostname="w2", run="two", redelivered=1, late=True)
    assert (task := task_of([*told, (3, succeeded), (4, began)])) is not None
    assert (task.state, task.hostname, task.redelivered, task.reserved) == ("SUCCESS", "w1", None, None)
    stored = event("a", "SUCCESS", 5, retries=1)
    late = event("a", "RETRY", 3, hostname="w1", run="one", late=True)
    for order in ([(1, first), (2, stored), (3, late)], [(1, stored), (2, late)]):
        assert (task := task_of(order)) is not None
        assert (task.retries, task.hostname, task.run) == (1, None, None)


def test_late_event_only_fills_in_missing_fields() -> None:
    pending = event("a", "PENDING", 9, name="other", queue="q", late=True)
    task = task_of([(1, event("a", "STARTED", 5, name="n")), (2, pending)])
    assert task is not None
    assert (task.state, task.timestamp, task.name, task.queue, task.offset) == ("STARTED", 5, "n", "q", 2)


def test_unsent_task_reopens_when_sent_again_or_received() -> None:
    told = [(1, event("a", "PENDING", 1)), (2, event("a", "REJECTED", 2, reason="not_sent"))]
    assert (rejected := task_of(told)) is not None
    assert (rejected.state, rejected.final) == ("REJECTED", True)
    for again in (event("a", "PENDING", 3), event("a", "RECEIVED", 3)):
        assert (task := task_of([*told, (3, again)])) is not None
        assert (task.state, task.final, task.reason) == (again.state, False, None)


def test_success_after_a_revocation_takes_its_reason_away() -> None:
    task = task_of([(1, event("a", "REVOKED", 1, reason="revoked")), (2, event("a", "SUCCESS", 2))])
    assert task is not None
    assert (task.state, task.reason) == ("SUCCESS", None)


@given(st.lists(events(ids=st.just("a")), max_size=8))
def test_any_events_fold_to_a_task_that_json_can_hold(told: list[Event]) -> None:
    import msgspec

    task = task_of(enumerate(told, start=1))
    assert (task is None) == (not told)
    if task is not None:
        assert task.final == (task.state in FINAL_STATES)
        assert json.loads(msgspec.json.encode(task))["times"] == task.times
        assert task.state in task.times


def test_weight_is_about_that_of_the_line() -> None:
    """Bounds are kept by it before there is one."""
    heavy = event(
        "e" * 36, "FAILURE", args=Raw(b'["' + b"a" * 5000 + b'"]'), kwargs=Raw(b"{}"), argsrepr="b" * 700,
        kwargsrepr="{}", result=Raw(b"1" * 3000), meta=Raw(b"2" * 2000),
        exception=ExceptionInfo(type="ValueError", message="m" * 1000, traceback="t" * 4000),
    )  # fmt: skip
    strange = event("i" * 9000, "s" * 9000, name="n" * 9000)
    for each in (event("e" * 36, name="shop.import", root_id="e" * 36, hostname="celery@worker-1"), heavy, strange):
        assert 0 < weight(each) - len(encode(each)) < 500
