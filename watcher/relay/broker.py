"""The Celery app as the relay uses it: its tasks, where they are routed, and the calls that reach the broker.

Everything that touches the network blocks, and belongs into a thread. Celery's own connections wait for minutes and try
again by themselves, which is right in a worker and wrong here: so the relay has connections of its own, with time-outs
and without retries, and leaves the app's configuration alone. Custom ``apply_async``, routers and signal handlers work
as they do in any program that sends tasks.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from celery import Celery, Task
from celery.app.control import Control
from celery.exceptions import QueueNotFound
from kombu.exceptions import OperationalError

from watcher.errors import BadArguments, Refused
from watcher.relay.connections import Away, Connections, Line
from watcher.worker.routing import queue_to

__all__ = ["Broker", "Fate", "Message"]

logger = logging.getLogger(__name__)


class Fate(enum.Enum):
    """How far a message has come."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    NOT_SENT = "not sent"


@dataclass(slots=True, eq=False)
class Message:
    """One task on its way to the broker.

    A thread sends it while the event loop may lose patience: :meth:`begin` and :meth:`settle` decide who was first.

    :param route: where it goes, as options of ``apply_async``; see :meth:`Broker.route`.
    """

    task: Task[Any, Any]
    id: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    eta: datetime | None = None
    expires: datetime | None = None
    priority: int | None = None
    tags: tuple[str, ...] = ()
    route: dict[str, Any] = field(default_factory=dict)
    why: Refused | None = None
    _fate: Fate = Fate.WAITING
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> bool:
        """Whether it may still be sent; from then on it may be at the broker."""
        with self._lock:
            if self._fate is not Fate.WAITING:
                return False
            self._fate = Fate.SENDING
            return True

    def end(self, fate: Fate, why: Refused | None = None) -> None:
        """It was sent, or certainly not, or (SENDING) nobody knows."""
        with self._lock:
            self._fate, self.why = fate, why

    def settle(self) -> Fate:
        """What has become of it; one that still waits is withdrawn."""
        with self._lock:
            if self._fate is Fate.WAITING:
                self._fate = Fate.NOT_SENT
            return self._fate


class Broker:
    """One Celery app and its broker.

    :param app: its configuration is only read.
    :param limit: how many threads may call at a time.
    """

    def __init__(self, app: Celery, limit: int) -> None:
        self.app = app
        # A revoke needs two at a time: kombu sends it by a producer that it takes itself.
        self._connections = Connections(app, 2 * limit)

    def load(self) -> None:
        """Register all of the app's tasks. It may import modules, so it blocks."""
        self.app.loader.import_default_modules()
        self.app.finalize()

    def task(self, name: str) -> Task[Any, Any] | None:
        """The task of this name; None where there is none, or it is one of Celery's own."""
        return None if name.startswith("celery.") else self.app.tasks.get(name)

    def tasks(self) -> list[Task[Any, Any]]:
        """All tasks but Celery's own, by name."""
        return [task for name in sorted(self.app.tasks) if (task := self.task(name)) is not None]

    def route(self, message: Message, queue: str | None) -> str | None:
        """Find out where ``message`` goes, and return the name of the queue, where that is known.

        Routers are the app's code, so this may block.

        :param queue: the one that the client asked for.
        :raises BadArguments: there is no such queue.
        """
        router: Any = self.app.amqp.router
        task = message.task
        own = {name: value for name in ("queue", "exchange", "routing_key") if (value := getattr(task, name, None))}
        asked = {"queue": queue} if queue else own
        try:
            route = router.route(dict(asked), task.name, message.args, message.kwargs, task)
        except QueueNotFound as error:
            raise BadArguments(f"option 'queue': {error}", argument="queue") from None
        # A router may answer something else the next time it is asked, so what it said is what holds.
        message.route = route if self.app.conf.task_routes else asked
        name = getattr(route.get("queue"), "name", None)
        if route.get("exchange"):  # then the queue may be but the default one, which Celery adds
            name = queue_to(route["exchange"], route.get("routing_key"), route.get("queue"), self.app)
        return name if isinstance(name, str) else None

    def send(self, messages: Sequence[Message]) -> None:
        """Send these in order, and say in each what has become of it.

        The first that the broker doesn't take is the last that is tried.
        """
        begun: list[Message] = []
        together = False
        try:
            with self._connections.line() as line:
                together = len(messages) > 1 and line.takes_batches
                with line.together(len(messages)) if together else contextlib.nullcontext():
                    for message in messages:
                        if message.begin():
                            begun.append(message)
                            self._apply(message, line, begun)
        except Away as away:
            # Those before the last one were sent, unless all were to be handed over together.
            last = 0 if together else max(0, len(begun) - 1)
            unsent = away.absent or (away.refused and not together)
            for message in begun[last:]:
                message.end(Fate.NOT_SENT if unsent else Fate.SENDING, away.refusal("no" if unsent else "unknown"))
            del begun[last:]
            for message in messages:
                if message.settle() is Fate.NOT_SENT and message.why is None:
                    message.end(Fate.NOT_SENT, away.refusal("no"))
        for message in begun:
            message.end(Fate.SENT)

    def _apply(self, message: Message, line: Line, begun: list[Message]) -> None:
        """Hand one message to Celery; where the app itself doesn't take it, that is that message's alone."""
        try:
            _apply(message, line)
        except OperationalError:
            raise
        except Exception as error:  # a task's own apply_async, a serializer or a router may raise anything
            logger.warning("a task %s was not sent", message.task.name, exc_info=True)
            why = f"{message.task.name} was not sent: {type(error).__name__}: {error}"
            message.end(Fate.NOT_SENT, BadArguments(why))
            begun.remove(message)

    def revoke(self, identity: str, *, terminate: bool) -> None:
        """Tell all workers to revoke a task.

        :param terminate: also send SIGTERM to the process that runs it.
        :raises Unavailable: the broker is away.
        """
        try:
            with self._connections.line() as line:
                control: Any = Control(self.app)
                control.mailbox.producer_pool = self._connections.producers
                control.revoke(identity, terminate=terminate, signal="SIGTERM", connection=line.connection)
        except Away as away:
            raise away.refusal(None) from None

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()


def _apply(message: Message, line: Line) -> None:
    options: dict[str, Any] = dict(message.route)
    if message.priority is not None:
        options["priority"] = message.priority
    if message.expires is not None:
        options["expires"] = message.expires
    if message.eta is not None:
        options["eta"] = message.eta
    if message.tags:
        options["headers"] = {"watcher_tags": list(message.tags)}
    message.task.apply_async(
        tuple(message.args), dict(message.kwargs), task_id=message.id, producer=line.producer, retry=False, **options
    )
