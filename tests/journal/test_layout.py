"""The journal's scripts, on a real server: offsets, repeats, unfinished tasks, bounds, epochs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.journal.keeper import keeper
from tests.support.events import event, life, record
from tests.support.order import Referee
from tests.support.valkey import Valkey
from watcher.core.event import Event, decode, is_final
from watcher.journal.layout import (
    BATCH_BYTES,
    BATCH_EVENTS,
    SECRET_LENGTH,
    Batch,
    Journal,
    batches,
    open_line,
    parse_live,
)

SECRET = "5" * SECRET_LENGTH


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Any]:
    with valkey.client() as client:
        yield client


def test_offsets_count_without_a_hole_within_one_epoch(redis: Any) -> None:
    keep = keeper(redis)
    epoch, offset, taken = keep.append(*life("a"))
    assert (offset, taken) == (4, 4)
    assert keep.append(event("b")) == (epoch, 5, 1)
    assert [offset for offset, _ in keep.entries()] == [1, 2, 3, 4, 5]


def test_a_repeated_batch_is_ignored_and_another_writer_is_not(redis: Any) -> None:
    keep = keeper(redis)
    keep.append(event("a"), number=7)
    assert keep.append(event("a"), number=7)[2] == 0
    assert keep.append(event("a"), number=6)[2] == 0
    assert keep.append(event("b"), number=7, writer="other")[2] == 1


def test_a_batch_is_published_at_once_with_its_place(redis: Any) -> None:
    keep = keeper(redis)
    with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(keep.journal.live)
        keep.append(event("a"))
        epoch, *_ = keep.append(event("b"), event("c"))
        told: list[Batch] = []
        while len(told) < 2:
            message = pubsub.get_message(timeout=5)
            if message is not None:
                told.append(parse_live(message["data"]))
    assert [(batch.epoch, batch.first, len(batch.lines)) for batch in told] == [(epoch, 1, 1), (epoch, 2, 2)]


def test_open_task_keeps_the_newest_event_of_each_rank(redis: Any) -> None:
    keep = keeper(redis)
    keep.append(*life("done"))
    keep.append(*life("open")[:3], event("open", "PROGRESS", 4), event("open", "PROGRESS", 5))
    assert keep.open() == {"open"}
    assert {key: offset for key, (offset, _) in keep.open_lines().items()} == {
        "0:open": 5, "1:open": 6, "2:open": 7, "3:open": 9,
    }  # fmt: skip


def test_append_marks_a_late_event_and_opens_no_task(redis: Any) -> None:
    keep = keeper(redis)
    keep.append(event("a", "SUCCESS", 4))
    keep.append(event("a", "PENDING", 1))
    assert [(told.state, told.late) for _, told in keep.entries()] == [("SUCCESS", False), ("PENDING", True)]
    assert keep.open() == set()
    assert keep.open_lines() == {}


def test_a_late_event_completes_an_unfinished_task(redis: Any) -> None:
    keep = keeper(redis)
    keep.append(event("a", "RECEIVED", 2), event("a", "PENDING", 1))
    assert set(keep.open_lines()) == {"0:a", "1:a"}


def test_the_same_end_of_the_same_try_is_said_once(redis: Any) -> None:
    keep = keeper(redis)
    assert keep.append(event("a", "FAILURE", 1, reason="time_limit"))[2] == 1
    assert keep.append(event("a", "FAILURE", 2, reason="time_limit"))[2] == 0
    assert keep.append(event("a", "REVOKED", 3))[2] == 1
    assert keep.append(event("a", "FAILURE", 4, retries=1))[2] == 1


def test_success_supersedes_a_revocation_that_was_not_the_end(redis: Any) -> None:
    keep = keeper(redis)
    keep.append(event("a", "REVOKED", 1), event("a", "STARTED", 2), event("a", "SUCCESS", 3))
    assert [(told.state, told.late) for _, told in keep.entries()] == [
        ("REVOKED", False), ("STARTED", True), ("SUCCESS", False),
    ]  # fmt: skip


def test_what_was_not_sent_has_ended_and_may_be_sent_again(redis: Any) -> None:
    keep = keeper(redis)
    keep.append(event("a", "PENDING", 1), event("a", "REJECTED", 2, reason="not_sent"))
    assert keep.open() == set()
    keep.append(event("a", "PENDING", 3))
    assert keep.open() == {"a"}
    keep.append(event("a", "STARTED", 4), event("a", "SUCCESS", 5))
    assert keep.open() == set()
    assert not any(told.late for _, told in keep.entries())


def test_a_retry_after_an_end_opens_the_task_again(redis: Any) -> None:
    keep = keeper(redis)
    keep.append(event("a", "FAILURE", 1))
    keep.append(event("a", "STARTED", 2, retries=1))
    assert keep.open() == {"a"}


def test_in_a_batch_too_an_event_is_late_or_says_nothing(redis: Any) -> None:
    keep = keeper(redis)
    keep.append(event("a", "STARTED", 2), event("b", "SUCCESS", 2))
    with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(keep.journal.live)
        behind, again = event("a", "RECEIVED", 1), event("b", "SUCCESS", 3)
        assert keep.append(event("c"), behind, again, event("d", tags=("é", "☃")), event("e"))[1:] == (6, 4)
        message = None
        while message is None:
            message = pubsub.get_message(timeout=5)
    told = keep.entries()[2:]
    assert [(offset, one.id, one.late) for offset, one in told] == [
        (3, "c", False), (4, "a", True), (5, "d", False), (6, "e", False),
    ]  # fmt: skip
    live = parse_live(message["data"])
    assert (live.first, list(map(decode, live.lines))) == (3, [one for _, one in told])
    assert keep.append(event("b", "SUCCESS", 4), event("b", "SUCCESS", 5))[1:] == (6, 0)


def _any_event(chance: random.Random, identity: str) -> Event:
    """Of any life, try and run, told by anybody."""
    states = ("PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "FAILURE", "REVOKED", "REJECTED", "SUCCESS")
    state = chance.choice(states)
    reason = {"STARTED": "worker_lost", "REJECTED": "not_sent"}.get(state) if chance.random() < 0.3 else None
    made = event(
        identity, state, float(chance.randrange(9)), reason=reason, retries=chance.choice((None, 0, 0, 0, 1, 2)),
        sent=chance.choice((None, 1.0, 1.0, 1.0, 2.0, 8.0)), run=chance.choice((None, "r1", "r2", "r3")),
        redelivered=chance.choice((None, None, 1)),
    )  # fmt: skip
    return msgspec.structs.replace(made, source=chance.choice(("signal", "backend")))


@pytest.mark.parametrize("seed", range(5))
def test_random_batches_are_stored_as_a_fold_says(redis: Any, seed: int) -> None:
    """Against a model: offsets, what is late, what says nothing, and what each unfinished task is known by."""
    chance, referee = random.Random(seed), Referee()
    keep = keeper(redis, history=200, history_bytes=chance.choice((1_000, 10_000, 1_000_000)))
    lines: dict[int, Event] = {}
    offset = 0
    for number in range(40):
        batch = [
            _any_event(chance, f"t{number // 10}-{chance.randrange(30)}") for _ in range(chance.choice((1, 2, 10, 150)))
        ]
        for told in batch:
            for marked in referee.marked([told]):
                offset += 1
                lines[offset] = marked
        assert keep.append(*batch)[1] == offset
    stream = dict(keep.entries())
    assert stream == {place: told for place, told in lines.items() if place in stream}
    assert list(stream) == list(range(offset - len(stream) + 1, offset + 1))
    known = {}
    for field, (place, line) in keep.open_lines().items():
        assert line or place in stream, f"{field} is known by an event that is nowhere"
        known[field] = decode(line) if line else stream[place]
        assert known[field] == lines[place]
    unfinished = {identity for identity, known in referee.known.items() if not is_final(known.event.state)}
    assert keep.open() == unfinished == {field.partition(":")[2] for field in known}


def test_a_journal_begins_with_an_epoch_and_keeps_it(redis: Any) -> None:
    keep = keeper(redis)
    epoch, first, last = keep.begin()
    assert (first, last) == (1, 0)
    assert keep.begin() == (epoch, 1, 0)
    assert keep.append(event("a")) == (epoch, 1, 1)
    assert keep.begin() == (epoch, 1, 1)


def test_a_lost_journal_begins_another_epoch(redis: Any) -> None:
    keep = keeper(redis)
    before, *_ = keep.append(event("a"))
    redis.delete(keep.journal.stream)
    after, offset, _ = keep.append(event("b"))
    assert after != before
    assert offset == 1


def test_rewound_journal_gets_one_new_epoch_and_keeps_offsets(redis: Any) -> None:
    keep = keeper(redis, history=2000)
    for number in range(30):
        keep.append(*[event(f"t{number}-{index}") for index in range(100)])
    before, first, last = keep.begin()
    after = keep.begin(f"{before}-{last}")
    assert after[0] > before
    assert after[1:] == (first, last) == (1001, 3000)
    assert keep.begin(f"{before}-{last}") == after
    assert keep.append(event("next"))[:2] == (after[0], last + 1)
    assert [offset for offset, _ in keep.entries()] == list(range(1001, 3002))


def test_random_batches_leave_open_exactly_what_is_unfinished(redis: Any) -> None:
    """The script's bookkeeping equals a fold of everything that it was given."""
    chance = random.Random(20)
    keep = keeper(redis)
    told = [each for number in range(200) for each in life(f"t{number}")[: chance.randint(1, 4)]]
    chance.shuffle(told)
    for start in range(0, len(told), 37):
        keep.append(*told[start : start + 37])
    ended = {each.id for each in told if each.state == "SUCCESS"}
    assert keep.open() == {each.id for each in told} - ended
    assert {key.partition(":")[2] for key in keep.open_lines()} == keep.open()
    assert [offset for offset, _ in keep.entries()] == list(range(1, len(told) + 1))


