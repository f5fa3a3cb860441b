"""Submit, revoke, look up: the doors from the relay to the Celery app, the same for a WebSocket call and a request.

A submission is checked, claimed, announced and sent, in this order: whoever watches sees PENDING before anything else,
and whoever asks again gets the same task. Whatever happens, the client hears within three seconds, and hears whether
the task may have been queued (:mod:`.pending_submission` has the words). What has begun is finished, even if whoever
asked has gone.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import msgspec
from celery import Celery
from celery import Task as CeleryTask
from celery.result import denied_join_result
from celery.utils.time import make_aware
from redis.asyncio import Redis
from redis.exceptions import RedisError

from watcher import worker
from watcher.core.errors import BadRequest, NoApp, NotPermitted, Refused, TooMany, Unavailable
from watcher.core.event import Event, Task, fold
from watcher.core.permissions import Grant, issue, literally
from watcher.core.settings import Settings
from watcher.journal.layout import Journal
from watcher.relay.api import submission
from watcher.relay.api.schemas import Registry
from watcher.relay.api.submission import Submission
from watcher.relay.limits.bounded_threads import BoundedThreads, ThreadsBusy
from watcher.relay.limits.metering import bill
from watcher.relay.submit.announcer import Announcer
from watcher.relay.submit.batcher import Batcher
from watcher.relay.submit.broker import Broker
from watcher.relay.submit.catalog import TaskCatalog
from watcher.relay.submit.idempotency import AlreadySubmitted, Claim, ClaimBusy, IdempotencyStore, subject_digest
from watcher.relay.submit.pending_submission import PendingSubmission
from watcher.relay.submit.pipeline import SubmissionPipeline, Submitted
from watcher.relay.submit.queues import Queues
from watcher.relay.submit.stored_results import ResultLocation, StoredResults
from watcher.rendering.lives import SentStamps
from watcher.rendering.policy import Policy
from watcher.rendering.result_backend import event_of, result_of
from watcher.rendering.values import Rendering

__all__ = ["Gateway", "Submitted"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A submission is answered within this time, in seconds: 0.2 more where it failed, and 3 are promised.
_LIMIT: Final = 2.6
#: Of which the result backend has so long to say whether it knows a chosen id.
_CHECK: Final = 1.5
#: A revoke too.
_CALL: Final = 2.5
#: So many submissions are carried at a time, in batches; and so many may wait.
_LANES: Final = 4
_BOUND: Final = 10_000
#: What is larger, in bytes, is read in a thread: so many at a time, each within so many seconds.
_LARGE, _READERS, _READ = 64 * 1024, 4, 30.0
#: Revocations at a time: each is told to all workers, and that takes ten times as long as to send a task.
_REVOKES: Final = 2
#: A submission that another request is just carrying out is looked at again after this time, in seconds.
_AGAIN: Final = 0.1
#: The token that comes with a submission is valid for so long, in seconds, and no longer than the submitter's right.
_TOKEN_TTL: Final = 24 * 3600
#: Closing waits this long for what is under way, in seconds.
_CLOSE: Final = 3.0


class _Revoke(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    terminate: bool = False


class Gateway:
    """The Celery app, for clients.

    It needs no start, and loads the app's tasks when they are first asked for; :meth:`start` does it before.

    :param app: None for a relay that only shows.
    :param redis: of the journal; it is used, and not closed.
    :param results: where the app keeps its results, if that is a Redis; likewise.
    """

    def __init__(
        self,
        app: Celery | None,
        settings: Settings,
        journal: Journal,
        redis: Redis,
        results: ResultLocation | None = None,
    ) -> None:
        self._settings = settings
        if app is not None:
            app.finalize()  # what its tasks want hidden is known from here on
        self._policy = None if app is None else Policy(app, Rendering.of(settings), worker.redact_hook())
        self._catalog = TaskCatalog(settings.submit, self._policy)
        self._broker = None if app is None else Broker(app, _LANES + 1 + _REVOKES)
        self._payloads = None if app is None else StoredResults(app, results)
        self._calls = BoundedThreads(_LANES + 1)
        self._revokes = BoundedThreads(_REVOKES)
        self._readers = BoundedThreads(_READERS)
        self._stamps = SentStamps()
        self._loading = anyio.Lock()
        self._loaded = False
        self._under_way = 0
        self._idle = anyio.Event()
        self._closing = False
        self._exits = contextlib.ExitStack()
        if self._broker is None or self._policy is None:
            return
        self._queues = Queues(self._broker.app, settings.submit_queues, self._broker.served)
        self._claims = IdempotencyStore(redis, journal, guarded=settings.guarded)
        pipeline = SubmissionPipeline(self._broker, self._claims, Announcer(redis, journal), self._policy, self._calls)
        self._batcher = Batcher(pipeline.carry, lanes=_LANES, bound=_BOUND)
        # The relay announces by itself what it sends.
        worker.silence()
        # Nobody joins results in a relay. Were it allowed, Celery would subscribe to each task's result as it is sent.
        self._exits.enter_context(denied_join_result())

    @property
    def under_way(self) -> int:
        """How many submissions and revocations are being carried out."""
        return self._under_way

    async def start(self) -> None:
        """Load the app's tasks, unless that has been done."""
        async with self._loading:
            if not self._loaded and self._broker is not None:
                await anyio.to_thread.run_sync(self._load, self._broker)
                self._loaded = True

    async def submit(self, data: bytes, grant: Grant, *, key: str | None = None) -> Submitted:
        """Submit a task.

        Cancelled, it may have been submitted all the same.

        :param data: JSON, ``{"task", "args"?, "kwargs"?, "options"?}``; see docs/protocol.md.
        :param key: idempotency key.
        :raises Refused: it is not permitted, or not right, or (Unavailable) broker or Redis are away.
        """
        broker = await self._open()
        deadline = anyio.current_time() + _LIMIT
        if self._settings.read_only:
            raise NotPermitted("this relay is read-only")
        asked = submission.parse(data, datetime.now(UTC), broker.app.timezone)
        if key is not None:
            submission.check_key(key)
        task = self._catalog.permitted(broker, asked.task, grant)
        self._catalog.check(task, asked.args, asked.kwargs)
        if asked.options.queue is not None:
            await self._queues.check(asked.options.queue, grant.queues)
        await self._check_unused(asked.options.task_id, grant)
        bill().paced = False  # from here on they have a limit of their own
        with self._working():
            return await self._carry(asked, task, grant, key, deadline)

    async def _check_unused(self, task_id: str | None, grant: Grant) -> None:
        """Refuse an id whose result is still stored: whoever submits may watch, and would be shown that one.

        What the journal knows is seen when the id is claimed. A repeat is recognised by its claim.
        """
        if task_id is None or not self._settings.guarded or grant.may_watch(f"task:{task_id}"):
            return
        try:
            with anyio.fail_after(_CHECK):
                used = await self._read(task_id) is not None and not await self._claims.is_submitted(task_id)
        except (Unavailable, RedisError, OSError, TimeoutError):
            raise Unavailable("can't find out whether the task id is in use", submitted="no") from None
        if used:
            raise NotPermitted(f"the task id {task_id!r} is in use")

    async def _carry(
        self, asked: Submission, task: CeleryTask[Any, Any], grant: Grant, key: str | None, deadline: float
    ) -> Submitted:
        while True:
            pending = _pending(asked, task, grant, key, self._stamps.after())
            await self._batcher.run(pending, deadline)
            pending.withdraw()
            outcome = pending.outcome()
            if isinstance(outcome, Refused):
                raise copy.copy(
                    outcome
                )  # what is raised holds this frame, which holds `pending`: that would be a cycle
            if not isinstance(outcome, ClaimBusy):
                return self._submitted(outcome, grant, theirs=await self._is_theirs(outcome, pending, grant))
            if anyio.current_time() + _AGAIN >= deadline:
                raise Unavailable(f"another request is submitting task {outcome.id!r}", submitted="unknown")
            await anyio.sleep(_AGAIN)

    async def _is_theirs(self, earlier: AlreadySubmitted, pending: PendingSubmission, grant: Grant) -> bool:
        if earlier.existing:  # the task's own code knows whose it is, or doesn't care
            with contextlib.suppress(TooMany, RedisError, OSError):
                return self._settings.secret is not None and await self._claims.belongs(earlier.id, grant.subject)
            return False
        # Without a subject nobody knows whether a repeat comes from whoever submitted the task.
        return pending.position is not None or bool(grant.subject)

    def _submitted(self, earlier: AlreadySubmitted, grant: Grant, *, theirs: bool) -> Submitted:
        channel = f"task:{earlier.id}"
        token, settings = None, self._settings
        if settings.secret is not None and theirs:
            token = issue(
                settings.secret, ttl=_TOKEN_TTL, until=grant.expires, watch=[literally(channel)],
                audience=next(iter(settings.audience), ""), issuer=next(iter(settings.issuer), ""),
            )  # fmt: skip
        return Submitted(earlier.id, channel, earlier.epoch, earlier.offset, token, existing=earlier.existing)

    async def revoke(self, data: bytes, grant: Grant) -> dict[str, Any]:
        """Revoke a task: workers that have it will not run it.

        :param data: JSON, ``{"id", "terminate"?}``; ``terminate`` also ends it where it is running, by SIGTERM.
        :raises Refused: as for :meth:`submit`.
        """
        if self._settings.read_only:
            raise NotPermitted("this relay is read-only")
        if not grant.revoke:
            raise NotPermitted("the token does not allow you to revoke tasks")
        broker = await self._open()
        asked = _revoke(data)
        revoke = functools.partial(broker.revoke, asked.id, terminate=asked.terminate)
        with self._working():
            try:
                await self._revokes.run(revoke, _CALL)
            except ThreadsBusy:
                raise Unavailable("the relay is overloaded") from None
            except TimeoutError:
                raise Unavailable("the broker doesn't answer") from None
        return {}

    async def registry(self, grant: Grant) -> msgspec.Raw:
        """The tasks that the holder of ``grant`` may submit here, by name, and whether they may revoke: as JSON."""
        broker = await self._open()
        if self._settings.read_only:
            return msgspec.Raw(msgspec.json.encode(Registry([], revoke=False)))
        return self._catalog.listed(broker.tasks(), grant)

    async def get(self, task_id: str) -> Task | None:
        """What the app's result backend knows of a task; None where that is nothing, or can't be read safely.

        :raises Unavailable: the backend doesn't answer.
        """
        event = await self.stored(task_id)
        return None if event is None else fold(None, event, 0)

    async def stored(self, task_id: str) -> Event | None:
        """The event that the result backend tells of a task; None where it tells of none.

        :raises Unavailable: the backend doesn't answer.
        """
        payload = await self._read(task_id)
        read = functools.partial(self.read_stored, task_id, payload or b"")
        return await self._in_thread(read) if len(payload or b"") > _LARGE else read()

    async def result(self, task_id: str, name: str | None) -> bytes | None:
        """The JSON text of a result, whatever its size, masked; None where it is not stored, not JSON, or not shown.

        :param name: of the task, where it is known.
        :raises Unavailable: the backend doesn't answer.
        """
        payload = await self._read(task_id)
        if payload is None or self._policy is None:
            return None
        return await self._in_thread(functools.partial(result_of, payload, self._policy.of(name)))

    async def _in_thread(self, read: Callable[[], T]) -> T:
        try:
            return await self._readers.run(read, _READ)
        except TimeoutError:
            raise Unavailable("no time left to read the result") from None

    async def _read(self, task_id: str) -> bytes | None:
        return None if self._payloads is None else await self._payloads.read(task_id)

    def read_stored(self, task_id: str, payload: bytes, name: str | None = None) -> Event | None:
        """The event that the result backend's ``payload`` tells of; None where it can't be read safely.

        :param name: of the task, where it is known; few backends store it.
        """
        return None if self._policy is None else event_of(task_id, payload, self._policy, time.time(), name)

    async def aclose(self) -> None:
        """Take no more, wait for what is under way, and close the connections to the broker."""
        self._closing = True
        with anyio.move_on_after(_CLOSE, shield=True):
            while self._under_way:
                await self._idle.wait()
            if self._broker is not None and self._payloads is not None:
                await anyio.to_thread.run_sync(self._broker.close, abandon_on_cancel=True)
                await self._payloads.aclose()
        self._exits.close()

    # What is known of the app.

    async def _open(self) -> Broker:
        """The app's broker, its tasks loaded."""
        if self._broker is None:
            raise NoApp("this relay was started without a Celery app (-A), so it is read-only")
        if self._closing:
            raise Unavailable("the relay is stopping", submitted="no")
        if not self._loaded:
            await self.start()
        if self._broker.app.conf.task_always_eager:
            raise NoApp("the app runs tasks eagerly (task_always_eager), so none can be sent")
        return self._broker

    def _load(self, broker: Broker) -> None:
        broker.load()
        self._catalog.read(broker.tasks())

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
                self._idle = anyio.Event()


