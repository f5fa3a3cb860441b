"""One batch of submissions on its way: checked, claimed, announced, handed to the broker, and put on record.

What it may meet at each step, and what that means to its client, is :mod:`.pending_submission`'s to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Final

import anyio
import msgspec
from redis.exceptions import RedisError, ResponseError

from watcher.core.errors import BadArguments, Unavailable
from watcher.core.event import Event
from watcher.relay.common.outage import unavailable, why
from watcher.relay.limits.bounded_threads import BoundedThreads, ThreadsBusy
from watcher.relay.submit.announcer import Announcer
from watcher.relay.submit.broker import Broker
from watcher.relay.submit.idempotency import AlreadySubmitted, Claim, ClaimTaken, IdempotencyStore
from watcher.relay.submit.pending_submission import PendingSubmission, State
from watcher.relay.submit.sending import SentMessage
from watcher.rendering.fields import about, schedule
from watcher.rendering.policy import Policy

__all__ = ["SubmissionPipeline", "Submitted"]

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


class SubmissionPipeline:
    """Carries batches of submissions through the steps, in the order of the methods below.

    :param threads: for what blocks.
    """

    def __init__(
        self, broker: Broker, claims: IdempotencyStore, announcer: Announcer, policy: Policy, threads: BoundedThreads
    ) -> None:
        self._broker = broker
        self._claims = claims
        self._announcer = announcer
        self._policy = policy
        self._threads = threads

    async def carry(self, batch: Sequence[PendingSubmission], deadline: float) -> None:
        """Carry out ``batch``; each of it says what became of it; see :class:`.batcher.Batcher`.

        :param deadline: moment of the event loop's clock.
        """
        try:
            with anyio.move_on_after(deadline - anyio.current_time()):
                await self._carry(batch, deadline)
        except ThreadsBusy:
            for pending in batch:
                pending.withdraw(Unavailable("the relay is overloaded", submitted="no"))
        except TimeoutError:
            pass  # each tells how far it has come
        except (RedisError, OSError) as error:
            # It may answer well enough: that it is a replica, that it is full.
            away = unavailable("Redis", error, refuses=isinstance(error, ResponseError), submitted="no")
            for pending in batch:
                pending.withdraw(away)
        for pending in batch:
            pending.withdraw()
        with anyio.CancelScope(deadline=max(deadline, anyio.current_time() + _RECORD)):
            announced = [pending for pending in batch if pending.position is not None]
            await self._record([pending for pending in announced if not pending.leave_to_thread()])

    async def _carry(self, batch: Sequence[PendingSubmission], deadline: float) -> None:
        await self._threads.run(functools.partial(self._check, batch), deadline - anyio.current_time())
        claimed = await self._claim([pending for pending in batch if pending.state is State.NEW])
        if not claimed:
            return
        await self._announce(claimed)
        send = functools.partial(self._send, claimed, asyncio.get_running_loop())
        await self._threads.run(send, deadline - anyio.current_time())

    def _check(self, batch: Sequence[PendingSubmission]) -> None:
        """Everything that runs the app's code before anything is claimed, in a thread."""
        for pending in batch:
            name = str(pending.task.name)
            try:
                queue = self._broker.route(pending)
                self._broker.check(pending)
            except BadArguments as error:
                pending.answer(error)
                continue
            except Exception as error:  # a router is the app's code and may raise anything
                logger.warning("task %s can't be routed", name, exc_info=True)
                reason = why(error) if isinstance(error, (OSError, RedisError)) else error  # which may name an address
                pending.answer(BadArguments(f"{name} can't be routed: {type(error).__name__}: {reason}"))
                continue
            shown = self._policy.of(name).arguments(tuple(pending.args), dict(pending.kwargs), None, None)
            pending.description = {"queue": queue, **shown._asdict()}

    async def _claim(self, batch: Sequence[PendingSubmission]) -> list[PendingSubmission]:
        """Claim the task ids and idempotency keys; returns those that have got theirs."""
        verdicts = await self._claims.take([pending.claim for pending in batch])
        claimed: list[PendingSubmission] = []
        for pending, verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, ClaimTaken):
                pending.claimed(verdict.id)
                claimed.append(pending)
            else:
                pending.answer(verdict)
        return claimed

    async def _announce(self, batch: Sequence[PendingSubmission]) -> None:
        """Put PENDING into the journal, before any event of a worker's can be there."""
        positions = await self._announcer.append([pending.pending() for pending in batch])
        for pending, position in zip(batch, positions, strict=True):
            pending.announced(position)

    def _send(self, batch: Sequence[PendingSubmission], loop: asyncio.AbstractEventLoop) -> None:
        """Hand them to the broker, in a thread; record here what the loop has left to it meanwhile."""
        self._broker.send(batch)
        late = [pending for pending in batch if pending.left_to_thread]
        if late:
            recording = self._record_late(late)
            try:
                recorded = asyncio.run_coroutine_threadsafe(recording, loop)
            except RuntimeError:  # the relay has stopped
                recording.close()
                return
            with contextlib.suppress(TimeoutError, CancelledError):
                recorded.result(_LATE)

    async def _record(self, batch: Sequence[PendingSubmission]) -> None:
        """Put on record which were sent and which not."""
        sent: list[tuple[str, Claim, AlreadySubmitted]] = []
        refused: list[tuple[str, Claim]] = []
        events: list[Event] = []
        for pending in batch:
            outcome = pending.outcome()
            if isinstance(outcome, AlreadySubmitted):
                sent.append((pending.task_id, pending.claim, outcome))
            elif pending.state is State.NOT_SENT:
                refused.append((pending.task_id, pending.claim))
            if pending.state in (State.NOT_SENT, State.SUBSTITUTED):
                events.append(pending.event("REJECTED", reason="not_sent"))
        substitutes = [pending.substitute.message for pending in batch if pending.substitute is not None]
        if not sent and not refused:
            return
        try:
            await self._claims.settle(sent, refused)
            if events:
                await self._announcer.append(
                    events + [self._sent_instead(message) for message in substitutes if message]
                )
        except (RedisError, OSError) as error:
            logger.warning("the outcome of %d submissions could not be recorded: %s", len(batch), error)

    async def _record_late(self, batch: Sequence[PendingSubmission]) -> None:
        """The same of those that were given up on, unless somebody has taken over their claims since."""
        now = time.monotonic()
        try:
            taken = [(pending.task_id, pending.claim, now - pending.claimed_at) for pending in batch]
            still = await self._claims.still_taken(taken)
        except (RedisError, OSError) as error:
            logger.warning("the outcome of %d submissions could not be recorded: %s", len(batch), error)
        else:
            await self._record([pending for pending, ours in zip(batch, still, strict=True) if ours])

    def _sent_instead(self, message: SentMessage) -> Event:
        """What is told of a task that was sent under another id than the one that was announced."""
        headers = message.headers
        event = about(message.id, headers, str(headers.get("task")), "PENDING", time.time(), queue=message.queue)
        shown = self._policy.of(event.name).arguments(
            message.args, message.kwargs, headers.get("argsrepr"), headers.get("kwargsrepr")
        )
        return msgspec.structs.replace(event, **schedule(headers), **shown._asdict())
