"""One batch of submissions on its way: routed, claimed, announced, sent, and what became of each put on record."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import anyio
import msgspec
from redis.exceptions import RedisError, ResponseError

from watcher.core.errors import BadArguments, Refused, Unavailable
from watcher.core.event import Event
from watcher.journal.layout import Appended
from watcher.relay.common.outage import unavailable, why
from watcher.relay.limits.bounded_threads import BoundedThreads
from watcher.relay.submit.announcer import Announcer
from watcher.relay.submit.broker import Broker, Delivery, DeliveryStatus
from watcher.relay.submit.idempotency import AlreadySubmitted, Claim, ClaimBusy, ClaimTaken, IdempotencyStore
from watcher.relay.submit.sending import SentMessage
from watcher.rendering.fields import about, schedule
from watcher.rendering.policy import Policy

__all__ = ["PendingSubmission", "SubmissionPipeline", "Submitted"]

logger = logging.getLogger(__name__)

#: What became of a batch is put on record by its deadline; where that has passed, this much later, in seconds.
_RECORD: Final = 0.2
#: Where nobody waits any more, it may take so long, in seconds.
_LATE: Final = 10.0


class Submitted(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task that was submitted: PENDING stands at ``offset`` of ``epoch``.

    ``token`` lets its holder watch the task; there is none at a relay without a secret. ``state`` and ``queue`` say
    where the task was when it had been waited for in vain. ``existing`` is true where the task's own code sent nothing,
    and named a task that was there before.
    """

    id: str
    channel: str
    epoch: str
    offset: int
    token: str | None = None
    state: str | None = None
    queue: str | None = None
    existing: bool = False


Outcome: TypeAlias = AlreadySubmitted | ClaimBusy | Refused


@dataclass(slots=True, eq=False)
class PendingSubmission:
    """One submission.

    :param outcome: what became of it; None as long as nobody knows.
    :param at: where PENDING stands. ``taken``: when it was claimed, by the monotonic clock.
    """

    claim: Claim
    message: Delivery
    outcome: Outcome | None = None
    described: dict[str, Any] = field(default_factory=dict)
    at: Appended | None = None
    taken: float = 0.0

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

    def known(self) -> AlreadySubmitted | None:
        """The task that was sent, or that stands for it; None where there is none."""
        if self.at is None:
            return None
        if (instead := self.message.instead) is not None:
            return AlreadySubmitted(instead.id, self.at.epoch, self.at.offset, existing=instead.sent is None)
        sent = self.message.settle() is DeliveryStatus.SENT
        return AlreadySubmitted(self.message.id, self.at.epoch, self.at.offset) if sent else None

    def conclude(self) -> Outcome:
        """What became of it, now: from here on it isn't sent any more if it has not been."""
        fate = self.message.settle()
        if self.outcome is not None:
            return self.outcome
        if (known := self.known()) is not None:
            return known
        if fate is DeliveryStatus.SENDING:
            return self.message.why or Unavailable("the broker doesn't answer in time", submitted="unknown")
        who = "Redis" if self.at is None else "the broker"
        return self.message.why or Unavailable(f"{who} doesn't answer in time", submitted="no")


