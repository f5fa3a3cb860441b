"""Lives of one task id as Celery makes them, and what its result backend says in the end.

A world has true time, which nobody sees, and hosts whose clocks are wrong and put right meanwhile. What each process
tells stands in its own order; :meth:`World.arrivals` brings all of it together in any order that keeps that. A process
that was killed tells only the beginning of what it had to tell, and has told it before its message is given to another.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.support.events import event
from watcher.core.event import Event

TRIES = 3


@dataclass
class Message:
    """What waits in the broker."""

    life: int
    sent: float | None
    retries: int = 0
    deliveries: int = 0


@dataclass
class Told:
    """An event, and how many of other processes' must have arrived before it can be told.

    :param number: its place in the order in which things happen.
    :param settled: whether the life had a SUCCESS by then, or another life had begun.
    """

    number: int
    event: Event
    after: dict[str, int]
    settled: bool


@dataclass
class Truth:
    """What Celery's backend would answer, if each time that the task is sent began with an empty one."""

    state: str = "PENDING"
    retries: int = 0
    concurrent: bool = False  # whether two deliveries of one message ran at once


@dataclass
class World:
    """One task id, from when it is first sent until nothing of it waits or runs.

    :param chance: where all choices come from.
    :param plugin_sends: whether senders have the plugin.
    """

    chance: Random
    plugin_sends: bool = True
    now: float = 1_000_000.0
    told: dict[str, list[Told]] = field(default_factory=lambda: defaultdict(list))
    clocks: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    waiting: list[Message] = field(default_factory=list)
    truth: Truth = field(default_factory=Truth)
    life: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _barrier: dict[str, int] = field(default_factory=dict)
    _last_sent: float = 0.0

    def live(self) -> None:
        """Send it, and let it run its course; then perhaps send it again, which only its sender tells apart."""
        for _ in range(self.chance.choice((1, 1, 1, 2, 3)) if self.plugin_sends else 1):
            self.send("producer")
            while self.waiting:
                self.deliver(self.waiting.pop(0))

    def arrivals(self) -> list[Event]:
        """What is told, in an order in which it may arrive."""
        heads = dict.fromkeys(self.told, 0)
        arrived: list[Event] = []
        while True:
            able = [
                process
                for process, at in heads.items()
                if at < len(self.told[process])
                and all(heads.get(other, 0) >= count for other, count in self.told[process][at].after.items())
            ]
            if not able:
                return arrived
            # Often the same one again: a process that was held up tells much at once.
            process = able[0] if self.chance.random() < 0.3 else self.chance.choice(able)
            for _ in range(self.chance.choice((1, 1, 2, 9))):
                at = heads[process]
                if at == len(self.told[process]) or any(
                    heads.get(other, 0) < count for other, count in self.told[process][at].after.items()
                ):
                    break
                arrived.append(self.told[process][at].event)
                heads[process] += 1

    # What happens.

    def send(self, process: str, cause: float = 0.0) -> None:
        """The first message of a life."""
        self.pass_time()
        sent = None
        if self.plugin_sends or process != "producer":
            # The clocks of those that send are right to less than lies between two of their messages.
            sent = self._last_sent = max(self.now, cause + 0.001, self._last_sent + 0.001)
        self.truth, self.life = Truth(concurrent=self.truth.concurrent), self.life + 1
        self.waiting.append(Message(self.life, sent))
        if sent is not None:
            self.tell(process, "PENDING", self.waiting[-1], None)

    def deliver(self, message: Message) -> None:
        """A worker takes the message."""
        host = self.chance.choice(("one", "two"))
        number = next(self._numbers)
        main, child, run = f"main-{host}", f"child-{number}", f"run{number}"
        if message.sent is None and not message.retries and not message.deliveries:
            message = Message(message.life, self.now + self.clocks[host])
        tell = _Teller(self, host, message, run)
        self.pass_time()
        if self.chance.random() < 0.08:
            self.store("REVOKED", message)
            tell(main, "REVOKED", reason=self.chance.choice(("expired", "revoked")))
            return
        tell(main, "RECEIVED")
        self.pass_time()
        self.store("STARTED", message)
        tell(child, "STARTED")
        for _ in range(self.chance.choice((0, 0, 1, 3))):
            self.pass_time()
            self.store("PROGRESS", message)
            tell(child, "PROGRESS")
        self.pass_time()
        comes_back = message.deliveries < 4 and self.chance.random() < 0.4
        outcome = self.chance.choice(_COMING_BACK if comes_back else _OUTCOMES)
        outcome(self, message, tell, main, child)

    def store(self, state: str, message: Message) -> None:
        """As Celery's backends do: SUCCESS stays."""
        if self.truth.state != "SUCCESS" and message.life == self.life:
            self.truth.state, self.truth.retries = state, message.retries

    def tell(self, process: str, state: str, message: Message, run: str | None, **fields: Any) -> None:
        """A process has something to tell."""
        host = process.partition("-")[2] if process.startswith("main") else fields.pop("host", "producer")
        fields.pop("host", None)
        told = event(
            "a", state, self.now + self.clocks[host], sent=message.sent, run=run, retries=message.retries,
            redelivered=message.deliveries or None, **fields,
        )  # fmt: skip
        settled = self.truth.state == "SUCCESS" or message.life != self.life
        self.told[process].append(Told(next(self._numbers), told, dict(self._barrier), settled))

    def pass_time(self) -> None:
        """Some time passes; a clock of a worker's may be put wrong, or right."""
        self.now += self.chance.choice((0.001, 0.5, 20.0))
        if self.plugin_sends and self.chance.random() < 0.1:
            self.clocks[self.chance.choice(("one", "two"))] = self.chance.choice((-90.0, 0.0, 0.0, 90.0))

    # What may become of a delivery.

    def again(self, message: Message) -> None:
        """The broker delivers the message again: whatever the dead had to tell has been told by now."""
        self._barrier = {process: len(told) for process, told in self.told.items()} if message.deliveries else {}
        self.waiting.insert(0, Message(message.life, message.sent, message.retries, message.deliveries + 1))

    def kill(self, process: str, run: str) -> None:
        """It tells only the first of what it has to tell of the run."""
        told = self.told[process]
        mine = sum(each.event.run == run for each in told)
        lost = self.chance.randint(0, mine)
        if lost:
            del told[len(told) - lost :]


