"""The Celery app as the relay uses it: its tasks, where they are routed, and the calls that reach the broker.

Everything that touches the network blocks, and belongs into a thread. Celery's own connections wait for minutes and try
again by themselves, which is right in a worker and wrong here: so the relay has connections of its own, with time-outs
and without retries, and leaves the app's configuration alone. Custom ``apply_async``, routers and signal handlers work
as they do in any program that sends tasks.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
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
from watcher.relay.submit.pending_submission import PendingSubmission, State, Substitute
from watcher.relay.submit.sending import listen, overheard, standing_for
from watcher.rendering._celery import publish_controls_by
from watcher.rendering.lives import SENT
from watcher.rendering.routing import queue_to
from watcher.rendering.tagging import HEADER as TAGS

__all__ = ["Broker"]

logger = logging.getLogger(__name__)


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

    def route(self, pending: PendingSubmission) -> str | None:
        """Find out where it goes, and return the name of the queue, where that is known.

        Routers are the app's code, so this may block.

        :raises BadArguments: there is no such queue.
        """
        router: Any = self.app.amqp.router
        task = pending.task
        own = {name: value for name in ("queue", "exchange", "routing_key") if (value := getattr(task, name, None))}
        asked = {"queue": pending.queue} if pending.queue else own
        try:
            route = router.route(dict(asked), task.name, pending.args, pending.kwargs, task)
        except QueueNotFound as error:
            raise BadArguments(f"option 'queue': {error}", argument="queue") from None
        # A router may answer something else the next time it is asked, so what it said is what holds.
        pending.route = route if self.app.conf.task_routes else asked
        name = getattr(route.get("queue"), "name", None)
        if route.get("exchange"):  # then the queue may be but the default one, which Celery adds
            name = queue_to(route["exchange"], route.get("routing_key"), route.get("queue"), self.app)
        return name if isinstance(name, str) else None

    def check(self, pending: PendingSubmission) -> None:
        """Check that a worker can decode the arguments of a submission that has its route.

        :raises BadArguments: it can't; names the argument.
        """
        task = pending.task
        serializer = pending.route.get("serializer") or task.serializer or self.app.conf.task_serializer
        decodable.check(pending.args, pending.kwargs, str(serializer), lambda: positional(task))

    def send(self, batch: Sequence[PendingSubmission]) -> None:
        """Send these in order, and say in each what has become of it.

        The first that the broker doesn't take is the last that is tried.
        """
        current: PendingSubmission | None = None
        together = False
        try:
            with self._connections.line() as line:
                together = len(batch) > 1 and line.takes_batches and not any(map(_sends_itself, batch))
                with line.together(len(batch)) if together else contextlib.nullcontext():
                    for pending in batch:
                        if pending.begin_sending():
                            current = pending
                            _hand_over(pending, line)
        except BrokerUnavailable as away:
            # Those before the last one were sent, unless all were to be handed over together.
            _fail([pending for pending in batch if together or pending is current], away, together=together)
            for pending in batch:
                pending.withdraw(away.refusal("no"))
        for pending in batch:
            if pending.state is State.SENDING:
                pending.end_sending(State.SENT)

    def revoke(self, task_id: str, *, terminate: bool) -> None:
        """Tell all workers to revoke a task.

        :param terminate: also send SIGTERM to the process that runs it.
        :raises Unavailable: the broker is away.
        """
        try:
            with self._connections.line() as line:
                control: Any = Control(self.app)
                publish_controls_by(control, self._connections.producers)
                control.revoke(task_id, terminate=terminate, signal="SIGTERM", connection=line.connection)
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
                    logger.info("can't ask the workers for their queues: %s", error)
                finally:
                    line.give_up()  # who asks twice over one connection may hear nothing the second time
        except BrokerUnavailable as away:
            raise away.refusal("no") from None
        queues = [queue for served in (replies or {}).values() for queue in served or ()]
        return {str(queue["name"]) for queue in queues if isinstance(queue, dict) and "name" in queue}

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()


def _fail(batch: Sequence[PendingSubmission], away: BrokerUnavailable, *, together: bool) -> None:
    """Say, of those that were just being sent, what the broker's failure means for them."""
    unsent = away.absent or (away.refused and not together)
    for pending in batch:
        if pending.state is State.SENDING:
            no_queue = _no_such_queue(pending, away) if unsent and away.of_queue else None
            why = no_queue or away.refusal("no" if unsent else "unknown")
            pending.end_sending(State.NOT_SENT if unsent else State.UNKNOWN, why)


