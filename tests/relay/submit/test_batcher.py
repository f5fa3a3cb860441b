"""Batches that grow by themselves: nobody is carried twice, nobody is forgotten."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.core.errors import TooMany, Unavailable
from watcher.relay.submit.batcher import Batcher


class Ferry:
    """Carries numbers, and waits on the way until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.free = anyio.Event()

    async def carry(self, items: list[int], _deadline: float) -> None:
        self.batches.append(list(items))
        await self.free.wait()


def soon(seconds: float = 10.0) -> float:
    return anyio.current_time() + seconds


async def settled() -> None:
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


@pytest.mark.anyio
async def test_what_waits_goes_along_with_the_next_in_order() -> None:
    ferry = Ferry()
    lanes = Batcher(ferry.carry, lanes=1, bound=1000)
    async with anyio.create_task_group() as group:
        for number in range(250):
            group.start_soon(lanes.run, number, soon())
        await settled()
        under_way = [list(batch) for batch in ferry.batches]
        ferry.free.set()
    assert under_way == [[0]]
    assert [number for batch in ferry.batches for number in batch] == list(range(250))
    assert [len(batch) for batch in ferry.batches] == [1, 100, 100, 49]


@pytest.mark.anyio
async def test_there_are_as_many_batches_at_a_time_as_lanes() -> None:
    ferry = Ferry()
    lanes = Batcher(ferry.carry, lanes=3, bound=10)
    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(lanes.run, number, soon())
        await settled()
        under_way = list(ferry.batches)
        ferry.free.set()
    assert under_way == [[0], [1], [2]]
    assert sorted(number for batch in ferry.batches for number in batch) == [0, 1, 2, 3, 4]


@pytest.mark.anyio
async def test_alone_each_goes_at_once() -> None:
    ferry = Ferry()
    ferry.free.set()
    lanes = Batcher(ferry.carry, lanes=2, bound=10)
    for number in range(3):
        await lanes.run(number, soon())
    assert ferry.batches == [[0], [1], [2]]


@pytest.mark.anyio
async def test_too_many_are_refused_and_there_is_room_again_afterwards() -> None:
    ferry = Ferry()
    lanes = Batcher(ferry.carry, lanes=1, bound=2)
    async with anyio.create_task_group() as group:
        group.start_soon(lanes.run, 0, soon())
        await settled()
        for number in (1, 2):
            group.start_soon(lanes.run, number, soon())
        await settled()
        with pytest.raises(TooMany):
            await lanes.run(3, soon())
        ferry.free.set()
    await lanes.run(4, soon())
    assert ferry.batches == [[0], [1, 2], [4]]


@pytest.mark.anyio
async def test_who_waits_in_vain_is_told_and_not_carried_later() -> None:
    ferry = Ferry()
    lanes = Batcher(ferry.carry, lanes=1, bound=10)
    async with anyio.create_task_group() as group:
        group.start_soon(lanes.run, 0, soon())
        await settled()
        with pytest.raises(Unavailable) as caught:
            await lanes.run(1, soon(0.05))
        assert caught.value.submitted == "no"
        ferry.free.set()
    assert ferry.batches == [[0]]


@pytest.mark.anyio
async def test_cancel_removes_a_queued_item_but_not_one_in_a_batch() -> None:
    ferry = Ferry()
    lanes = Batcher(ferry.carry, lanes=1, bound=10)
    async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
        inner.start_soon(lanes.run, 0, soon())
        await settled()
        inner.start_soon(lanes.run, 1, soon())
        await settled()
        inner.cancel_scope.cancel()
        outer.start_soon(lanes.run, 2, soon())
        ferry.free.set()
    assert ferry.batches == [[0], [2]]


async def steps(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


class Crowd:
    """People who come after some steps, and go after some more, unless they are patient."""

    def __init__(self, lanes: int) -> None:
        self.lanes = Batcher(self.carry, lanes=lanes, bound=3)
        self.carried: list[int] = []
        self.told: dict[int, bool] = {}

    async def carry(self, items: list[int], _deadline: float) -> None:
        await steps(1)
        self.carried += items
        await steps(1)

    async def one(self, number: int, delay: int, patience: int | None) -> None:
        await steps(delay)
        async with anyio.create_task_group() as group:
            group.start_soon(self.ask, number, group.cancel_scope)
            if patience is not None:
                await steps(patience)
                group.cancel_scope.cancel()

    async def ask(self, number: int, scope: anyio.CancelScope) -> None:
        try:
            await self.lanes.run(number, soon())
            self.told[number] = True
        except TooMany:
            self.told[number] = False
        scope.cancel()


_PEOPLE = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, 0, 1, 2, 4])), max_size=20)


@given(st.integers(1, 3), _PEOPLE)
@pytest.mark.anyio
async def test_everyone_is_carried_once_or_told(lanes: int, people: list[tuple[int, int | None]]) -> None:
    crowd = Crowd(lanes)
    async with anyio.create_task_group() as group:
        for number, (delay, patience) in enumerate(people):
            group.start_soon(crowd.one, number, delay, patience)
    assert len(crowd.carried) == len(set(crowd.carried))
    assert {number for number, yes in crowd.told.items() if yes} <= set(crowd.carried)
    assert not {number for number, yes in crowd.told.items() if not yes} & set(crowd.carried)
    assert {number for number, (_, patience) in enumerate(people) if patience is None} <= set(crowd.told)
    assert (crowd.lanes._slots.free, len(crowd.lanes._slots)) == (lanes, 0)
