"""Questions that are asked together: everybody is answered once, by what was found after they asked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

from watcher.core.errors import TooMany, Unavailable
from watcher.relay.common.coalescing import Coalescer, QueryTimeout

pytestmark = pytest.mark.anyio


class Oracle:
    """Answers with the number of the batch, once it may."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.free = anyio.Event()

    async def ask(self, keys: list[str]) -> Sequence[tuple[str, int]]:
        self.batches.append(keys)
        number = len(self.batches)
        await self.free.wait()
        return [(key, number) for key in keys]


async def settled() -> None:
    await turns(20)


async def test_one_answer_for_all_who_came_before_it_was_asked() -> None:
    oracle = Oracle()
    batched = Coalescer(oracle.ask)
    answers: list[tuple[str, int]] = []

    async def ask(key: str) -> None:
        answers.append(await batched.get(key, 10))

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(ask, "same")
        await settled()
        assert oracle.batches == [["same"]], "who comes later may be told of something newer"
        oracle.free.set()
    assert oracle.batches == [["same"], ["same"]]
    assert sorted(answers) == [("same", 1), *[("same", 2)] * 99]


async def test_different_questions_go_together_so_many_at_a_time() -> None:
    oracle = Oracle()
    batched = Coalescer(oracle.ask, lanes=2, most=lambda: 10)
    async with anyio.create_task_group() as group:
        for number in range(32):
            group.start_soon(batched.get, str(number), 10)
        await settled()
        assert [len(batch) for batch in oracle.batches] == [1, 1]
        oracle.free.set()
    assert [len(batch) for batch in oracle.batches] == [1, 1, 10, 10, 10]
    assert [key for batch in oracle.batches for key in batch] == [str(number) for number in range(32)]


async def test_what_goes_wrong_is_told_to_each_and_the_next_are_asked() -> None:
    asked: list[list[str]] = []

    async def ask(keys: list[str]) -> Sequence[str]:
        asked.append(keys)
        await anyio.lowlevel.checkpoint()
        if len(asked) == 2:
            raise Unavailable("away", submitted="no")
        return keys

    batched = Coalescer(ask)
    told: list[Unavailable] = []

    async def failing() -> None:
        with pytest.raises(Unavailable, match="away") as error:
            await batched.get("b", 10)
        told.append(error.value)

    async with anyio.create_task_group() as group:
        group.start_soon(batched.get, "a", 10)
        for _ in range(3):
            group.start_soon(failing)
    assert [error.submitted for error in told] == ["no"] * 3
    assert len({id(error) for error in told}) == 3
    assert await batched.get("c", 10) == "c"


async def test_who_is_not_asked_in_time_is_told_and_too_many_are_refused() -> None:
    oracle = Oracle()
    batched = Coalescer(oracle.ask, bound=1)
    async with anyio.create_task_group() as group:
        group.start_soon(batched.get, "first", 10)
        await settled()
        with pytest.raises(QueryTimeout):
            await batched.get("second", 0.01)
        group.start_soon(batched.get, "third", 10)
        await settled()
        with pytest.raises(TooMany, match="more than 1 look-ups"):
            await batched.get("fourth", 10)
        oracle.free.set()
    assert oracle.batches == [["first"], ["third"]]


class Crowd:
    """Many who ask, some of whom leave; each answer takes a while, and some fail."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lanes = self.chance.randint(1, 4)
        self.batched = Coalescer(self._ask, lanes=self.lanes, most=lambda: self.chance.randint(1, 5))
        self.answered = 0
        self._under_way = 0

    async def _ask(self, keys: list[int]) -> Sequence[int]:
        assert keys
        self._under_way += 1
        assert self._under_way <= self.lanes
        try:
            await turns(self.chance.randint(0, 5))
        finally:
            self._under_way -= 1
        if self.chance.random() < 0.2:
            raise Unavailable("away")
        return keys

    async def stay(self, key: int) -> None:
        with suppress(Unavailable):
            assert await self.batched.get(key, 10) == key
        self.answered += 1

    async def leave(self, key: int, after: int) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.stay, key)
            await turns(after)
            group.cancel_scope.cancel()


async def turns(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def test_coalescer_drops_a_timed_out_query_and_asks_again() -> None:
    oracle = Oracle()
    batched = Coalescer(oracle.ask)
    async with anyio.create_task_group() as group:
        group.start_soon(batched.get, "one", 10)
        await settled()
        group.start_soon(batched.get, "other", 10)
        with pytest.raises(TimeoutError) as error:
            await batched.get("one", 0.01)
        assert type(error.value) is QueryTimeout
        oracle.free.set()
    assert oracle.batches == [["one"], ["other"]]
    oracle.free = anyio.Event()
    async with anyio.create_task_group() as group:

        async def give_up() -> None:
            with pytest.raises(TimeoutError) as error:
                await batched.get("slow", 0.01)
            assert type(error.value) is TimeoutError
            oracle.free.set()

        group.start_soon(give_up)
        await anyio.lowlevel.checkpoint()
        group.start_soon(batched.get, "slow", 10)
    assert oracle.batches[2:] == [["slow"], ["slow"]]


@pytest.mark.parametrize("seed", range(20))
async def test_coalescer_answers_the_rest_and_frees_lanes_on_cancel(seed: int) -> None:
    crowd = Crowd(seed)
    chance, staying = crowd.chance, 0
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(300):
                key, stays = chance.randint(1, 30), chance.random() < 0.5
                staying += stays
                if stays:
                    group.start_soon(crowd.stay, key)
                else:
                    group.start_soon(crowd.leave, key, chance.randint(0, 8))
                await turns(chance.random() < 0.3)
    assert crowd.answered >= staying
    assert crowd.batched._free == crowd.lanes
    assert not crowd.batched._waiting
