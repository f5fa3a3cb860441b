"""One batch of submissions on its way: routed, claimed, announced, sent, and what became of each put on record."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import anyio
import msgspec
from redis.exceptions import RedisError

from watcher.errors import BadArguments, Refused, Unavailable
from watcher.event import Event
from watcher.journal import Appended
from watcher.relay.appender import Appender
from watcher.relay.broker import Broker, Fate, Message
from watcher.relay.claims import Busy, Claim, Claims, Known, Taken
from watcher.relay.threads import Threads
from watcher.worker.policy import Policy

__all__ = ["Dispatch", "Order", "Submitted"]

logger = logging.getLogger(__name__)

#: What became of a batch is put on record by its deadline; where that has passed, this much later, in seconds.
_RECORD: Final = 0.2


class Submitted(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task that was submitted: PENDING stands at ``offset`` of ``epoch``.

    ``token`` lets its holder watch the task; there is none at a relay without a secret. ``state`` and ``queue`` say
    where the task was when it had been waited for in vain.
    """

    id: str
    channel: str
    epoch: str
    offset: int
    token: str | None = None
    state: str | None = None
    queue: str | None = None


Outcome: TypeAlias = Known | Busy | Refused


@dataclass(slots=True, eq=False)
class Order:
    """One submission.

    :param queue: that the client asked for.
    :param outcome: what became of it; None as long as nobody knows.
    """

    claim: Claim
    message: Message
    queue: str | None
    outcome: Outcome | None = None
    described: dict[str, Any] = field(default_factory=dict)
    at: Appended | None = None

    def event(self, state: str, **fields: Any) -> Event:
        """An event of this task's."""
        message = self.message
        return Event(
            id=message.id,
            state=state,
            timestamp=time.time(),
            source="signal",
            name=message.task.name,
            retries=0,
            sent=message.sent,
            root_id=message.id,
            tags=message.tags or None,
            **fields,
        )

    def pending(self) -> Event:
        """What is known of it as it is sent."""
        message = self.message
        return self.event(
            "PENDING",
            eta=message.eta.isoformat() if message.eta else None,
            expires=message.expires.isoformat() if message.expires else None,
            **self.described,
        )

    def conclude(self) -> Outcome:
        """What became of it, now: from here on it isn't sent any more if it has not been."""
        fate = self.message.settle()
        if self.outcome is not None:
            return self.outcome
        if fate is Fate.SENT and self.at is not None:
            return Known(self.message.id, self.at.epoch, self.at.offset)
        if fate is Fate.SENDING:
            return self.message.why or Unavailable("the broker doesn't answer in time", submitted="unknown")
        who = "Redis" if self.at is None else "the broker"
        return self.message.why or Unavailable(f"{who} doesn't answer in time", submitted="no")


class Dispatch:
    """Carries batches of orders.

    :param threads: for what blocks.
    """

    def __init__(self, broker: Broker, claims: Claims, appender: Appender, policy: Policy, threads: Threads) -> None:
        self._broker = broker
        self._claims = claims
        self._appender = appender
        self._policy = policy
        self._threads = threads

    async def carry(self, orders: Sequence[Order], deadline: float) -> None:
        """Carry out ``orders``, and write into each what became of it; see :class:`watcher.relay.lanes.Lanes`.

        :param deadline: moment of the event loop's clock.
        """
        try:
            with anyio.move_on_after(deadline - anyio.current_time()):
                await self._carry(orders, deadline)
        except TimeoutError:
            pass  # each order tells how far it has come
        except (RedisError, OSError) as error:
            away = Unavailable(f"Redis doesn't answer: {error}", submitted="no")
            for order in orders:
                if order.outcome is None and order.message.settle() is Fate.NOT_SENT:
                    order.outcome = away
        for order in orders:
            order.outcome = order.conclude()
        with anyio.CancelScope(deadline=max(deadline, anyio.current_time() + _RECORD)):
            await self._record([order for order in orders if order.at is not None])

    async def _carry(self, orders: Sequence[Order], deadline: float) -> None:
        prepare = functools.partial(self._prepare, orders)
        await self._threads.run(prepare, deadline - anyio.current_time())
        live = [order for order in orders if order.outcome is None]
        verdicts = await self._claims.take([order.claim for order in live])
        for order, verdict in zip(live, verdicts, strict=True):
            if isinstance(verdict, Taken):
                order.message.id = verdict.id
            else:
                order.outcome = verdict
        live = [order for order in live if order.outcome is None]
        if not live:
            return
        places = await self._appender.append([order.pending() for order in live])
        for order, place in zip(live, places, strict=True):
            order.at = place
        send = functools.partial(self._broker.send, [order.message for order in live])
        await self._threads.run(send, deadline - anyio.current_time())

    def _prepare(self, orders: Sequence[Order]) -> None:
        """Everything that runs the app's code before anything is claimed."""
        for order in orders:
            message = order.message
            try:
                queue = self._broker.route(message, order.queue)
            except BadArguments as error:
                order.outcome = error
                continue
            except Exception as error:  # a router is the app's code and may raise anything
                logger.warning("a task %s can't be routed", message.task.name, exc_info=True)
                why = f"{message.task.name} can't be routed: {type(error).__name__}: {error}"
                order.outcome = BadArguments(why)
                continue
            shown = self._policy.of(str(message.task.name)).arguments(
                tuple(message.args), dict(message.kwargs), None, None
            )
            order.described = {"queue": queue, **shown._asdict()}

    async def _record(self, orders: Sequence[Order]) -> None:
        """Put on record which were sent and which not. What nobody knows stays claimed until the claim is old."""
        sent = [(order.message.id, order.claim, order.at) for order in orders if order.at and _fate(order) is Fate.SENT]
        refused = [order for order in orders if _fate(order) is Fate.NOT_SENT]
        try:
            await self._claims.settle(sent, [(order.message.id, order.claim) for order in refused])
            if refused:
                await self._appender.append([order.event("REJECTED", reason="not_sent") for order in refused])
        except (RedisError, OSError) as error:
            logger.warning("what became of %d submissions could not be recorded: %s", len(orders), error)


def _fate(order: Order) -> Fate:
    return order.message.settle()