class SubmissionPipeline:
    """Carries batches of orders.

    :param threads: for what blocks.
    """

    def __init__(
        self, broker: Broker, claims: IdempotencyStore, appender: Announcer, policy: Policy, threads: BoundedThreads
    ) -> None:
        self._broker = broker
        self._claims = claims
        self._appender = appender
        self._policy = policy
        self._threads = threads

    async def carry(self, orders: Sequence[PendingSubmission], deadline: float) -> None:
        """Carry out ``orders``, and write into each what became of it; see :class:`.batcher.Batcher`.

        :param deadline: moment of the event loop's clock.
        """
        try:
            with anyio.move_on_after(deadline - anyio.current_time()):
                await self._carry(orders, deadline)
        except TimeoutError:
            pass  # each order tells how far it has come
        except (RedisError, OSError) as error:
            # It may answer well enough: that it is a replica, that it is full.
            away = unavailable("Redis", error, refuses=isinstance(error, ResponseError), submitted="no")
            for order in orders:
                if order.outcome is None and order.message.settle() is DeliveryStatus.NOT_SENT:
                    order.outcome = away
        for order in orders:
            order.outcome = order.conclude()
        with anyio.CancelScope(deadline=max(deadline, anyio.current_time() + _RECORD)):
            left = [(order, order.message.leave()) for order in orders if order.at is not None]
            await self._record([order for order, fate in left if fate is not DeliveryStatus.SENDING])

    async def _carry(self, orders: Sequence[PendingSubmission], deadline: float) -> None:
        prepare = functools.partial(self._prepare, orders)
        await self._threads.run(prepare, deadline - anyio.current_time())
        live = [order for order in orders if order.outcome is None]
        verdicts = await self._claims.take([order.claim for order in live])
        for order, verdict in zip(live, verdicts, strict=True):
            if isinstance(verdict, ClaimTaken):
                order.message.id, order.taken = verdict.id, time.monotonic()
            else:
                order.outcome = verdict
        live = [order for order in live if order.outcome is None]
        if not live:
            return
        places = await self._appender.append([order.pending() for order in live])
        for order, place in zip(live, places, strict=True):
            order.at = place
        send = functools.partial(self._send, live, asyncio.get_running_loop())
        await self._threads.run(send, deadline - anyio.current_time())

    def _send(self, orders: Sequence[PendingSubmission], loop: asyncio.AbstractEventLoop) -> None:
        """Send them, in a thread. Nobody may be waiting any more when that has ended: then it is put on record here."""
        self._broker.send([order.message for order in orders])
        late = [order for order in orders if order.message.left]
        if late:
            recording = self._record_late(late)
            try:
                recorded = asyncio.run_coroutine_threadsafe(recording, loop)
            except RuntimeError:  # the relay has stopped
                recording.close()
                return
            with contextlib.suppress(TimeoutError, CancelledError):
                recorded.result(_LATE)

    def _prepare(self, orders: Sequence[PendingSubmission]) -> None:
        """Everything that runs the app's code before anything is claimed."""
        for order in orders:
            message = order.message
            try:
                queue = self._broker.route(message)
                self._broker.check(message)
            except BadArguments as error:
                order.outcome = error
                continue
            except Exception as error:  # a router is the app's code and may raise anything
                logger.warning("task %s can't be routed", message.task.name, exc_info=True)
                said = why(error) if isinstance(error, (OSError, RedisError)) else error  # which may name an address
                order.outcome = BadArguments(f"{message.task.name} can't be routed: {type(error).__name__}: {said}")
                continue
            shown = self._policy.of(str(message.task.name)).arguments(
                tuple(message.args), dict(message.kwargs), None, None
            )
            order.described = {"queue": queue, **shown._asdict()}

    async def _record(self, orders: Sequence[PendingSubmission]) -> None:
        """Put on record which were sent and which not. What nobody knows stays claimed until the claim is old."""
        if not orders:
            return
        settled = [(order, order.known()) for order in orders]
        sent = [(order.message.id, order.claim, known) for order, known in settled if known]
        unsent = [order for order in orders if order.message.settle() is DeliveryStatus.NOT_SENT]
        refused = [(order.message.id, order.claim) for order, known in settled if not known and order in unsent]
        try:
            await self._claims.settle(sent, refused)
            if unsent:
                events = [order.event("REJECTED", reason="not_sent") for order in unsent]
                sent_instead = [order.message.instead.sent for order in unsent if order.message.instead]
                await self._appender.append(events + [self._pending(each) for each in sent_instead if each])
        except (RedisError, OSError) as error:
            logger.warning("the outcome of %d submissions could not be recorded: %s", len(orders), error)

    async def _record_late(self, orders: Sequence[PendingSubmission]) -> None:
        """The same of those that were given up on, unless somebody has taken over their claims since."""
        now = time.monotonic()
        try:
            taken = [(order.message.id, order.claim, now - order.taken) for order in orders]
            still = await self._claims.still_taken(taken)
        except (RedisError, OSError) as error:
            logger.warning("the outcome of %d submissions could not be recorded: %s", len(orders), error)
        else:
            await self._record([order for order, ours in zip(orders, still, strict=True) if ours])

    def _pending(self, sent: SentMessage) -> Event:
        """What is told of a task that was sent under another id than the one that was announced."""
        headers = sent.headers
        event = about(sent.id, headers, str(headers.get("task")), "PENDING", time.time(), queue=sent.queue)
        given = (sent.args, sent.kwargs, headers.get("argsrepr"), headers.get("kwargsrepr"))
        shown = self._policy.of(event.name).arguments(*given)
        return msgspec.structs.replace(event, **schedule(headers), **shown._asdict())