def _hand_over(pending: PendingSubmission, line: BrokerConnection) -> None:
    """Hand one task to Celery; where the app itself doesn't take it, that is that task's alone."""
    name = str(pending.task.name)
    returned: Any = None
    error: Exception | None = None
    with overheard() as published:
        try:
            returned = _apply(pending, line)
        except OperationalError:
            if _sends_itself(pending) and any(message.id == pending.task_id for message in published):
                pending.end_sending(State.SENT)  # something else that its own apply_async sent was not
            raise
        except Exception as raised:  # noqa: BLE001 - a task's own apply_async or a serializer may raise anything
            error = raised
    stands = standing_for(pending.task_id, name, returned, published)
    if stands == pending.task_id:  # it is sent when the block of the connection ends
        if error is not None:
            logger.warning("task %s was sent, but then its apply_async failed", name, exc_info=error)
    elif error is not None:
        why = _refusal(f"{name} was not sent", error, line)
        if not isinstance(why, NotSent):  # which is no mistake
            logger.warning("task %s was not sent", name, exc_info=error)
        pending.end_sending(State.NOT_SENT, why)
    elif stands is not None:
        message = next((message for message in published if message.id == stands), None)
        pending.end_sending(State.SUBSTITUTED, substitute=Substitute(stands, message))
    else:
        ran = isinstance(returned, EagerResult) and returned.id
        what = "ran the task in place" if ran else "sent nothing"
        pending.end_sending(State.NOT_SENT, NotSent(f"{name} was not sent: its own apply_async {what}"))


def _no_such_queue(pending: PendingSubmission, away: BrokerUnavailable) -> BadArguments | None:
    """What is said of a queue that the client has named, and that the broker doesn't take; None where it has not."""
    if pending.queue is None:
        return None
    return BadArguments(f"option 'queue': {pending.queue!r} can't be sent to, {away}", argument="queue")


def _sends_itself(pending: PendingSubmission) -> bool:
    """Whether the task has an ``apply_async`` of its own: what it does goes by what was sent, and not by what will be.

    It may take a lock, say, and give that back where sending fails.
    """
    return type(pending.task).apply_async is not Task.apply_async


def _refusal(what: str, error: Exception, line: BrokerConnection) -> Refused:
    """What an error that a task's own code raised means to whoever submitted it."""
    text, named = _text_and_task_id(error)
    why = f"{what}: {type(error).__name__}{text and ': '}{text}"
    away: Any = line.connection.connection_errors
    if isinstance(error, (OSError, *away)):  # of the lock that it wanted, say
        return Unavailable(f"{what}: {type(error).__name__}: {outage.why(error)}", submitted="no")
    if isinstance(error, TypeError | ValueError | SerializationError):
        return BadArguments(why)
    return NotSent(why, task_id=named)


def _text_and_task_id(error: Exception) -> tuple[str, str | None]:
    """What an error says, and the id of the task that it names."""
    try:
        message, task_id = getattr(error, "message", None), getattr(error, "task_id", None)
        text = message if isinstance(message, str) and message else str(error) or repr(error)
        return text, task_id if isinstance(task_id, str) and task_id else None
    except Exception:  # noqa: BLE001 - whoever made it may have made that wrong, too
        return "", None


def _apply(pending: PendingSubmission, line: BrokerConnection) -> Any:
    options: dict[str, Any] = dict(pending.route)
    if pending.priority is not None:
        options["priority"] = pending.priority
    if pending.expires is not None:
        options["expires"] = pending.expires
    if pending.eta is not None:
        options["eta"] = pending.eta
    headers: dict[str, Any] = {SENT: pending.sent_at}
    if pending.tags:
        headers[TAGS] = list(pending.tags)
    options |= {"headers": headers, "producer": line.producer, "retry": False}
    return pending.task.apply_async(tuple(pending.args), dict(pending.kwargs), task_id=pending.task_id, **options)
