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
from celery.result import EagerResult
from kombu.exceptions import KombuError, OperationalError, SerializationError

from watcher.core.errors import BadArguments, NotSent, Refused, Unavailable
from watcher.relay.api.signature import positional
from watcher.relay.common import outage
from watcher.relay.submit import decodable
from watcher.relay.submit.broker_pool import BrokerConnection, BrokerPool, BrokerUnavailable
from watcher.relay.submit.sending import SentMessage, listen, overheard, standing_for
from watcher.rendering._celery import publish_controls_by
from watcher.rendering.lives import SENT
from watcher.rendering.routing import queue_to
from watcher.rendering.tagging import HEADER as TAGS

__all__ = ["Broker", "Delivery", "DeliveryStatus", "Substitute"]

logger = logging.getLogger(__name__)


class DeliveryStatus(enum.Enum):
    """How far a message has come."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    NOT_SENT = "not sent"


@dataclass(frozen=True, slots=True)
class Substitute:
    """The task that stands for one whose own ``apply_async`` didn't send it under its id.

    :param sent: its message; None where that ``apply_async`` didn't send it, because it was there before.
    """

    id: str
    sent: SentMessage | None


@dataclass(slots=True, eq=False)
class Delivery:
    """One task on its way to the broker.

    A thread sends it while the event loop may lose patience: :meth:`begin` and :meth:`settle` decide who was first, and
    :meth:`leave` and :attr:`left` who puts on record how it ended.

    :param sent: Unix seconds; its worker's events say it, too.
    :param queue: that the client asked for.
    :param route: where it goes, as options of ``apply_async``; see :meth:`Broker.route`.
    :param instead: what stands for it, where it was not sent.
    """

    task: Task[Any, Any]
    id: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    sent: float
    eta: datetime | None = None
    expires: datetime | None = None
    priority: int | None = None
    queue: str | None = None
    tags: tuple[str, ...] = ()
    route: dict[str, Any] = field(default_factory=dict)
    why: Refused | None = None
    instead: Substitute | None = None
    _fate: DeliveryStatus = DeliveryStatus.WAITING
    _left: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> bool:
        """Whether it may still be sent; from then on it may be at the broker."""
        with self._lock:
            if self._fate is not DeliveryStatus.WAITING:
                return False
            self._fate = DeliveryStatus.SENDING
            return True

    def end(self, fate: DeliveryStatus, why: Refused | None = None, instead: Substitute | None = None) -> None:
        """It was sent, or certainly not, or (SENDING) nobody knows."""
        with self._lock:
            self._fate, self.why, self.instead = fate, why, instead

    def settle(self) -> DeliveryStatus:
        """What has become of it; one that still waits is withdrawn."""
        with self._lock:
            if self._fate is DeliveryStatus.WAITING:
                self._fate = DeliveryStatus.NOT_SENT
            return self._fate

    def leave(self) -> DeliveryStatus:
        """The same, by whoever will not look again: of what is being sent, the thread that does has to tell."""
        with self._lock:
            if self._fate is DeliveryStatus.WAITING:
                self._fate = DeliveryStatus.NOT_SENT
            self._left = self._fate is DeliveryStatus.SENDING
            return self._fate

    @property
    def left(self) -> bool:
        """Whether it is known by now how it ended, and whoever wanted to know has left before."""
        with self._lock:
            return self._left and self._fate is not DeliveryStatus.SENDING


class Broker:
    """One Celery app and its broker.

    :param app: its configuration is only read.
    :param limit: how many threads may call at a time.
    """

    def __init__(self, app: Celery, limit: int) -> None:
        self.app = app
        # A revoke needs two at a time: kombu sends it by a producer that it takes itself.
        self._connections = BrokerPool(app, 2 * limit)
        listen()

    def load(self) -> None:
        """Register all of the app's tasks. It may import modules, so it blocks."""
        self.app.loader.import_default_modules()
        self.app.finalize()

    def task(self, name: str) -> Task[Any, Any] | None:
        """The task of this name; None where there is none, or it is one of Celery's own."""
        return None if name.startswith("celery.") else self.app.tasks.get(name)

    def tasks(self) -> list[Task[Any, Any]]:
        """All tasks but Celery's own, by name."""
        return [task for name in self.names() if (task := self.task(name)) is not None]

    def names(self) -> list[str]:
        """Their names, in order."""
        return [name for name in sorted(self.app.tasks) if not name.startswith("celery.")]

    def route(self, message: Delivery) -> str | None:
        """Find out where ``message`` goes, and return the name of the queue, where that is known.

        Routers are the app's code, so this may block.

        :raises BadArguments: there is no such queue.
        """
        router: Any = self.app.amqp.router
        task = message.task
        own = {name: value for name in ("queue", "exchange", "routing_key") if (value := getattr(task, name, None))}
        asked = {"queue": message.queue} if message.queue else own
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

    def check(self, message: Delivery) -> None:
        """Check that a worker can decode the arguments of a message that has its route.

        :raises BadArguments: it can't; names the argument.
        """
        task = message.task
        serializer = message.route.get("serializer") or task.serializer or self.app.conf.task_serializer
        decodable.check(message.args, message.kwargs, str(serializer), lambda: positional(task))

    def send(self, messages: Sequence[Delivery]) -> None:
        """Send these in order, and say in each what has become of it.

        The first that the broker doesn't take is the last that is tried.
        """
        begun: list[Delivery] = []
        current: Delivery | None = None
        together = False
        try:
            with self._connections.line() as line:
                together = len(messages) > 1 and line.takes_batches and not any(map(_sends_itself, messages))
                with line.together(len(messages)) if together else contextlib.nullcontext():
                    for message in messages:
                        if message.begin():
                            begun.append(message)
                            current = message
                            self._apply(message, line, begun)
        except BrokerUnavailable as away:
            # Those before the last one were sent, unless all were to be handed over together.
            failed = [message for message in begun if together or message is current]
            unsent = away.absent or (away.refused and not together)
            for message in failed:
                no_queue = _no_such_queue(message, away) if unsent and away.of_queue else None
                why = no_queue or away.refusal("no" if unsent else "unknown")
                message.end(DeliveryStatus.NOT_SENT if unsent else DeliveryStatus.SENDING, why)
                begun.remove(message)
            for message in messages:
                if message.settle() is DeliveryStatus.NOT_SENT and message.why is None and message.instead is None:
                    message.end(DeliveryStatus.NOT_SENT, away.refusal("no"))
        for message in begun:
            message.end(DeliveryStatus.SENT)

    def _apply(self, message: Delivery, line: BrokerConnection, begun: list[Delivery]) -> None:
        """Hand one message to Celery; where the app itself doesn't take it, that is that message's alone."""
        name = str(message.task.name)
        returned: Any = None
        error: Exception | None = None
        with overheard() as published:
            try:
                returned = _apply(message, line)
            except OperationalError:
                if _sends_itself(message) and any(each.id == message.id for each in published):
                    begun.remove(message)  # something else that its own apply_async sent was not
                    message.end(DeliveryStatus.SENT)
                raise
            except Exception as raised:  # noqa: BLE001 - a task's own apply_async or a serializer may raise anything
                error = raised
        stands = standing_for(message.id, name, returned, published)
        if stands == message.id:
            if error is not None:
                logger.warning("a task %s was sent, and then its apply_async failed", name, exc_info=error)
            return
        begun.remove(message)
        if error is not None:
            why = _refusal(f"{name} was not sent", error, line)
            if not isinstance(why, NotSent):  # which is no mistake
                logger.warning("a task %s was not sent", name, exc_info=error)
            message.end(DeliveryStatus.NOT_SENT, why)
        elif stands is not None:
            sent = next((each for each in published if each.id == stands), None)
            message.end(DeliveryStatus.NOT_SENT, instead=Substitute(stands, sent))
        else:
            ran = isinstance(returned, EagerResult) and returned.id
            what = "ran it at once, here" if ran else "sent nothing"
            message.end(DeliveryStatus.NOT_SENT, NotSent(f"{name} was not sent: its own apply_async {what}"))

    def revoke(self, identity: str, *, terminate: bool) -> None:
        """Tell all workers to revoke a task.

        :param terminate: also send SIGTERM to the process that runs it.
        :raises Unavailable: the broker is away.
        """
        try:
            with self._connections.line() as line:
                control: Any = Control(self.app)
                publish_controls_by(control, self._connections.producers)
                control.revoke(identity, terminate=terminate, signal="SIGTERM", connection=line.connection)
        except BrokerUnavailable as away:
            raise away.refusal(None) from None

    def served(self, seconds: float) -> set[str]:
        """The queues that workers serve now, as they say themselves; none where this broker has no way to ask them.

        :param seconds: what they are given to say it.
        :raises Unavailable: the broker is away.
        """
        replies: Any = None
        try:
            with self._connections.line() as line:
                control: Any = Control(self.app)
                publish_controls_by(control, self._connections.producers)
                try:
                    replies = control.inspect(timeout=seconds, connection=line.connection).active_queues()
                except (OperationalError, KombuError):
                    raise
                except Exception as error:  # noqa: BLE001 - not each transport knows how, or may; each says it otherwise
                    logger.info("workers can't be asked for their queues: %s", error)
                finally:
                    line.give_up()  # who asks twice over one connection may hear nothing the second time
        except BrokerUnavailable as away:
            raise away.refusal("no") from None
        queues = [queue for told in (replies or {}).values() for queue in told or ()]
        return {str(queue["name"]) for queue in queues if isinstance(queue, dict) and "name" in queue}

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()


