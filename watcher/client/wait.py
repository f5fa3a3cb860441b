"""A wait for the end of one task: what a subscription to it says first, then its events."""

from __future__ import annotations

import copy
from typing import Final

import anyio
import msgspec
from msgspec import Raw

from watcher.centrifuge.client_messages import ReceivedPublication, Subscribed
from watcher.client.errors import RelayError, TaskLost
from watcher.client.models import Snapshot, TaskEvent, standing
from watcher.client.subscriptions import ChannelListener, ClientSubscriptions
from watcher.core.event import is_final

__all__ = ["GRACE", "wait_for_end"]

#: A task that nobody knows may just have been sent by a program whose events are on their way. In seconds.
GRACE: Final = 3.0


class KnownTask(msgspec.Struct, frozen=True):
    """What the relay knew of a task as it answered a subscription; the absent and the null are the same."""

    task: Raw = Raw(b"null")


class EventPeek(msgspec.Struct, frozen=True):
    """As much of an event or a task as says whether it has ended, and where it is if not."""

    state: str
    late: bool = False
    offset: int = 0
    queue: str | None = None
    hostname: str | None = None
    reason: str | None = None


def known_task(reply: Subscribed) -> tuple[bytes, EventPeek] | None:
    """The JSON of the task that a subscription's reply tells of, and a look into it; None where nobody knows it."""
    answer = msgspec.json.decode(reply.data, type=KnownTask | None)
    if answer is None or bytes(answer.task) == b"null":
        return None
    line = bytes(answer.task)
    return line, msgspec.json.decode(line, type=EventPeek)


class _Waiter(ChannelListener):
    def __init__(self, channel: str) -> None:
        super().__init__(recovers=False)
        self._channel = channel
        self.outcome: TaskEvent | Snapshot | None = None
        self.error: RelayError | None = None
        self.unknown = False
        self.last: EventPeek | None = None
        self.stirred = anyio.Event()

    def on_known(self, reply: Subscribed) -> None:
        task = known_task(reply)
        self.unknown = task is None
        self.last = task[1] if task is not None else self.last
        if task is not None and is_final(task[1].state):
            self.outcome = self.outcome or Snapshot(task[0])
        self.stirred.set()

    def on_event(self, epoch: str, publication: ReceivedPublication) -> bool:
        self.unknown = False
        event = msgspec.json.decode(publication.data, type=EventPeek)
        self.last = self.last if event.late else event
        if is_final(event.state) and not event.late and self.outcome is None:
            self.outcome = TaskEvent(self._channel, epoch, publication.offset, bytes(publication.data))
            self.stirred.set()
        return True

    def on_lost(self) -> None:
        self.unknown = False

    def on_error(self, error: RelayError) -> None:
        self.error = error
        self.stirred.set()


async def wait_for_end(
    channels: ClientSubscriptions, identity: str, token: str | None = None, seconds: float | None = None
) -> TaskEvent | Snapshot:
    """Wait until a task has ended, over lost connections too.

    Safe to cancel.

    :param seconds: for so long at most.
    :raises TimeoutError: it has not ended by then; says where it was.
    :raises TaskLost: nobody knows it.
    :raises RelayError: it may not be watched, or there is no connection to be had any more.
    """
    channel = f"task:{identity}"
    waiter = _Waiter(channel)
    channels.join(channel, waiter, token)
    try:
        with anyio.fail_after(seconds):
            return await _end(waiter, identity)
    except TimeoutError:
        last = waiter.last
        where = standing(last.state, last.queue, last.hostname, last.reason) if last is not None else standing(None)
        raise TimeoutError(f"task {identity} has not ended within {seconds:g} s: {where}") from None
    finally:
        channels.leave(channel, waiter)


async def _end(waiter: _Waiter, identity: str) -> TaskEvent | Snapshot:
    while waiter.outcome is None:
        if waiter.error is not None:
            raise copy.copy(waiter.error)
        with anyio.move_on_after(GRACE if waiter.unknown else None) as grace:
            await waiter.stirred.wait()
            waiter.stirred = anyio.Event()
        if grace.cancelled_caught and waiter.unknown:
            raise TaskLost(identity)
    return waiter.outcome
