"""What a wait, a submission or a connection of the client can end with, other than well.

Each can be pickled, so that it comes out of a process pool as it went in.
"""

from __future__ import annotations

import json
from typing import Final

from watcher.centrifuge.messages import INVALID_TOKEN, TOKEN_EXPIRED, UNAUTHORIZED
from watcher.core.errors import WatcherError

__all__ = [
    "EventsLost",
    "RelayClosed",
    "RelayError",
    "RelayRefused",
    "RelayUnavailable",
    "RelayUnreachable",
    "ResultUnavailable",
    "TaskFailed",
    "TaskLost",
    "TaskRejected",
    "TaskRevoked",
    "TokenRefused",
]

#: Those that are about the token as a whole.
_TOKEN_CODES: Final = frozenset((UNAUTHORIZED.code, TOKEN_EXPIRED.code, INVALID_TOKEN.code))


class RelayError(WatcherError):
    """The relay didn't do what it was asked to."""


class RelayUnreachable(RelayError, ConnectionError):
    """No connection to the relay could be made."""


class RelayClosed(RelayError):
    """The client's ``with`` block has ended, and with it whatever was still waiting."""


class RelayRefused(RelayError):
    """The relay said no, and would again.

    :param code: of the Centrifuge protocol, or an HTTP status where the handshake was refused; docs/protocol.md lists
        them. 104 is an unknown task, 103 not permitted, 107 arguments that don't fit, 409 that the task's own code
        refused to send it.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message


class TokenRefused(RelayRefused):
    """The token is missing, not valid, or has expired."""


class RelayUnavailable(RelayRefused):
    """The relay said no for now: broker, result backend or Redis is away, or it is asked too much."""


class TaskFailed(WatcherError):
    """The task failed.

    ``id`` and ``name`` are the task's; ``type``, ``message`` and ``traceback`` tell what it raised, as texts, because
    the exception's class may not exist here. ``traceback`` is None where there is none, as for a lost worker.
    ``reason`` is ``time_limit``, ``worker_lost`` and the like, or None.
    """

    def __init__(  # noqa: PLR0917 - an exception that is to be pickled takes its arguments by position
        self,
        identity: str,
        name: str | None,
        kind: str,
        message: str,
        traceback: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(identity, name, kind, message, traceback, reason)
        self.id = identity
        self.name = name
        self.type = kind
        self.message = message
        self.traceback = traceback
        self.reason = reason

    def __str__(self) -> str:
        return f"{_called(self.id, self.name)} failed: {self.type}{f': {self.message}' if self.message else ''}"


class TaskRejected(TaskFailed):
    """A worker refused the task's message, or (``reason`` is ``not_sent``) it was never sent."""

    def __str__(self) -> str:
        why = self.reason or self.message
        return f"{_called(self.id, self.name)} was rejected{f': {why}' if why else ''}"


class TaskRevoked(WatcherError):
    """The task was revoked; ``reason`` is ``revoked``, ``expired``, ``terminated`` or None."""

    def __init__(self, identity: str, name: str | None, reason: str | None = None) -> None:
        super().__init__(identity, name, reason)
        self.id = identity
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{_called(self.id, self.name)} was revoked{f': {self.reason}' if self.reason else ''}"


class TaskLost(WatcherError):
    """Nobody knows the task: not the history, not the unfinished tasks, not the result backend. Nobody will tell."""

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self.id = identity

    def __str__(self) -> str:
        return f"task {self.id} not found, neither by the relay nor in the result backend"


class ResultUnavailable(WatcherError):
    """The task succeeded, but its value didn't come with the event.

    :param size: in bytes, where it was too large for an event; else None.
    :param text: its ``repr``, where JSON can't hold it; else None.
    """

    def __init__(self, identity: str, name: str | None, size: int | None = None, text: str | None = None) -> None:
        super().__init__(identity, name, size, text)
        self.id = identity
        self.name = name
        self.size = size
        self.text = text

    def __str__(self) -> str:
        done = f"{_called(self.id, self.name)} succeeded, but its result"
        if self.text is not None:
            return f"{done} can't be represented in JSON: {self.text}"
        if self.size is not None:
            return (
                f"{done} of {self.size} bytes is too large for an event (WATCHER_MAX_RESULT): "
                f"GET /api/tasks/{self.id}/result has it"
            )
        return f"{done} is not sent by its worker (WATCHER_SEND_RESULTS)"


class EventsLost(WatcherError):
    """Events of a channel can't be had any more: the history ends after what was seen, or Redis has lost it."""

    def __init__(self, channel: str) -> None:
        super().__init__(channel)
        self.channel = channel

    def __str__(self) -> str:
        return (
            f"some events of {self.channel!r} are missing: the history no longer reaches back to the last one received"
        )


def refusal(code: int, message: str, *, temporary: bool = False) -> RelayRefused:
    """The error that a code of the protocol stands for."""
    if temporary:
        return RelayUnavailable(message, code)
    return (TokenRefused if code in _TOKEN_CODES else RelayRefused)(message, code)


def detail_of(body: bytes | bytearray) -> str:
    """What the body of a refused request says: its detail, where it is a problem (RFC 9457), else all of it."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return body.decode(errors="replace").strip()


def _called(identity: str, name: str | None) -> str:
    return f"task {name}[{identity}]" if name else f"task {identity}"
