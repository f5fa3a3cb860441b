"""The outcome of a task, from its stored result or its last event."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from celery import Celery
from celery.exceptions import Reject, TaskRevokedError
from celery.states import PROPAGATE_STATES, READY_STATES

from watcher.client.errors import TaskFailed, TaskRejected, TaskRevoked
from watcher.client.models import TaskEvent, value_of
from watcher.core.event import encode, is_final
from watcher.core.order import parse
from watcher.direct.errors import ResultUnreadable
from watcher.direct.lookup import LookupResult
from watcher.rendering.policy import Policy
from watcher.rendering.result_backend import decompressed, done_at, event_of
from watcher.rendering.result_backend import value_of as stored_value
from watcher.rendering.values import Rendering

__all__ = ["AppReader", "JsonReader", "Outcome", "Reader", "of_this_life"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task has ended.

    :param id: the task's.
    :param state: Celery's name of it; None where it isn't known.
    :param value: what the task returned.
    :param error: what is raised instead of giving a value.
    """

    id: str
    state: str | None
    value: Any = None
    error: Exception | None = None

    def result(self) -> Any:
        """The value; raises the error where there is one."""
        if self.error is not None:
            raise self.error
        return self.value


class Reader(Protocol):
    """Makes outcomes; what can't be read is one too."""

    def stored(self, identity: str, payload: bytes) -> Outcome | None:
        """The outcome that is stored; None where the task has not ended."""

    def from_event(self, event: TaskEvent) -> Outcome:
        """The outcome that a final event tells of, where nothing is stored."""


class _Stored(msgspec.Struct, frozen=True):
    """As much of what is stored as says whether the task has ended."""

    status: str


def of_this_life(look: LookupResult) -> bytes | None:
    """What is stored of a task; None where that was done before the task was sent again, and it has not ended since."""
    if look.stored is None or not look.standing or look.ended:
        return look.stored
    try:
        sent = parse(look.standing).sent
    except ValueError:
        return look.stored
    done = done_at(look.stored) if sent is not None else None
    return look.stored if sent is None or done is None or done >= sent else None


class JsonReader:
    """Reads JSON and nothing else; raises what the client of a relay does."""

    def __init__(self) -> None:
        self._policy = Policy(None, Rendering())

    def stored(self, identity: str, payload: bytes) -> Outcome | None:
        """The outcome that is stored; None where the task has not ended."""
        try:
            plain = decompressed(payload)
            state = msgspec.json.decode(plain, type=_Stored).status
            if not is_final(state):
                return None
            if state == "SUCCESS":
                return Outcome(identity, state, stored_value(plain))
            event = event_of(identity, plain, self._policy, time.time())
        except Exception:  # noqa: BLE001 - whoever writes to the backend chose it, and a decompressor raises what it likes
            event = None
        if event is None or event.state == "SUCCESS":
            return Outcome(identity, None, error=ResultUnreadable(identity, None))
        if event.state == "FAILURE" and event.exception is not None and event.exception.type == "Reject":
            return _rejected(identity, event.name, event.exception.message)
        return self.from_event(TaskEvent(f"task:{identity}", "", 0, encode(event)))

    def from_event(self, event: TaskEvent) -> Outcome:
        """The outcome that a final event tells of, where nothing is stored."""
        try:
            return Outcome(event.id, event.state, value_of(event))
        except Exception as error:  # noqa: BLE001 - the task's, or what comes of an event that nobody of ours has made
            return Outcome(event.id, event.state, error=error)


class AppReader(JsonReader):
    """Reads what the app's backend reads, with the serializers that it accepts; raises what its ``get()`` does."""

    def __init__(self, app: Celery) -> None:
        super().__init__()
        self._backend: Any = app.backend

    def stored(self, identity: str, payload: bytes) -> Outcome | None:
        """The outcome that is stored; None where the task has not ended."""
        try:
            meta = self._backend.decode(payload)
            state: Any = meta["status"]
            if state not in READY_STATES:
                return (
                    None if isinstance(state, str) else Outcome(identity, None, error=ResultUnreadable(identity, None))
                )
            value = self._backend.meta_from_decoded(meta)["result"]
        except Exception as error:  # noqa: BLE001 - what get() would raise: it is not accepted, or can't be decoded
            return Outcome(identity, None, error=error)
        if state not in PROPAGATE_STATES:
            return Outcome(identity, state, value)
        if isinstance(value, Reject):
            return _rejected(identity, meta.get("name"), value.args[0] if value.args else "")
        return Outcome(identity, state, error=_raised(identity, value, meta))

    def from_event(self, event: TaskEvent) -> Outcome:
        """The outcome that a final event tells of, where nothing is stored."""
        outcome = super().from_event(event)
        if isinstance(outcome.error, TaskRevoked):
            return Outcome(event.id, event.state, error=TaskRevokedError(outcome.error.reason or "revoked"))
        return outcome


def _rejected(identity: str, name: str | None, message: object) -> Outcome:
    """What Celery stores as a failure since 5.7, and the plugin tells as what it is."""
    return Outcome(identity, "REJECTED", error=TaskRejected(identity, name, "Rejected", str(message), None))


def _raised(identity: str, value: Any, meta: dict[str, Any]) -> Exception:
    """The exception that a task raised, with the remote traceback as a note.

    Whoever writes to the backend names the class. One that would end the program or cancel a task of ours, such as
    SystemExit or CancelledError, is told of instead of raised.
    """
    traceback = meta.get("traceback")
    traceback = traceback if isinstance(traceback, str) else None
    if not isinstance(value, Exception):
        name = meta.get("name")
        return TaskFailed(identity, name, type(value).__name__, "" if value is None else str(value), traceback)
    if traceback:
        value.add_note(f"In the worker:\n{traceback}")
    return value
