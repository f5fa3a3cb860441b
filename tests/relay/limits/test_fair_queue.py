"""Those of one address who wait go on one after the other; those who are overdue are ended a few at a time."""

from __future__ import annotations

import asyncio
import functools

import pytest

from tests.relay.limits.test_limits import Clock, limits
from watcher.relay.limits.fair_queue import FairQueue, FairSemaphore
from watcher.relay.limits.limits import AddressUsage, Deadlines
from watcher.relay.limits.throttled import await_turn


def account(clock: Clock, rate: int) -> AddressUsage:
    allowed, _, _ = limits(max_commands_per_address=rate)
    found = allowed.enter("192.0.2.1")
    found.charge(rate, clock.now)  # all that it may do at once is done
    return found


class Free:
    """Somebody who needn't wait but for their turn."""

    def ahead(self, _now: float) -> float:
        return 0.0


def test_each_goes_on_when_those_before_it_are_paid_for() -> None:
    clock, went = Clock(), list[str]()
    mine, turns = account(clock, 100), FairQueue()

    def go_on(name: str, commands: int) -> None:
        went.append(name)
        mine.charge(commands, clock.now)

    turns.join(mine, lambda: go_on("first", 10))
    gone = turns.join(mine, lambda: go_on("gone", 10))
    turns.join(mine, lambda: go_on("second", 1))
    gone.cancel()
    assert turns.advance(clock) == pytest.approx(0.1)
    assert went == ["first"]
    clock.now += 0.05
    assert turns.advance(clock) == pytest.approx(0.05)
    clock.now += 0.0501
    assert turns.advance(clock) is None
    assert went == ["first", "second"]
    gone.cancel()


def test_who_joins_again_stands_at_the_end() -> None:
    clock, turns, went, mine = Clock(), FairQueue(), list[str](), Free()

    def again() -> None:
        went.append("a")
        clock.now += 0.0006
        if len(went) < 10:
            turns.join(mine, again)

    turns.join(mine, again)
    turns.join(mine, lambda: went.append("b"))
    assert turns.advance(clock) == 0, "those who needn't wait have their turn"
    assert went == ["a", "b", "a"]


def test_fair_queue_alternates_between_addresses_despite_floods() -> None:
    clock, turns, went = Clock(), FairQueue(), list[str]()
    floods, other = [Free() for _ in range(5)], Free()
    for flood, name in zip(floods, "abcde", strict=True):
        for _ in range(1000):
            turns.join(flood, functools.partial(went.append, name))
    for _ in range(3):
        turns.join(other, functools.partial(went.append, "other"))
    assert turns.advance(clock) is None, "the clock stands still"
    assert [index for index, name in enumerate(went) if name == "other"] == [5, 11, 17]
    assert len(went) == 5003


def test_debtor_blocks_nobody_and_proceeds_once_its_debt_is_paid() -> None:
    clock, turns, went = Clock(), FairQueue(), list[str]()
    mine, other = account(clock, 100), Free()
    mine.charge(50, clock.now)
    turns.join(mine, lambda: went.append("mine"))
    assert turns.advance(clock) == pytest.approx(0.5)
    turns.join(other, lambda: went.append("other"))
    assert turns.advance(clock) == pytest.approx(0.5)
    clock.now += 0.51
    assert turns.advance(clock) is None
    assert went == ["other", "mine"]


def test_fair_queue_idles_as_long_as_it_ran_if_others_are_served() -> None:
    clock, turns, went, mine = Clock(), FairQueue(), list[str](), Free()
    turns.join(mine, lambda: went.append("first"))
    turns.served, turns.spent = clock.now, 0.01
    assert turns.advance(clock) == pytest.approx(0.01)
    turns.join(Free(), lambda: went.append("second"))
    clock.now += 0.004
    assert turns.advance(clock) == pytest.approx(0.006)
    assert went == []
    clock.now += 0.0061
    assert turns.advance(clock) is None
    assert went == ["first", "second"]
    turns.join(mine, lambda: went.append("third"))
    turns.spent = 0.01
    clock.now += 1
    assert turns.advance(clock) is None, "nobody else is there"


def test_what_takes_its_time_later_is_waited_for() -> None:
    turns, went, mine = FairQueue(), list[str](), Free()

    def begin() -> bool:
        went.append("begun")
        return True

    turns.join(mine, begin)
    turns.join(mine, lambda: went.append("next"))
    assert turns.advance(Clock()) == 0
    assert went == ["begun"]


def test_heavy_users_share_limited_slots_and_yield_to_light_ones() -> None:
    places = FairSemaphore[str](4, 2)
    assert [places.enter(f"a{number}", "a") for number in range(5)] == [True, True, False, False, False]
    assert not places.enter("b0", "b")
    assert [places.enter(name, None) for name in ("one", "two", "three")] == [True, True, False]
    assert places.leave("a") == "three", "who has done little comes first"
    assert [places.leave(None), places.leave(None)] == ["a2", None], "the others have no more than their part"
    assert [places.leave("a"), places.leave("a")] == ["b0", "a3"], "in turn"
    assert places.along("a", 10) == ["a4"]
    assert len(places) == 0


def test_one_who_fails_holds_up_nobody() -> None:
    failed = list[str]()

    async def scene() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _, context: failed.append(str(context["exception"])))
        mine = limits()[0].enter("192.0.2.1")

        def fail() -> None:
            raise ValueError("as it happens")

        await_turn(mine, fail)
        await_turn(mine, done.set)
        await asyncio.wait_for(done.wait(), 5)
        assert not len(mine.turns)
        done.clear()
        await_turn(mine, done.set)  # somebody leads it anew
        await asyncio.wait_for(done.wait(), 5)

    asyncio.run(scene())
    assert failed == ["as it happens"]


def test_of_very_many_who_are_due_some_are_at_a_time() -> None:
    deadlines, over = Deadlines[int](1), list[int]()
    for who in range(1000):
        deadlines.start(who, 0)
    pieces = 0
    while some := deadlines.due(2):
        assert len(some) <= 20
        over += some
        pieces += 1
    assert over == list(range(1000))
    assert pieces < 100, "at a hundred pieces a second, all within a second"