def _no_such_queue(message: Delivery, away: BrokerUnavailable) -> BadArguments | None:
    """What is said of a queue that the client has named, and that the broker doesn't take; None where it has not."""
    if message.queue is None:
        return None
    return BadArguments(f"option 'queue': {message.queue!r} can't be sent to, {away}", argument="queue")


def _sends_itself(message: Delivery) -> bool:
    """Whether the task has an ``apply_async`` of its own: what it does goes by what was sent, and not by what will be.

    It may take a lock, say, and give that back where sending fails.
    """
    return type(message.task).apply_async is not Task.apply_async


def _refusal(what: str, error: Exception, line: BrokerConnection) -> Refused:
    """What an error that a task's own code raised means to whoever submitted it."""
    text, named = _said(error)
    why = f"{what}: {type(error).__name__}{text and ': '}{text}"
    away: Any = line.connection.connection_errors
    if isinstance(error, (OSError, *away)):  # of the lock that it wanted, say
        return Unavailable(f"{what}: {type(error).__name__}: {outage.why(error)}", submitted="no")
    if isinstance(error, TypeError | ValueError | SerializationError):
        return BadArguments(why)
    return NotSent(why, task_id=named)


def _said(error: Exception) -> tuple[str, str | None]:
    """What an error says, and the id of the task that it names."""
    try:
        told, named = getattr(error, "message", None), getattr(error, "task_id", None)
        text = told if isinstance(told, str) and told else str(error) or repr(error)
        return text, named if isinstance(named, str) and named else None
    except Exception:  # noqa: BLE001 - whoever made it may have made that wrong, too
        return "", None


def _apply(message: Delivery, line: BrokerConnection) -> Any:
    options: dict[str, Any] = dict(message.route)
    if message.priority is not None:
        options["priority"] = message.priority
    if message.expires is not None:
        options["expires"] = message.expires
    if message.eta is not None:
        options["eta"] = message.eta
    headers: dict[str, Any] = {SENT: message.sent}
    if message.tags:
        headers[TAGS] = list(message.tags)
    options |= {"headers": headers, "producer": line.producer, "retry": False}
    return message.task.apply_async(tuple(message.args), dict(message.kwargs), task_id=message.id, **options)