@dataclass
class _Teller:
    """What the processes of one delivery tell."""

    world: World
    host: str
    message: Message
    run: str

    def __call__(self, process: str, state: str, **fields: Any) -> None:
        self.world.tell(process, state, self.message, self.run, host=self.host, **fields)


def _ends(state: str) -> Callable[..., None]:
    def end(world: World, message: Message, tell: _Teller, main: str, child: str) -> None:
        world.store(state, message)
        tell(child, state)

    return end


def _retries(world: World, message: Message, tell: _Teller, main: str, child: str) -> None:
    if message.retries == TRIES:
        _ends("FAILURE")(world, message, tell, main, child)
        return
    world.waiting.append(Message(message.life, message.sent, message.retries + 1))
    world.store("RETRY", message)
    tell(child, "RETRY")


def _retries_and_returns(world: World, message: Message, tell: _Teller, main: str, child: str) -> None:
    """``retry(throw=False)``: the next try is on its way, and this one succeeds."""
    if message.retries < TRIES:
        world.waiting.append(Message(message.life, message.sent, message.retries + 1))
    _ends("SUCCESS")(world, message, tell, main, child)


def _is_replaced(world: World, message: Message, tell: _Teller, main: str, child: str) -> None:
    if len(world.told) < 12:
        world.send(child, message.sent or 0.0)
    else:
        _ends("SUCCESS")(world, message, tell, main, child)


def _loses_its_child(world: World, message: Message, tell: _Teller, main: str, child: str) -> None:
    world.kill(child, tell.run)
    world.store("FAILURE", message)
    tell(main, "FAILURE", reason="worker_lost")


def _loses_its_child_and_comes_back(world: World, message: Message, tell: _Teller, main: str, child: str) -> None:
    world.kill(child, tell.run)
    world.again(message)


def _loses_its_worker(world: World, message: Message, tell: _Teller, main: str, child: str) -> None:
    world.kill(child, tell.run)
    world.kill(main, tell.run)
    world.again(message)


def _is_cancelled(world: World, message: Message, tell: _Teller, main: str, child: str) -> None:
    """``worker_cancel_long_running_tasks_on_connection_loss``."""
    world.kill(child, tell.run)
    world.store("RETRY", message)
    world.again(message)
    tell(main, "RETRY")  # it lives, and may be held up


def _runs_twice_at_once(world: World, message: Message, tell: _Teller, main: str, child: str) -> None:
    """The broker's patience is over (the visibility timeout) before the run is."""
    if message.deliveries:
        _ends("SUCCESS")(world, message, tell, main, child)
        return
    state = world.chance.choice(("SUCCESS", "FAILURE"))
    world.deliver(Message(message.life, message.sent, message.retries, 1))
    world.truth.concurrent = True
    world.pass_time()
    _ends(state)(world, message, tell, main, child)


_OUTCOMES: list[Callable[..., None]] = [
    _ends("SUCCESS"), _ends("FAILURE"), _retries, _retries, _retries_and_returns, _is_replaced, _loses_its_child,
]  # fmt: skip
_COMING_BACK: list[Callable[..., None]] = [
    _loses_its_child_and_comes_back, _loses_its_worker, _is_cancelled, _runs_twice_at_once,
]  # fmt: skip
