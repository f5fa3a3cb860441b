"""A task as its submitter holds it, and how a submission is written."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Protocol

from watcher.centrifuge.client_messages import ALL_KEPT, ChannelPosition
from watcher.client.models import Snapshot, TaskEvent, value_of
from watcher.client.subscriptions import ClientSubscriptions
from watcher.client.wait import wait_for_end
from watcher.client.watch import Watch

__all__ = ["Options", "Task", "submission"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a task is to be sent, as Celery's ``apply_async`` has it; None where the app decides.

    :param task_id: 1 to 200 of the characters A-Z a-z 0-9 . _ : -; one is chosen if there is none.
    :param countdown: seconds from now before which it must not start.
    :param eta: the same as a moment; a text is ISO 8601.
    :param expires: seconds from now, or a moment, after which it must not start.
    :param tags: channels ``tag:TAG`` carry it, and whatever it sends.
    """

    task_id: str | None = None
    queue: str | None = None
    countdown: float | timedelta | None = None
    eta: datetime | str | None = None
    expires: float | timedelta | datetime | str | None = None
    priority: int | None = None
    tags: Iterable[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Those that are set, as the relay takes them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["tags"] = [self.tags] if isinstance(self.tags, str) else list(self.tags)
        return {name: _plain(value) for name, value in values.items() if value not in (None, [])}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


def submission(name: str, args: Iterable[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> bytes:
    """The JSON of a submission.

    :raises TypeError: an argument is nothing that JSON has.
    :raises ValueError: it is NaN or Infinity, not Unicode, or nested too deeply.
    """
    body = {"task": name, "args": list(args), "kwargs": dict(kwargs), "options": dict(options)}
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name}: an argument is not valid Unicode: it contains {error.object[error.start]!r}"
        ) from None
    except RecursionError:
        raise ValueError(f"{name}: an argument is nested too deeply, or contains itself") from None


class Revoker(Protocol):
    """What a task needs of the relay."""

    channels: ClientSubscriptions

    async def revoke(self, identity: str, *, terminate: bool = False) -> None:
        """Revoke a task."""


class Task:
    """A task that was submitted, or is watched.

    ``await task`` is its result, ``async for event in task`` its events. Any number of both, at the same time.
    """

    def __init__(
        self,
        relay: Revoker,
        identity: str,
        name: str | None = None,
        *,
        sent: ChannelPosition | None = None,
        token: str | None = None,
    ) -> None:
        self._relay = relay
        self._sent = sent
        self._token = token
        self._end: TaskEvent | Snapshot | None = None
        self.id = identity
        self.name = name

    def __repr__(self) -> str:
        return f"<Task {self.name or ''}[{self.id}]>"

    @property
    def sent(self) -> tuple[str, int] | None:
        """Where its ``PENDING`` stands, ``(epoch, offset)``; None where it was submitted elsewhere."""
        return self._sent

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> Any:
        """What the task returns, once it has; None if it was ignored.

        Safe to cancel: the task runs on, and can be waited for again.

        :param timeout: in seconds; None waits however long it takes, lost connections included.
        :raises TaskFailed: it failed, with its type, message and traceback as texts, or was rejected (TaskRejected).
        :raises TaskRevoked: it was revoked, or expired.
        :raises ResultUnavailable: it succeeded, but its value is too large for an event, or nothing that JSON can hold.
        :raises TaskLost: nobody knows the task any more.
        :raises RelayError: it may not be watched, or there is no connection to be had any more.
        :raises TimeoutError: it has not ended in time; says which state and queue it was in.
        """
        return value_of(await self.outcome(timeout))

    async def outcome(self, timeout: float | None = None) -> TaskEvent | Snapshot:
        """What is told of the task's end, whether good or bad; raises as :meth:`result` where it isn't known."""
        if self._end is None:
            self._end = await wait_for_end(self._relay.channels, self.id, self._token, timeout)
        return self._end

    def __aiter__(self) -> Watch:
        return self.events()

    def events(self) -> Watch:
        """Its events from the first one that is kept, to the one that ends it.

        Where that one can't be had any more, what is known of the task stands for it, so the last one always tells how
        it ended.
        """
        sent = self._sent
        since = ALL_KEPT if sent is None else ChannelPosition(sent.epoch, sent.offset - 1)
        return Watch(self._relay.channels, [f"task:{self.id}"], since, token=self._token)

    async def revoke(self, *, terminate: bool = False) -> None:
        """See :meth:`Relay.revoke`."""
        await self._relay.revoke(self.id, terminate=terminate)

    async def cancel(self) -> None:
        """Revoke it, and end it where it is running: ``revoke(terminate=True)``."""
        await self.revoke(terminate=True)