def _pending(
    asked: Submission, task: CeleryTask[Any, Any], grant: Grant, key: str | None, sent_at: float
) -> PendingSubmission:
    options = asked.options
    task_id = options.task_id or str(uuid.uuid4())
    expires = options.expires
    if expires is None and task.expires is not None:  # the task's own default
        own = task.expires
        expires = own if isinstance(own, datetime) else datetime.now(UTC) + timedelta(seconds=float(own))
    eta, expires = (_with_zone(moment, task) for moment in (options.eta, expires))
    return PendingSubmission(
        Claim(task_id, options.task_id is not None, subject_digest(grant.subject), asked.digest, key),
        task, task_id, asked.args, asked.kwargs,
        sent_at=sent_at, eta=eta, expires=expires, priority=options.priority, queue=options.queue, tags=options.tags,
    )  # fmt: skip


def _with_zone(moment: datetime | None, task: CeleryTask[Any, Any]) -> datetime | None:
    """A moment without a zone is one in that of the app, as Celery takes it."""
    return make_aware(moment, task.app.timezone) if moment is not None and moment.tzinfo is None else moment


def _revoke(data: bytes) -> _Revoke:
    try:
        asked = msgspec.json.decode(data, type=_Revoke)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f'expected {{"id", "terminate"?}}: {error}') from None
    if not asked.id:
        raise BadRequest("the task id is empty")
    return asked