def test_batches_are_cut_by_count_and_by_bytes() -> None:
    many = [record(event(f"t{number}")) for number in range(BATCH_EVENTS * 2 + 1)]
    assert [len(batch) for batch in batches(many)] == [BATCH_EVENTS, BATCH_EVENTS, 1]
    large = [record(event(f"t{number}", argsrepr="x" * (BATCH_BYTES // 2))) for number in range(3)]
    assert [len(batch) for batch in batches(large)] == [1, 1, 1]
    assert list(batches([])) == []


def test_namespaces_and_databases_do_not_meet() -> None:
    one, other = Journal(namespace="a"), Journal(namespace="b", database=1)
    assert one.stream != other.stream
    assert Journal(database=0).live != Journal(database=1).live


@pytest.mark.parametrize(
    "fields",
    [
        ("e", "x"),
        ("e", "x", "b", ""),
        ("e", "x", "b", "nan"),
        ("e", "x", "b", "-5"),
        ("e", "x", "b", "1e400"),
        ("b", "x"),
    ],
)
def test_a_strange_entry_stops_nothing(redis: Any, fields: tuple[str, ...]) -> None:
    """Whoever can write to Redis can leave one; good workers must be able to go on after it."""
    keep = keeper(redis, history=5, history_bytes=2000)
    epoch, _, _ = keep.append(event("a"))
    redis.execute_command("XADD", keep.journal.stream, "*", *fields)
    assert keep.begin() == (epoch, 1, 2)
    for number in range(20):
        assert keep.append(event(f"after-{number}", argsrepr="x" * 200)) == (epoch, number + 3, 1)
    assert redis.xlen(keep.journal.stream) <= 5
    assert keep.entries()[-1][0] == 22


@pytest.mark.parametrize("standing", ["", "x", "9", "0000006"])
def test_a_strange_standing_stops_nothing(redis: Any, standing: str) -> None:
    keep = keeper(redis)
    redis.hset(keep.journal.open, "a", standing)
    redis.hset(keep.journal.closed, "b", standing)
    assert keep.append(*life("c"), event("b"), event("a", "SUCCESS"))[2] == 6


@pytest.mark.parametrize("value", [b"", b"x {}", b"-5 {}", b"0 {}", b"18446744073709551616 {}", "٣ {}".encode()])
def test_what_has_no_offset_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="no offset"):
        open_line(value)
    with pytest.raises(ValueError):  # noqa: PT011 - it may have no two words either
        parse_live(b"1 " + value.partition(b" ")[0] + b"\n{}")
