"""When a task was sent, and which delivery of its message a worker has: what orders the events of one task id.

:mod:`watcher.core.order` has the rules. Both travel with the message: ``watcher_sent`` in its headers, from the sender
on; ``watcher_run`` in the request that the worker makes of it, and hands to the pool's child.
"""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from watcher.core.order import INCARNATION
from watcher.rendering.tagging import Headers

__all__ = ["RUN", "SENT", "RunNames", "SentStamps", "deliveries", "next_life", "sent_of"]

#: The message header with the moment at which the task was sent, in Unix seconds.
SENT: Final = "watcher_sent"
#: The field of a request that names the delivery. Celery copies it into a retry's headers, where it is taken out.
RUN: Final = "watcher_run"
#: Two messages that one process sends are at least so far apart, in seconds: a float of today's moments holds as much.
_TICK: Final = 0.000001


class SentStamps:
    """When messages are sent, so that what follows from another message is later than that, whatever the clocks say."""

    def __init__(self) -> None:
        self._last = 0.0

    def stamp(self, headers: MutableMapping[str, Any], retries: Any, running: Headers | None) -> float | None:
        """Put the moment into a message's headers, and return it.

        A retry goes on with what its task has; None where that has nothing.

        :param running: the request of the task that sends, where one does.
        """
        headers.pop(RUN, None)
        own = sent_of(headers)
        if retries or (own is not None and running is None):
            return own
        sent = self.after(max(own or 0.0, (sent_of(running) if running is not None else None) or 0.0))
        headers[SENT] = sent
        return sent

    def after(self, moment: float = 0.0) -> float:
        """The current moment in Unix seconds, but later than ``moment`` and than what was given before.

        Without a lock, which a signal handler or a fork might find taken: two threads may be given the same moment, and
        that matters to one task id only.
        """
        self._last = stamp = round(max(time.time(), moment + _TICK, self._last + _TICK), 6)
        return stamp


class RunNames:
    """Names the deliveries that this process receives."""

    def __init__(self) -> None:
        self._pid = 0
        self._incarnation = ""
        self._count = itertools.count()

    @property
    def incarnation(self) -> str:
        """What the names begin with: this process's own, another one in a fork."""
        if self._pid != os.getpid():
            self._pid, self._incarnation = os.getpid(), secrets.token_hex(INCARNATION // 2)
        return self._incarnation

    def receive(self, request: MutableMapping[str, Any]) -> None:
        """A message was received: name the run, and where its sender didn't say when it was sent, take this moment.

        What was delivered or tried before was sent before, nobody knows when.
        """
        request[RUN] = f"{self.incarnation}{next(self._count):x}"
        if sent_of(request) is None and not request.get("retries") and not deliveries(request):
            request[SENT] = round(time.time(), 6)


def sent_of(headers: Headers) -> float | None:
    """When a message says that it was sent; None where it doesn't, or not so."""
    sent = headers.get(SENT)
    return float(sent) if isinstance(sent, int | float) and 0 < sent < 10_000_000_000 else None


def next_life(headers: Headers) -> float | None:
    """The moment of what a task would have sent, or will: the first one after its own; None where that isn't known.

    It is always the same, and what is sent after all is later.
    """
    sent = sent_of(headers)
    return round(sent + _TICK, 6) if sent is not None else None


def deliveries(request: Headers) -> int:
    """How often the broker says that it had delivered the message before; 1 where it only says that it had.

    Quorum queues of RabbitMQ count; Redis and AMQP only tell (kombu/transport/redis.py, ``_do_restore_message``).
    """
    information = request.get("delivery_info")
    if not isinstance(information, Mapping) or not information.get("redelivered"):
        return 0
    count = request.get("x-delivery-count")
    return count if isinstance(count, int) and count > 0 else 1
