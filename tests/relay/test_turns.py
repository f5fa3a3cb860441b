"""Those of one address who wait go on one after the other; those who are overdue are ended a few at a time."""

from __future__ import annotations

import asyncio

import pytest

from tests.relay.test_limits import Clock, limits
from watcher.relay.limits import Account, Deadlines
from watcher.relay.paced import await_turn
from watcher.relay.turns import Turns


def account(clock: Clock, rate: int) -> Account:
    allowed, _, _ = limits(max_commands_per_address=rate)
    found = allowed.enter("192.0.2.1")
    found.charge(rate, clock.now)  # all that it may do at once is done
    return found


def test_each_goes_on_when_those_before_it_are_paid_for() -> None:
    clock, went = Clock(), list[str]()
    mine = account(clock, 100)

    def go_on(name: str, commands: int) -> None:
        went.append(name)
        mine.charge(commands, clock.now)

    mine.turns.join(lambda: go_on("first", 10))
    gone = mine.turns.join(lambda: go_on("gone", 10))
    mine.turns.join(lambda: go_on("second", 1))
    gone.cancel()
    assert mine.turns.advance(mine.ahead, clock) == pytest.approx(0.1)
    assert went == ["first"]
    clock.now += 0.05
    assert mine.turns.advance(mine.ahead, clock) == pytest.approx(0.05)
    clock.now += 0.0501
    assert mine.turns.advance(mine.ahead, clock) is None
    assert went == ["first", "second"]
    gone.cancel()


def test_who_joins_again_stands_at_the_end() -> None:
    clock, turns, went = Clock(), Turns(), list[str]()

    def again() -> None:
        went.append("a")
        clock.now += 0.001
        if len(went) < 10:
            turns.join(again)

    def other() -> None:
        went.append("b")

    turns.join(again)
    turns.join(other)
    assert turns.advance(lambda _: 0, clock) == 0, "others than this address's have their turn"
    assert went == ["a", "b", "a"]


def test_what_takes_its_time_later_is_waited_for() -> None:
    turns, went = Turns(), list[str]()

    def begin() -> bool:
        went.append("begun")
        return True

    turns.join(begin)
    turns.join(lambda: went.append("next"))
    assert turns.advance(lambda _: 0, Clock()) == 0
    assert went == ["begun"]


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
