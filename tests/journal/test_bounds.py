"""The journal's bounds, on a real server: what they keep, and what they let go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.journal.keeper import keeper
from tests.support.events import event, life, record
from tests.support.valkey import Valkey


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Any]:
    with valkey.client() as client:
        yield client


def test_the_journal_is_bounded_in_events(redis: Any) -> None:
    keep = keeper(redis, history=100)
    for number in range(60):
        keep.append(*life(f"t{number}"))
    kept = [offset for offset, _ in keep.entries()]
    assert kept == list(range(141, 241))


def test_the_journal_is_bounded_in_bytes(redis: Any) -> None:
    keep = keeper(redis, history_bytes=20_000)
    size = len(record(event("t000", argsrepr="x" * 200)).line)
    for number in range(300):
        keep.append(event(f"t{number:03d}", argsrepr="x" * 200))
    assert len(keep.entries()) * size == pytest.approx(20_000, abs=20_000 / 10)
    assert keep.entries()[-1][0] == 300


def test_what_comes_together_is_stored_together(redis: Any) -> None:
    keep = keeper(redis, history=500)
    for number in range(20):
        keep.append(*[event(f"t{number}-{index}", "SUCCESS") for index in range(100)])
    kept = [offset for offset, _ in keep.entries()]
    assert kept == list(range(kept[0], 2001))
    assert 500 <= len(kept) <= 500 + 50 + 64, "a tenth of the bound, and an entry that leaves as a whole"
    assert redis.xlen(keep.journal.stream) == 2 * len(kept) // 100
    large = [event(f"l{index}", "SUCCESS", argsrepr="x" * 10_000) for index in range(4)]
    keep.append(*large)
    assert [told.id for _, told in keep.entries()[-4:]] == ["l0", "l1", "l2", "l3"]
    assert redis.xlen(keep.journal.stream) >= 4, "nor is an entry large"


def test_what_an_unfinished_task_is_known_by_outlives_the_stream(redis: Any) -> None:
    keep = keeper(redis, history=40)
    told = [event("open", "STARTED", 1), event("open", "PROGRESS", 2), event("ends"), event("open", "PROGRESS", 3)]
    keep.append(*told[:2])
    keep.append(*told[2:])
    assert set(keep.open_lines().values()) == {(1, b""), (3, b""), (4, b"")}
    for number in range(60):
        keep.append(*life(f"t{number}"))
    assert keep.entries()[0][0] > 4
    assert keep.open_lines() == {
        "2:open": (1, record(told[0]).line), "0:ends": (3, record(told[2]).line), "3:open": (4, record(told[3]).line),
    }  # fmt: skip
    keep.append(event("open", "PROGRESS", 4))
    assert keep.open_lines()["3:open"] == (245, b"")
    keep.append(event("open", "SUCCESS", 5), event("ends", "FAILURE", 5))
    assert keep.open_lines() == {}


def test_a_bound_that_was_lowered_is_reached(redis: Any) -> None:
    keeper(redis).append(*[event(f"t{number}") for number in range(400)])
    keep = keeper(redis, history=10, history_bytes=300)
    keep.append(event("last"), writer="other")
    assert 1 <= len(keep.entries()) <= 10
    assert keep.entries()[-1][1].id == "last"


def test_an_event_larger_than_the_bound_is_kept_alone(redis: Any) -> None:
    keep = keeper(redis, history_bytes=1000)
    keep.append(event("small"))
    keep.append(event("large", argsrepr="x" * 5000))
    assert [told.id for _, told in keep.entries()] == ["large"]


def test_what_is_remembered_of_finished_tasks_is_bounded(redis: Any) -> None:
    keep = keeper(redis, history=50)
    for number in range(500):
        keep.append(event(f"t{number}", "SUCCESS", 2))
    assert redis.hlen(keep.journal.closed) <= 51
    assert redis.hlen(keep.journal.closed_older) <= 51
    keep.append(event("t499", "PENDING", 1))
    assert keep.entries()[-1][1].late


def test_a_server_without_memory_takes_nothing_of_a_batch(valkey: Valkey, redis: Any) -> None:
    from redis.exceptions import OutOfMemoryError

    keep = keeper(redis)
    keep.append(event("a"))
    limits = redis.config_get("maxmemory")
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            keep.append(event("b"), event("c"), number=2)
    finally:
        redis.config_set("maxmemory", limits["maxmemory"])
    assert keep.open() == {"a"}
    assert keep.append(event("b"), event("c"), number=2)[1:] == (3, 2)
